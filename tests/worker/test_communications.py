"""What customers say reaches the holder of their conversation: once, in order, without a call, until it closes."""

import asyncio
import random

import orjson
import pytest

from router.core.keys import Target
from router.core.ledger.marker import Result
from router.core.timestamps import to_text
from router.simulator.event_streams import streamed_message
from router.streams.delivery import Done
from router.streams.store.ledgers import Store
from tests.support.accounts import ACCOUNT, CUSTOMER, DESK, OURS
from tests.support.policies import DESK_RULE, EVERYBODY, NOBODY, PLAIN
from tests.support.waiting import until
from tests.worker import payloads
from tests.worker.harness import CREATE

DONE = Done()


def sid(number):
    return f"SM{number:032x}"


async def texts(harness):
    return [entry.data.communication.text for entry in await harness.communications()]


async def customer_of(harness):
    """The participant who was announced last."""
    return (await harness.entries())[-1].data


def spoken(harness, data, text="hi", **changes):
    """The callback of what an announced participant said."""
    author = {
        "id": data.participant.id,
        "conversationId": data.conversation.id,
        "addresses": [{"channel": data.channel, "address": data.address}],
    }
    return payloads.spoken(harness, author, text, **changes)


async def test_first_message_is_joined_then_heard(harness):
    """The message that brings a customer in is what they say first, right behind their joined."""
    assert await harness.settle(harness.sms()) == [DONE]
    joined, heard = await harness.published()
    assert (joined.type, heard.type) == ("participant.joined", "communication.received")
    assert heard.subject == joined.subject
    assert (heard.data.communication.text, heard.data.communication.channel_id) == ("hi", sid(1))
    assert (heard.data.address, heard.data.recipient.address, heard.data.target) == (CUSTOMER, OURS, "ai-agent")
    assert heard.data.participant.type == "CUSTOMER"


async def test_next_messages_are_heard_without_a_call(harness):
    """Known customers cost no call and leave the revision alone; a batch is heard in its order."""
    await harness.settle(harness.sms())
    key = harness.keys.conversation(ACCOUNT, (await customer_of(harness)).conversation.id)
    before = await harness.redis.hgetall(key)
    assert await harness.settle(harness.sms(), harness.sms(), harness.sms()) == [Result.KNOWN] * 3
    assert await harness.total() == 1
    assert await harness.types() == ["joined"]
    assert await harness.redis.hgetall(key) == before
    assert [entry.data.communication.channel_id for entry in await harness.communications()] == [
        sid(n) for n in range(1, 5)
    ]


async def test_batch_that_comes_twice_is_heard_once(harness, lines):
    """A crash between commit and acknowledgement repeats nothing; the log says so."""
    await harness.settle(harness.sms())
    deliveries = await harness.receive(harness.sms(), harness.sms())
    for _ in range(2):
        assert await harness.work(deliveries) == [Result.KNOWN] * 2
    assert len(await harness.communications()) == 3
    assert [line.get("communication") for line in lines("event")] == ["published"] * 3 + ["known"] * 2
    assert "hi" not in str(lines("event"))


@pytest.mark.parametrize("seed", range(6))
async def test_every_source_tells_it_and_it_is_heard_once(harness, seed):
    """Form webhook, Event Streams and callback, three times each in any order, in two workers: each message once."""
    await harness.settle(harness.sms())
    data = await customer_of(harness)
    told = []
    for number in (11, 12):
        form = harness.sms(sid=sid(number))
        event = streamed_message(form, event_id=f"EZ{number}", now=harness.clock(), is_batch=False)
        told += [form, event, spoken(harness, data, number=number, channelId=sid(number))] * 3
    random.Random(seed).shuffle(told)
    deliveries = await harness.receive(*told)
    workers = (harness.resolver, harness.make_resolver())
    await asyncio.gather(*(harness.finish(one, by=workers[index % 2]) for index, one in enumerate(deliveries)))
    assert sorted(one.data.communication.channel_id for one in await harness.communications()) == [
        sid(1),
        sid(11),
        sid(12),
    ]
    assert await harness.types() == ["joined"]


