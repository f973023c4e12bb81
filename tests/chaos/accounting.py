"""The table: what was sent with a 2xx against what is there. Pure; each row is one function of the books.

How an accepted event is proven to be accounted for: its idempotency key stands in the inbound stream exactly once, or
that of its twin which another source told; no entry of the stream is pending or unread; and a worker's log says how
each of them ended. What they must have led to is then counted from the stories, which know nothing of keys: each word
heard once, each customer announced once a stay, in the sandbox once a conversation, each entry handled, answered once,
and everybody's seat taken once.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from handlers.ai_agent import SENDING
from handlers.seats import How
from router.core.classic.members import is_classic
from router.core.keys import Target
from tests.chaos.books import arrivals_of, settled_of
from tests.chaos.order import check_arrivals, check_departures, check_stays
from tests.chaos.replies import MARK
from tests.chaos.site import SECRETS
from tests.chaos.watcher import CLOSED, JOINED, LEFT, SAID

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from tests.chaos.books import Books
    from tests.chaos.order import Verdict

#: What must be in no log line (promise 5): numbers and mailboxes of customers, what they say, secrets.
_NUMBER: Final = r"(?<![0-9A-Za-z_])1558\d{7}(?![0-9A-Za-z_])"  # ids may hold such digits
_PRIVATE: Final = re.compile("|".join([_NUMBER, r"customer\d+@", r"word \d+ of", "words of mail", *SECRETS]))
#: What a consumer says where nobody needs an answer any more.
_ENDED: Final = frozenset({How.LEFT, How.CLOSED})
#: Seconds after an outage of Redis within which a process may end by itself, because it found none at its start.
_EXCUSE: Final = 15.0


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table; `wrong` says what does not fit, item by item. `note` tells more of a row that is right."""

    name: str
    expected: int
    found: int
    wrong: tuple[str, ...] = ()
    note: str = ""

    @property
    def is_true(self) -> bool:
        """Whether it is as it must be."""
        return self.expected == self.found and not self.wrong


def events_arrived(books: Books) -> Row:
    """Promise 1: an event with a 2xx is in the inbound stream, once, however often and by whomever it was told."""
    wrong = [
        f"{event.key}: {len(places)} times in the inbound stream"
        for event in books.events.values()
        if len(places := books.inbound.get(event.twin, [])) != 1
    ]
    if len(books.events) < books.least:
        wrong.append(f"these are fewer events than the {books.least:,} that a round must have")
    by_source = Counter(event.source for event in books.events.values())
    note = ", ".join(f"{name} {count}" for name, count in sorted(by_source.items()))
    return Row("events with a 2xx = once in the inbound stream", *_counts(books.events, wrong), tuple(wrong), note)


def stories_told(books: Books) -> Row:
    """Every story came to its end: all was sent, and what its steps waited for has come."""
    wrong = list(books.unfinished)
    return Row("stories = played to their end", *_counts(books.stories, wrong), tuple(wrong))


def events_ended(books: Books) -> Row:
    """Promise 4: each entry of the inbound stream ended, as a worker's log says, as entries or with its reason."""
    results = {line.fields["key"]: line.fields["result"] for line in books.lines("event")}
    wrong = [
        f"{one.key} ({one.source}): no worker says how it ended"
        for one in books.found.inbound
        if one.key not in results
    ]
    note = ", ".join(f"{name} {count}" for name, count in sorted(Counter(results.values()).items()))
    return Row("inbound entries = ended, with a result", *_counts(books.found.inbound, wrong), tuple(wrong), note)


def words_heard(books: Books) -> Row:
    """Promise 2 and 4: everything that a customer said is one communication.received of that customer."""
    heard = Counter((one.owner, one.word) for one in books.entries(SAID))
    return _once("words said = communication.received", {(owner, word) for word, owner in books.words.items()}, heard)


def customers_seated(books: Books) -> Row:
    """Promise 2: in the sandbox, a customer is in each of its conversations once, and in no other."""
    seats = Counter((one.conversation, one.key) for one in books.found.members if one.kind == "CUSTOMER")
    wrong = [f"{key} is in {conversation} {count} times" for (conversation, key), count in seats.items() if count > 1]
    found = Counter(key for _, key in seats)
    expected = {key: 1 + one.closed for key, one in books.owners.items()}
    wrong += _differences("in {found} conversations instead of {expected}", expected, found)
    name = "customers of (conversation, channel, address) = in the sandbox"
    return Row(name, sum(expected.values()), seats.total(), tuple(wrong))


