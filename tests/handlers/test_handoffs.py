"""The AI agent hands conversations to people, hears what became of that, and says nothing while somebody else holds."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from handlers.replies import (
    CommandRefusedEntry,
    CommunicationEntry,
    HandoffFailedEntry,
    HolderChangedEntry,
    handoff,
    list_communications,
    replies_to,
)
from router.agents.history import read_history
from router.core.entries import CommunicationData, EntryCommunication
from router.core.errors import ServerError
from router.core.keys import Target
from router.core.routing.queues import Fallback, Queue
from router.core.routing.team import Team, TeamMember
from router.metrics import REGISTRY
from router.streams.delivery import Done
from tests.core.builders import make_fact
from tests.handlers.floor_harness import Floor, take
from tests.handlers.harness import HELLO, CrashError, crashing, delivery_of, number
from tests.support.accounts import ACCOUNT
from tests.support.waiting import until
from tests.worker.floor_place import PEOPLE

COMMANDS = "router:{0}:commands"


@pytest.fixture
async def floor(harness):
    """A conversation that the AI agent holds."""
    floor = Floor(harness, await harness.open())
    await floor.announce()
    return floor


def said(floor, text="a person, please", **fields):
    """Return a new entry of what the customer said."""
    communication = EntryCommunication(text=text)
    return floor.opened.entry(CommunicationData, communication=communication, distinction=number(), **fields)


@replies_to(CommunicationEntry)
async def asking(entry):
    """Ask for a person, with a text if the customer says please."""
    text = "I'll get somebody." if "please" in entry.data.communication.text else None
    return handoff("wants a person", text=text, summary="a refund", context={"order": 7}, skills=["german"])


async def written(redis):
    return [fields for _, fields in await redis.xrange(COMMANDS)]


async def routes(harness):
    """Return the routes of the API that were asked so far."""
    return (await harness.sandbox.ask("GET", "/sandbox/requests"))["requests"]


async def test_a_person_is_asked_for_after_the_text(harness, floor, lines):
    """The command has the entry's epoch, an id that follows from the entry, and what the reply gave."""
    entry = said(floor)
    agent = harness.ai_agent(reply=asking)
    for _ in range(3):
        await take(agent, entry)
    (command,) = await floor.commands()
    event = orjson.loads(command[b"command"])
    assert (command[b"type"], event["type"]) == (b"handoff.request", "command.handoff.request")
    assert command[b"id"].decode() == event["id"] == f"{entry.id}:ai-agent:handoff.request"
    assert event["data"] == {
        "account": entry.data.account_id,
        "conversation": floor.opened.id,
        "epoch": 0,
        "reason": "wants a person",
        "summary": "a refund",
        "context": {"order": 7},
        "skills": ["german"],
        "priority": 0,
    }
    (requested,) = await floor.place.told(Target.HUMAN_AGENT, conversation_id=floor.opened.id)
    assert (requested.type, requested.data.request.summary) == ("handoff.requested", "a refund")
    await until(lambda: harness.texts(floor.opened.id))
    assert await harness.texts(floor.opened.id) == ["I'll get somebody."]
    assert any("Actions" in route for route in await routes(harness))
    first = lines("consumed")[0]
    assert (first["result"], first["handoff"]) == ("sent", event["id"])


async def test_a_person_is_asked_for_without_a_text(harness, floor, lines):
    """Then the agent needs no call of the API."""
    await take(harness.ai_agent(reply=asking), said(floor, "person!"))
    assert len(await floor.commands()) == 1
    assert await harness.types(floor.opened.id) == ["CUSTOMER"]
    assert lines("consumed")[0]["result"] == "handoff"


async def test_whoever_joins_may_be_handed_over_at_once(harness, floor, lines):
    """A reply to participant.joined asks for a person too."""
    await take(harness.ai_agent(reply=lambda _: handoff("a new customer")), floor.opened.entry())
    (command,) = await floor.commands()
    assert orjson.loads(command[b"command"])["data"]["reason"] == "a new customer"
    assert (lines("consumed")[0]["result"], lines("consumed")[0]["reply"]) == ("joined", "handoff")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_one_request_over_a_crash_at_every_call(harness, after):
    """Wherever the process crashes: one text, one request that counts, and the reply's first answer."""
    for at in range(1, 40):
        floor = Floor(harness, await harness.open())
        await floor.announce()
        entry = said(floor)
        try:
            await crashing(harness, at, after=after).ai_agent(reply=asking).attempt(delivery_of(entry))
            break
        except CrashError:
            pass

        async def finish(entry=entry):
            return await harness.ai_agent(reply=asking).attempt(delivery_of(entry)) == Done()

        await until(finish)
        commands = await floor.commands()
        assert len({command[b"id"] for command in commands if floor.opened.id.encode() in command[b"command"]}) == 1
        told = await floor.place.told(Target.HUMAN_AGENT, "handoff.requested")
        assert [one.data.conversation.id for one in told].count(floor.opened.id) == 1
        await until(lambda floor=floor: harness.texts(floor.opened.id))
        assert await harness.texts(floor.opened.id) == ["I'll get somebody."], f"crash at call {at}"
    assert at > 8


