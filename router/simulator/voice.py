"""Webhooks of calls, and Twilio's part of a call: executing the TwiML of the response.

Builders are pure. `read_attachment` finds the TwiML that attaches the call to a conversation; `attach_call` has the
sandbox open or find that conversation, as Twilio would, with the CallSid as `channelId`. Parameters:
https://www.twilio.com/docs/usage/webhooks/voice-webhooks.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from router.core.calls import GOING_ON, OVER, call_party
from router.core.voice.twiml import CONFIGURATION, CONVERSATION_ID, TwimlError, read_twiml
from router.simulator.http import post_json
from router.simulator.messages import SimulatedWebhook, form

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH: Final = "/webhooks/voice"
STATUSES: Final = (*sorted(GOING_ON), *sorted(OVER))
#: The number of a caller who withholds it, as Twilio writes it.
ANONYMOUS: Final = "+266696687"
_ATTACHING: Final = frozenset({"ConversationRelay", "Transcription"})


def call_sid(sender: str, recipient: str, body: str = "") -> str:
    """Return a CallSid that is a digest of the call, so that the same arguments make a duplicate."""
    parts = ("call", sender, recipient, body)
    return "CA" + sha256("\0".join(parts).encode()).hexdigest()[:32]


def call(
    *, account_sid: str, sender: str, recipient: str, sid: str, status: str = "ringing", **extra: str
) -> SimulatedWebhook:
    """Return the webhook of an incoming call, with all parameters; `status` is its CallStatus."""
    place = {"City": "SAN FRANCISCO", "State": "CA", "Zip": "94103", "Country": "US"}
    params = {
        "CallSid": sid,
        "AccountSid": account_sid,
        "From": sender,
        "To": recipient,
        "Caller": sender,
        "Called": recipient,
        "CallStatus": status,
        "Direction": "inbound",
        "ApiVersion": "2010-04-01",
        "CallToken": f'{{"parentCallInfoToken":"{sid}"}}',
        "StirVerstat": "TN-Validation-Passed-A",
        **{f"{side}{name}": value for side in ("From", "To", "Caller", "Called") for name, value in place.items()},
        **extra,
    }
    return form(PATH, sid, params)


def call_status(status: str, *, account_sid: str, sender: str, recipient: str, sid: str) -> SimulatedWebhook:
    """Return a status callback of a call, with the parameters that only status callbacks have."""
    number = STATUSES.index(status) if status in STATUSES else 0
    progress = {"CallbackSource": "call-progress-events", "SequenceNumber": str(number)}
    if status in OVER:
        progress |= {"CallDuration": "12" if status == "completed" else "0", "Duration": "1"}
    return call(account_sid=account_sid, sender=sender, recipient=recipient, sid=sid, status=status, **progress)


def session_end(
    *, account_sid: str, sender: str, recipient: str, sid: str, handoff_data: str | None = None
) -> SimulatedWebhook:
    """Return the request to the `action` of a `<Connect>` once the AI agent's session is over, while the call goes on.

    The agent hands the caller over with `handoff_data`; without, its session has failed. Parameters:
    https://www.twilio.com/docs/voice/twiml/connect/conversationrelay
    """
    ended = {"SessionId": f"VX{sid[2:]}", "SessionDuration": "31"}
    if handoff_data is None:
        ended |= {"SessionStatus": "failed", "ErrorCode": "64105", "ErrorMessage": "WebSocket Ended"}
    else:
        ended |= {"SessionStatus": "ended", "HandoffData": handoff_data}
    return call(account_sid=account_sid, sender=sender, recipient=recipient, sid=sid, status="in-progress", **ended)


def read_attachment(twiml: bytes) -> dict[str, str] | None:
    """Return `conversationConfiguration` and `conversationId` of the first element that has either, or None."""
    try:
        root = read_twiml(twiml)
    except TwimlError:
        return None
    for element in root.walk():
        given = {one.name: one.value for one in element.attributes if one.name in {CONVERSATION_ID, CONFIGURATION}}
        if element.name in _ATTACHING and given:
            return given
    return None


async def attach_call(
    url: str, webhook: SimulatedWebhook, attachment: Mapping[str, str], *, user: str, password: str
) -> dict[str, Any]:
    """Have the sandbox at `url` capture a call into the conversation of `attachment`; returns the capture's result.

    Raises ConnectionError where there is no sandbox, or it refuses.
    """
    params = dict(webhook.pairs)
    sender = call_party(params["From"])
    body = {
        "channel": "VOICE",
        "from": sender.value if sender else params["From"],
        "to": params["To"],
        "body": None,
        "channelId": params["CallSid"],
        "configurationId": attachment.get(CONFIGURATION),
        "conversationId": attachment.get(CONVERSATION_ID),
    }
    try:
        return await post_json(f"{url}/sandbox/capture", body, user=user, password=password)
    except aiohttp.ClientError as error:
        raise ConnectionError(type(error).__name__) from error