async def test_callback_is_heard_by_its_own_id(harness):
    """A communication that only the API tells of is heard once per id, with what the API knows of it."""
    await harness.settle(harness.sms())
    data = await customer_of(harness)
    results = await harness.settle(
        spoken(harness, data, "one", number=1),
        spoken(harness, data, "two", number=2),
        spoken(harness, data, "one", number=1),
    )
    assert results == [Result.KNOWN] * 3
    assert await texts(harness) == ["hi", "one", "two"]
    shown = (await harness.communications())[1].data.communication
    assert (shown.id, shown.created_at) == (f"conv_communication_{1:026d}", "2026-01-07T12:00:00Z")
    assert await harness.total() == 1


async def test_transcript_of_a_call_is_heard_utterance_by_utterance(harness):
    """A call's utterances share its SID and are all heard; what our side says, fragment by fragment, is not."""
    captured = await harness.capture(channel="VOICE", body=None)
    there = {one["type"]: one for one in captured["conversation"]["participants"]}
    await harness.settle(*(harness.callback("PARTICIPANT_ADDED", one) for one in there.values()))
    data = await customer_of(harness)
    call = {"channelId": f"CA{1:032x}"}
    said = [
        spoken(harness, data, word, number=number, content={"type": "TRANSCRIPTION", "text": word}, **call)
        for number, word in enumerate(["hello", "is", "anybody"], 1)
    ]
    ours = next(one for kind, one in there.items() if kind != "CUSTOMER")
    author = {"participantId": ours["id"], "channel": "VOICE", "address": OURS}
    said += [spoken(harness, data, "Yes", number=number, author=author, **call) for number in (8, 9)]
    results = await harness.settle(*said)
    assert results == [Result.KNOWN] * 3 + [Result.IGNORED] * 2
    assert await texts(harness) == ["hello", "is", "anybody"]
    assert {one.data.communication.type for one in await harness.communications()} == {"TRANSCRIPTION"}


