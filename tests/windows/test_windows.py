"""Every window between two steps: a process dies exactly there, and what comes after finds all of it once.

A row names who dies, in which story (.stories), and the step: a command or script of Redis, or a call of the API,
BEFORE it has reached the server or AFTER the server has answered and before the process hears of it. Then another
process of the same role starts, and at the end there is one participant in the API, one participant.joined, one
communication.received for each message, one greeting or one person, no dead letter, and nothing that waits.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest

from tests.support.relay import Side, Trap
from tests.support.waiting import until
from tests.windows.stories import STORIES, write_a_letter

pytestmark = [
    pytest.mark.processes,
    pytest.mark.real,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.promise(1),
    pytest.mark.promise(2),
]
BEFORE, AFTER = Side.BEFORE, Side.AFTER
#: More seconds than the AI agent waits for a text that may have been sent (handlers.ai_agent.SETTLE).
LONG_ENOUGH = 11


class Window(NamedTuple):
    """A step, the side of it, and which time it happens. `reply` is what the survivor says of the greeting."""

    step: str
    side: Side
    number: int = 1
    reply: str | None = None


OPEN, LOOK = "POST /v2/Conversations", "GET /v2/Conversations"
SEAT, SEATS = "POST /v2/Conversations/*/Participants", "GET /v2/Conversations/*/Participants"
SAY = "POST /v2/Conversations/*/Actions"
DELIVERED = Window("XREADGROUP", AFTER)
NOT_COMMITTED, COMMITTED = Window("commit", BEFORE), Window("commit", AFTER)
NOT_ACKED, ACKED = Window("XACK", BEFORE), Window("XACK", AFTER)

#: Between the three of an effect's marks: joined, what to say, said. The fourth says that the entry has ended.
JOINED_MARK, SAID_MARK, END_MARK = 1, 3, 4

WINDOWS = {
    ("receiver", "new customer"): [Window("append", BEFORE), Window("append", AFTER)],
    ("receiver", "mail"): [Window("append", AFTER)],
    ("receiver", "batch"): [Window("append", BEFORE), Window("append", AFTER)],
    ("worker", "new customer"): [
        DELIVERED,
        Window(OPEN, BEFORE),
        Window(OPEN, AFTER),
        NOT_COMMITTED,
        COMMITTED,
        Window("DEL", BEFORE),
        NOT_ACKED,
        ACKED,
    ],
    # A 409 says where the customer is already.
    ("worker", "captured customer"): [Window(OPEN, AFTER), Window(SEATS, AFTER), NOT_COMMITTED, COMMITTED],
    ("worker", "known customer"): [NOT_COMMITTED, COMMITTED, NOT_ACKED, ACKED],
    ("worker", "batch"): [Window("commit", AFTER, 2), Window("XACK", AFTER, 2)],
    ("worker", "callback"): [Window("GET /v2/Conversations/*", AFTER), NOT_COMMITTED, COMMITTED],
    ("worker", "closing"): [NOT_COMMITTED, COMMITTED],
    ("worker", "call"): [Window(LOOK, AFTER), NOT_COMMITTED, COMMITTED, Window("EXEC", AFTER)],
    ("worker", "end of a call"): [Window("EXEC", AFTER), NOT_COMMITTED, COMMITTED],
    ("worker", "mail"): [Window(OPEN, AFTER)],
    ("worker", "classic"): [NOT_COMMITTED, COMMITTED],
    ("worker", "poison"): [Window("give_up", BEFORE), Window("give_up", AFTER)],
    ("ai_agent", "new customer"): [
        DELIVERED,
        Window("begin", AFTER),
        Window(SEAT, BEFORE),
        Window(SEAT, AFTER),
        Window("finish", BEFORE, JOINED_MARK),
        Window("finish", AFTER, JOINED_MARK),
        # Begun and never sent: looked for in vain, until it is certain that it will not appear.
        Window("begin", AFTER, SAID_MARK, reply="sent"),
        Window(SAY, BEFORE, reply="sent"),
        # Sent, and nobody knows: found among what was said.
        Window(SAY, AFTER, reply="found"),
        Window("finish", BEFORE, SAID_MARK, reply="found"),
        # Known to be sent: what was noted is kept.
        Window("finish", AFTER, SAID_MARK, reply="sent"),
        Window("finish", BEFORE, END_MARK, reply="sent"),
        Window("finish", AFTER, END_MARK),
        NOT_ACKED,
        ACKED,
    ],
    ("ai_agent", "classic"): [
        Window("POST /v1/Conversations/*/Participants", AFTER),
        Window("POST /v1/Conversations/*/Messages", BEFORE),
        Window("POST /v1/Conversations/*/Messages", AFTER),
    ],
    ("human_agent", "desk"): [
        DELIVERED,
        Window("roster enter", BEFORE),
        Window("roster enter", AFTER),
        Window(SEAT, BEFORE),
        Window(SEAT, AFTER),
        Window("roster settled", BEFORE),
        Window("roster settled", AFTER),
        Window("finish", BEFORE),
        Window("finish", AFTER),
        NOT_ACKED,
        ACKED,
    ],
    ("human_agent", "closing of the desk"): [Window("roster close", BEFORE), Window("roster close", AFTER)],
}
ROWS = [(role, story, window) for (role, story), windows in WINDOWS.items() for window in windows]


def name_of(row):
    role, story, window = row
    return f"{role}, {story}: {window.side.value} {window.step}" + (f" {window.number}" if window.number > 1 else "")


@pytest.mark.parametrize("row", ROWS, ids=name_of)
async def test_whoever_comes_after_a_death_finishes_it_once(town, row):
    """Promises 1, 2 and 4 in one window: nothing lost, nothing doubled, nothing left over."""
    role, name, window = row
    case = await STORIES[name].begin(town)
    victim = town.members[role]
    trap = victim.set(Trap(window.step, window.side, window.number))
    playing = asyncio.create_task(case.play())
    await trap.sprung()
    assert await victim.died()
    await town.let_pass(LONG_ENOUGH)
    survivor = await town.start(role)
    await playing
    await case.ended()
    if window.reply is not None:
        [line] = [line for line in survivor.process.find("consumed") if line["type"] == "participant.joined"]
        assert line["reply"] == window.reply


@pytest.mark.parametrize(
    ("role", "story"), [("worker", "new customer"), ("ai_agent", "new customer"), ("human_agent", "desk")]
)
async def test_whoever_dies_with_what_it_took_over_is_succeeded_too(town, role, story):
    """The first dies with the entry in hand, the second right after it claimed it: the third finishes it, once."""
    case = await STORIES[story].begin(town)
    first = town.members[role]
    first.set(Trap("XREADGROUP", AFTER))
    playing = asyncio.create_task(case.play())
    assert await first.died()
    second = await town.start(role, Trap("take_over", AFTER))
    assert await second.died()
    third = await town.start(role)
    await playing
    await case.ended()
    await until(lambda: third.process.find("claimed"))


@pytest.mark.parametrize("side", Side, ids=lambda side: side.value)
async def test_a_replay_that_dies_leaves_the_letter_or_the_entry_and_never_both(town, side):
    """`dead-letters replay` moves it in one step: killed before or after it, the same command ends in the same."""
    case = await STORIES["letter"].begin(town)
    letter = await write_a_letter(case)
    command = ("router", "dead-letters", "replay", letter)
    killed = await town.launch(*command, trap=Trap("replay", side))
    assert await killed.died()
    again = await town.launch(*command)
    assert await again.process.wait() == (0 if side is BEFORE else 1)
    await case.ended()


# --- with Redis away: the spool ------------------------------------------------------------------------------------


async def test_a_receiver_that_dies_with_the_event_on_its_disk_has_it_once(town):
    """Written to the spool, and killed before the 200: Twilio repeats it, the next process feeds it: one entry."""
    case = await STORIES["new customer"].begin(town)
    receiver = town.members["receiver"]
    await receiver.redis.cut()
    async with town.door(receiver) as door:
        door.trap = Trap("POST /webhooks/messaging", AFTER)
        playing = asyncio.create_task(case.play(port=door.port))
        assert await receiver.died()
        assert [line["result"] for line in receiver.process.find("webhook")][-1] == "spooled"
        survivor = await town.start("receiver")
        await playing
    assert survivor.process.find("spool.adopted")
    await case.ended()


@pytest.mark.parametrize("side", Side, ids=lambda side: side.value)
async def test_a_receiver_that_dies_while_it_feeds_its_spool_is_succeeded(town, side):
    """Answered 200 and spooled: whether or not Redis had got it when the process died, it is one entry in the end."""
    case = await STORIES["new customer"].begin(town)
    receiver = town.members["receiver"]
    await receiver.redis.cut()
    await case.play()
    receiver.set(Trap("append", side))
    receiver.redis.mend()
    assert await receiver.died()
    survivor = await town.start("receiver")
    await until(lambda: survivor.process.find("spool.drained"))
    await case.ended()
