"""Answers to calls: TwiML from the policy's decision and the target's template, within the request.

The answer depends on the webhook alone, so a duplicate gets the same answer
(https://www.twilio.com/docs/usage/webhooks/voice-webhooks). It decides how the call continues; which target gets the
participant is decided by the worker once there is one, by the same policy at that time. The template gets a
conversation id only if the call is in that conversation already: Twilio's grouping knows best which one a new call
belongs to, and naming one that has closed meanwhile would end the call.

A call for people follows the queue of its rule, or the one that the AI agent names when it hands the call over: the
worker asks for a person by the same words (core.routing.handoff_data).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from router.core.calls import decide_call
from router.core.keys import Target
from router.core.policy import Asking, Decision
from router.core.routing.handoff_data import HANDED_OVER, read_handoff_data
from router.core.routing.queues import DEFAULT_QUEUE
from router.inbound.sources import EMPTY_TWIML
from router.inbound.voice import CallRequest, is_callback, read_call
from router.streams.client.connection import RedisError

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.accounts import Account
    from router.core.policy import Policy
    from router.core.routing.team import Team
    from router.core.voice.templates import VoiceTemplates
    from router.inbound.webhook import Webhook
    from router.streams.store.calls import CallStore

#: Seconds that looking up the conversation of a call may delay its answer.
LOOKUP_TIMEOUT: Final = 0.3
_IN_PROGRESS: Final = "in-progress"


class VoiceResponder:
    """Answers the webhooks of the source `voice`. `url` is this route as Twilio calls it; `clock` gives µs since 1970.

    `team` has the queues and skills that the AI agent may name; without one they are taken as they are.
    A webhook after which nothing is to be executed (the end of a call, an outgoing call, a request during a call that
    does not hand it over) is answered with an empty document.
    """

    def __init__(
        self,
        policy: Policy,
        templates: VoiceTemplates,
        calls: CallStore,
        *,
        url: str,
        team: Team | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._policy = policy
        self._templates = templates
        self._calls = calls
        self._url = url
        self._team = team
        self._clock = clock

    async def __call__(self, webhook: Webhook, account: Account) -> bytes:
        """Return the TwiML that answers a webhook."""
        if is_callback(webhook.form):
            return EMPTY_TWIML
        call = read_call(webhook.form)
        decision, summary = self._decide(call, account)
        if decision is None:
            return EMPTY_TWIML
        asking, queue = decision.asking, decision.asking.queue or DEFAULT_QUEUE
        values = {
            "call_sid": call.sid,
            "from": call.sender,
            "to": call.recipient,
            "account_id": account.sid,
            "configuration_id": account.configuration_id or "",
            "target": str(decision.target or ""),
            "reason": decision.reason,
            "handoff_data": call.handoff_data,
            "summary": summary,
            "team_queue": queue,
            "skills": ",".join(asking.skills),
            "priority": str(asking.priority),
            "voice_url": self._url,
        }
        if call.status == _IN_PROGRESS and self._templates.wants(decision.target, "conversation_id", queue):
            values["conversation_id"] = await self._find_conversation(account, call)
        return self._templates.answer(decision.target, values, queue)

    def _decide(self, call: CallRequest, account: Account) -> tuple[Decision | None, str]:
        """Return the target of the call now, None if nothing is to be executed, and the AI agent's summary."""
        if call.ignored_because or call.is_over:
            return None, ""
        if call.is_during_call:
            return self._hand_over(call) if call.is_handoff else (None, "")
        decision = decide_call(
            self._policy,
            account_id=account.sid,
            customer=call.customer,
            recipient=call.ours,
            configuration_id=account.configuration_id,
            now=self._clock(),
        )
        return decision, ""

    def _hand_over(self, call: CallRequest) -> tuple[Decision, str]:
        data = read_handoff_data(call.handoff_data, self._team)
        asking = Asking(data.queue, data.skills, data.priority)
        return Decision(Target.HUMAN_AGENT, HANDED_OVER, asking), data.summary or ""

    async def _find_conversation(self, account: Account, call: CallRequest) -> str:
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT):
                return (await self._calls.read(account.sid, call.sid)).conversation_id or ""
        except (RedisError, OSError, TimeoutError):  # the call continues without it
            return ""
