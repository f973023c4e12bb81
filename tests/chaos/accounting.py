"""The table: what was answered 2xx, compared with what is there. Pure; each row is one function of the record.

An accepted event is accounted for if its idempotency key (or that of its twin, which another source reported) stands in
the inbound stream exactly once, no entry of the stream is pending or unread, and a worker's log has the result of each.
The effects are counted from the scenarios, which know nothing of keys: each message published once, each customer
announced once a stay and in the sandbox once a conversation, each entry handled and answered once, and one agent in
each conversation.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from handlers.ai_agent import SENDING
from router.agents.effects import ReplyOutcome
from router.agents.joins import JoinOutcome
from router.core.classic.members import is_classic
from router.core.keys import Target
from tests.chaos.deployment import SECRETS
from tests.chaos.holders import HOLDER_ROWS, holders_of
from tests.chaos.lasting import LASTING_ROWS, lines_lost
from tests.chaos.order import check_arrivals, check_departures, check_stays
from tests.chaos.record import arrivals_of, settled_of
from tests.chaos.replies import MARK
from tests.chaos.row import Row
from tests.chaos.watcher import CHANGED, CLOSED, JOINED, LEFT, RECEIVED

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from tests.chaos.deployment import ProcessEnd
    from tests.chaos.order import OrderCheck
    from tests.chaos.record import RoundRecord

#: What no log line may show (promise 5): numbers and mailboxes of customers, their messages, secrets.
_NUMBER: Final = r"(?<![0-9A-Za-z_])1558\d{7}(?![0-9A-Za-z_])"  # ids may hold such digits
_PRIVATE: Final = re.compile("|".join([_NUMBER, r"customer\d+@", r"message \d+ of", "message of mail", *SECRETS]))
#: Results of a consumer that had nobody to answer any more.
_ENDED: Final = frozenset({JoinOutcome.LEFT, JoinOutcome.CLOSED, ReplyOutcome.STALE})
#: Seconds after an outage of Redis within which a process may still fail to start because of it.
_AFTER_OUTAGE: Final = 15.0
#: Exit statuses of a process that found no Redis at its start, each with a part of its last line.
_NO_REDIS: Final = {1: '"event":"process.failed"', 2: "REDIS_URL: "}


def events_arrived(record: RoundRecord) -> Row:
    """Promise 1: an event with a 2xx is in the inbound stream once, however often and by whichever source it came."""
    wrong = [
        f"{event.key}: {len(places)} times in the inbound stream"
        for event in record.events.values()
        if len(places := record.inbound.get(event.twin, [])) != 1
    ]
    if len(record.events) < record.least:
        wrong.append(f"only {len(record.events):,} events; a round must have {record.least:,}")
    by_source = Counter(event.source for event in record.events.values())
    note = ", ".join(f"{name} {count}" for name, count in sorted(by_source.items()))
    return Row("events with a 2xx = once in the inbound stream", *_counts(record.events, wrong), tuple(wrong), note)


def scenarios_finished(record: RoundRecord) -> Row:
    """Every scenario came to its end: all was sent, and everything that its steps waited for has happened."""
    wrong = list(record.unfinished)
    return Row("scenarios = run to their end", *_counts(record.scenarios, wrong), tuple(wrong))


def events_settled(record: RoundRecord) -> Row:
    """Promise 4: a worker's log has the result of each entry of the inbound stream, or says how many lines it lost."""
    results = {line.fields["key"]: line.fields["result"] for line in record.lines("event")}
    wrong = [
        f"{one.key} ({one.source}): no worker logged a result" for one in record.state.inbound if one.key not in results
    ]
    note = ", ".join(f"{name} {count}" for name, count in sorted(Counter(results.values()).items()))
    if len(wrong) <= lines_lost(record):
        wrong, note = [], f"{note}, in lines that could not be written {len(wrong)}"
    return Row("inbound entries = settled, with a result", *_counts(record.state.inbound, wrong), tuple(wrong), note)


def messages_published(record: RoundRecord) -> Row:
    """Promises 2 and 4: every message of a customer is one communication.received of that customer."""
    published = Counter((one.owner, one.message) for one in record.entries(RECEIVED))
    sent = {(owner, message) for message, owner in record.messages.items()}
    return _once("messages sent = communication.received", sent, published)


def customers_present(record: RoundRecord) -> Row:
    """Promise 2: in the sandbox, a customer is in each of its conversations once, and in no other one."""
    present = Counter((one.conversation, one.key) for one in record.state.members if one.kind == "CUSTOMER")
    wrong = [f"{key} is in {conversation} {count} times" for (conversation, key), count in present.items() if count > 1]
    found = Counter(key for _, key in present)
    expected = {key: 1 + one.closed for key, one in record.owners.items()}
    wrong += _differences("in {found} conversations instead of {expected}", expected, found)
    name = "customers of (conversation, channel, address) = in the sandbox"
    return Row(name, sum(expected.values()), present.total(), tuple(wrong))


