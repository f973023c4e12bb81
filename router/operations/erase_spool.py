"""Erasing a customer from the spool files on this machine's disk, as far as no running receiver holds them."""

from __future__ import annotations

import socket
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from router.core.formats import OtherFormatError
from router.core.sealing import SealedError, SealedKind, TamperedError
from router.operations.processes import list_processes
from router.receiver.spool.journal import SUFFIX, Journal, UnreadableJournalError

if TYPE_CHECKING:
    from router.core.erasing import ErasedCustomer
    from router.core.keys import Keys
    from router.core.sealing import Sealer
    from router.receiver.spool.journal import Stored
    from router.settings.model import Settings
    from router.streams.client.connection import Redis

_PAGE = 500


@dataclass(slots=True)
class ErasedSpool:
    """The events of the customer that were found, and erased.

    `unfinished` names the files that could not be searched, `notes` those with events that could not be opened.
    """

    found: int = 0
    erased: int = 0
    notes: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)


async def are_spools_empty(redis: Redis, keys: Keys) -> bool:
    """Return whether the receivers of this machine say that nothing waits in their files, which nobody else can read.

    They say it every few seconds. False if none of them says anything. Raises RedisError.
    """
    host = socket.gethostname()
    facts = [one.facts.get("spool") for one in await list_processes(redis, keys) if one.is_alive and one.host == host]
    waiting = [spool["entries"] for spool in facts if isinstance(spool, dict) and "entries" in spool]
    return bool(waiting) and not any(waiting)


def erase_spool(settings: Settings, customer: ErasedCustomer, *, is_dry_run: bool, is_held_empty: bool) -> ErasedSpool:
    """Erase a customer from the files of this namespace; one that a receiver holds is fed back to Redis by it.

    `is_held_empty` says that those files have no events.
    """
    result, folder = ErasedSpool(), Path(settings.spool_dir)
    for path in sorted(folder.glob(f"{settings.namespace}@*{SUFFIX}")) if folder.is_dir() else ():
        try:
            journal = Journal(path)
        except BlockingIOError:
            if not is_held_empty:
                text = f"{path.name} is held by a receiver: erase again once its spool is empty (see /readyz)"
                result.unfinished.append(text)
            continue
        except (OSError, sqlite3.Error, UnreadableJournalError, OtherFormatError) as error:
            result.unfinished.append(f"{path.name} cannot be searched: {error}")
            continue
        try:
            _erase(journal, customer, settings.sealer, result, is_dry_run=is_dry_run)
        except (OSError, sqlite3.Error, UnreadableJournalError) as error:
            result.unfinished.append(f"{path.name} cannot be searched to its end: {error}")
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