def customers_joined(books: Books) -> Row:
    """Promise 2: one participant.joined per participant and stay, in the conversation where it sits."""
    joined = Counter(one.owner for one in books.entries(JOINED))
    expected = {key: one.stays for key, one in books.owners.items()}
    wrong = _differences("joined {found} times instead of {expected}", expected, joined)
    announced = {(one.conversation, one.owner) for one in books.entries(JOINED)}
    seated = {(one.conversation, one.key) for one in books.found.members if one.kind == "CUSTOMER"}
    wrong += [f"{key} is in {conversation} and not announced there" for conversation, key in seated - announced]
    gone = {(one.conversation, one.owner) for one in books.entries(LEFT)}
    wrong += [f"{key} is announced in {conversation} and not there" for conversation, key in announced - seated - gone]
    return Row("stays = participant.joined", sum(expected.values()), joined.total(), tuple(wrong))


def targets_kept(books: Books) -> Row:
    """The policy's target takes each customer, and what the customer says goes where the customer went."""
    entries = [one for one in books.found.published if one.owner]
    wrong = [
        f"{one.type} {one.id} of {one.owner} went to {one.target}"
        for one in entries
        if one.owner not in books.owners or books.owners[one.owner].target != one.target
    ]
    return Row("entries = for the customer's target", *_counts(entries, wrong), tuple(wrong))


def customers_left(books: Books) -> Row:
    """Promise 2: a stay that ended is one participant.left."""
    expected = {key: one.left for key, one in books.owners.items()}
    left = Counter(one.owner for one in books.entries(LEFT))
    wrong = _differences("left {found} times instead of {expected}", expected, left)
    return Row("stays that ended = participant.left", sum(expected.values()), left.total(), tuple(wrong))


def conversations_closed(books: Books) -> Row:
    """A conversation that was closed is one conversation.closed."""
    return _once(
        "conversations closed = conversation.closed",
        books.found.closed,
        Counter(one.conversation for one in books.entries(CLOSED)),
    )


def entries_unique(books: Books) -> Row:
    """No entry is on a stream twice."""
    found = Counter(one.id for one in books.found.published)
    wrong = tuple(f"entry {name} is there {count} times" for name, count in found.items() if count > 1)
    return Row("entries = distinct entries", found.total(), len(found), wrong)


def entries_handled(books: Books) -> Row:
    """Every entry was handled by the consumer of its target."""
    handled = {line.fields["entry"] for line in books.lines("consumed")}
    wrong = [
        f"{one.type} {one.id} to {one.target}: no consumer says so"
        for one in books.found.published
        if one.id not in handled
    ]
    return Row("entries = handled by a consumer", *_counts(books.found.published, wrong), tuple(wrong))


def entries_answered(books: Books) -> Row:
    """Handler effects: each entry that the AI agent can answer has one answer in the sandbox.

    Whoever had left, or whose conversation had closed, when the answer was to be sent, may have none, and never two.
    """
    answerable = {
        one.id
        for one in books.found.published
        if one.target == Target.AI_AGENT
        and one.type in {JOINED, SAID}
        and (one.channel in SENDING or is_classic(one.conversation))
    }
    late = {line.fields["entry"] for line in books.lines("consumed") if _ENDED & {*line.fields.values()}} & _ended(
        books
    )
    texts = Counter(text.removeprefix(MARK) for _, text in books.found.texts if text.startswith(MARK))
    expected = answerable - (late - texts.keys())
    return _once("entries to answer = answers in the sandbox", expected, texts)


def _ended(books: Books) -> set[str]:
    """Return the entries about who has left, and in conversations that have closed."""
    left = {(one.conversation, one.participant) for one in books.entries(LEFT)}
    return {
        one.id
        for one in books.found.published
        if (one.conversation, one.participant) in left or one.conversation in books.found.closed
    }


def seats_taken(books: Books) -> Row:
    """Handler effects: the agent sits in each conversation of its target once, a person likewise."""
    targets = {one.conversation: one.target for one in books.entries(JOINED)}
    people, sides = Counter(), Counter()
    for one in books.found.members:
        if one.kind != "CUSTOMER":
            (people if one.kind == "HUMAN_AGENT" else sides)[one.conversation] += 1
    wrong = []
    for conversation, target in targets.items():
        is_human = target == Target.HUMAN_AGENT
        wanted = (int(is_human), 1)
        seats = (people[conversation], sides[conversation])
        if seats != wanted:
            wrong.append(
                f"{conversation} of {target}: {seats[0]} people and {seats[1]} on our side instead of {wanted}"
            )
    return Row("conversations = with one agent in its seat", *_counts(targets, wrong), tuple(wrong))


