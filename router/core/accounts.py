"""The accounts whose events are taken: what signs their webhooks, what calls the API for them, what they open.

Every key, cache and limit is per account. A subaccount signs with its own token, and a token opens nothing of another
account: which account a webhook is of decides which tokens may have signed it, and never the other way round for a
form; JSON names no account that could be trusted before its signature is, so there the token that fits decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Account:
    """One account.

    `tokens` and `shared_keys` (id to secret) may have signed a webhook of it; `credentials` are user and password for
    the API; `configuration_id` is that of the conversations that the router opens.
    """

    sid: str
    tokens: tuple[str, ...] = field(default=(), repr=False)
    shared_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    credentials: tuple[str, str] = field(default=("", ""), repr=False)
    configuration_id: str | None = None
    classic_service_sid: str | None = None


class Accounts:
    """The accounts by their SID, in the order in which they are configured; the first one is the default."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._accounts = {account.sid: account for account in accounts}

    def get(self, sid: str) -> Account | None:
        """Return an account, or None if it is not configured."""
        return self._accounts.get(sid)

    @property
    def default(self) -> Account:
        """The account of a webhook that names none; raises LookupError if none is configured."""
        return next(iter(self))

    def __iter__(self) -> Iterator[Account]:
        """All of them, in order."""
        return iter(self._accounts.values())

    def __len__(self) -> int:
        """How many are configured."""
        return len(self._accounts)
