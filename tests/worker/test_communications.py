"""What customers say reaches the holder of their conversation: once, in order, without a call, until it closes."""

import asyncio
import random

import orjson
import pytest

from router.core.keys import Target
from router.core.ledger.marker import Result
from router.core.timestamps import to_text
from router.simulator.messages import streamed
from router.streams.delivery import Done
from router.streams.store.ledgers import Store
from tests.support.accounts import CUSTOMER, DESK, OURS
from tests.support.waiting import until
from tests.worker.world import ACCOUNT, CREATE, DESK_RULE, EVERYBODY, NOBODY, PLAIN

DONE = Done()


def sid(number):
    return f"SM{number:032x}"


async def texts(world):
    return [entry.data.communication.text for entry in await world.heard()]


async def customer_of(world):
    """The participant who was announced last."""
    return (await world.entries())[-1].data


def spoken(world, data, text="hi", *, number=1, **changes):
    """The callback of what an announced participant said."""
    communication = {
        "id": f"conv_communication_{number:026d}",
        "conversationId": data.conversation.id,
        "accountId": ACCOUNT,
        "author": {"participantId": data.participant.id, "channel": data.channel, "address": data.address},
        "content": {"type": "TEXT", "text": text},
        "channelId": None,
        "recipients": [{"channel": data.channel, "address": OURS}],
        "createdAt": "2026-01-07T12:00:00Z",
    }
    return world.told("COMMUNICATION_CREATED", communication | changes)


async def test_first_message_is_joined_then_heard(world):
    """The message that brings a customer in is what they say first, right behind their joined."""
    assert await world.settle(world.sms()) == [DONE]
    joined, heard = await world.published()
    assert (joined.type, heard.type) == ("participant.joined", "communication.received")
    assert heard.subject == joined.subject
    assert (heard.data.communication.text, heard.data.communication.channel_id) == ("hi", sid(1))
    assert (heard.data.address, heard.data.recipient.address, heard.data.target) == (CUSTOMER, OURS, "ai-agent")
    assert heard.data.participant.type == "CUSTOMER"


async def test_next_messages_are_heard_without_a_call(world):
    """Known customers cost no call and leave the revision alone; a batch is heard in its order."""
    await world.settle(world.sms())
    key = world.keys.conversation(ACCOUNT, (await customer_of(world)).conversation.id)
    before = await world.redis.hgetall(key)
    assert await world.settle(world.sms(), world.sms(), world.sms()) == [Result.KNOWN] * 3
    assert await world.total() == 1
    assert await world.redis.hgetall(key) == before
    assert [entry.data.communication.channel_id for entry in await world.heard()] == [sid(n) for n in range(1, 5)]


async def test_batch_that_comes_twice_is_heard_once(world, lines):
    """A crash between commit and acknowledgement repeats nothing; the log says so."""
    await world.settle(world.sms())
    deliveries = await world.enter(world.sms(), world.sms())
    for _ in range(2):
        assert await world.work(deliveries) == [Result.KNOWN] * 2
    assert len(await world.heard()) == 3
    assert [line.get("communication") for line in lines("event")] == ["published"] * 3 + ["known"] * 2
    assert "hi" not in str(lines("event"))


@pytest.mark.parametrize("seed", range(6))
async def test_every_source_tells_it_and_it_is_heard_once(world, seed):
    """Form webhook, Event Streams and callback, three times each in any order, in two workers: each message once."""
    await world.settle(world.sms())
    data = await customer_of(world)
    told = []
    for number in (11, 12):
        form = world.sms(sid=sid(number))
        event = streamed(form, event_id=f"EZ{number}", now=world.clock(), is_batch=False)
        told += [form, event, spoken(world, data, number=number, channelId=sid(number))] * 3
    random.Random(seed).shuffle(told)
    deliveries = await world.enter(*told)
    workers = (world.resolver, world.make_resolver())
    await asyncio.gather(*(world.finish(one, by=workers[index % 2]) for index, one in enumerate(deliveries)))
    assert sorted(one.data.communication.channel_id for one in await world.heard()) == [sid(1), sid(11), sid(12)]
    assert await world.types() == ["joined"]


