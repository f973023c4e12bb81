"""API clients and limits made from the settings, for the composition roots of the processes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from router import metrics
from router.conversations import CallDetails, ClassicConversations, ConversationsV2, Transport
from router.core.errors import AuthenticationError
from router.streams.client.connection import RedisError
from router.streams.client.scripts import Replication
from router.streams.delivery import Limits
from router.tasks import finish

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from router.conversations.limiter import Limiter
    from router.core.accounts import Account
    from router.settings.model import Settings
    from router.streams.client.connection import Redis

#: Seconds to close the connections to the API, and those to Redis.
CLOSING: Final = 0.1


#: µs by which clocks differ at least if a Date header, which has whole seconds, shows it.
LEAST_SKEW: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Api:
    """The clients of one account for the Conversations API: with its own connection, limits and credentials."""

    account: Account
    v2: ConversationsV2
    classic: ClassicConversations


class Apis:
    """The clients of each account; accounts share nothing, so an outage of one does not slow another."""

    def __init__(self, transports: Iterable[tuple[Account, Transport]]) -> None:
        self._transports = list(transports)
        self._apis = {
            account.sid: Api(account, ConversationsV2(transport), ClassicConversations(transport))
            for account, transport in self._transports
        }

    def of(self, account_id: str) -> Api:
        """Return the clients of an account; raises AuthenticationError if it is not configured in this process.

        An event that needs it waits until an operator configures the account.
        """
        api = self._apis.get(account_id)
        if api is None:
            raise AuthenticationError(f"account {account_id[:34]} is not configured in this process")
        return api

    def ahead_of(self, account_id: str, clock: Callable[[], int]) -> int:
        """Return by how much (µs) the clock of an account's API is ahead of `clock` (µs since 1970).

        0 if that is unknown, or less than a date in whole seconds can tell.
        """
        times = [transport.server_time for account, transport in self._transports if account.sid == account_id]
        now = times[0] if times else None
        ahead = 0 if now is None else int(now * 1_000_000) - clock()
        return ahead if abs(ahead) >= LEAST_SKEW else 0

    def __iter__(self) -> Iterator[Api]:
        """Iterate over the accounts, the default one first."""
        return iter(self._apis.values())

    def in_background(self, ask: Callable[[Limiter], Awaitable[None]]) -> Apis:
        """Return clients over the same connections for calls that can wait; only the original is to be closed."""
        return Apis([(account, transport.in_background(ask)) for account, transport in self._transports])

    async def close(self) -> None:
        """Close all connections."""
        for _, transport in self._transports:
            await transport.close()


def make_apis(settings: Settings) -> Apis:
    """Return the clients of every account."""
    return Apis([(account, make_transport(settings, account)) for account in settings.accounts])


async def close_clients(apis: Apis, redis: Redis) -> None:
    """Close all connections at the end of a process; one that hangs is left to the operating system."""
    for closing in (apis.close(), redis.aclose()):
        with suppress(RedisError, OSError):
            await finish(closing, CLOSING)


def make_transport(settings: Settings, account: Account) -> Transport:
    """Return an account's connection to the Conversations API; it counts all calls."""
    user, password = account.credentials
    return Transport(
        account.conversations_url or settings.twilio_conversations_url,
        user,
        password,
        max_in_flight=settings.api_concurrency,
        timeout=settings.api_timeout,
        on_call=_count_call,
    )


def _count_call(call: CallDetails) -> None:
    metrics.count("router_api_calls", call.method, call.route, str(call.status))


def make_replication(settings: Settings) -> Replication:
    """Return how many replicas must confirm a write, and within which time."""
    return Replication(settings.redis_wait, settings.redis_wait_timeout)


def make_limits(settings: Settings) -> Limits:
    """Return a consumer's limits from the settings of the same names."""
    return Limits(
        window=settings.window,
        api_calls=settings.api_concurrency,
        batch=settings.batch,
        max_deliveries=settings.max_deliveries,
        dead_letter_budget=settings.dead_letter_budget,
        retry_delay=settings.retry_delay,
        heartbeat_ttl=settings.heartbeat_ttl,
        grace=settings.grace,
    )
