"""A cache of each account's state: the addresses of our side, and whether status callbacks arrive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from router.core.addresses import Address
    from router.streams.store.ledgers import Store

#: µs: the life of a state that was read, and the shortest interval between two writes of the callbacks' time.
LIFE: Final = 2_000_000
#: ms: the interval at which an address of our side is stored again while in use, since only the newest are kept.
NOTED: Final = 86_400_000


@dataclass(slots=True)
class CachedAccount:
    """The cached state of an account.

    `own`: the keys of our side's addresses; `noted_at`: when each was last stored (ms). `callbacks_seen_at`: the time
    of the last status callback (µs, 0 if there was none). `read_at`, `written_at` (µs): when the state was read, and
    the `callbacks_seen_at` that was last shared.
    """

    own: frozenset[str]
    callbacks_seen_at: int = 0
    noted_at: dict[str, int] = field(default_factory=dict)
    read_at: int = 0
    written_at: int = 0


class AccountCache:
    """Caches for LIFE the state that all processes share through the store; `clock` returns µs since 1970.

    `always_own`: our side's addresses in every account. `captured`: those of each account, since an address that is
    ours in one may be a customer's in another.
    """

    def __init__(
        self,
        store: Store,
        *,
        always_own: frozenset[str],
        clock: Callable[[], int],
        captured: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self._store = store
        self._always_own = always_own
        self._ours = {account_id: always_own | keys for account_id, keys in (captured or {}).items()}
        self._clock = clock
        self._accounts: dict[str, CachedAccount] = {}

    async def know(self, account_ids: Iterable[str], *, is_fresh: bool = False) -> None:
        """Read the state of these accounts where it is missing or outdated; with `is_fresh`, read all of them."""
        now = self._clock()
        for account_id in account_ids:
            known = self._accounts.get(account_id)
            if known is not None and 0 <= now - known.read_at < LIFE and not is_fresh:  # below 0: Redis' clock was set
                continue
            noted_at, seen_at = await self._store.read_account(account_id)
            seen_at, written_at = (max(seen_at, known.callbacks_seen_at), known.written_at) if known else (seen_at, 0)
            own = self._always(account_id) | noted_at.keys()  # once per reading, not once per event
            self._accounts[account_id] = CachedAccount(own, seen_at, noted_at, now, written_at)

    def _always(self, account_id: str) -> frozenset[str]:
        return self._ours.get(account_id, self._always_own)

    def state(self, account_id: str) -> CachedAccount:
        """Return the cached state of an account."""
        account = self._accounts.get(account_id)
        return account if account is not None else CachedAccount(self._always(account_id))

    async def add_own(self, account_id: str, address: Address) -> None:
        """Store an address of our side, before a participant is created there: its callback must not announce it."""
        account, now = self._accounts[account_id], self._clock() // 1000
        earlier = account.noted_at.get(address.key)
        if earlier is None or now - earlier > NOTED:
            await self._store.add_own_addresses(account_id, [address])
            account.noted_at[address.key] = now
            account.own |= {address.key}

    def note_callback(self, account_id: str) -> None:
        """Note that a status callback arrived."""
        self._accounts[account_id].callbacks_seen_at = self._clock()

    async def share_callbacks(self) -> None:
        """Tell the other processes that callbacks arrive, at most once per LIFE and account."""
        for account_id, account in self._accounts.items():
            if account.callbacks_seen_at - account.written_at > LIFE:
                account.written_at = account.callbacks_seen_at
                await self._store.write_callback_time(account_id, account.callbacks_seen_at)
