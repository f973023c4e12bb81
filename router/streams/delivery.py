"""One delivery of a stream entry to a consumer, and what a consumer can say of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from router.core.values import value


@dataclass(frozen=True, slots=True)
class StreamRef:
    """A stream that a consumer reads, with the partition that its scripts need."""

    partition: int
    key: str


@value
class Delivery:
    """An entry as raw fields. `is_redelivered` is True where another consumer, or we before, may have begun with it.

    `deaths` is how many processes died that may have died of it (router.streams.trials).
    """

    stream: StreamRef
    entry_id: str
    fields: dict[bytes, bytes] = field(repr=False)
    is_redelivered: bool = False
    deaths: int = 0

    def text(self, name: str) -> str:
        """Return a field as text, empty where it is missing; bytes that are not UTF-8 are shown as such."""
        return self.fields.get(name.encode(), b"").decode("utf-8", "backslashreplace")


def size_of(delivery: Delivery) -> int:
    """Return about how many bytes a delivery takes while it is held."""
    return sum(map(len, delivery.fields.values()))


@dataclass(frozen=True, slots=True)
class Done:
    """The delivery is finished and may be acknowledged."""


@dataclass(frozen=True, slots=True)
class Later:
    """Something must recover first: try again after `delay` seconds; does not count as a failure.

    The delay doubles with each try, up to `longest` seconds. `is_unsure` if the attempt may have had an effect that the
    next one must look for; `is_usual` if waiting here is nothing that anybody needs to hear of; `is_queued` if an
    earlier entry of its subject, which another process holds, comes first: a crowded window lets go of it.
    """

    reason: str
    delay: float = 1.0
    is_unsure: bool = False
    is_usual: bool = False
    is_queued: bool = False
    longest: float = inf


@dataclass(frozen=True, slots=True)
class Poison:
    """It can never succeed: a dead letter at once."""

    reason: str


Verdict = Done | Later | Poison
