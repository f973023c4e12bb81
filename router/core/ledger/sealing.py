"""The private fields of a ledger, sealed and opened: the floor, with its request, and the open turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.ledger.ledger import Ledger
from router.core.ledger.marker import HOLDING_FIELD, TURN_FIELD
from router.core.ledger.turns import open_turn, seal_turn
from router.core.sealing import SealedError, SealedKind, TamperedError

if TYPE_CHECKING:
    from router.core.formats import OtherFormatError
    from router.core.sealing import Sealer


def seal_changes(changes: dict[str, str | None], sealer: Sealer) -> dict[str, str | None]:
    """Return the changes of a ledger with its private fields sealed."""
    sealed = dict(changes)
    if holding := changes.get(HOLDING_FIELD):
        sealed[HOLDING_FIELD] = sealer.seal_text(holding, SealedKind.HOLDING)
    if turn := changes.get(TURN_FIELD):
        sealed[TURN_FIELD] = seal_turn(turn, sealer)
    return sealed


def open_ledger(
    sealer: Sealer,
    namespace: str,
    account_id: str,
    conversation_id: str,
    fields: dict[str, str],
    known: frozenset[str] | None = None,
) -> Ledger | OtherFormatError:
    """Return a ledger with its private fields opened, or why they cannot be; also one that was changed makes wait."""
    try:
        if HOLDING_FIELD in fields:
            fields[HOLDING_FIELD] = sealer.open_text(fields[HOLDING_FIELD], SealedKind.HOLDING)
        if TURN_FIELD in fields:
            fields[TURN_FIELD] = open_turn(fields[TURN_FIELD], sealer)
    except SealedError as error:
        return error
    except TamperedError as error:
        return SealedError(SealedKind.HOLDING, f"or it was changed ({error})")
    return Ledger(namespace, account_id, conversation_id, fields, known)
