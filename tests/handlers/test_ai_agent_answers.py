"""The AI agent and communications: answered once if its reply asks for them, over every crash."""

from __future__ import annotations

import pytest

from handlers.replies import CommunicationEntry, JoinedEntry, TurnEntry, replies_to
from router.core.entries import CommunicationData, EntryCommunication, JoinedData, TurnData
from router.core.keys import Target
from router.core.policy import Asking, Burst, Decision
from router.streams.delivery import Done, Later
from router.streams.store.turns import TurnStore
from tests.handlers.harness import HELLO, CrashError, crashing, delivery_of, number, participant
from tests.support.accounts import ACCOUNT, OURS
from tests.support.waiting import until


@replies_to(CommunicationEntry)
async def echo(entry: CommunicationEntry) -> str | None:
    """Repeat what was said, if it has a text."""
    text = entry.data.communication.text
    return f"You said: {text}" if text else None


def said(opened, text="hi", opt_out=None, **fields):
    """Return a new entry of what the customer said."""
    communication = EntryCommunication(text=text, opt_out=opt_out)
    return opened.entry(CommunicationData, communication=communication, distinction=number(), **fields)


async def test_a_reply_to_communications_answers_each_once(harness, lines):
    """The agent joins silently, and answers a communication once over redeliveries."""
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


@pytest.mark.parametrize("keyword", ["STOP", "START", "HELP"])
async def test_an_opt_out_keyword_is_not_answered(harness, lines, keyword):
    """Twilio has answered it: the reply is not asked, neither as a first word nor later."""
    opened = await harness.open()
    greeter, agent = harness.ai_agent(), harness.ai_agent(reply=echo)
    await greeter.attempt(delivery_of(opened.entry(opt_out=keyword)))
    await agent.attempt(delivery_of(said(opened, keyword, opt_out=keyword)))
    assert [(line["result"], line.get("reply")) for line in lines("consumed")] == [
        ("joined", "opt-out keyword"),
        ("opt-out keyword", None),
    ]
    await agent.attempt(delivery_of(said(opened)))  # what follows is answered
    await until(lambda: harness.texts(opened.id))
    assert await harness.texts(opened.id) == ["You said: hi"]


async def test_two_communications_get_two_answers(harness):
    """The same text sent twice is answered twice."""
    opened = await harness.open()
    agent = harness.ai_agent(reply=echo)
    for _ in range(2):
        await agent.attempt(delivery_of(said(opened)))

    async def both():
        return await harness.texts(opened.id) == ["You said: hi"] * 2

    await until(both)


async def test_a_greeting_does_not_answer_communications(harness, lines):
    """The configured text is sent to those who joined; communications are ignored without a call."""
    opened = await harness.open()
    agent = harness.ai_agent(HELLO)
    await agent.attempt(delivery_of(opened.entry()))
    for _ in range(3):
        assert isinstance(await agent.attempt(delivery_of(said(opened))), Done)
    await until(lambda: harness.texts(opened.id))
    assert await harness.texts(opened.id) == [HELLO]
    assert [line["result"] for line in lines("consumed")] == ["joined", "ignored", "ignored", "ignored"]


async def test_a_reply_may_be_called_for_both_entries(harness):
    """A reply that names both entries gets both, typed."""
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


async def test_without_a_text_it_does_not_join(harness, lines):
    """A communication that gets no answer costs no call of the API."""
    opened = await harness.open()
    await harness.ai_agent(reply=echo).attempt(delivery_of(said(opened, "")))
    assert await harness.types(opened.id) == ["CUSTOMER"]
    assert lines("consumed")[0]["result"] == "silent"


@pytest.mark.parametrize("channel", ["VOICE", "EMAIL", "VIDEO"])
async def test_on_channels_that_cannot_send_the_reply_is_not_called(harness, lines, channel):
    """A communication that could not be answered does not reach the reply."""

    @replies_to(CommunicationEntry)
    async def reply(_):
        raise AssertionError("asked")

    opened = await harness.open(channel=channel, address="ana@example.com")
    await harness.ai_agent(reply=reply).attempt(delivery_of(said(opened, recipient="help@example.com")))
    assert lines("consumed")[0]["result"] == "channel cannot send"


