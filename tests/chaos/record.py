"""The books of a round: all that it left behind, and what can be read from it. Pure; accounting.py is the judge.

An accepted event is known by its idempotency key, made by the very code that the receiver uses. Of a message that two
sources tell there are two keys, and one of them is the other one's twin.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from router.core.events import SourceName
from router.core.signing.form import NO_FORM, parse_form
from router.inbound.email.inbound_parse import MailReader
from router.inbound.email.parser import identify
from router.inbound.sources import FORM, SOURCES
from router.inbound.webhook import Webhook
from tests.chaos.order import Arrival, Settled, group_by_owner
from tests.chaos.site import RECEIVER_ROLES
from tests.chaos.stories import ACCOUNT
from tests.chaos.watcher import SAID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.chaos.balancer import Fate, Letter
    from tests.chaos.findings import Findings, Line, Published
    from tests.chaos.site import Away, End
    from tests.chaos.story import Customer, Story


@dataclass(frozen=True, slots=True)
class Event:
    """One event of an accepted webhook; `twin` is the key that it shares with what another source tells of it."""

    source: str
    key: str
    twin: str


@dataclass
class Books:
    """All that a round left behind.

    `statuses` are those of processes told to stop, `private` is what logs showed, `tracebacks` names logs that have
    one; `unfinished` stories did not come to their end; with fewer than `least` events the round shows too little.
    """

    stories: tuple[Story, ...]
    fates: Mapping[Letter, Fate]
    refused: Counter[int]
    found: Findings
    ends: tuple[End, ...] = ()
    aways: tuple[Away, ...] = ()
    statuses: Mapping[str, int] = field(default_factory=dict)
    private: tuple[str, ...] = ()
    tracebacks: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    least: int = 0

    @cached_property
    def customers(self) -> tuple[Customer, ...]:
        """Everybody of all stories."""
        return tuple(one for story in self.stories for one in story.customers)

    @cached_property
    def events(self) -> dict[str, Event]:
        """Every event that was answered 2xx, by its key."""
        return {event.key: event for letter, fate in self.fates.items() if fate.taken.total() for event in read(letter)}

    @cached_property
    def inbound(self) -> dict[str, list[int]]:
        """The places in the inbound stream of each key, under its twin's name."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for entry in self.found.inbound:
            twin = entry.key
            if entry.source == SourceName.EVENT_STREAMS:
                twin = next((event.twin for event in _split(entry.source, entry.body, None)), entry.key)
            found[twin].append(entry.place)
        return found

    @cached_property
    def owners(self) -> dict[str, Customer]:
        """Customers by the keys of their addresses."""
        return {one.address.key: one for one in self.customers}

    @cached_property
    def words(self) -> dict[str, str]:
        """Whose each word is, by the key of the address, in the order in which they were said."""
        return {word: one.address.key for one in self.customers for word in one.words}

    def entries(self, kind: str) -> list[Published]:
        """Return the entries of a type."""
        return [one for one in self.found.published if one.type == kind]

    def lines(self, name: str) -> list[Line]:
        """Return the log lines of an event."""
        return [line for line in self.found.lines if line.event == name]


def read(letter: Letter) -> list[Event]:
    """Return the events of a webhook, as the receiver tells them apart."""
    path = letter.path.partition("?")[0]
    source = next(source for source in SOURCES.values() if source.path == path)
    headers = dict(letter.headers)
    if source.name == SourceName.EMAIL:
        reader = MailReader(headers["Content-Type"])
        reader.feed(letter.body)
        keys = [identify(one, account_id=ACCOUNT).key for one in reader.finish()]
        return [Event(source.name, key, key) for key in keys]
    return _split(source.name, letter.body, headers.get("I-Twilio-Idempotency-Token"))


def _split(name: str, body: bytes, token: str | None) -> list[Event]:
    source = SOURCES[SourceName(name)]
    form = parse_form(body) if source.content_type == FORM else NO_FORM
    identities = [piece.identity for piece in source.split(Webhook(body, form, token), ACCOUNT)]
    return [Event(source.name, one.key, next(iter(one.aliases), one.key)) for one in identities]


def arrivals_of(books: Books) -> list[list[Arrival]]:
    """Return how messages came in by their own webhooks, customer by customer, as they were sent.

    What came in a batch of several is left out: the receiver's log does not say what became of each.
    """
    tried: defaultdict[str, set[int]] = defaultdict(set)
    for letter, fate in books.fates.items():
        events = read(letter)
        for event in events if len(events) == 1 else ():
            tried[event.twin] |= fate.tried
    twins = {event.key: event.twin for event in books.events.values()}
    accepted, spooled = set(), defaultdict(set)
    for line in books.lines("webhook"):
        twin = twins.get(line.fields.get("key", ""))
        if line.fields["result"] == "accepted":
            accepted.add(twin)
        elif line.fields["result"] == "spooled":
            spooled[twin].add(RECEIVER_ROLES.index(line.role))
    places = {twin: found[0] for twin, found in books.inbound.items() if len(found) == 1}
    arrivals = {
        entry.word: Arrival(
            entry.word, places[twin], frozenset(tried[twin]), twin in accepted, frozenset(spooled[twin])
        )
        for entry in books.entries(SAID)
        if (twin := twins.get(entry.cause, entry.cause)) in places and tried[twin]
    }
    return group_by_owner(_direct_words(books), arrivals)


def settled_of(books: Books) -> list[list[Settled]]:
    """Return how messages went out, customer by customer."""
    arrived = {one.key: one for one in books.found.inbound}
    settled = {
        entry.word: Settled(entry.word, inbound.place, entry.place, inbound.subject)
        for entry in books.entries(SAID)
        if (inbound := arrived.get(entry.cause)) is not None
    }
    return group_by_owner(_direct_words(books), settled)


def _direct_words(books: Books) -> dict[str, str]:
    return {word: key for word, key in books.words.items() if books.owners[key].is_direct}
