"""What a handler is: a reaction for each type of entry that it cares about, each ending in a Result.

A reaction gets the entry and its Effect. It may be called again with the same entry until it has returned once, so
what must not happen twice is done through `effect.once`. It raises what it likes: an outage of the API or of Redis is
waited out, anything else is tried a few times and then becomes a dead letter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from handlers.effects import Effect
from router.core.entries import Entry, EntryData

if TYPE_CHECKING:
    from router.core.keys import Keys
    from router.process.apis import Apis
    from router.settings.model import Settings
    from router.streams.client.connection import Redis
    from router.streams.store.ledgers import Store

DataT = TypeVar("DataT", bound=EntryData)


@dataclass(frozen=True, slots=True)
class HandlerResult:
    """What came of an entry: a fixed word for log and metrics, and more fields for its log line (no addresses)."""

    word: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    level: str = "info"


Reaction = Callable[[Entry, Effect], Awaitable[HandlerResult]]


@dataclass(frozen=True, slots=True)
class Handler:
    """Reactions by type of entry; other types are acknowledged and logged as ignored.

    `background`, where given, runs beside the consuming until it is cancelled, in every process of the handler; if it
    raises that is logged, and it is started again.
    """

    reactions: Mapping[str, Reaction]
    background: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Ports:
    """What a handler may work with. The composition root owns and closes all of it.

    `apis` has the API of each account: an entry's `data.account_id` says whose it is.
    """

    settings: Settings
    keys: Keys
    redis: Redis
    apis: Apis
    store: Store


def data_of(entry: Entry, model: type[DataT]) -> DataT:
    """Return the entry's data as the model of its type; raises TypeError if a reaction stands at another type."""
    if not isinstance(entry.data, model):
        raise TypeError(f"{entry.type} carries no {model.__name__}")
    return entry.data
