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
    the API, at `conversations_url` where the account's is not that of the settings; `configuration_id` is that of the
    conversations that the router opens. `email_domains` are domains and whole mailboxes, in lower case, whose mails
    are the account's. `name` is for people.
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
        """Return what is configured beside the SID, in a line without a secret."""
        user, password = self.credentials
        opener = "token" if user == self.sid else "API key"
        facts = (
            self.name or "",
            _count(len(self.tokens), "token", "tokens"),
            _count(len(self.shared_keys), "shared key", "shared keys") if self.shared_keys else "",
            f"{opener if password else 'nothing'} opens the API",
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
    """Return the tokens of a comma-separated list; several during a rotation."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_shared_keys(text: str) -> dict[str, str]:
    """Return the shared keys of `id=secret,id=secret`; a secret may hold `=`. Raises ValueError for anything else."""
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    if not all(name and secret for name, _, secret in pairs):
        raise ValueError("is not a comma-separated list of id=secret")
    return {name: secret for name, _, secret in pairs}


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

    def of_mailbox(self, mailbox: str) -> Account | None:
        """Return the account of mails to `mailbox`: who names it, else who names its domain.

        The default's where there is one account only, or where no account names any; else None.
        """
        wanted = mailbox.strip().lower()
        for name in (wanted, wanted.rpartition("@")[2]):
            for account in self:
                if name in account.email_domains:
                    return account
        is_open = len(self) == 1 or not any(account.email_domains for account in self)
        return next(iter(self), None) if is_open else None

    def __iter__(self) -> Iterator[Account]:
        """All of them, in order."""
        return iter(self._accounts.values())

    def __len__(self) -> int:
        """How many are configured."""
        return len(self._accounts)