async def test_it_is_silent_if_its_address_is_taken(harness, lines):
    """The agent does not answer if a person has our address."""
    opened = await harness.open(participant("HUMAN_AGENT", OURS))
    await harness.ai_agent(reply=echo).attempt(delivery_of(said(opened)))
    assert await harness.texts(opened.id) == []
    assert [(line["result"], line["level"]) for line in lines("consumed")] == [("address-taken", "warning")]


async def test_a_closed_conversation_gets_no_answer(harness, lines):
    """The entry is finished, without a failure."""
    opened = await harness.open()
    await harness.close(opened.id)
    await harness.ai_agent(reply=echo).attempt(delivery_of(said(opened)))
    assert lines("consumed")[0]["result"] == "conversation-closed"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_one_answer_over_a_crash_at_every_call(harness, after):
    """Wherever the process crashes, its successor ends with one answer."""
    for at in range(1, 40):
        opened = await harness.open()
        entry = said(opened)
        try:
            await crashing(harness, at, after=after).ai_agent(reply=echo).attempt(delivery_of(entry))
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
    """A communication entry has no channelId, so it is fetched, on CHAT only."""
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


# --- turns ----------------------------------------------------------------------------------------


@replies_to(TurnEntry)
async def repeat(turn: TurnEntry) -> str | None:
    """Repeat what was said in a turn."""
    return " ".join(one.text for one in turn.data.communications)


@replies_to(TurnEntry, CommunicationEntry)
async def either(entry: TurnEntry | CommunicationEntry) -> str | None:
    """Repeat what was said, in a turn or not."""
    return await (repeat(entry) if isinstance(entry, TurnEntry) else echo(entry))


async def with_burst(harness, opened, burst):
    """Commit that the rule of a conversation has a burst, or none."""
    store = TurnStore(harness.redis, harness.keys, marker_ttl=3600)
    ledger = store.make_ledger(ACCOUNT, opened.id)
    ledger.hold(Decision(Target.AI_AGENT, "a rule", Asking(burst=burst)))
    assert await store.commit([ledger]) == [True]


async def test_a_reply_to_turns(harness, lines):
    """Gets all that was said at once, and answers it once; what is said is no entry of its own for it."""
    opened = await harness.open()
    agent = harness.ai_agent(reply=repeat)
    await agent.attempt(delivery_of(said(opened)))
    turn = opened.entry(TurnData)
    for _ in range(2):
        await agent.attempt(delivery_of(turn))
    await until(lambda: harness.texts(opened.id))
    assert await harness.texts(opened.id) == ["hi there"]
    assert [line["result"] for line in lines("consumed")] == ["ignored", "sent", "repeated"]


@pytest.mark.parametrize(("burst", "results"), [(Burst(1, 2), ["in-turn", "sent"]), (None, ["sent"])])
async def test_a_reply_to_both_answers_each_message_once(harness, lines, burst, results):
    """In its turn where there are turns, else by itself."""
    opened = await harness.open()
    await with_burst(harness, opened, burst)
    agent = harness.ai_agent(reply=either)
    await agent.attempt(delivery_of(said(opened)))
    if burst is not None:
        await agent.attempt(delivery_of(opened.entry(TurnData)))
    await until(lambda: harness.texts(opened.id))
    assert await harness.texts(opened.id) == ["hi there" if burst else "You said: hi"]
    assert [line["result"] for line in lines("consumed")] == results


async def test_a_turn_that_ends_with_an_opt_out_is_not_answered(harness, lines):
    """Twilio refuses messages after STOP."""
    opened = await harness.open()
    await harness.ai_agent(reply=repeat).attempt(delivery_of(opened.entry(TurnData, opt_out="STOP")))
    assert lines("consumed")[0]["result"] == "opt-out keyword"
    assert await harness.types(opened.id) == ["CUSTOMER"]
