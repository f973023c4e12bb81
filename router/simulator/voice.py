"""Webhooks of calls as Twilio sends them, and Twilio's part of a call: what it does with the TwiML that it gets.

Builders are pure. `take_answer` reads the first thing in an answer that puts the call into a conversation; `place_call`
then lets the sandbox open or find it, as Twilio would, with the CallSid as `channelId`.
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
#: What Twilio writes for a caller who withholds the number.
ANONYMOUS: Final = "+266696687"
_ATTACHING: Final = frozenset({"ConversationRelay", "Transcription"})


def call_sid(sender: str, recipient: str, body: str = "") -> str:
    """Return a CallSid that is a digest of the call, so that the same again is a repeat."""
    parts = ("call", sender, recipient, body)
    return "CA" + sha256("\0".join(parts).encode()).hexdigest()[:32]


def call(
    *, account_sid: str, sender: str, recipient: str, sid: str, status: str = "ringing", **extra: str
) -> SimulatedWebhook:
    """Return the webhook of an incoming call, with all parameters, or of another state of it."""
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
    """Return a status callback of a call, with what only those carry."""
    seconds = "12" if status == "completed" else "0"
    over = {"CallDuration": seconds, "Duration": "1"} if status in OVER else {}
    number = STATUSES.index(status) if status in STATUSES else 0
    told = {"CallbackSource": "call-progress-events", "SequenceNumber": str(number)}
    return call(account_sid=account_sid, sender=sender, recipient=recipient, sid=sid, status=status, **told, **over)


def handoff(*, account_sid: str, sender: str, recipient: str, sid: str, data: str) -> SimulatedWebhook:
    """Return what the `action` of a `<Connect>` gets when the AI agent ends its session with `data` for people."""
    session = {"SessionId": f"VX{sid[2:]}", "SessionStatus": "ended", "SessionDuration": "31", "HandoffData": data}
    return call(account_sid=account_sid, sender=sender, recipient=recipient, sid=sid, status="in-progress", **session)


def take_answer(twiml: bytes) -> dict[str, str] | None:
    """Return `conversationConfiguration` and `conversationId` of what puts the call into a conversation, or None."""
    try:
        root = read_twiml(twiml)
    except TwimlError:
        return None
    for element in root.walk():
        given = {one.name: one.value for one in element.attributes if one.name in {CONVERSATION_ID, CONFIGURATION}}
        if element.name in _ATTACHING and given:
            return given
    return None


async def place_call(
    url: str, webhook: SimulatedWebhook, answer: Mapping[str, str], *, user: str, password: str
) -> dict[str, Any]:
    """Let the sandbox at `url` put a call into the conversation that its answer names; returns what came of it.

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
        "configurationId": answer.get(CONFIGURATION),
        "conversationId": answer.get(CONVERSATION_ID),
    }
    try:
        return await post_json(f"{url}/sandbox/capture", body, user=user, password=password)
    except aiohttp.ClientError as error:
        raise ConnectionError(type(error).__name__) from error
