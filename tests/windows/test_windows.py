"""Every window between two steps: a process is killed exactly there, and its successor finishes the work once.

A row has the role that is killed, the scenario, and the step: a command or script of Redis, or a request of the API,
BEFORE it reaches the server or AFTER the server has answered and before the process gets the answer. Then another
process of the same role starts, and at the end there is one participant in the API, one participant.joined, one
communication.received for each message, one greeting or one human agent, no dead letter, and nothing unfinished. Each
epoch of a conversation was told once to both targets, each offer ended once, and the desk agrees with the ledgers.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest

from tests.support.relay import Breakpoint, Side
from tests.support.waiting import until
from tests.windows.scenarios import SCENARIOS, write_dead_letter

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
    """A step, the side of it, and the occurrence. `reply` is what the successor logs about the greeting."""

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

#: The marks of an effect, by occurrence: joined, (text chosen,) said, and the end of the entry.
JOINED_MARK, SAID_MARK, END_MARK = 1, 3, 4

#: The commits of a request: it is made, somebody is asked, somebody accepts.
MADE_COMMIT, ACCEPTED_COMMIT = 2, 3
#: The marks of the human agents' entries: the customer, their message, the offer, then the joining of the holder.
PERSON_JOINED_MARK, PERSON_END_MARK = 4, 5


def around(step, number=1):
    """Return the windows on both sides of a step."""
    return Window(step, BEFORE, number), Window(step, AFTER, number)


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
    # A 409 names the conversation that the customer is in.
    ("worker", "captured customer"): [Window(OPEN, AFTER), Window(SEATS, AFTER), NOT_COMMITTED, COMMITTED],
    ("worker", "known customer"): [NOT_COMMITTED, COMMITTED, NOT_ACKED, ACKED],
    # Out of the pending list, back into it, and the rest of the subject behind it.
    ("worker", "waiting customer"): [
        Window("park", BEFORE),
        Window("park", AFTER),
        Window("bring_back", BEFORE),
        Window("bring_back", AFTER),
        Window("resume", BEFORE),
        Window("resume", AFTER),
    ],
    ("worker", "batch"): [Window("commit", AFTER, 2), Window("XACK", AFTER, 2)],
    ("worker", "callback"): [Window("GET /v2/Conversations/*", AFTER), NOT_COMMITTED, COMMITTED],
    ("worker", "closing"): [NOT_COMMITTED, COMMITTED],
    # The message that came after the closing is appended again, and opens the next conversation.
    ("worker", "late closing"): [
        COMMITTED,
        Window("append_again", BEFORE),
        Window("append_again", AFTER),
        Window(OPEN, AFTER),
        Window("commit", AFTER, 2),
        Window("XACK", BEFORE, 2),
    ],
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
        # Begun and never sent: the successor looks for it until it is certain not to appear.
        Window("begin", AFTER, SAID_MARK, reply="sent"),
        Window(SAY, BEFORE, reply="sent"),
        # Sent without a mark: found among the communications.
        Window(SAY, AFTER, reply="found"),
        Window("finish", BEFORE, SAID_MARK, reply="found"),
        # Marked as sent: the mark is kept.
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
    # People: the event asks for one, whom the desk finds and the next commit asks; then the command to accept.
    ("worker", "desk"): [
        COMMITTED,
        Window("timers_take", AFTER),
        Window("desk settle", BEFORE),
        Window("desk settle", AFTER),
        *around("commit", MADE_COMMIT),
        *around("desk settle", 2),
        *around("timers_set"),
        *around("commit", ACCEPTED_COMMIT),
        *around("desk settle", 3),
        *around("timers_set", 2),
        *around("XACK", 2),
        # The same command once more changes nothing.
        *around("desk settle", 4),
        *around("XACK", 3),
    ],
    ("worker", "handoff"): [
        *around("commit"),
        *around("desk settle"),
        *around("commit", MADE_COMMIT),
        *around("desk settle", 2),
        *around("timers_set"),
        NOT_ACKED,
        ACKED,
        *around("commit", ACCEPTED_COMMIT),
    ],
    ("worker", "release"): [*around("commit"), *around("desk settle"), *around("timers_set"), NOT_ACKED, ACKED],
    # The commit leaves a timer; whoever takes it frees the person.
    ("worker", "closing of the desk"): [
        COMMITTED,
        Window("timers_take", AFTER),
        *around("desk settle"),
        *around("timers_set"),
    ],
    ("human_agent", "desk"): [
        DELIVERED,
        # The customer waits: noted as done.
        *around("finish"),
        NOT_ACKED,
        ACKED,
        # The person holds, and joins.
        *around("begin"),
        *around(SEAT),
        *around("finish", PERSON_JOINED_MARK),
        *around("finish", PERSON_END_MARK),
    ],
    ("human_agent", "handoff"): [*around(SEAT)],
    ("human_agent", "release"): [DELIVERED, *around("finish")],
}
ROWS = [(role, scenario, window) for (role, scenario), windows in WINDOWS.items() for window in windows]


def name_of(row):
    role, scenario, window = row
    return f"{role}, {scenario}: {window.side.value} {window.step}" + (f" {window.number}" if window.number > 1 else "")


@pytest.mark.parametrize("row", ROWS, ids=name_of)
async def test_the_successor_of_a_killed_process_finishes_its_work_once(deployment, row):
    """Promises 1, 2 and 4 in one window: nothing lost, nothing doubled, nothing left over."""
    role, name, window = row
    case = await SCENARIOS[name].begin(deployment)
    killed = deployment.processes[role]
    point = killed.break_at(Breakpoint(window.step, window.side, window.number))
    running = asyncio.create_task(case.run())
    await point.reached()
    assert await killed.was_killed()
    await deployment.age_effects(LONG_ENOUGH)
    successor = await deployment.start(role)
    await running
    await case.finish()
    if window.reply is not None:
        [line] = [line for line in successor.find("consumed") if line["type"] == "participant.joined"]
        assert line["reply"] == window.reply


@pytest.mark.parametrize(
    ("role", "scenario"),
    [
        ("worker", "new customer"),
        ("worker", "release"),
        ("ai_agent", "new customer"),
        ("human_agent", "desk"),
    ],
)
async def test_a_process_killed_with_a_claimed_entry_has_a_successor_too(deployment, role, scenario):
    """The first is killed with the entry pending, the second right after it claimed it: the third finishes it once."""
    case = await SCENARIOS[scenario].begin(deployment)
    first = deployment.processes[role]
    first.break_at(Breakpoint("XREADGROUP", AFTER))
    running = asyncio.create_task(case.run())
    assert await first.was_killed()
    second = await deployment.start(role, Breakpoint("take_over", AFTER))
    assert await second.was_killed()
    third = await deployment.start(role)
    await running
    await case.finish()
    await until(lambda: third.find("claimed"))


@pytest.mark.parametrize("side", Side, ids=lambda side: side.value)
async def test_a_killed_replay_leaves_the_dead_letter_or_the_entry_and_never_both(deployment, side):
    """`dead-letters replay` is one step: after a kill before or after it, the same command leads to the same state."""
    case = await SCENARIOS["dead letter"].begin(deployment)
    letter = await write_dead_letter(case)
    command = ("router", "dead-letters", "replay", letter)
    killed = await deployment.launch(*command, point=Breakpoint("replay", side))
    assert await killed.was_killed()
    again = await deployment.launch(*command)
    assert await again.wait() == (0 if side is BEFORE else 1)
    await case.finish()


# --- the spool, while Redis is away ----------------------------------------------------------------------------------


async def test_a_receiver_killed_after_spooling_an_event_has_it_once(deployment):
    """Killed after spooling, before the 200: Twilio repeats the webhook, the next process drains it: one entry."""
    case = await SCENARIOS["new customer"].begin(deployment)
    receiver = deployment.processes["receiver"]
    await receiver.redis.disconnect()
    async with deployment.relay_to_receiver() as relay:
        relay.breakpoint = Breakpoint("POST /webhooks/messaging", AFTER)
        running = asyncio.create_task(case.run(port=relay.port))
        assert await receiver.was_killed()
        assert [line["result"] for line in receiver.find("webhook")][-1] == "spooled"
        successor = await deployment.start("receiver")
        await running
    assert successor.find("spool.adopted")
    await case.finish()


@pytest.mark.parametrize("side", Side, ids=lambda side: side.value)
async def test_a_receiver_killed_while_it_drains_its_spool_has_a_successor(deployment, side):
    """Answered 200 and spooled: whether Redis had the event when the process was killed or not, it is one entry."""
    case = await SCENARIOS["new customer"].begin(deployment)
    receiver = deployment.processes["receiver"]
    await receiver.redis.disconnect()
    await case.run()
    receiver.break_at(Breakpoint("append", side))
    receiver.redis.reconnect()
    assert await receiver.was_killed()
    successor = await deployment.start("receiver")
    await until(lambda: successor.find("spool.drained"))
    await case.finish()
