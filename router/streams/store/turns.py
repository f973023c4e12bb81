"""The store of a worker whose policy has bursts: its ledgers keep turns, and each reads one more field for that.

A store of its own, so that without bursts reading and committing cost what they did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.formats import OtherFormatError
from router.core.ledger.marker import BURST_FIELD
from router.core.ledger.turns import TurnLedger, with_turns
from router.core.values import replace
from router.streams.store.ledgers import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.core.ledger.ledger import Ledger
    from router.streams.store.ledgers import LedgerQuery


class TurnStore(Store):
    """A Store whose ledgers are TurnLedgers."""

    async def find_ledgers(self, queries: Sequence[LedgerQuery]) -> list[Ledger | OtherFormatError]:
        """Read ledgers as Store does."""
        wanted = [replace(query, fields=(*query.fields, BURST_FIELD)) for query in queries]
        found = await super().find_ledgers(wanted)
        return [one if isinstance(one, OtherFormatError) else with_turns(one) for one in found]

    def make_ledger(self, account_id: str, conversation_id: str) -> TurnLedger:
        """Return an empty ledger as Store does."""
        return with_turns(super().make_ledger(account_id, conversation_id))

    async def read_whole(self, account_id: str, conversation_id: str) -> TurnLedger:
        """Read a whole ledger as Store does."""
        return with_turns(await super().read_whole(account_id, conversation_id))
