"""The accounts whose events are accepted: their signing secrets, API credentials and configurations.

Every key, cache and limit is per account. A subaccount signs with its own token, and a token gives no access to another
account. The account that a form names decides which tokens may have signed it, never the other way round. JSON names no
account that can be trusted before the signature is verified, so there the matching token decides the account.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Account:
    """One account.

    `tokens` and `shared_keys` (id to secret) sign its webhooks. `credentials` are user and password for the API, which
    is at `conversations_url`, or where the settings say if that is None. `configuration_id` is for conversations that
    the router opens. Mail to `email_domains` (domains and whole mailboxes, in lower case) belongs to the account.
    `name` is for people.
    """

    sid: str
    tokens: tuple[str, ...] = field(default=(), repr=False)
    shared_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    credentials: tuple[str, str] = field(default=("", ""), repr=False)
    configuration_id: str | None = None
    classic_service_sid: str | None = None
    conversations_url: str | None = None
    email_domains: tuple[str, ...] = ()
    name: str | None = None

    def masked(self) -> str:
        """Describe the account's configuration, except the SID, in one line without secrets."""
        user, password = self.credentials
        credential = "token" if user == self.sid else "API key"
        facts = (
            self.name or "",
            _count(len(self.tokens), "token", "tokens"),
            _count(len(self.shared_keys), "shared key", "shared keys") if self.shared_keys else "",
            f"API calls with the {credential}" if password else "no API credentials",
            self.configuration_id or "no configuration",
            self.classic_service_sid or "",
            "mail of " + _count(len(self.email_domains), "domain or mailbox", "domains or mailboxes")
            if self.email_domains
            else "",
        )
        return "; ".join(filter(None, facts))


def _count(number: int, one: str, several: str) -> str:
    return f"{number or 'no'} {several if number > 1 else one}"


def parse_tokens(text: str) -> tuple[str, ...]:
    """Split a comma-separated list of tokens; there are several during a rotation."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_shared_keys(text: str) -> dict[str, str]:
    """Parse shared keys, `id=secret,id=secret`; a secret may contain `=`. Raises ValueError for anything else."""
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    if not all(name and secret for name, _, secret in pairs):
        raise ValueError("must be a comma-separated list of id=secret")
    return {name: secret for name, _, secret in pairs}


class Accounts:
    """The configured accounts by SID, in order; the first one is the default."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._accounts = {account.sid: account for account in accounts}

    def get(self, sid: str) -> Account | None:
        """Return an account, or None if it is not configured."""
        return self._accounts.get(sid)

    @property
    def default(self) -> Account:
        """The account of a webhook that names none; raises LookupError if none is configured."""
        return next(iter(self))

    def of_mailbox(self, mailbox: str) -> Account | None:
        """Return the account of mail to `mailbox`: the one that lists the mailbox, else the one that lists its domain.

        If there is only one account, or none lists any, it is the default account; else None.
        """
        wanted = mailbox.strip().lower()
        for name in (wanted, wanted.rpartition("@")[2]):
            for account in self:
                if name in account.email_domains:
                    return account
        is_open = len(self) == 1 or not any(account.email_domains for account in self)
        return next(iter(self), None) if is_open else None

    def __iter__(self) -> Iterator[Account]:
        """Iterate over the accounts in order."""
        return iter(self._accounts.values())

    def __len__(self) -> int:
        """Return the number of accounts."""
        return len(self._accounts)