async def test_a_text_that_cannot_be_sent_yet_holds_the_request_back(harness, floor):
    """The customer is told first: a person may accept within milliseconds, and the text would be stale."""
    await harness.fault("POST", "/Actions", status=503)
    agent, entry = harness.ai_agent(reply=asking), said(floor)
    with pytest.raises(ServerError):
        await agent.attempt(delivery_of(entry))
    assert await written(harness.redis) == []
    await take(agent, entry)
    assert len(await written(harness.redis)) == 1


async def test_twenty_late_replies_say_nothing(harness, lines):
    """Each answers after a person has accepted: not one text goes out."""
    floors = [Floor(harness, await harness.open()) for _ in range(20)]
    is_taken, asked = asyncio.Event(), []

    @replies_to(CommunicationEntry)
    async def late(entry):
        asked.append(entry.id)
        await is_taken.wait()
        return f"You said: {entry.data.communication.text}"

    before = REGISTRY.get_sample_value("router_stale_texts_total", {"step": "send"}) or 0
    agent = harness.ai_agent(reply=late)
    async with asyncio.TaskGroup() as group:
        for floor in floors:
            await floor.announce()
            group.create_task(take(agent, said(floor)))
        await until(lambda: len(asked) == 20)
        for floor in floors:
            floor.place.team = Team({"dana": TeamMember("dana", "Dana", 100)}, {"default": Queue()})
            await floor.send("handoff.request", conversation=floor.opened.id, reason="by a program")
            await floor.accept()
        is_taken.set()
    assert [await harness.texts(floor.opened.id) for floor in floors] == [[]] * 20
    assert not any("Actions" in route for route in await routes(harness))
    assert [(line["result"], line["level"]) for line in lines("consumed")] == [("stale-epoch", "info")] * 20
    assert REGISTRY.get_sample_value("router_stale_texts_total", {"step": "send"}) == before + 20


async def test_an_answer_before_acceptance_goes_out(harness, floor):
    """The AI agent keeps the floor while people are asked."""
    agent = harness.ai_agent(reply=asking)
    await take(agent, said(floor))
    await floor.commands()
    await take(agent, said(floor, "please hurry"))

    async def both():
        return await harness.texts(floor.opened.id) == ["I'll get somebody."] * 2

    await until(both)


@replies_to(CommunicationEntry, HolderChangedEntry, HandoffFailedEntry, CommandRefusedEntry)
async def talkative(entry):
    """Say what happened."""
    match entry:
        case HolderChangedEntry():
            return f"back: {entry.data.note or entry.data.because}"
        case HandoffFailedEntry():
            return "nobody is there"
        case CommandRefusedEntry():
            return f"refused: {entry.data.why}"
    return handoff("wants a person", skills=["chess"] if "chess" in entry.data.communication.text else [])


async def test_it_comes_back_with_a_note(harness, floor, lines):
    """A reply that asks for it hears that the person has released the conversation, not that one has taken it."""
    agent = harness.ai_agent(reply=talkative)
    await floor.heard()
    await take(agent, said(floor))
    await floor.commands()
    epoch = await floor.accept()
    await floor.give(agent)
    assert await harness.texts(floor.opened.id) == []
    await floor.release(epoch, note="has paid")
    await floor.give(agent)
    await until(lambda: harness.texts(floor.opened.id))
    assert await harness.texts(floor.opened.id) == ["back: has paid"]
    assert [line["result"] for line in lines("consumed")] == ["handoff", "elsewhere", "sent"]
    await take(agent, said(floor, epoch=epoch + 1))
    assert len(await floor.commands()) == 1


async def test_it_may_say_that_nobody_came(harness, floor):
    """After the patience of the queue."""
    agent = harness.ai_agent(reply=talkative)
    await floor.heard()
    await take(agent, said(floor))
    await floor.commands()
    await floor.place.later(60)
    await floor.give(agent)
    await until(lambda: harness.texts(floor.opened.id))
    assert await harness.texts(floor.opened.id) == ["nobody is there"]


async def test_it_says_nothing_to_a_customer_who_left(harness, floor, lines):
    """The request has ended, and nobody is there to be told."""
    agent = harness.ai_agent(reply=talkative)
    await floor.heard()
    await take(agent, said(floor))
    await floor.commands()
    place = floor.place
    ledger = await place.store.read_whole(ACCOUNT, floor.opened.id)
    ledger.take_removal(make_fact(floor.opened.customer, 9, cause=place.cause()))
    assert await place.store.commit([ledger]) == [True]
    await place.later(0.001)
    assert [entry.type for entry in await floor.give(agent)] == ["participant.left", "handoff.failed"]
    assert await harness.texts(floor.opened.id) == []
    assert lines("consumed")[-1]["result"] == "customer-left"


