"""Communications reach the holder of their conversation: once, in order, without a request, until it closes."""

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
    """The data of the last entry about a participant."""
    return (await harness.entries())[-1].data


def spoken(harness, data, text="hi", **changes):
    """The callback of a communication by the participant of an entry's data."""
    author = {
        "id": data.participant.id,
        "conversationId": data.conversation.id,
        "addresses": [{"channel": data.channel, "address": data.address}],
    }
    return payloads.spoken(harness, author, text, **changes)


@pytest.mark.parametrize(("text", "opt_out"), [("STOP", "STOP"), ("hello", None)])
async def test_joined_tells_that_the_first_message_is_an_opt_out(harness, text, opt_out):
    """A consumer of participant.joined alone must not greet who has written STOP."""
    await harness.settle(harness.sms(body=text))
    joined, received = await harness.published()
    assert (joined.data.opt_out, received.data.communication.opt_out) == (opt_out, opt_out)


async def test_the_first_message_is_published_after_joined(harness):
    """The message of a new customer is published right after its joined."""
    assert await harness.settle(harness.sms()) == [DONE]
    joined, received = await harness.published()
    assert (joined.type, received.type) == ("participant.joined", "communication.received")
    assert received.subject == joined.subject
    assert (received.data.communication.text, received.data.communication.channel_id) == ("hi", sid(1))
    assert (received.data.address, received.data.recipient.address, received.data.target) == (
        CUSTOMER,
        OURS,
        "ai-agent",
    )
    assert received.data.participant.type == "CUSTOMER"


async def test_messages_of_a_known_customer_need_no_request(harness):
    """Messages of a known customer are published in order, without a request or a new revision."""
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


async def test_a_repeated_batch_is_published_once(harness, lines):
    """Messages that are repeated after a crash are published once; the log says that they are known."""
    await harness.settle(harness.sms())
    deliveries = await harness.receive(harness.sms(), harness.sms())
    for _ in range(2):
        assert await harness.work(deliveries) == [Result.KNOWN] * 2
    assert len(await harness.communications()) == 3
    assert [line.get("communication") for line in lines("event")] == ["published"] * 3 + ["known"] * 2
    assert "hi" not in str(lines("event"))


@pytest.mark.parametrize("seed", range(6))
async def test_a_message_from_several_sources_is_published_once(harness, seed):
    """Form webhook, Event Streams and callback, repeated in any order in two workers, publish a message once."""
    await harness.settle(harness.sms())
    data = await customer_of(harness)
    webhooks = []
    for number in (11, 12):
        form = harness.sms(sid=sid(number))
        event = streamed_message(form, event_id=f"EZ{number}", now=harness.clock(), is_batch=False)
        webhooks += [form, event, spoken(harness, data, number=number, channelId=sid(number))] * 3
    random.Random(seed).shuffle(webhooks)
    deliveries = await harness.receive(*webhooks)
    workers = (harness.resolver, harness.make_resolver())
    await asyncio.gather(*(harness.finish(one, by=workers[index % 2]) for index, one in enumerate(deliveries)))
    assert sorted(one.data.communication.channel_id for one in await harness.communications()) == [
        sid(1),
        sid(11),
        sid(12),
    ]
    assert await harness.types() == ["joined"]


async def test_a_communication_is_published_once_per_id(harness):
    """A communication that only callbacks report is published once per id, with the API's fields."""
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


async def test_each_utterance_of_a_call_is_published(harness):
    """The utterances of a call share its SID and are all published, except those of our side."""
    captured = await harness.capture(channel="VOICE", body=None)
    by_type = {one["type"]: one for one in captured["conversation"]["participants"]}
    await harness.settle(*(harness.callback("PARTICIPANT_ADDED", one) for one in by_type.values()))
    data = await customer_of(harness)
    call = {"channelId": f"CA{1:032x}"}
    callbacks = [
        spoken(harness, data, word, number=number, content={"type": "TRANSCRIPTION", "text": word}, **call)
        for number, word in enumerate(["hello", "is", "anybody"], 1)
    ]
    ours = next(one for kind, one in by_type.items() if kind != "CUSTOMER")
    author = {"participantId": ours["id"], "channel": "VOICE", "address": OURS}
    callbacks += [spoken(harness, data, "Yes", number=number, author=author, **call) for number in (8, 9)]
    results = await harness.settle(*callbacks)
    assert results == [Result.KNOWN] * 3 + [Result.IGNORED] * 2
    assert await texts(harness) == ["hello", "is", "anybody"]
    assert {one.data.communication.type for one in await harness.communications()} == {"TRANSCRIPTION"}


