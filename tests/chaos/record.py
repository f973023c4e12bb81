"""The record of a round: all that it left behind, and what follows from it. Pure; accounting.py makes the table.

An accepted event is known by its idempotency key, made by the code that the receiver uses. A message that two sources
report has two keys, of which one is the twin of the other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from router.core.events import SourceName
from router.core.signing.form import NO_FORM, parse_form
from router.inbound.email.inbound_parse import MailReader
from router.inbound.email.parser import identify
from router.inbound.sources import FORM, SOURCES
from router.inbound.webhook import Webhook
from tests.chaos.deployment import RECEIVER_ROLES
from tests.chaos.order import Arrival, Settled, group_by_owner
from tests.chaos.watcher import RECEIVED
from tests.support.accounts import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.chaos.balancer import DeliveryRecord, RawWebhook
    from tests.chaos.deployment import ProcessEnd, RedisOutage
    from tests.chaos.final_state import FinalState, Line, Published
    from tests.chaos.lasting import LastedOutage
    from tests.chaos.scenario import Customer, Scenario


#: More than a stream has entries. Messages of one customer may be in two streams, which only the time puts in order.
_STREAM: Final = 10**9


@dataclass(frozen=True, slots=True)
class Event:
    """One event of an accepted webhook; `twin` is the key that it shares with the report of another source."""

    source: str
    key: str
    twin: str


@dataclass
class RoundRecord:
    """All that a round left behind.

    `statuses` are the exit statuses of processes that were told to stop, `private` has log lines that show too much,
    `tracebacks` names logs that have one; `unfinished` scenarios did not come to their end; with fewer than `least`
    events the round shows too little; within `part` seconds of an outage that was `lasting` others have to be served.
    So many `losses` of people's presence were caused.
    """

    scenarios: tuple[Scenario, ...]
    deliveries: Mapping[RawWebhook, DeliveryRecord]
    refused: Counter[int]
    state: FinalState
    ends: tuple[ProcessEnd, ...] = ()
    redis_outages: tuple[RedisOutage, ...] = ()
    statuses: Mapping[str, int] = field(default_factory=dict)
    private: tuple[str, ...] = ()
    tracebacks: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    least: int = 0
    lasting: tuple[LastedOutage, ...] = ()
    part: float = 5.0
    losses: int = 0

    @cached_property
    def customers(self) -> tuple[Customer, ...]:
        """The customers of all scenarios."""
        return tuple(one for scenario in self.scenarios for one in scenario.customers)

    @cached_property
    def events(self) -> dict[str, Event]:
        """Every event that was answered 2xx, by its key."""
        accepted = (webhook for webhook, delivery in self.deliveries.items() if delivery.accepted.total())
        return {event.key: event for webhook in accepted for event in read(webhook)}

    @cached_property
    def inbound(self) -> dict[str, list[int]]:
        """The places of each event in the inbound stream, by the key of its twin."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for entry in self.state.inbound:
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
    def messages(self) -> dict[str, str]:
        """All messages in the order in which they were sent, each with the key of its customer's address."""
        return {message: one.address.key for one in self.customers for message in one.messages}

    def entries(self, kind: str) -> list[Published]:
        """Return the entries of a type."""
        return [one for one in self.state.published if one.type == kind]

    def lines(self, name: str) -> list[Line]:
        """Return the log lines of an event."""
        return [line for line in self.state.lines if line.event == name]


def read(webhook: RawWebhook) -> list[Event]:
    """Return the events of a webhook, as the receiver splits it."""
    path = webhook.path.partition("?")[0]
    source = next(source for source in SOURCES.values() if source.path == path)
    headers = dict(webhook.headers)
    if source.name == SourceName.EMAIL:
        reader = MailReader(headers["Content-Type"])
        reader.feed(webhook.body)
        keys = [identify(one, account_id=ACCOUNT).key for one in reader.finish()]
        return [Event(source.name, key, key) for key in keys]
    return _split(source.name, webhook.body, headers.get("I-Twilio-Idempotency-Token"))


def _split(name: str, body: bytes, token: str | None) -> list[Event]:
    source = SOURCES[SourceName(name)]
    form = parse_form(body) if source.content_type == FORM else NO_FORM
    identities = [piece.identity for piece in source.split(Webhook(body, form, token), ACCOUNT)]
    return [Event(source.name, one.key, next(iter(one.aliases), one.key)) for one in identities]


def arrivals_of(record: RoundRecord) -> list[list[Arrival]]:
    """Return the arrivals of messages by their own webhooks, customer by customer, in the order of sending.

    Batches of several messages are left out: the receiver's log does not say what became of each.
    """
    tried: defaultdict[str, set[int]] = defaultdict(set)
    for webhook, delivery in record.deliveries.items():
        events = read(webhook)
        for event in events if len(events) == 1 else ():
            tried[event.twin] |= delivery.tried
    twins = {event.key: event.twin for event in record.events.values()}
    accepted, spooled = set(), defaultdict(set)
    for line in record.lines("webhook"):
        twin = twins.get(line.fields.get("key", ""))
        if line.fields["result"] == "accepted":
            accepted.add(twin)
        elif line.fields["result"] == "spooled":
            spooled[twin].add(RECEIVER_ROLES.index(line.role))
    places = {twin: found[0] for twin, found in record.inbound.items() if len(found) == 1}
    arrivals = {
        entry.message: Arrival(
            entry.message, places[twin], frozenset(tried[twin]), twin in accepted, frozenset(spooled[twin])
        )
        for entry in record.entries(RECEIVED)
        if (twin := twins.get(entry.cause, entry.cause)) in places and tried[twin]
    }
    return group_by_owner(_direct_messages(record), arrivals)


def settled_of(record: RoundRecord) -> list[list[Settled]]:
    """Return the places of published messages, customer by customer."""
    arrived = {one.key: one for one in record.state.inbound}
    settled = {
        entry.message: Settled(
            entry.message, inbound.place, round(entry.at * 1000) * _STREAM + entry.place, inbound.subject
        )
        for entry in record.entries(RECEIVED)
        if (inbound := arrived.get(entry.cause)) is not None
    }
    return group_by_owner(_direct_messages(record), settled)


def _direct_messages(record: RoundRecord) -> dict[str, str]:
    return {message: key for message, key in record.messages.items() if record.owners[key].is_direct}