async def test_callback_is_heard_by_its_own_id(world):
    """A communication that only the API tells of is heard once per id, with what the API knows of it."""
    await world.settle(world.sms())
    data = await customer_of(world)
    results = await world.settle(
        spoken(world, data, "one", number=1), spoken(world, data, "two", number=2), spoken(world, data, "one", number=1)
    )
    assert results == [Result.KNOWN] * 3
    assert await texts(world) == ["hi", "one", "two"]
    shown = (await world.heard())[1].data.communication
    assert (shown.id, shown.created_at) == (f"conv_communication_{1:026d}", "2026-01-07T12:00:00Z")
    assert await world.total() == 1


async def test_transcript_of_a_call_is_heard_utterance_by_utterance(world):
    """A call's utterances share its SID and are all heard; what our side says, fragment by fragment, is not."""
    captured = await world.capture(channel="VOICE", body=None)
    there = {one["type"]: one for one in captured["conversation"]["participants"]}
    await world.settle(*(world.told("PARTICIPANT_ADDED", one) for one in there.values()))
    data = await customer_of(world)
    call = {"channelId": f"CA{1:032x}"}
    said = [
        spoken(world, data, word, number=number, content={"type": "TRANSCRIPTION", "text": word}, **call)
        for number, word in enumerate(["hello", "is", "anybody"], 1)
    ]
    ours = next(one for kind, one in there.items() if kind != "CUSTOMER")
    author = {"participantId": ours["id"], "channel": "VOICE", "address": OURS}
    said += [spoken(world, data, "Yes", number=number, author=author, **call) for number in (8, 9)]
    results = await world.settle(*said)
    assert results == [Result.KNOWN] * 3 + [Result.IGNORED] * 2
    assert await texts(world) == ["hello", "is", "anybody"]
    assert {one.data.communication.type for one in await world.heard()} == {"TRANSCRIPTION"}


async def test_communication_that_brings_its_author_in(world):
    """The first that is heard of somebody is joined, then what they said."""
    captured = await world.capture()
    report = world.told("COMMUNICATION_CREATED", captured["communication"] | {"accountId": ACCOUNT})
    assert await world.settle(report) == [DONE]
    assert [entry.type for entry in await world.published()] == ["participant.joined", "communication.received"]


async def test_holder_hears_and_nobody_else(make_world):
    """What is said goes to the stream of the conversation's target."""
    world = await make_world(policy=PLAIN + DESK_RULE)
    await world.settle(world.sms(to=DESK), world.sms(to=DESK))
    assert await world.published(Target.AI_AGENT) == []
    assert [entry.data.target for entry in await world.heard()] == ["human-agent"] * 2


@pytest.mark.parametrize("policy", [NOBODY, PLAIN], ids=["ignored by the policy", "an agent"])
async def test_who_is_not_announced_is_not_heard(make_world, policy):
    """Nobody's customers, and agents at a customer's address, say nothing to anybody."""
    world = await make_world(policy=policy)
    await world.capture(customerType="HUMAN_AGENT")
    await world.settle(world.sms())
    await world.settle(world.sms())
    assert await world.published() == []


async def test_our_own_message_is_not_heard(make_world):
    """What our side writes is our own echo, even where the policy gives everybody a target."""
    world = await make_world(policy=EVERYBODY)
    await world.settle(world.sms())
    data = await customer_of(world)
    ours = next(one for one in await world.participants(data.conversation.id) if one["type"] == "AI_AGENT")
    author = {"participantId": ours["id"], "channel": "SMS", "address": OURS}
    assert await world.settle(spoken(world, data, "hello", author=author)) == [Result.IGNORED]
    assert await texts(world) == ["hi"]


async def test_policy_that_turns_against_newcomers_lets_the_announced_speak(world):
    """Whoever was announced is heard until their conversation closes: its target is held."""
    await world.settle(world.sms())
    strict = world.make_resolver(policy=NOBODY)
    assert await world.settle(world.sms(), by=strict) == [Result.KNOWN]
    assert await world.settle(world.sms("+15559990000"), by=strict) == [Result.IGNORED]
    assert len(await world.heard()) == 2
    assert await world.total() == 1


async def test_nothing_is_heard_after_the_closing(world):
    """The closing ends it: late callbacks are stale, and the next message is heard in a new conversation."""
    await world.settle(world.sms())
    data = await customer_of(world)
    path = f"/v2/Conversations/{data.conversation.id}"
    closed = await world.api("PATCH", path, {"status": "CLOSED"})
    results = await world.settle(world.told("CONVERSATION_UPDATED", closed), spoken(world, data, "too late"))
    assert results == [Result.CLOSED, Result.STALE]
    assert await world.settle(world.sms()) == [DONE]
    assert [entry.type.partition(".")[2] for entry in await world.published()] == [
        "joined",
        "received",
        "closed",
        "joined",
        "received",
    ]
    first, second = await world.heard()
    assert first.data.conversation.id != second.data.conversation.id


