"""The filters of dead letters and refused webhooks: which of them a list shows, a replay takes, or a drop removes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.operations.entry_facts import EntryFacts


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter; an empty field takes everything. Times are in µs since 1970, `until` is exclusive.

    `ids` are names as lists show them. `reason` is a part of the reason, whatever its case. `stream` is a key, or the
    part of it that follows the partition (`inbound`, `participants:ai-agent`); `event` an event id, an idempotency key,
    a source, or the type of an entry.
    """

    ids: tuple[str, ...] = ()
    reason: str = ""
    stream: str = ""
    group: str = ""
    account: str = ""
    source: str = ""
    event: str = ""
    since: int = 0
    until: int | None = None

    @property
    def since_ms(self) -> int:
        """The first millisecond."""
        return -(-self.since // 1000)

    @property
    def until_ms(self) -> int | None:
        """The last millisecond, None: without end."""
        return None if self.until is None else max(0, -(-self.until // 1000) - 1)

    def takes(self, reason: str, facts: EntryFacts, *, stream: str = "", group: str = "") -> bool:
        """Return whether an entry is wanted, apart from its name and its time."""
        return (
            self.reason.casefold() in reason.casefold()
            and self.takes_group(stream, group)
            and self.account in {"", facts.account}
            and self.source in {"", facts.kind}
            and self.event in {"", facts.event_id, facts.key, facts.kind}
        )

    def takes_group(self, stream: str, group: str) -> bool:
        """Return whether entries of a stream and group may be wanted."""
        return self.stream in {"", stream, stream.partition("}:")[2]} and self.group in {"", group}
