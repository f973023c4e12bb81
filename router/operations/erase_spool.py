"""Erasing a customer from the spool files on this machine's disk, as far as no running receiver holds them."""

from __future__ import annotations

import socket
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from router.core.formats import OtherFormatError
from router.core.sealing import SealedError, SealedKind, TamperedError
from router.operations.processes import list_processes
from router.process.announce import INTERVAL
from router.receiver.spool.journal import SUFFIX, Journal, UnreadableJournalError
from router.streams.client.connection import load_script

if TYPE_CHECKING:
    from router.core.erasing import ErasedCustomer
    from router.core.keys import Keys
    from router.core.sealing import Sealer
    from router.receiver.spool.journal import Stored
    from router.settings.model import Settings
    from router.streams.client.connection import Redis

_PAGE = 500

#: Microseconds for which a receiver's word counts: it speaks every few seconds.
_RECENT: Final = 2 * int(INTERVAL * 1_000_000)


@dataclass(slots=True)
class ErasedSpool:
    """The events of the customer that were found, and erased; `unfinished` names what could not be searched."""

    found: int = 0
    erased: int = 0
    unfinished: list[str] = field(default_factory=list)


async def count_empty_spools(redis: Redis, keys: Keys) -> int:
    """Return how many receivers of this machine say that nothing waits in their files, which nobody else can read.

    They say it every few seconds; what one said before counts for nothing, as Redis may have taken no record since.
    0 if something waits. Raises RedisError.
    """
    host, now = socket.gethostname(), int(await load_script("time").run(redis, [keys.inbound(0)], []))
    recent = [one for one in await list_processes(redis, keys) if now - one.seen_at < _RECENT]
    facts = [one.facts.get("spool") for one in recent if one.is_alive and one.host == host]
    waiting = [spool["entries"] for spool in facts if isinstance(spool, dict) and "entries" in spool]
    return 0 if any(waiting) else len(waiting)


def erase_spool(settings: Settings, customer: ErasedCustomer, *, is_dry_run: bool, empty: int) -> ErasedSpool:
    """Erase a customer from the files of this namespace; one that a receiver holds is fed back to Redis by it.

    `empty` receivers say that theirs have no events.
    """
    result, folder, held = ErasedSpool(), Path(settings.spool_dir), []
    for path in sorted(folder.glob(f"{settings.namespace}@*{SUFFIX}")) if folder.is_dir() else ():
        try:
            journal = Journal(path)
        except BlockingIOError:
            held.append(path.name)
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
    if len(held) > empty:
        again = "is held by a receiver: erase again once its spool is empty (see /readyz)"
        result.unfinished += [f"{name} {again}" for name in held]
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
        result.unfinished.append(f"an event in {journal.path.name} cannot be searched: {error}")
        return False
    return customer.is_in(body) or customer.is_in(shared)
