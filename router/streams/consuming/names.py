"""The names of an entry: its subject, account and lane, and facts for log lines. Functions that read them may raise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router.streams.store.parking import MAX_LANE, on_one_line, subject_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.streams.delivery import Delivery


class EntryNames:
    """Reads the names of entries; an entry without a readable name is its own subject, in a lane of no account."""

    def __init__(
        self,
        *,
        subject: Callable[[Delivery], str],
        account: Callable[[Delivery], str],
        lane: Callable[[Delivery], str],
        facts: Callable[[Delivery], Mapping[str, Any]] = lambda _: {},
    ) -> None:
        self._subject = subject
        self._account = account
        self._lane = lane
        self._facts = facts

    def subject(self, delivery: Delivery) -> str:
        """Return the account's subject, within which order is kept; the same text in two accounts is two subjects."""
        try:
            subject = self._subject(delivery)
        except Exception:  # noqa: BLE001 - an entry without a readable subject is its own; its attempt says what is wrong
            subject = delivery.entry_id
        return subject_name(self.account(delivery), subject)

    def account(self, delivery: Delivery) -> str:
        """Return the account, empty if it cannot be read: the attempt says what is wrong."""
        try:
            return self._account(delivery)
        except Exception:  # noqa: BLE001 - see above
            return ""

    def lane(self, delivery: Delivery) -> str:
        """Return the lane: what tends to fail together, beginning with the account; on one line, as it is stored."""
        try:
            return on_one_line(self._lane(delivery), MAX_LANE)
        except Exception:  # noqa: BLE001 - see above
            return ""

    def facts(self, delivery: Delivery) -> Mapping[str, Any]:
        """Return the log fields of an entry that waits or fails, private values masked; empty if unreadable."""
        try:
            return self._facts(delivery)
        except Exception:  # noqa: BLE001 - see above
            return {}
