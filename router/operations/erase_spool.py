"""Erasing a customer from the spool files on this machine's disk, as far as no running receiver holds them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from router.core.formats import OtherFormatError
from router.core.sealing import SealedError, SealedKind, TamperedError
from router.receiver.spool.journal import SUFFIX, Journal, UnreadableJournalError

if TYPE_CHECKING:
    from router.core.erasing import ErasedCustomer
    from router.core.sealing import Sealer
    from router.receiver.spool.journal import Stored
    from router.settings.model import Settings

_PAGE = 500


@dataclass(slots=True)
class ErasedSpool:
    """The events of the customer that were found, and erased; `notes` name the files that could not be searched."""

    found: int = 0
    erased: int = 0
    notes: list[str] = field(default_factory=list)


def erase_spool(settings: Settings, customer: ErasedCustomer, *, is_dry_run: bool) -> ErasedSpool:
    """Erase a customer from the files of this namespace; one that a receiver holds is fed back to Redis by it."""
    result, folder = ErasedSpool(), Path(settings.spool_dir)
    for path in sorted(folder.glob(f"{settings.namespace}@*{SUFFIX}")) if folder.is_dir() else ():
        try:
            journal = Journal(path)
        except BlockingIOError:
            result.notes.append(f"{path.name} is held by a receiver: erase again once its spool is empty (see /readyz)")
            continue
        except (OSError, sqlite3.Error, UnreadableJournalError, OtherFormatError) as error:
            result.notes.append(f"{path.name} cannot be searched: {error}")
            continue
        try:
            _erase(journal, customer, settings.sealer, result, is_dry_run=is_dry_run)
        except (OSError, sqlite3.Error, UnreadableJournalError) as error:
            result.notes.append(f"{path.name} cannot be searched to its end: {error}")
        finally:
            journal.close()
    return result


def _erase(
    journal: Journal, customer: ErasedCustomer, sealer: Sealer, result: ErasedSpool, *, is_dry_run: bool
) -> None:
    last = 0
    while rows := journal.read(last, _PAGE):
        last = rows[-1].number
        own = [row.number for row in rows if _is_of(row, customer, sealer, result, journal)]
        result.found += len(own)
        if own and not is_dry_run:
            if (problem := journal.remove(own)) is not None:
                raise problem
            journal.scrub()
            result.erased += len(own)


def _is_of(row: Stored, customer: ErasedCustomer, sealer: Sealer, result: ErasedSpool, journal: Journal) -> bool:
    if customer.has_subject(row.fields.subject):
        return True
    try:
        body = sealer.open_body(row.fields.body, SealedKind.INBOUND)
        shared = sealer.open_body(row.fields.shared.data, SealedKind.SHARED) if row.fields.shared else b""
    except (SealedError, TamperedError) as error:
        result.notes.append(f"an event in {journal.path.name} cannot be searched: {error}")
        return False
    return customer.is_in(body) or customer.is_in(shared)
