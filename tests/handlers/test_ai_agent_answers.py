"""The AI agent and what customers say: answered once where its reply wants to be asked, over every crash."""

from __future__ import annotations

import pytest

from handlers.replies import CommunicationEntry, JoinedEntry, make_greeting, replies_to
from router.core.entries import CommunicationData, EntryCommunication, JoinedData
from router.streams.delivery import Done, Later
from tests.handlers.harness import CrashError, delivery_of, dying, number, seat
from tests.support.accounts import OURS
from tests.support.waiting import until

ACTIONS = "/Actions"
HELLO = "Hello, how can we help?"


@replies_to(CommunicationEntry)
async def echo(entry: CommunicationEntry) -> str | None:
    """Answer what was said, and nothing that is nothing."""
    text = entry.data.communication.text
    return f"You said: {text}" if text else None


def said(opened, text="hi", **fields):
    """What the customer said, as an entry; another one each time."""
    communication = EntryCommunication(text=text)
    return opened.entry(CommunicationData, communication=communication, distinction=number(), **fields)


async def test_it_joins_silently_and_answers_what_is_said(harness, lines):
    """With a reply for communications the joined is no occasion to speak; what is said is, once over redeliveries."""
    opened = await harness.open()
    agent = harness.ai_agent(reply=echo)
    await agent.attempt(delivery_of(opened.entry()))
    entry = said(opened)
    for _ in range(3):
        assert isinstance(await agent.attempt(delivery_of(entry)), Done)
    await until(lambda: harness.texts(opened.id))
    assert await harness.texts(opened.id) == ["You said: hi"]
    assert await harness.types(opened.id) == ["AI_AGENT", "CUSTOMER"]
    assert [(line["result"], line.get("reply")) for line in lines("consumed")] == [
        ("joined", "silent"),
        ("sent", None),
        ("repeated", None),
        ("repeated", None),
    ]


async def test_two_communications_get_two_answers(harness):
    """The same words said twice are answered twice."""
    opened = await harness.open()
    agent = harness.ai_agent(reply=echo)
    for _ in range(2):
        await agent.attempt(delivery_of(said(opened)))

    async def both():
        return await harness.texts(opened.id) == ["You said: hi"] * 2

    await until(both)


async def test_greeting_is_no_answer(harness, lines):
    """A configured text greets who joins and is not sent again for what they say: that is ignored without a call."""
    opened = await harness.open()
    agent = harness.ai_agent(HELLO)
    await agent.attempt(delivery_of(opened.entry()))
    for _ in range(3):
        assert isinstance(await agent.attempt(delivery_of(said(opened))), Done)
    await until(lambda: harness.texts(opened.id))
    assert await harness.texts(opened.id) == [HELLO]
    assert [line["result"] for line in lines("consumed")] == ["joined", "ignored", "ignored", "ignored"]


async def test_reply_that_wants_both(harness):
    """Who names both entries is asked for both, each typed."""
    seen = []

    @replies_to(JoinedEntry, CommunicationEntry)
    async def reply(entry):
        seen.append(type(entry))
        return entry.type

    opened = await harness.open()
    agent = harness.ai_agent(reply=reply)
    await agent.attempt(delivery_of(opened.entry()))
    await agent.attempt(delivery_of(said(opened)))
    assert seen == [JoinedEntry, CommunicationEntry]

    async def both():
        return set(await harness.texts(opened.id)) == {JoinedData.type, CommunicationData.type}

    await until(both)


async def test_nothing_to_say_costs_no_call(harness, lines):
    """Where the reply keeps silent the agent does not even take its seat."""
    opened = await harness.open()
    await harness.ai_agent(reply=echo).attempt(delivery_of(said(opened, "")))
    assert await harness.types(opened.id) == ["CUSTOMER"]
    assert lines("consumed")[0]["result"] == "silent"


@pytest.mark.parametrize("channel", ["VOICE", "EMAIL", "VIDEO"])
async def test_channels_that_cannot_send_are_not_asked_for(harness, lines, channel):
    """What is said where nothing can be sent is not brought before the reply."""

    @replies_to(CommunicationEntry)
    async def reply(_):
        raise AssertionError("asked")

    opened = await harness.open(channel=channel, address="ana@example.com")
    await harness.ai_agent(reply=reply).attempt(delivery_of(said(opened, recipient="help@example.com")))
    assert lines("consumed")[0]["result"] == "channel cannot send"


async def test_seat_that_is_taken_says_nothing(harness, lines):
    """Where a person sits at our address the agent does not speak over them."""
    opened = await harness.open(seat("HUMAN_AGENT", OURS))
    await harness.ai_agent(reply=echo).attempt(delivery_of(said(opened)))
    assert await harness.texts(opened.id) == []
    assert [(line["result"], line["level"]) for line in lines("consumed")] == [("address-taken", "warning")]


async def test_conversation_that_has_closed_needs_no_answer(harness, lines):
    """Closed before the answer: finished, without failure."""
    opened = await harness.open()
    await harness.close(opened.id)
    await harness.ai_agent(reply=echo).attempt(delivery_of(said(opened)))
    assert lines("consumed")[0]["result"] == "conversation-closed"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_one_answer_over_a_crash_at_every_call(harness, after):
    """Wherever the process dies, its successor ends with one answer."""
    for at in range(1, 40):
        opened = await harness.open()
        entry = said(opened)
        try:
            await dying(harness, at, after=after).ai_agent(reply=echo).attempt(delivery_of(entry))
            break
        except CrashError:
            pass
        await until(lambda entry=entry: finish(harness, entry))
        await until(lambda opened=opened: harness.texts(opened.id))
        assert await harness.texts(opened.id) == ["You said: hi"], f"crash {'after' if after else 'before'} call {at}"
    assert at > 5


async def finish(harness, entry):
    verdict = await harness.ai_agent(reply=echo).attempt(delivery_of(entry))
    return not isinstance(verdict, Later)


async def test_chat_is_answered_through_its_classic_conversation(harness):
    """A communication does not tell the channelId of the customer's address: it is looked up, on CHAT only."""
    opened = await harness.open(channel="CHAT", address="ana")
    address = opened.customer.addresses[0].model_copy(update={"channel_id": "CH1"})
    body = opened.customer.as_replacement(addresses=(address,))
    await harness.client.update_participant(opened.id, opened.customer.id, body)
    seen = []
    send = harness.client.send_message

    async def watched(*args, channel_settings=None, **fields):
        seen.append(channel_settings)
        return await send(*args, channel_settings=channel_settings, **fields)

    harness.client.send_message = watched
    await harness.ai_agent(reply=echo).attempt(delivery_of(said(opened, recipient="bot")))
    await harness.ai_agent(reply=echo).attempt(delivery_of(said(await harness.open())))
    assert seen == [{"channelId": "CH1"}, None]


def test_greeting_is_for_who_joins():
    """What has no mark is asked as it always was."""
    assert not hasattr(make_greeting(HELLO), "entry_types")