async def test_message_after_the_route_is_confirmed_is_heard(world):
    """One fetch confirms the conversation; then the message is heard there."""
    await world.settle(world.sms())
    world.clock.advance(61)
    assert await world.settle(world.sms()) == [DONE]
    assert len(await world.heard()) == 2
    assert (await world.heard())[1].data.conversation.id == (await customer_of(world)).conversation.id


async def test_closing_that_wins_the_race_keeps_the_message_out(world, monkeypatch):
    """A message whose conversation closes between reading and commit is not heard there but in the next one."""
    await world.settle(world.sms())
    data = await customer_of(world)
    closed = await world.api("PATCH", f"/v2/Conversations/{data.conversation.id}", {"status": "CLOSED"})
    deliveries = await world.enter(world.sms())
    other, read, is_told = world.make_resolver(), Store.read_ledgers, []

    async def read_then_close(self, queries):
        ledgers = await read(self, queries)
        if not is_told:
            is_told.append(True)
            assert await world.settle(world.told("CONVERSATION_UPDATED", closed), by=other) == [Result.CLOSED]
        return ledgers

    monkeypatch.setattr(Store, "read_ledgers", read_then_close)
    assert await world.work(deliveries) == [DONE]
    types = [entry.type.partition(".")[2] for entry in await world.published()]
    assert types == ["joined", "received", "closed", "joined", "received"]


async def test_text_is_cut_at_the_setting(world):
    """ROUTER_TEXT_LIMIT bounds what is published, wherever it comes from."""
    await world.settle(world.sms(), by=world.make_resolver(text_limit=1))
    data = await customer_of(world)
    await world.settle(spoken(world, data, "x" * 5_000))
    first, second = [entry.data.communication for entry in await world.heard()]
    assert (first.text, first.is_text_cut) == ("h", True)
    assert (len(second.text), second.is_text_cut) == (4096, True)


async def test_media_come_along(world):
    """What is attached is named with its type and where Twilio keeps it."""
    await world.settle(world.sms(kind="mms"))
    (medium,) = (await world.heard())[0].data.communication.media
    assert medium.content_type == "image/jpeg"
    assert medium.url.startswith("https://api.twilio.com/")


async def test_second_participant_at_an_announced_address_speaks_for_the_first(world):
    """An UNKNOWN that Twilio adds at the customer's address costs no call and is heard as the customer."""
    await world.settle(world.sms())
    data = await customer_of(world)
    extra = {
        "id": f"conv_participant_{7:026d}",
        "conversationId": data.conversation.id,
        "accountId": ACCOUNT,
        "type": "UNKNOWN",
        "addresses": [{"channel": "SMS", "address": CUSTOMER}],
        "createdAt": to_text(world.clock()),
    }
    author = {"participantId": extra["id"], "channel": "SMS", "address": CUSTOMER}
    before = await world.total()
    results = await world.settle(world.told("PARTICIPANT_ADDED", extra), spoken(world, data, "me", author=author))
    assert results == [Result.IGNORED, Result.KNOWN]
    assert await world.total() == before
    assert [entry.subject for entry in await world.heard()] == [data.participant.id] * 2


async def test_entry_has_no_more_than_it_needs(world):
    """An entry of a short message stays small: streams hold one for each."""
    await world.settle(world.sms(), world.sms())
    assert len(orjson.dumps((await world.heard())[1].model_dump())) < 1600


async def test_order_of_a_customer_is_kept_over_two_workers(world):
    """While one worker waits for the API with the first message, the other does not publish the second before it."""
    await world.ensure_group()
    world.fault(method="POST", route="/v2/Conversations", latency_seconds=0.5, times=1)
    other = world.make_resolver()
    async with world.consuming(ROUTER_BATCH="1"):
        await world.append(world.sms(sid=sid(1)))
        await until(lambda: is_asked(world))
        async with world.consuming(other, ROUTER_BATCH="1"):
            for number in range(2, 8):
                await world.append(world.sms(sid=sid(number)))
            await world.finished()
    assert [entry.data.communication.channel_id for entry in await world.heard()] == [sid(n) for n in range(1, 8)]
    assert await world.types() == ["joined"]


async def is_asked(world):
    return (await world.calls()).get(CREATE)