def roster_kept(books: Books) -> Row:
    """The books of the people: every open conversation of theirs has one of them, and nobody has more than that."""
    expected = {one.conversation for one in books.entries(JOINED) if one.target == Target.HUMAN_AGENT}
    expected -= books.found.closed
    assigned = Counter(name for name, record in books.found.roster.items() if record.get("agent"))
    row = _once("open conversations with people = assignments", expected, assigned)
    load = Counter(str(record.get("agent")) for record in books.found.roster.values())
    wrong = _differences("has {found} conversations instead of {expected}", load, Counter(books.found.load))
    return Row(row.name, row.expected, row.found, (*row.wrong, *wrong))


def stays_in_order(books: Books) -> Row:
    """Promise 3: in every conversation joined comes before heard, heard before left, and nothing after closed."""
    return _ordered("entries = in the order of their stay", check_stays(books.found.published))


def arrivals_in_order(books: Books) -> Row:
    """Messages come into the inbound stream in the order in which they were sent, where that is promised."""
    return _ordered("messages sent in a row = in this order inbound", check_arrivals(arrivals_of(books)))


def departures_in_order(books: Books) -> Row:
    """Promise 3: messages of one subject are published in the order in which they came in, whoever settles them."""
    return _ordered("messages of one subject = in this order published", check_departures(settled_of(books)))


def nothing_waits(books: Books) -> Row:
    """Nothing is pending, unread, spooled or refused, and no callback was given up."""
    waiting = {**books.found.waiting, **{f"answered {status}": count for status, count in books.refused.items()}}
    waiting |= {f"callbacks {name}": books.found.callbacks.get(name, 0) for name in ("failed", "dropped", "pending")}
    wrong = tuple(f"{where}: {count}" for where, count in waiting.items() if count)
    return Row("left over: pending, unread, spooled, refused", 0, sum(waiting.values()), wrong)


def no_dead_letters(books: Books) -> Row:
    """Promise 4: nothing was given up; an outage of the API is no reason."""
    return Row("dead letters", 0, len(books.found.letters), tuple(books.found.letters))


def ends_clean(books: Books) -> Row:
    """Who is told to stop does so with status 0; others end only where Redis is away at their start, and say so."""
    wrong = [f"{role} ended with status {status}" for role, status in books.statuses.items() if status]
    wrong += [f"{log} has a traceback" for log in books.tracebacks]
    for end in books.ends:
        was_away = any(away.begun <= end.at <= away.ended + _EXCUSE for away in books.aways) or end.is_redis_away
        if not end.is_kill and not was_away:
            wrong.append(f"{end.role} (process {end.pid}) ended by itself with status {end.status}")
    return Row("processes told to stop = ended with status 0", *_counts(books.statuses, wrong), tuple(wrong))


def logs_are_silent(books: Books) -> Row:
    """Promise 5: no address, nothing said and no secret is in a log line."""
    return Row("addresses, words and secrets in log lines", 0, len(books.private), books.private)


#: The table, from top to bottom.
ROWS: Final[tuple[Callable[[Books], Row], ...]] = (
    stories_told,
    events_arrived,
    events_ended,
    words_heard,
    customers_seated,
    customers_joined,
    customers_left,
    conversations_closed,
    targets_kept,
    entries_unique,
    entries_handled,
    entries_answered,
    seats_taken,
    roster_kept,
    stays_in_order,
    arrivals_in_order,
    departures_in_order,
    nothing_waits,
    no_dead_letters,
    ends_clean,
    logs_are_silent,
)


def balance(books: Books) -> list[Row]:
    """Return the table."""
    return [row(books) for row in ROWS]


def find_private(text: str) -> list[str]:
    """Return the lines of a log that show what no line may show."""
    return [line for line in text.splitlines() if _PRIVATE.search(line)]


def _counts(items: Iterable[object], wrong: list[str]) -> tuple[int, int]:
    total = len(list(items))
    return total, total - len(wrong)


def _once(name: str, expected: set[Hashable], found: Counter) -> Row:
    """Return the row of things that must each be there exactly once."""
    wrong = [f"{_plain(one)} is missing" for one in sorted(expected - found.keys(), key=str)]
    wrong += [f"{_plain(one)} is there {count} times" for one, count in found.items() if count > 1 and one in expected]
    wrong += [
        f"{_plain(one)} is there {count} times, nobody asked for it"
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


def _ordered(name: str, verdict: Verdict) -> Row:
    note = f"{verdict.left_out} more are promised nothing" if verdict.left_out else ""
    wrong = tuple(verdict.wrong)
    return Row(name, verdict.looked_at, verdict.looked_at - len(wrong), wrong, note)


def _plain(one: object) -> str:
    return " ".join(one) if isinstance(one, tuple) else str(one)