def customers_joined(record: RoundRecord) -> Row:
    """Promise 2: one participant.joined per participant and stay, in the conversation that it is in."""
    joined = Counter(one.owner for one in record.entries(JOINED))
    expected = {key: one.stays for key, one in record.owners.items()}
    wrong = _differences("joined {found} times instead of {expected}", expected, joined)
    announced = {(one.conversation, one.owner) for one in record.entries(JOINED)}
    present = {(one.conversation, one.key) for one in record.state.members if one.kind == "CUSTOMER"}
    wrong += [f"{key} is in {conversation} and not announced there" for conversation, key in present - announced]
    gone = {(one.conversation, one.owner) for one in record.entries(LEFT)}
    wrong += [f"{key} is announced in {conversation} and not there" for conversation, key in announced - present - gone]
    return Row("stays = participant.joined", sum(expected.values()), joined.total(), tuple(wrong))


def targets_followed(record: RoundRecord) -> Row:
    """Every entry about a customer goes to the target that the policy gives the customer, until the holder changes."""
    entries = [one for one in record.state.published if one.owner and one.epoch == 0]
    wrong = [
        f"{one.type} {one.id} of {one.owner} went to {one.target}"
        for one in entries
        if one.owner not in record.owners or record.owners[one.owner].target != one.target
    ]
    return Row("entries = for the customer's target", *_counts(entries, wrong), tuple(wrong))


def customers_left(record: RoundRecord) -> Row:
    """Promise 2: a stay that ended is one participant.left."""
    expected = {key: one.left for key, one in record.owners.items()}
    left = Counter(one.owner for one in record.entries(LEFT))
    wrong = _differences("left {found} times instead of {expected}", expected, left)
    return Row("stays that ended = participant.left", sum(expected.values()), left.total(), tuple(wrong))


def conversations_closed(record: RoundRecord) -> Row:
    """A conversation that was closed is one conversation.closed."""
    return _once(
        "conversations closed = conversation.closed",
        record.state.closed,
        Counter(one.conversation for one in record.entries(CLOSED)),
    )


def entries_unique(record: RoundRecord) -> Row:
    """No entry is on a stream twice."""
    found = Counter(one.id for one in record.state.published)
    wrong = tuple(f"entry {name} is there {count} times" for name, count in found.items() if count > 1)
    return Row("entries = distinct entries", found.total(), len(found), wrong)


def entries_handled(record: RoundRecord) -> Row:
    """Every entry was handled by a consumer of its target."""
    handled = {line.fields["entry"] for line in record.lines("consumed")}
    wrong = [
        f"{one.type} {one.id} to {one.target}: no consumer logged it"
        for one in record.state.published
        if one.id not in handled
    ]
    return Row("entries = handled by a consumer", *_counts(record.state.published, wrong), tuple(wrong))


def entries_answered(record: RoundRecord) -> Row:
    """Handler effects: each entry that the AI agent can answer has one answer in the sandbox.

    A customer who had left, or whose conversation had closed or was held by somebody else before the answer was sent,
    may have none, but never two.
    """
    answerable = {
        one.id
        for one in record.state.published
        if one.target == Target.AI_AGENT
        and one.type in {JOINED, RECEIVED}
        and (one.channel in SENDING or is_classic(one.conversation))
    }
    late = {line.fields["entry"] for line in record.lines("consumed") if _ENDED & {*line.fields.values()}} & _ended(
        record
    )
    answers = Counter(text.removeprefix(MARK) for _, text in record.state.texts if text.startswith(MARK))
    expected = answerable - (late - answers.keys())
    return _once("entries to answer = answers in the sandbox", expected, answers)


def _ended(record: RoundRecord) -> set[str]:
    """Return the entries about customers who have left, in conversations that have closed, and of earlier epochs."""
    last: Counter[str] = Counter()
    for one in record.entries(CHANGED):
        last[one.conversation] = max(last[one.conversation], one.epoch)
    left = {(one.conversation, one.participant) for one in record.entries(LEFT)}
    return {
        one.id
        for one in record.state.published
        if (one.conversation, one.participant) in left
        or one.conversation in record.state.closed
        or one.epoch < last[one.conversation]
    }


def agents_present(record: RoundRecord) -> Row:
    """Handler effects: each conversation has one agent on our side, and everybody who has held it, once.

    Whoever got a conversation shortly before it closed may not be in it any more.
    """
    conversations = {one.conversation for one in record.entries(JOINED)}
    holders, people, sides = holders_of(record), Counter(), Counter()
    for one in record.state.members:
        if one.kind == "HUMAN_AGENT":
            people[one.conversation, one.key.partition("|")[2]] += 1
        elif one.kind != "CUSTOMER":
            sides[one.conversation] += 1
    wrong = [f"{name}: {sides[name]} agents on our side" for name in conversations if sides[name] != 1]
    wrong += [f"{name}: {agent} is in it {count} times" for (name, agent), count in people.items() if count > 1]
    wrong += [f"{name}: {agent} is in it and has never held it" for name, agent in people if agent not in holders[name]]
    wrong += [
        f"{name}: {agent} has held it and is not in it"
        for name in conversations - record.state.closed
        for agent in holders[name]
        if not people[name, agent]
    ]
    return Row("conversations = with the right agents", *_counts(conversations, wrong), tuple(wrong))