async def test_messages_are_published_to_the_holder_only(make_harness):
    """Messages go to the stream of the conversation's target only."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    await harness.settle(harness.sms(to=DESK), harness.sms(to=DESK))
    assert await harness.published(Target.AI_AGENT) == []
    assert [entry.data.target for entry in await harness.communications()] == ["human-agent"] * 2


@pytest.mark.parametrize("policy", [NOBODY, PLAIN], ids=["ignored by the policy", "an agent"])
async def test_messages_of_an_unannounced_sender_are_not_published(make_harness, policy):
    """Messages of a sender who is ignored or an agent are not published."""
    harness = await make_harness(policy=policy)
    await harness.capture(customerType="HUMAN_AGENT")
    await harness.settle(harness.sms())
    await harness.settle(harness.sms())
    assert await harness.published() == []


async def test_our_own_messages_are_not_published(make_harness):
    """Messages of our side are not published, even if the policy gives agents a target."""
    harness = await make_harness(policy=EVERYBODY)
    await harness.settle(harness.sms())
    data = await customer_of(harness)
    ours = next(one for one in await harness.participants(data.conversation.id) if one["type"] == "AI_AGENT")
    author = {"participantId": ours["id"], "channel": "SMS", "address": OURS}
    assert await harness.settle(spoken(harness, data, "hello", author=author)) == [Result.IGNORED]
    assert await texts(harness) == ["hi"]


async def test_a_stricter_policy_keeps_announced_customers(harness):
    """Messages of an announced customer are published although the policy now ignores new ones."""
    await harness.settle(harness.sms())
    strict = harness.make_resolver(policy=NOBODY)
    assert await harness.settle(harness.sms(), by=strict) == [Result.KNOWN]
    assert await harness.settle(harness.sms("+15559990000"), by=strict) == [Result.IGNORED]
    assert len(await harness.communications()) == 2
    assert await harness.total() == 1


async def test_nothing_is_published_after_the_closing(harness):
    """After the closing callbacks are stale, and the next message is published in a new conversation."""
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


async def test_a_message_is_published_after_its_route_was_confirmed(harness):
    """A message whose route has to be confirmed is published in the confirmed conversation."""
    await harness.settle(harness.sms())
    harness.clock.advance(61)
    assert await harness.settle(harness.sms()) == [DONE]
    assert len(await harness.communications()) == 2
    assert (await harness.communications())[1].data.conversation.id == (await customer_of(harness)).conversation.id


async def test_a_closing_during_the_commit_moves_the_message(harness, monkeypatch):
    """A message whose conversation closes between read and commit is published in the next one."""
    await harness.settle(harness.sms())
    data = await customer_of(harness)
    closed = await harness.api("PATCH", f"/v2/Conversations/{data.conversation.id}", {"status": "CLOSED"})
    deliveries = await harness.receive(harness.sms())
    other, read, closings = harness.make_resolver(), Store.find_ledgers, []

    async def read_then_close(self, queries):
        ledgers = await read(self, queries)
        if not closings:
            closings.append(closed)
            assert await harness.settle(harness.callback("CONVERSATION_UPDATED", closed), by=other) == [Result.CLOSED]
        return ledgers

    monkeypatch.setattr(Store, "find_ledgers", read_then_close)
    assert await harness.work(deliveries) == [DONE]
    types = [entry.type.partition(".")[2] for entry in await harness.published()]
    assert types == ["joined", "received", "closed", "joined", "received"]


async def test_the_text_limit_cuts_the_text(harness):
    """ROUTER_TEXT_LIMIT limits the published text of every source."""
    await harness.settle(harness.sms(), by=harness.make_resolver(text_limit=1))
    data = await customer_of(harness)
    await harness.settle(spoken(harness, data, "x" * 5_000))
    first, second = [entry.data.communication for entry in await harness.communications()]
    assert (first.text, first.is_text_cut) == ("h", True)
    assert (len(second.text), second.is_text_cut) == (4096, True)


async def test_attachments_are_published_with_type_and_url(harness):
    """An attachment is published with its type and URL."""
    await harness.settle(harness.sms(kind="mms"))
    (medium,) = (await harness.communications())[0].data.communication.media
    assert medium.content_type == "image/jpeg"
    assert medium.url.startswith("https://api.twilio.com/")


async def test_a_second_participant_at_an_address_writes_as_the_first(harness):
    """A communication of a second participant at the customer's address is published as the customer's."""
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


async def test_an_entry_of_a_short_message_is_small(harness):
    """The entry of a short message has less than 1750 bytes."""
    await harness.settle(harness.sms(), harness.sms())
    assert len(orjson.dumps((await harness.communications())[1].model_dump())) < 1750


async def test_the_order_of_a_customers_messages_is_kept_by_two_workers(harness):
    """A worker does not publish a later message while another waits for the API with an earlier one."""
    await harness.ensure_group()
    harness.fault(method="POST", route="/v2/Conversations", latency_seconds=0.5, times=1)
    other = harness.make_resolver()
    async with harness.consuming(ROUTER_BATCH="1"):
        await harness.append(harness.sms(sid=sid(1)))
        await until(lambda: is_requested(harness))
        async with harness.consuming(other, ROUTER_BATCH="1"):
            for number in range(2, 8):
                await harness.append(harness.sms(sid=sid(number)))
            await harness.finished()
    assert [entry.data.communication.channel_id for entry in await harness.communications()] == [
        sid(n) for n in range(1, 8)
    ]
    assert await harness.types() == ["joined"]


async def is_requested(harness):
    return (await harness.calls()).get(CREATE)
