"""The part of `python -m router check` that is about accounts: each one's credentials and configuration, by asking.

Where there are several accounts every finding names its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from router.commands.check.redis import Finding
from router.conversations import ConversationsV2, Transport
from router.core.addresses import Channel
from router.core.errors import ApiError, SettingsError
from router.settings.files import load_voice

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.accounts import Account
    from router.core.policy import Policy
    from router.core.resources import Configuration
    from router.settings.model import Settings


def check_credentials(settings: Settings) -> list[Finding]:
    """Warn of accounts whose auth token, which signs webhooks, opens the API as well."""
    text = "not set: the auth token opens the API too; a key can be revoked on its own"
    return [
        Finding("warn", f"TWILIO_API_KEY{_suffix(settings, account)}", text)
        for account in settings.accounts
        if account.tokens and account.credentials[0] == account.sid
    ]


def check_rules(settings: Settings, policy: Policy) -> list[Finding]:
    """Warn of rules for accounts whose webhooks are not taken: they never decide."""
    return [
        Finding(
            "warn", "routing", f"the rule '{rule.name}' on line {rule.line} asks for {sid}, which is not configured"
        )
        for rule in policy.rules
        for sid in sorted(rule.accounts or ())
        if settings.accounts.get(sid) is None
    ]


async def check_apis(settings: Settings) -> list[Finding]:
    """Ask every account's API, all at once."""
    found = await asyncio.gather(*[_check_api(settings, account) for account in settings.accounts])
    return [finding for of_one in found for finding in of_one]


async def _check_api(settings: Settings, account: Account) -> list[Finding]:
    """Fetch the configuration: URL, credentials and configuration id in one call."""
    (user, password), configuration_id = account.credentials, account.configuration_id
    if not user or not password or not configuration_id:
        return []
    name = f"Conversations API{_suffix(settings, account)}"
    url = account.conversations_url or settings.twilio_conversations_url
    async with Transport(url, user, password, retries=1, deadline=20) as transport:
        try:
            configuration = await ConversationsV2(transport).fetch_configuration(configuration_id)
        except ApiError as error:
            return [Finding("FAIL", name, f"{url}: {type(error).__name__}: {error}")]
    grouping = configuration.conversation_grouping_type
    return [
        Finding("ok", name, f"{url}, configuration groups by {grouping}"),
        *_check_configuration(settings, configuration, _suffix(settings, account)),
    ]


def _suffix(settings: Settings, account: Account) -> str:
    """Return which account a finding is about, nothing where there is only one."""
    if len(settings.accounts) == 1:
        return ""
    return f" of {account.sid}" + (f" ({account.name})" if account.name else "")


def _check_configuration(settings: Settings, configuration: Configuration, suffix: str) -> list[Finding]:
    wanted = f"{settings.public_base_url}/webhooks/conversations"
    if wanted in [callback.get("url") for callback in configuration.status_callbacks or ()]:
        findings = [Finding("ok", f"status callbacks{suffix}", wanted)]
    else:
        text = f"none of its status callbacks goes to {wanted}: closings and participants that Twilio adds are not seen"
        findings = [Finding("warn", f"status callbacks{suffix}", text)]
    shortest = _shortest_closing(configuration.channel_settings or {})
    if shortest is not None and settings.route_ttl > shortest:
        text = f"{settings.route_ttl:.0f} s is longer than the shortest closing timeout{suffix} ({shortest} s)"
        findings.append(Finding("warn", "ROUTER_ROUTE_TTL", text))
    return findings + _check_capture(settings, configuration, suffix)


def _check_capture(settings: Settings, configuration: Configuration, suffix: str) -> list[Finding]:
    """Find calls that rules capture and a template transcribes: they are paid twice, and told twice."""
    try:
        is_attaching = bool(load_voice(settings).attaching)
    except SettingsError:  # it is a finding of its own
        return []
    if not (is_attaching and configuration.captures(Channel.VOICE)):
        return []
    text = "captures calls, and a voice template transcribes them too: take out one of both"
    return [Finding("warn", f"configuration{suffix}", text)]


def _shortest_closing(channels: dict[str, Any]) -> int | None:
    """Return the shortest closing timeout of a configuration in seconds; the API has minutes."""
    read: Callable[[Any], Any] = lambda channel: ((channel or {}).get("statusTimeouts") or {}).get("closed")  # noqa: E731
    minutes = [value for value in map(read, channels.values()) if isinstance(value, int)]
    return min(minutes) * 60 if minutes else None