def stays_in_order(record: RoundRecord) -> Row:
    """Promise 3: in every conversation joined comes before messages, messages before left, and nothing after closed."""
    return _ordered("entries = in the order of their stay", check_stays(record.state.published))


def arrivals_in_order(record: RoundRecord) -> Row:
    """Messages come into the inbound stream in the order in which they were sent, where that is promised."""
    return _ordered("messages sent in a row = in this order inbound", check_arrivals(arrivals_of(record)))


def departures_in_order(record: RoundRecord) -> Row:
    """Promise 3: messages of one subject are published in the order of their arrival, whichever worker settles them."""
    return _ordered("messages of one subject = in this order published", check_departures(settled_of(record)))


def nothing_left_over(record: RoundRecord) -> Row:
    """Nothing is pending, unread, spooled or refused, and no callback failed."""
    waiting = {**record.state.waiting, **{f"answered {status}": count for status, count in record.refused.items()}}
    waiting |= {f"callbacks {name}": record.state.callbacks.get(name, 0) for name in ("failed", "dropped", "pending")}
    wrong = tuple(f"{where}: {count}" for where, count in waiting.items() if count)
    return Row("left over: pending, unread, spooled, refused", 0, sum(waiting.values()), wrong)


def no_dead_letters(record: RoundRecord) -> Row:
    """Promise 4: no entry became a dead letter; an outage of the API is no reason to give one up."""
    return Row("dead letters", 0, len(record.state.dead_letters), tuple(record.state.dead_letters))


def processes_ended_cleanly(record: RoundRecord) -> Row:
    """A process ends with status 0 after SIGTERM, and by itself only where it finds no Redis at its start."""
    wrong = [f"{role} ended with status {status}" for role, status in record.statuses.items() if status]
    wrong += [f"{log} has a traceback" for log in record.tracebacks]
    wrong += [
        f"{end.role} (process {end.pid}) ended by itself with status {end.status}: {end.last_line}"
        for end in record.ends
        if not (end.is_kill or _failed_without_redis(end, record))
    ]
    by_themselves = sum(not end.is_kill for end in record.ends)
    note = f"{by_themselves} more ended by themselves while Redis was away" if by_themselves else ""
    return Row("processes told to stop = ended with status 0", *_counts(record.statuses, wrong), tuple(wrong), note)


def _failed_without_redis(end: ProcessEnd, record: RoundRecord) -> bool:
    """Tell whether a process failed, as it should, because Redis was away at its start."""
    was_away = any(one.begun <= end.at <= one.ended + _AFTER_OUTAGE for one in record.redis_outages)
    return _NO_REDIS.get(end.status, "\0") in end.last_line and (was_away or end.is_redis_away)


def logs_show_nothing_private(record: RoundRecord) -> Row:
    """Promise 5: no address, no message and no secret is in a log line."""
    return Row("addresses, messages and secrets in log lines", 0, len(record.private), record.private)


#: The table, from top to bottom.
ROWS: Final[tuple[Callable[[RoundRecord], Row], ...]] = (
    scenarios_finished,
    events_arrived,
    events_settled,
    messages_published,
    customers_present,
    customers_joined,
    customers_left,
    conversations_closed,
    targets_followed,
    entries_unique,
    entries_handled,
    entries_answered,
    agents_present,
    *HOLDER_ROWS,
    stays_in_order,
    arrivals_in_order,
    departures_in_order,
    nothing_left_over,
    no_dead_letters,
    *LASTING_ROWS,
    processes_ended_cleanly,
    logs_show_nothing_private,
)


def make_table(record: RoundRecord) -> list[Row]:
    """Return the table."""
    return [row(record) for row in ROWS]


def find_private(text: str) -> list[str]:
    """Return the lines of a log that show an address, a message or a secret."""
    return [line for line in text.splitlines() if _PRIVATE.search(line)]


def _counts(items: Iterable[object], wrong: list[str]) -> tuple[int, int]:
    total = len(list(items))
    return total, total - len(wrong)


def _once(name: str, expected: set[Hashable], found: Counter) -> Row:
    """Return the row of things that must be there exactly once each."""
    wrong = [f"{_plain(one)} is missing" for one in sorted(expected - found.keys(), key=str)]
    wrong += [f"{_plain(one)} is there {count} times" for one, count in found.items() if count > 1 and one in expected]
    wrong += [
        f"{_plain(one)} is there {count} times and was not expected"
        for one, count in found.items()
        if one not in expected
    ]
    return Row(name, len(expected), found.total(), tuple(wrong))


def _differences(text: str, expected: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    return [
        f"{key} {text.format(expected=expected.get(key, 0), found=found.get(key, 0))}"
        for key in sorted({*expected, *found})
        if expected.get(key, 0) != found.get(key, 0)
    ]


def _ordered(name: str, check: OrderCheck) -> Row:
    note = f"{check.not_promised} more without a promise" if check.not_promised else ""
    wrong = tuple(check.wrong)
    return Row(name, check.checked, check.checked - len(wrong), wrong, note)


def _plain(one: object) -> str:
    return " ".join(one) if isinstance(one, tuple) else str(one)
