"""Refusals that no source confirms; the sandbox accepts all of this unless a switch is set.

    refused_channels       EMAIL is in the newest channel enum only, and no page offers it
    strict_addresses       whether numbers must be E.164 and mailboxes mailboxes, and how long they may be
    chat_needs_channel_id  Twilio's own agent SDK requires it to send; the identity alone may not do
    action_needs_content   every field of a message's content is optional in the description

Only what an API client writes is checked; captured traffic is what it is. A refusal is a 400 (switch: 422).
https://www.twilio.com/docs/api/conversations/v2
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from router.core.addresses import Channel
from router.sandbox.errors import RefusalError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.sandbox.options import SandboxOptions
    from router.sandbox.v2.bodies import ActionPartyBody, ActionPayload, AddressBody, InlineParticipant, PartyBody

#: The longest address: the limit that Twilio's agent SDK applies.
MAX_ADDRESS: Final = 254
_E164: Final = r"\+[1-9][0-9]{1,14}"
#: A WhatsApp user whose number is hidden: country, a dot, an opaque id.
_WHATSAPP_ID: Final = r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]+"
_WELL_FORMED: Final[dict[str, re.Pattern[str]]] = {
    Channel.SMS: re.compile(rf"{_E164}|[0-9]{{3,8}}"),
    Channel.WHATSAPP: re.compile(rf"(?:whatsapp:)?(?:{_E164}|{_WHATSAPP_ID})"),
    Channel.RCS: re.compile(rf"(?:rcs:)?(?:{_E164}|[A-Za-z0-9_.-]+)"),
    Channel.VOICE: re.compile(rf"{_E164}|client:\S+|sips?:\S+"),
    Channel.EMAIL: re.compile(r"[^\s@<>]+@[^\s@<>]+"),
}


def check_participants(options: SandboxOptions, participants: Iterable[InlineParticipant]) -> None:
    """Check the addresses of new or replaced participants; raises RefusalError."""
    for number, participant in enumerate(participants):
        for place, address in enumerate(participant.addresses or ()):
            field = f"participants[{number}].addresses[{place}]"
            _check(options, address, field)
            if options.chat_needs_channel_id and address.channel == Channel.CHAT and not address.channel_id:
                raise _refuse(options, f"{field}.channelId", "is required for CHAT")


def check_parties(options: SandboxOptions, parties: Iterable[PartyBody]) -> None:
    """Check author and recipients of a communication; raises RefusalError."""
    for number, party in enumerate(parties):
        _check(options, party, f"parties[{number}]")


def check_action(options: SandboxOptions, payload: ActionPayload) -> None:
    """Check the ends and the content of a message to be sent; raises RefusalError."""
    content = payload.content
    if options.action_needs_content and not (content.text or content.content_id or content.media_urls):
        raise _refuse(options, "payload.content", "is empty")
    for end in (payload.sender, *payload.to):
        if end.address is not None:
            _check(options, end, "payload")
    is_chat = any(end.channel == Channel.CHAT for end in (payload.sender, *payload.to))
    if options.chat_needs_channel_id and is_chat and "channelId" not in (payload.channel_settings or {}):
        raise _refuse(options, "payload.channelSettings.channelId", "is required for CHAT")


def _check(options: SandboxOptions, end: AddressBody | PartyBody | ActionPartyBody, field: str) -> None:
    channel, address = str(end.channel), end.address or ""
    if channel in options.refused_channels:
        raise _refuse(options, f"{field}.channel", f"{channel} is not supported")
    if not options.strict_addresses:
        return
    shape = _WELL_FORMED.get(channel)
    if len(address) > MAX_ADDRESS or not address.strip() or (shape is not None and not shape.fullmatch(address)):
        raise _refuse(options, f"{field}.address", f"is no address of {channel}")


def _refuse(options: SandboxOptions, field: str, problem: str) -> RefusalError:
    return RefusalError(options.validation_status, f"{field}: {problem}", field=field)
