"""`check` of the accounts: credentials and configuration of each, fetched from its API.

With several accounts every finding names its account.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from router.commands.check.redis import Finding
from router.conversations import ConversationsV2, Transport
from router.core.addresses import Channel
from router.core.errors import ApiError, SettingsError
from router.logs import describe_fully
from router.settings.files import load_voice
from router.streams.client.clock import MOST_SKEW

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.accounts import Account
    from router.core.policy import Policy
    from router.core.resources import Configuration
    from router.settings.model import Settings


def check_credentials(settings: Settings) -> list[Finding]:
    """Warn of accounts that use their auth token, which signs webhooks, for the API as well."""
    text = "is not set: the auth token is used for the API too; a key can be revoked by itself"
    return [
        Finding("warn", f"TWILIO_API_KEY{_suffix(settings, account)}", text)
        for account in settings.accounts
        if account.tokens and account.credentials[0] == account.sid
    ]


def check_rules(settings: Settings, policy: Policy) -> list[Finding]:
    """Warn of rules for accounts that are not configured: such a rule never matches."""
    return [
        Finding(
            "warn", "routing", f"the rule '{rule.name}' on line {rule.line} asks for {sid}, which is not configured"
        )
        for rule in policy.rules
        for sid in sorted(rule.accounts or ())
        if settings.accounts.get(sid) is None
    ]


async def check_apis(settings: Settings, *, clock: Callable[[], float] = time.time) -> list[Finding]:
    """Return the findings about the APIs of all accounts, asked concurrently; `clock` gives seconds since 1970."""
    found = await asyncio.gather(*[_check_api(settings, account, clock) for account in settings.accounts])
    return [finding for of_one in found for finding in of_one]


async def _check_api(settings: Settings, account: Account, clock: Callable[[], float]) -> list[Finding]:
    """Fetch the configuration: one call checks URL, credentials and configuration id."""
    (user, password), configuration_id = account.credentials, account.configuration_id
    if not user or not password or not configuration_id:
        return []
    name = f"Conversations API{_suffix(settings, account)}"
    url = account.conversations_url or settings.twilio_conversations_url
    async with Transport(url, user, password, retries=1, deadline=20) as transport:
        try:
            configuration = await ConversationsV2(transport).fetch_configuration(configuration_id)
        except ApiError as error:
            return [Finding("FAIL", name, f"{url}: {describe_fully(error)}")]
        findings = _check_clock(transport.server_time, clock(), _suffix(settings, account))
    grouping = configuration.conversation_grouping_type
    return [
        Finding("ok", name, f"{url}, configuration groups by {grouping}"),
        *findings,
        *_check_configuration(settings, configuration, _suffix(settings, account)),
    ]


def _check_clock(server_time: float | None, now: float, suffix: str) -> list[Finding]:
    """Compare this host's clock with the API's, which gives whole seconds."""
    ahead = 0.0 if server_time is None else now - server_time
    if abs(ahead) < MOST_SKEW:
        return []
    text = f"is {abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead of'} that of this host: set the latter by NTP"
    return [Finding("warn", f"clock of the API{suffix}", text)]


def _suffix(settings: Settings, account: Account) -> str:
    """Return the words that name a finding's account, empty if there is only one account."""
    if len(settings.accounts) == 1:
        return ""
    return f" of {account.sid}" + (f" ({account.name})" if account.name else "")


def _check_configuration(settings: Settings, configuration: Configuration, suffix: str) -> list[Finding]:
    wanted = f"{settings.public_base_url}/webhooks/conversations"
    if wanted in [callback.get("url") for callback in configuration.status_callbacks or ()]:
        findings = [Finding("ok", f"status callbacks{suffix}", wanted)]
    else:
        text = f"none of them goes to {wanted}: closings, and participants that Twilio adds, are not seen"
        findings = [Finding("warn", f"status callbacks{suffix}", text)]
    shortest = _shortest_closing(configuration.channel_settings or {})
    if shortest is not None and settings.route_ttl > shortest:
        text = f"{settings.route_ttl:.0f} s is longer than the shortest closing timeout{suffix} ({shortest} s)"
        findings.append(Finding("warn", "ROUTER_ROUTE_TTL", text))
    return findings + _check_capture(settings, configuration, suffix)


def _check_capture(settings: Settings, configuration: Configuration, suffix: str) -> list[Finding]:
    """Warn if calls are both captured by the configuration and transcribed by a template: both cost, both report."""
    try:
        is_attaching = bool(load_voice(settings).attaching)
    except SettingsError:  # a finding of its own
        return []
    if not (is_attaching and configuration.captures(Channel.VOICE)):
        return []
    text = "captures calls, and a voice template transcribes them too: remove one of the two"
    return [Finding("warn", f"configuration{suffix}", text)]


def _shortest_closing(channels: dict[str, Any]) -> int | None:
    """Return the shortest closing timeout of a configuration in seconds; the API has minutes."""
    read: Callable[[Any], Any] = lambda channel: ((channel or {}).get("statusTimeouts") or {}).get("closed")  # noqa: E731
    minutes = [value for value in map(read, channels.values()) if isinstance(value, int)]
    return min(minutes) * 60 if minutes else None