async def test_it_may_say_that_nobody_can_be_asked(harness, floor, lines):
    """A refusal reaches the reply, and the operators."""
    agent = harness.ai_agent(reply=talkative)
    await floor.heard()
    await take(agent, said(floor, "about chess"))
    await floor.commands()
    await floor.give(agent)
    await until(lambda: harness.texts(floor.opened.id))
    assert await harness.texts(floor.opened.id) == ["refused: nobody-has-these-skills"]
    line = lines("consumed")[-1]
    assert (line["result"], line["why"], line["level"]) == ("sent", "nobody-has-these-skills", "warning")


async def test_by_default_nothing_is_said(harness, floor, lines):
    """A reply to communications only is not called for what happens to the floor; a refusal is logged."""
    agent = harness.ai_agent(reply=asking)
    await floor.heard()
    await take(agent, said(floor, "person!"))
    await floor.commands()
    epoch = await floor.accept()
    await floor.release(epoch)
    await floor.send("handoff.request", conversation=floor.opened.id, reason="x", queue="nowhere")
    kinds = [entry.type for entry in await floor.give(agent)]
    assert kinds == ["holder.changed", "holder.changed", "command.refused"]
    assert await harness.texts(floor.opened.id) == []
    assert [(line["result"], line["level"]) for line in lines("consumed")[1:]] == [
        ("ignored", "info"),
        ("ignored", "info"),
        ("refused", "warning"),
    ]


async def test_what_fails_while_people_hold_is_not_its_business(harness, lines):
    """It hears of it, in the present epoch, and must not speak: a queue or a person holds the conversation."""
    floor = Floor(harness, await harness.open())
    floor.place.team = Team(PEOPLE, {"default": Queue(patience=60, fallback=Fallback.WAIT)})
    await floor.announce(Target.HUMAN_AGENT)
    agent = harness.ai_agent(reply=talkative)
    await floor.place.later(60)
    await floor.send("handoff.request", conversation=floor.opened.id, reason="x", queue="nowhere")
    assert [entry.type for entry in await floor.give(agent)] == ["handoff.failed", "command.refused"]
    assert await harness.texts(floor.opened.id) == []
    assert [line["result"] for line in lines("consumed")] == ["stale-epoch", "stale-epoch"]


async def test_a_fallback_is_answered_once(harness, lines):
    """A queue that held has given up: the failure is of the epoch before, the change is answered."""
    floor = Floor(harness, await harness.open())
    await floor.announce(Target.HUMAN_AGENT)
    agent = harness.ai_agent(reply=talkative)
    await floor.place.later(60)
    assert [entry.type for entry in await floor.give(agent)] == ["handoff.failed", "holder.changed"]
    await until(lambda: harness.texts(floor.opened.id))
    assert await harness.texts(floor.opened.id) == ["back: fallback"]


async def test_a_greeting_that_comes_late_is_dropped(harness, floor, lines):
    """Also of a participant who joined before the handoff."""
    entry = floor.opened.entry()
    await floor.send("handoff.request", conversation=floor.opened.id, reason="x")
    await floor.accept()
    await take(harness.ai_agent(HELLO), entry)
    assert await harness.texts(floor.opened.id) == []
    assert (lines("consumed")[0]["result"], lines("consumed")[0]["reply"]) == ("joined", "stale-epoch")


# --- history --------------------------------------------------------------------------------------


async def test_a_reply_reads_what_was_said(harness, floor):
    """Oldest first, the newest if there are many; each text with its participant."""
    seen = []

    @replies_to(CommunicationEntry)
    async def reply(entry):
        seen.append([(one.participant_id, one.text) for one in await list_communications(2)])
        return f"answer {len(seen)}"

    agent = harness.ai_agent(reply=reply)
    for number_of_texts in range(1, 4):
        await take(agent, said(floor))

        async def is_recorded(wanted=number_of_texts):
            return len(await harness.texts(floor.opened.id)) == wanted

        await until(is_recorded)
    (ours,) = {one for each in seen for one, _ in each}
    assert seen == [[], [(ours, "answer 1")], [(ours, "answer 1"), (ours, "answer 2")]]
    with pytest.raises(LookupError):
        await list_communications()


async def test_the_newest_texts_of_a_long_conversation(harness, floor):
    """And those of a participant whose address the API does not tell."""
    agent = harness.ai_agent(reply=replies_to(CommunicationEntry)(lambda entry: entry.data.communication.text))
    for text in ("one", "two", "three"):
        await take(agent, said(floor, text))

        async def is_recorded(text=text):
            return text in await harness.texts(floor.opened.id)

        await until(is_recorded)
    found = await read_history(harness.apis.of(ACCOUNT), floor.opened.id, 2)
    assert [one.text for one in found] == ["two", "three"]
    assert all(one.created_at and one.address for one in found)
