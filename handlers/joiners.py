"""A joiner for each account, with the account's own clients for both generations of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers.classic import ClassicJoiner
from handlers.joining import Joiner

if TYPE_CHECKING:
    from router.process.apis import Apis
    from router.streams.store.ledgers import Store


class Joiners:
    """Makes joiners; they share nothing but the store."""

    def __init__(self, apis: Apis, store: Store) -> None:
        self._apis = apis
        self._store = store

    def of(self, account_id: str) -> Joiner:
        """Return the account's joiner; raises AuthenticationError for an account that is not configured here."""
        api = self._apis.of(account_id)
        classic = ClassicJoiner(api.classic, self._store, service_sid=api.account.classic_service_sid)
        return Joiner(api.v2, self._store, classic)
