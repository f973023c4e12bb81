"""`simulate voice`: one webhook of a call, and, with the sandbox, what Twilio does with the TwiML that it gets."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from router.core.calls import OVER
from router.simulator.voice import ANONYMOUS, call, call_sid, call_status, place_call, take_answer

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from router.simulator.messages import SimulatedWebhook

_NEEDED: Final = ("TWILIO_CONVERSATIONS_URL", "TWILIO_API_KEY", "TWILIO_API_SECRET")


def voice_webhook(arguments: argparse.Namespace, account_sid: str) -> SimulatedWebhook:
    """Return the webhook of a call; the same ends are the same call, unless another one is asked for."""
    sender = ANONYMOUS if arguments.anonymous else arguments.sender
    salt = secrets.token_hex(8) if arguments.new else ""
    sid = arguments.sid or call_sid(sender, arguments.recipient, salt)
    make = call if arguments.status == "ringing" else call_status
    return make(status=arguments.status, account_sid=account_sid, sender=sender, recipient=arguments.recipient, sid=sid)


async def connect_call(environment: Mapping[str, str], webhook: SimulatedWebhook, answer: bytes) -> str:
    """Do as Twilio does with an answer: put the call into its conversation.

    Returns the answer, and what came of it in words.
    """
    words = await _connect(environment, webhook, answer)
    shown = answer.decode("utf-8", "replace").rpartition("?>")[2].strip()
    return "\n  ".join(filter(None, (shown, words)))


async def _connect(environment: Mapping[str, str], webhook: SimulatedWebhook, answer: bytes) -> str | None:
    attached = take_answer(answer)
    if dict(webhook.pairs)["CallStatus"] in OVER:
        return None
    if attached is None:
        return "the answer puts the call into no conversation"
    if not all(environment.get(name) for name in _NEEDED):
        return "no sandbox is known that could play Twilio's part"
    url, user, password = (environment[name] for name in _NEEDED)
    try:
        captured = await place_call(url, webhook, attached, user=user, password=password)
    except OSError as error:  # the live API has no such door
        return f"no sandbox plays Twilio's part: {error}"
    return f"the call is in {captured['conversation']['id']}"
