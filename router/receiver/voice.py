"""Answers calls: TwiML from the policy's decision and the target's template, within the request.

The answer comes from the webhook alone, so a duplicate is answered like the first. What the door decides is how the
call goes on; who is told of its participant the worker decides when there is one, by the same policy at its own time.
A conversation is named only to a call that is in it already: which one a new call belongs to Twilio's grouping knows
best, and one that has closed meanwhile would cost the call.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from router.core.calls import decide_call
from router.core.keys import Target
from router.core.policy import Decision
from router.inbound.sources import EMPTY_TWIML
from router.inbound.voice import CallRequest, read_call
from router.streams.client.connection import RedisError

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.accounts import Account
    from router.core.policy import Policy
    from router.core.voice.templates import VoiceTemplates
    from router.inbound.webhook import Webhook
    from router.streams.store.calls import CallStore

#: Seconds that the caller waits for us to look up the conversation of the call.
LOOK_UP: Final = 0.3
HANDED_OVER: Final = Decision(Target.HUMAN_AGENT, "handed over by the AI agent")
_IN_PROGRESS: Final = "in-progress"


class VoiceResponder:
    """Answers the webhooks of the source `voice`. `url` is this route as Twilio calls it; `clock` gives µs since 1970.

    What has nothing to execute (an end, an outgoing call, a request in the course of a call that hands nothing over) is
    answered with an empty document.
    """

    def __init__(
        self,
        policy: Policy,
        templates: VoiceTemplates,
        calls: CallStore,
        *,
        url: str,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._policy = policy
        self._templates = templates
        self._calls = calls
        self._url = url
        self._clock = clock

    async def __call__(self, webhook: Webhook, account: Account) -> bytes:
        """Return the TwiML for a webhook."""
        call = read_call(webhook.form)
        decision = self._decide(call, account)
        if decision is None:
            return EMPTY_TWIML
        values = {
            "call_sid": call.sid,
            "from": call.sender,
            "to": call.recipient,
            "account_id": account.sid,
            "configuration_id": account.configuration_id or "",
            "target": str(decision.target or ""),
            "reason": decision.reason,
            "handoff_data": call.handoff_data,
            "voice_url": self._url,
        }
        if call.status == _IN_PROGRESS and self._templates.wants(decision.target, "conversation_id"):
            values["conversation_id"] = await self._find_conversation(account, call)
        return self._templates.answer(decision.target, values)

    def _decide(self, call: CallRequest, account: Account) -> Decision | None:
        """Return who takes the call now, None if there is nothing to be done."""
        if call.objection or call.is_over:
            return None
        if call.in_course:
            return HANDED_OVER if call.is_handoff else None
        return decide_call(
            self._policy,
            account_id=account.sid,
            customer=call.customer,
            recipient=call.ours,
            configuration_id=account.configuration_id,
            now=self._clock(),
        )

    async def _find_conversation(self, account: Account, call: CallRequest) -> str:
        try:
            async with asyncio.timeout(LOOK_UP):
                return (await self._calls.read(account.sid, call.sid)).conversation_id or ""
        except (RedisError, OSError, TimeoutError):  # the call goes on without it
            return ""
