"""Whether the spool can be written, as far as is known, and what the log says about it: each kind of failure once."""

from __future__ import annotations

from typing import Final, NoReturn

from router import metrics
from router.core.errors import NotDurableError
from router.logs import describe_fully, log

FULL: Final = "the spool is full: ROUTER_SPOOL_MAX_BYTES"


class Health:
    """Of one spool: `problem` of the disk, None if it is well; `is_full` when the spool's own limit is reached."""

    def __init__(self) -> None:
        self.problem: str | None = "not opened yet"
        self.is_full = False
        self._logged: set[tuple[str, str]] = set()  # the kinds of failure that the log has of this outage

    @property
    def is_usable(self) -> bool:
        """True if the last event or attempt could be written."""
        return self.problem is None and not self.is_full

    @property
    def status(self) -> str:
        """Return the status as `/readyz` shows it."""
        return "failed" if self.problem else "full" if self.is_full else "ok"

    @property
    def why(self) -> str:
        """Return why an event could not be written."""
        return self.problem or FULL

    def fail(self, error: BaseException) -> str:
        """Note and log a failure of the disk; returns its description, about a file and the disk, never an event."""
        self.problem = f"the spool failed: {describe_fully(error)}"
        self.report(self.problem, error)
        return self.problem

    def refuse(self, *, is_full: bool) -> NoReturn:
        """Raise NotDurableError for lack of space; unless `is_full`, this event alone is too large."""
        error = NotDurableError(FULL)
        if is_full:
            self.report(FULL, error)
            self.is_full = True
        metrics.count("router_spooled", "failed")
        raise error

    def report(self, problem: str, error: BaseException) -> None:
        """Log a problem, once for each kind of error until `forget_logged`."""
        # without the name of the file, which is another one with each attempt to make it
        kind = type(error).__name__, (isinstance(error, OSError) and error.strerror) or str(error)
        if kind not in self._logged:
            log("spool.failed", level="error", problem=problem)
        self._logged.add(kind)

    def recover(self) -> None:
        """Note that the disk can be written to."""
        self.problem = None

    def make_room(self) -> None:
        """Note that the spool's own limit leaves room again."""
        self.is_full = False

    def forget_logged(self) -> None:
        """Log the next failure again: the outage is over."""
        self._logged.clear()
