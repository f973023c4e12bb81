"""Twilio's part of an inbound message: by its capture rules it records the message in a conversation.

The sandbox does so on request, with the MessageSid as `channelId` and `resourceId`, and reports it to the status
callbacks, so that a program that listens to those hears a simulated message too. A message is captured once, however
often its webhook is repeated. https://www.twilio.com/docs/conversations/orchestrator
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import aiohttp

from router.core.addresses import Channel, parse_address
from router.simulator.http import get_json, post_json

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Channels on which capture rules take messages.
CAPTURED: Final = frozenset({Channel.SMS, Channel.WHATSAPP, Channel.RCS})
_NEEDED: Final = ("TWILIO_CONVERSATIONS_URL", "TWILIO_API_KEY", "TWILIO_API_SECRET")


def read_message(params: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the body of a capture for the parameters of a message's webhook; None on a channel without capture."""
    sender = parse_address(params["From"])
    if sender.channel not in CAPTURED:
        return None
    sid = params["MessageSid"]
    message: dict[str, Any] = {"channel": sender.channel, "from": params["From"], "to": params["To"]}
    return message | {"body": params["Body"], "channelId": sid, "resourceId": sid}


async def capture_message(environment: Mapping[str, str], message: Mapping[str, Any]) -> str | None:
    """Have the sandbox capture a message; returns a report, None without a sandbox or if it has the message already."""
    if not all(environment.get(name) for name in _NEEDED):
        return None
    url, user, password = (environment[name] for name in _NEEDED)
    listing = f"{url}/v2/Conversations"
    query = {"channelId": message["resourceId"]}
    body = {**message, "configurationId": environment.get("TWILIO_CONVERSATION_CONFIGURATION_ID") or None}
    try:
        for each in (await get_json(listing, query, user=user, password=password))["conversations"]:
            path = f"{listing}/{each['id']}/Communications"
            if (await get_json(path, query, user=user, password=password))["communications"]:
                return None
        captured = await post_json(f"{url}/sandbox/capture", body, user=user, password=password)
    except aiohttp.ClientResponseError as error:  # the live API has no such route; a sandbox may be told to fail
        return f"no sandbox captured the message: {url} answered {error.status}"
    except (aiohttp.ClientError, OSError, KeyError) as error:
        return f"no sandbox captured the message: {type(error).__name__}"
    return f"captured in {captured['conversation']['id']}"
