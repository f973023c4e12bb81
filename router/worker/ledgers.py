"""Reads a ledger and applies a function to it, with all the fields that the function turns out to need."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from router.core.ledger.fields import FieldNotReadError
from router.streams.store.ledgers import LedgerQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from router.core.ledger.ledger import Ledger
    from router.streams.store.ledgers import Store

_ResultT = TypeVar("_ResultT")


async def read_and_apply(
    store: Store,
    account_id: str,
    conversation_id: str,
    fields: Iterable[str],
    apply: Callable[[Ledger], _ResultT],
) -> tuple[Ledger, _ResultT]:
    """Return a ledger and the result of `apply`; read again, with one more field, as often as one was missing.

    Raises RedisError.
    """
    names = dict.fromkeys(fields)
    while True:
        (ledger,) = await store.read_ledgers([LedgerQuery(account_id, conversation_id, tuple(names))])
        try:
            return ledger, apply(ledger)
        except FieldNotReadError as error:
            names[error.name] = None
