"""The record of one webhook: what becomes of it, as one count and one log line that are written in every case."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from router import metrics
from router.core.printable import masked_key
from router.core.stories import event_id
from router.logs import log_soon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.inbound.sources import Source
    from router.inbound.webhook import Piece

#: Events of a webhook whose ids its log line has.
SHOWN: Final = 20
_LEVELS: Final[dict[int, str]] = {HTTPStatus.OK: "info", HTTPStatus.INTERNAL_SERVER_ERROR: "error"}


class WebhookRecord:
    """What becomes of a webhook of `source` that came at `received_at` (µs since 1970); a failure until it is set.

    `status` and `result` are those of its answer, `reason` says why it was refused or which events were left out.
    """

    __slots__ = ("_begun", "_key", "_names", "reason", "received_at", "result", "source", "status")

    def __init__(self, source: Source, received_at: int) -> None:
        self._begun = time.perf_counter()
        self.source = source
        self.received_at = received_at
        self.status, self.result = 500, "failed"
        self.reason: str | None = None
        self._key: str | None = None
        self._names: dict[str, Any] = {}

    def note_event(self, piece: Piece) -> None:
        """Note the only event of the webhook."""
        self._key = key = piece.identity.key
        self._names = {"event_id": event_id(key)}

    def note_events(self, pieces: Sequence[Piece]) -> None:
        """Note several events, or that there is none."""
        self._key = f"{len(pieces)} events"
        self._names = {"event_ids": [event_id(piece.identity.key) for piece in pieces[:SHOWN]]}

    def write(self) -> None:
        """Count the webhook and write its log line, with the milliseconds since the record was made."""
        status, result, source, key = self.status, self.result, self.source.name, self._key
        metrics.count("router_webhooks", source, str(status), result)
        why = {} if self.reason is None else {"reason": self.reason}  # log_soon searches a line with a None for them
        log_soon(
            "webhook",
            level=_LEVELS.get(status, "warning"),
            source=source,
            status=status,
            result=result,
            **why,
            **self._names,
            key=key and masked_key(key),
            ms=round((time.perf_counter() - self._begun) * 1000, 2),
        )
