"""Reads each account's configuration at the worker's start: our addresses, the bridge, and reasons for warnings.

One fetch per account. Without an answer the worker starts all the same; the functions below say what it then assumes.
Configurations: https://www.twilio.com/docs/api/conversations/v2
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from router.core.addresses import Channel, parse_address
from router.core.errors import ApiError
from router.core.resolution.classic import Bridge
from router.logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.core.resources import Configuration
    from router.process.apis import Api, Apis
    from router.settings.model import Settings

    #: By account SID; None if the API did not return it. Accounts without a configuration have no item.
    Configurations = Mapping[str, Configuration | None]

#: Seconds to wait for a configuration at most.
TIMEOUT: Final = 5.0


async def find_configurations(apis: Apis) -> dict[str, Configuration | None]:
    """Fetch the configuration of each account that has one; None if the API does not return it."""
    configured = [api for api in apis if api.account.configuration_id]
    found = await asyncio.gather(*[_find_configuration(api) for api in configured])
    return {api.account.sid: configuration for api, configuration in zip(configured, found, strict=True)}


async def _find_configuration(api: Api) -> Configuration | None:
    try:
        async with asyncio.timeout(TIMEOUT):
            return await api.v2.fetch_configuration(api.account.configuration_id or "")
    except (ApiError, TimeoutError) as error:
        log("configuration.unknown", level="warning", account=api.account.sid, error=type(error).__name__)
        return None


def find_own(settings: Settings) -> frozenset[str]:
    """Return the keys of the addresses that are our side in every account: the AI agent's, if it is configured."""
    return frozenset({parse_address(settings.ai_agent_address).key}) if settings.ai_agent_address else frozenset()


def find_captured(configurations: Configurations) -> dict[str, frozenset[str]]:
    """Return the address keys that each account's configuration captures, which are our side in that account.

    They are missing if the configuration is unknown: a participant that Twilio adds as UNKNOWN at one of them, before
    any message to it came by webhook, may then be announced.
    """
    return {
        account_id: frozenset(address.key for address in configuration.own_addresses())
        for account_id, configuration in configurations.items()
        if configuration is not None
    }


def find_bridges(configurations: Configurations) -> dict[str, Bridge]:
    """Return the bridges from classic services; if the configuration is unknown, assume one: the cost is only a wait.

    https://www.twilio.com/docs/conversations/orchestrator/guides/classic-bridge
    """
    bridges = {}
    for account_id, configuration in configurations.items():
        if configuration is None:
            bridges[account_id] = Bridge()
        elif service_sid := (configuration.conversations_v1_bridge or {}).get("serviceId"):
            bridges[account_id] = Bridge(str(service_sid))
    return bridges


def warn_of_doubled_calls(configurations: Configurations) -> None:
    """Log the accounts whose capture rules transcribe calls, for a router whose templates transcribe them as well."""
    for account_id, configuration in configurations.items():
        if configuration is not None and configuration.captures(Channel.VOICE):
            log("voice.doubled", level="warning", account=account_id)