async def test_holder_hears_and_nobody_else(make_harness):
    """What is said goes to the stream of the conversation's target."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    await harness.settle(harness.sms(to=DESK), harness.sms(to=DESK))
    assert await harness.published(Target.AI_AGENT) == []
    assert [entry.data.target for entry in await harness.communications()] == ["human-agent"] * 2


@pytest.mark.parametrize("policy", [NOBODY, PLAIN], ids=["ignored by the policy", "an agent"])
async def test_who_is_not_announced_is_not_heard(make_harness, policy):
    """Nobody's customers, and agents at a customer's address, say nothing to anybody."""
    harness = await make_harness(policy=policy)
    await harness.capture(customerType="HUMAN_AGENT")
    await harness.settle(harness.sms())
    await harness.settle(harness.sms())
    assert await harness.published() == []


async def test_our_own_message_is_not_heard(make_harness):
    """What our side writes is our own echo, even where the policy gives everybody a target."""
    harness = await make_harness(policy=EVERYBODY)
    await harness.settle(harness.sms())
    data = await customer_of(harness)
    ours = next(one for one in await harness.participants(data.conversation.id) if one["type"] == "AI_AGENT")
    author = {"participantId": ours["id"], "channel": "SMS", "address": OURS}
    assert await harness.settle(spoken(harness, data, "hello", author=author)) == [Result.IGNORED]
    assert await texts(harness) == ["hi"]


async def test_policy_that_turns_against_newcomers_lets_the_announced_speak(harness):
    """Whoever was announced is heard until their conversation closes: its target is held."""
    await harness.settle(harness.sms())
    strict = harness.make_resolver(policy=NOBODY)
    assert await harness.settle(harness.sms(), by=strict) == [Result.KNOWN]
    assert await harness.settle(harness.sms("+15559990000"), by=strict) == [Result.IGNORED]
    assert len(await harness.communications()) == 2
    assert await harness.total() == 1


async def test_nothing_is_heard_after_the_closing(harness):
    """The closing ends it: late callbacks are stale, and the next message is heard in a new conversation."""
    await harness.settle(harness.sms())
    data = await customer_of(harness)
    path = f"/v2/Conversations/{data.conversation.id}"
    closed = await harness.api("PATCH", path, {"status": "CLOSED"})
    results = await harness.settle(harness.callback("CONVERSATION_UPDATED", closed), spoken(harness, data, "too late"))
    assert results == [Result.CLOSED, Result.STALE]
    assert await harness.settle(harness.sms()) == [DONE]
    assert [entry.type.partition(".")[2] for entry in await harness.published()] == [
        "joined",
        "received",
        "closed",
        "joined",
        "received",
    ]
    first, second = await harness.communications()
    assert first.data.conversation.id != second.data.conversation.id


async def test_message_after_the_route_is_confirmed_is_heard(harness):
    """One fetch confirms the conversation; then the message is heard there."""
    await harness.settle(harness.sms())
    harness.clock.advance(61)
    assert await harness.settle(harness.sms()) == [DONE]
    assert len(await harness.communications()) == 2
    assert (await harness.communications())[1].data.conversation.id == (await customer_of(harness)).conversation.id


async def test_closing_that_wins_the_race_keeps_the_message_out(harness, monkeypatch):
    """A message whose conversation closes between reading and commit is not heard there but in the next one."""
    await harness.settle(harness.sms())
    data = await customer_of(harness)
    closed = await harness.api("PATCH", f"/v2/Conversations/{data.conversation.id}", {"status": "CLOSED"})
    deliveries = await harness.receive(harness.sms())
    other, read, is_told = harness.make_resolver(), Store.read_ledgers, []

    async def read_then_close(self, queries):
        ledgers = await read(self, queries)
        if not is_told:
            is_told.append(True)
            assert await harness.settle(harness.callback("CONVERSATION_UPDATED", closed), by=other) == [Result.CLOSED]
        return ledgers

    monkeypatch.setattr(Store, "read_ledgers", read_then_close)
    assert await harness.work(deliveries) == [DONE]
    types = [entry.type.partition(".")[2] for entry in await harness.published()]
    assert types == ["joined", "received", "closed", "joined", "received"]


async def test_text_is_cut_at_the_setting(harness):
    """ROUTER_TEXT_LIMIT bounds what is published, wherever it comes from."""
    await harness.settle(harness.sms(), by=harness.make_resolver(text_limit=1))
    data = await customer_of(harness)
    await harness.settle(spoken(harness, data, "x" * 5_000))
    first, second = [entry.data.communication for entry in await harness.communications()]
    assert (first.text, first.is_text_cut) == ("h", True)
    assert (len(second.text), second.is_text_cut) == (4096, True)


async def test_media_come_along(harness):
    """What is attached is named with its type and where Twilio keeps it."""
    await harness.settle(harness.sms(kind="mms"))
    (medium,) = (await harness.communications())[0].data.communication.media
    assert medium.content_type == "image/jpeg"
    assert medium.url.startswith("https://api.twilio.com/")


async def test_second_participant_at_an_announced_address_speaks_for_the_first(harness):
    """An UNKNOWN that Twilio adds at the customer's address costs no call and is heard as the customer."""
    await harness.settle(harness.sms())
    data = await customer_of(harness)
    extra = {
        "id": f"conv_participant_{7:026d}",
        "conversationId": data.conversation.id,
        "accountId": ACCOUNT,
        "type": "UNKNOWN",
        "addresses": [{"channel": "SMS", "address": CUSTOMER}],
        "createdAt": to_text(harness.clock()),
    }
    author = {"participantId": extra["id"], "channel": "SMS", "address": CUSTOMER}
    before = await harness.total()
    results = await harness.settle(
        harness.callback("PARTICIPANT_ADDED", extra), spoken(harness, data, "me", author=author)
    )
    assert results == [Result.IGNORED, Result.KNOWN]
    assert await harness.total() == before
    assert [entry.subject for entry in await harness.communications()] == [data.participant.id] * 2


async def test_entry_has_no_more_than_it_needs(harness):
    """An entry of a short message stays small: streams hold one for each."""
    await harness.settle(harness.sms(), harness.sms())
    assert len(orjson.dumps((await harness.communications())[1].model_dump())) < 1600


async def test_order_of_a_customer_is_kept_over_two_workers(harness):
    """While one worker waits for the API with the first message, the other does not publish the second before it."""
    await harness.ensure_group()
    harness.fault(method="POST", route="/v2/Conversations", latency_seconds=0.5, times=1)
    other = harness.make_resolver()
    async with harness.consuming(ROUTER_BATCH="1"):
        await harness.append(harness.sms(sid=sid(1)))
        await until(lambda: is_asked(harness))
        async with harness.consuming(other, ROUTER_BATCH="1"):
            for number in range(2, 8):
                await harness.append(harness.sms(sid=sid(number)))
            await harness.finished()
    assert [entry.data.communication.channel_id for entry in await harness.communications()] == [
        sid(n) for n in range(1, 8)
    ]
    assert await harness.types() == ["joined"]


async def is_asked(harness):
    return (await harness.calls()).get(CREATE)
