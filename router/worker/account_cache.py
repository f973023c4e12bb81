"""What the worker knows of an account: the addresses of our side, and whether status callbacks arrive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from router.core.addresses import Address
    from router.streams.store.ledgers import Store

#: µs: how long what was read of an account is good, and how often it is written that callbacks arrive.
LIFE: Final = 2_000_000
#: ms: an address of our side is noted again that often while it is in use, since only the newest are kept.
NOTED: Final = 86_400_000


@dataclass(slots=True)
class AccountState:
    """What is known of an account; `callbacks_seen_at` (µs) is when its last status callback came, 0 if never.

    `own` are the keys of our side's addresses, `noted_at` when each was noted last (ms); `read_at` and `written_at`
    (µs) are when the state was read, and when the time of the callbacks was shared.
    """

    own: frozenset[str]
    callbacks_seen_at: int = 0
    noted_at: dict[str, int] = field(default_factory=dict)
    read_at: int = 0
    written_at: int = 0


class AccountCache:
    """Shared by all processes through the store, and remembered here for LIFE. `clock` gives µs since 1970.

    `always_own` are our side's addresses in every account, `captured` those of one: what is ours in one may be a
    customer in another.
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
        self._accounts: dict[str, AccountState] = {}

    async def know(self, account_ids: Iterable[str], *, is_fresh: bool = False) -> None:
        """Read what is not known, or not any more, of these accounts; all of it where it must be `is_fresh`."""
        now = self._clock()
        for account_id in account_ids:
            known = self._accounts.get(account_id)
            if known is not None and now - known.read_at < LIFE and not is_fresh:
                continue
            noted_at, seen_at = await self._store.read_account(account_id)
            seen_at, written_at = (max(seen_at, known.callbacks_seen_at), known.written_at) if known else (seen_at, 0)
            own = self._always(account_id) | noted_at.keys()  # once here, and not for every event
            self._accounts[account_id] = AccountState(own, seen_at, noted_at, now, written_at)

    def _always(self, account_id: str) -> frozenset[str]:
        return self._ours.get(account_id, self._always_own)

    def state(self, account_id: str) -> AccountState:
        """Return what is known of an account: our side's addresses, and when its last status callback came."""
        account = self._accounts.get(account_id)
        return account if account is not None else AccountState(self._always(account_id))

    async def add_own(self, account_id: str, address: Address) -> None:
        """Remember an address of our side, before anything is created there: its callback must not be announced."""
        account, now = self._accounts[account_id], self._clock() // 1000
        earlier = account.noted_at.get(address.key)
        if earlier is None or now - earlier > NOTED:
            await self._store.add_own_addresses(account_id, [address])
            account.noted_at[address.key] = now
            account.own |= {address.key}

    def note_callback(self, account_id: str) -> None:
        """Note that a status callback has come."""
        self._accounts[account_id].callbacks_seen_at = self._clock()

    async def share_callbacks(self) -> None:
        """Let the other processes know that callbacks arrive, at most every LIFE."""
        for account_id, account in self._accounts.items():
            if account.callbacks_seen_at - account.written_at > LIFE:
                account.written_at = account.callbacks_seen_at
                await self._store.write_callback_time(account_id, account.callbacks_seen_at)
