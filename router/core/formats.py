"""Format versions of what is stored, so that processes of two releases can share one Redis and one disk.

A release writes the newest version of each kind of data and reads that and the one before, of some kinds more. Data in
any other version is left alone: it is not overwritten, and an event that needs it waits, as in an outage, until a
process of the other release takes it. Data without a version is version 1; it was written before there were versions.

In an inbound entry the fields `format`, `account`, `subject` and `after` keep their meaning in all versions: a release
that cannot read an entry still keeps the order of its subject.
"""

from __future__ import annotations

from typing import Final

from router.core.errors import RouterError

#: The name of the version in an inbound entry, a ledger's hash, a marker and a parked event.
FORMAT: Final = "format"
#: The version of data without one.
FIRST: Final = "1"


class OtherFormatError(RouterError):
    """Data in a version that this release does not read: the process of another release has to take it."""

    def __init__(self, kind: str, found: str, reads: str) -> None:
        super().__init__(f"{kind} in format {found[:20]}; this release reads {reads}")
        self.kind = kind
        self.found = found


class Format:
    """The versions of one `kind` of data: `current` is written, the ones in `readable` are read.

    These are the last two; with an `oldest`, all since that one.
    """

    __slots__ = ("current", "kind", "readable")

    def __init__(self, kind: str, current: int, oldest: int | None = None) -> None:
        self.kind = kind
        self.current = str(current)
        self.readable = frozenset(map(str, range(oldest or max(current - 1, 1), current + 1)))

    def require(self, found: str) -> None:
        """Raise OtherFormatError unless this release reads the version `found`."""
        if found not in self.readable:
            raise self.error(found)

    def error(self, found: str) -> OtherFormatError:
        """Return the error for data in the version `found`, which this release does not read."""
        *others, newest = sorted(self.readable, key=int)
        return OtherFormatError(self.kind, found, f"{', '.join(others)} and {newest}" if others else newest)


#: Version 2 names its version; the entries of a mail to several mailboxes share a body (streams.store.shared_bodies).
INBOUND_ENTRY: Final = Format("inbound entry", 2)
#: Version 2 names its version. Version 3 has markers of version 3, which releases before it would take for broken.
#: A commit rewrites only what changes: a ledger of the newest version may have markers of all versions.
LEDGER: Final = Format("ledger", 3, oldest=1)
#: Version 2 names its version; version 3 is packed (core.ledger.packing).
MARKER: Final = Format("marker", 3, oldest=1)
HOLDING: Final = Format("holding", 1)
#: Its scripts (park, bring_back, resume) have this version too.
PARKED_EVENT: Final = Format("parked event", 1)
#: Version 2 stores the body that several events share once.
SPOOL_FILE: Final = Format("spool file", 2)
