"""Handlers: a reaction for each type of entry.

A reaction gets the entry and its Effect, and returns a HandlerResult. It may be called again with the same entry until
it has returned once, so it does through `effect.once` what must not happen twice. It may raise anything: an outage of
the API or of Redis is waited out, any other error is retried a few times and then makes a dead letter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from router.agents.effects import Effect
from router.core.entries import Entry, EntryData

if TYPE_CHECKING:
    from router.core.keys import Keys
    from router.process.apis import Apis
    from router.settings.model import Settings
    from router.streams.client.clock import RedisClock
    from router.streams.client.connection import Redis
    from router.streams.store.ledgers import Store

DataT = TypeVar("DataT", bound=EntryData)


@dataclass(frozen=True, slots=True)
class HandlerResult:
    """The result of an entry: a fixed word for log and metrics, and more fields for its log line (no addresses)."""

    word: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    level: str = "info"


Reaction = Callable[[Entry, Effect], Awaitable[HandlerResult]]


@dataclass(frozen=True, slots=True)
class Handler:
    """Reactions by type of entry; entries of other types are acknowledged and logged as ignored.

    `failing` is called with the reason before an entry becomes a dead letter, perhaps several times: what it does
    through `effect` happens once. `given_up` is called once, without retries, for an entry that has become a dead
    letter; its result is logged.
    `background` runs beside the consumer in every process of the handler; if it raises, that is logged and it is
    started again.
    """

    reactions: Mapping[str, Reaction]
    background: Callable[[], Awaitable[None]] | None = None
    given_up: Reaction | None = None
    failing: Callable[[Entry, Effect, str], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that a handler may use. The composition root owns and closes all of them.

    `apis` holds the API of each account; an entry's account is `data.account_id`. `clock` is the time of Redis.
    """

    settings: Settings
    keys: Keys
    redis: Redis
    apis: Apis
    store: Store
    clock: RedisClock


def data_of(entry: Entry, model: type[DataT]) -> DataT:
    """Return the entry's data as the model of its type; raises TypeError if the reaction is for another type."""
    if not isinstance(entry.data, model):
        raise TypeError(f"{entry.type} carries no {model.__name__}")
    return entry.data
