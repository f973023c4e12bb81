"""`simulate voice`: the webhook of one state of a call and, with a sandbox, Twilio's execution of the response.

With `--handoff-data` or `--session-failed` it is the request that follows on the AI agent's session in the same call.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from router.core.calls import OVER
from router.simulator.voice import ANONYMOUS, attach_call, call, call_sid, call_status, read_attachment, session_end

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from router.simulator.messages import SimulatedWebhook

_NEEDED: Final = ("TWILIO_CONVERSATIONS_URL", "TWILIO_API_KEY", "TWILIO_API_SECRET")


def make_call(arguments: argparse.Namespace, account_sid: str) -> SimulatedWebhook:
    """Build the webhook of a call; equal numbers make the same call unless the command line asks for a new one."""
    sender = ANONYMOUS if arguments.anonymous else arguments.sender
    salt = secrets.token_hex(8) if arguments.new else ""
    sid = arguments.sid or call_sid(sender, arguments.recipient, salt)
    ends = {"account_sid": account_sid, "sender": sender, "recipient": arguments.recipient, "sid": sid}
    if arguments.session_failed or arguments.handoff_data is not None:
        return session_end(**ends, handoff_data=arguments.handoff_data)
    build = call if arguments.status == "ringing" else call_status
    return build(status=arguments.status, **ends)


async def follow_call(environment: Mapping[str, str], webhook: SimulatedWebhook, twiml: bytes) -> str:
    """Attach the call to the conversation that the response names, as Twilio would; returns TwiML and result."""
    result = await _attach(environment, webhook, twiml)
    shown = twiml.decode("utf-8", "replace").rpartition("?>")[2].strip()
    return "\n  ".join(filter(None, (shown, result)))


async def _attach(environment: Mapping[str, str], webhook: SimulatedWebhook, twiml: bytes) -> str | None:
    attachment = read_attachment(twiml)
    if dict(webhook.pairs)["CallStatus"] in OVER:
        return None
    if attachment is None:
        return "the TwiML attaches the call to no conversation"
    if not all(environment.get(name) for name in _NEEDED):
        return f"no sandbox to attach the call: set {', '.join(_NEEDED)}"
    url, user, password = (environment[name] for name in _NEEDED)
    try:
        captured = await attach_call(url, webhook, attachment, user=user, password=password)
    except OSError as error:  # the live API has no such route
        return f"no sandbox attached the call: {error}"
    return f"the call is in {captured['conversation']['id']}"
