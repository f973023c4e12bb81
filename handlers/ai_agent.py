"""The AI agent: joins the conversation of every participant that it is given, and answers.

It answers those who joined, and what they say if its `reply` asks for communications or turns. It joins under
ROUTER_AI_AGENT_ADDRESS; where that is not set or does not fit the channel, under our side's address of the entry; else
as the single agent that is in the conversation already. A classic conversation it joins as the chat user AI_IDENTITY
(see router.agents.classic). The text comes from `reply` (see replies), by default ROUTER_AI_AGENT_GREETING; empty is
silent. An opt-out keyword is not answered, because Twilio has answered it. Known gap: if Twilio's report of the
participant came before the keyword, a new customer is greeted all the same.

A reply may ask for a person, beside a text or instead of one: the text is sent first, then `handoff.request` is written
once, with the entry's epoch. The AI agent holds until a person accepts; then it is given nothing more, and a text that
comes too late is dropped, because the epoch has changed. What became of it (holder.changed, handoff.failed,
command.refused) reaches the reply if it asks for these entries, and if the AI agent holds the conversation.

If the reply fails for good, the entry is a dead letter. With ROUTER_AI_AGENT_ON_FAILURE=handoff a person is asked for
before that, unless the answer was sent. ROUTER_AI_AGENT_APOLOGY, where it is set, is sent instead of the answer.

A text is sent once per entry, and not if somebody else holds the conversation by then (see router.agents.effects).
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from handlers.consume import GIVEN_UP
from handlers.handler import Handler, HandlerResult, Ports, data_of
from handlers.replies import ReplyAnswer, ask, is_asked_for, load_reply, make_greeting, reading
from router.agents.classic import AI_IDENTITY
from router.agents.customer_texts import CustomerTexts, ticket_of
from router.agents.effects import SETTLE, Effect, NotYetError, ReplyOutcome
from router.agents.history import read_history
from router.agents.joiners import Joiners
from router.agents.joining import fits
from router.agents.joins import JoinOutcome, JoinRequest, JoinResult, unless_ended
from router.agents.texts import SENDING
from router.core.addresses import Address, Channel
from router.core.classic.members import is_classic
from router.core.entries import (
    CommandRefusedData,
    CommunicationData,
    HandoffFailedData,
    HolderChangedData,
    JoinedData,
    TurnData,
)
from router.core.formats import OtherFormatError
from router.core.keys import Target
from router.core.resources import ParticipantType
from router.core.routing.holding import Why

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from handlers.handler import Reaction
    from handlers.replies import Reply
    from router.agents.effects import OutgoingText
    from router.core.entries import Entry, EntryData, ParticipantData
    from router.process.apis import Apis

#: The value of ROUTER_AI_AGENT_ON_FAILURE with which a person is asked for.
HANDOFF: Final = "handoff"
#: The command that asks for a person, and the step that writes it.
REQUEST: Final = "handoff.request"
_STEP: Final = f"command:{REQUEST}"
#: Characters of a failure that the reason of a request names.
FAILURE: Final = 200
#: The results of entries about the floor that say nothing to a customer.
ELSEWHERE: Final = "elsewhere"  # people hold it from now on
REFUSED: Final = "refused"
NO_CUSTOMER: Final = "no-customer"  # the ledger does not know whom to answer
#: Endings after which nobody needs a person, and what the request would be refused for.
_OVER: Final = frozenset({ReplyOutcome.STALE, JoinOutcome.CLOSED, JoinOutcome.GONE, JoinOutcome.LEFT})
#: Refusals that happen in ordinary operation.
_USUAL: Final = frozenset({Why.PENDING, Why.STALE_EPOCH, Why.CLOSED})
#: Seconds until an entry is tried again whose ledger another release has written.
_OTHER_RELEASE: Final = 2.0


class AiAgent:
    """Reacts to what customers do and say, and to entries about the floor. `settle` and `clock` are in seconds.

    `has_turns` tells whether what is said in a conversation (of an account) comes in turns too.
    `api_ahead` tells by how much (µs) the clock of an account's API is ahead of that of entries. `on_failure` is
    HANDOFF or anything else.
    """

    def __init__(
        self,
        *,
        apis: Apis,
        joiners: Joiners,
        reply: Reply,
        address: str | None = None,
        name: str = "AI agent",
        apology: str = "",
        on_failure: str = "",
        settle: float = SETTLE,
        clock: Callable[[], float] = time.monotonic,
        api_ahead: Callable[[str], int] = lambda _: 0,
        has_turns: Callable[[str, str], Awaitable[bool]],
    ) -> None:
        self._joiners = joiners
        self._reply = reply
        self._address = address
        self._name = name
        self._apology = apology
        self._on_failure = on_failure
        self._settle = settle
        self._clock = clock
        self._apis = apis
        self._texts = CustomerTexts(apis, api_ahead)
        self._has_turns = has_turns

    @property
    def handler(self) -> Handler:
        """The handler; it reacts to most types only if the reply asks for them, so that they cost nothing otherwise."""
        reactions: dict[str, Reaction] = {JoinedData.type: self.on_joined, CommandRefusedData.type: self.on_refused}
        wanted: dict[str, Reaction] = {
            CommunicationData.type: self.on_communication,
            TurnData.type: self.on_turn,
            HolderChangedData.type: self.on_floor,
            HandoffFailedData.type: self.on_floor,
        }
        reactions |= {kind: react for kind, react in wanted.items() if is_asked_for(self._reply, kind)}
        return Handler(reactions, given_up=self.on_given_up, failing=self.on_failing)

    async def on_communication(self, entry: Entry, effect: Effect) -> HandlerResult:
        """Answer what a participant said, unless the turn that it is part of is answered."""
        data = data_of(entry, CommunicationData)
        if is_asked_for(self._reply, TurnData.type) and await self._has_turns(data.account_id, data.conversation.id):
            return HandlerResult(ReplyOutcome.IN_TURN)
        return await self._answer_said(entry, data, effect)

    async def on_turn(self, entry: Entry, effect: Effect) -> HandlerResult:
        """Answer all that a participant said in one burst."""
        return await self._answer_said(entry, data_of(entry, TurnData), effect)

    async def _answer_said(self, entry: Entry, data: CommunicationData | TurnData, effect: Effect) -> HandlerResult:
        """Answer what a participant said; join first, if there is an answer."""
        if _can_send(data) and _opt_out(data):
            return HandlerResult(ReplyOutcome.OPT_OUT)
        return await self._respond(entry, data, effect)

    async def on_floor(self, entry: Entry, effect: Effect) -> HandlerResult:
        """Let the reply answer a change of the floor, if the AI agent holds it now."""
        data = entry.data
        if isinstance(data, HolderChangedData) and data.to.target != Target.AI_AGENT:
            return HandlerResult(ELSEWHERE, {"because": data.because, "epoch": data.epoch})
        if isinstance(data, HandoffFailedData) and data.fallback is None:
            return HandlerResult(JoinOutcome.LEFT)
        if not await effect.holds(ticket_of(data)):
            return HandlerResult(ReplyOutcome.STALE)
        try:
            customer = await self._joiners.find_customer(data)
        except OtherFormatError as error:
            raise NotYetError(str(error), delay=_OTHER_RELEASE) from error
        if customer is None:
            return HandlerResult(NO_CUSTOMER, level="warning")
        return await self._respond(entry, customer, effect)

    async def on_refused(self, entry: Entry, effect: Effect) -> HandlerResult:
        """Log why a request for a person was refused, and let the reply answer that."""
        data = data_of(entry, CommandRefusedData)
        result = HandlerResult(REFUSED)
        if is_asked_for(self._reply, entry.type):
            result = await self.on_floor(entry, effect)
        fields = {"why": data.why, "command": data.command_id} | dict(result.fields)
        return HandlerResult(result.word, fields, level="info" if data.why in _USUAL else "warning")

    async def on_joined(self, entry: Entry, effect: Effect) -> HandlerResult:
        """Join the conversation, and answer if there is an answer."""
        data = data_of(entry, JoinedData)
        joined = await self._join(data, effect)
        if joined.participant_id is None:
            return await self._not_joined(data, joined)
        fields: dict[str, Any] = {"participant": joined.participant_id}
        outcome: str = ReplyOutcome.OPT_OUT if _opt_out(data) else ReplyOutcome.CANNOT_SEND
        if _can_send(data) and not _opt_out(data):
            answer = await self._ask(entry, effect)
            outcome = await self._send_answer(entry, data, answer, joined.participant_id, effect)
            fields |= await self._hand_off(data, answer, outcome, effect)
        return HandlerResult(joined.how, {**fields, "reply": outcome} | await self._moved(data, outcome))

    async def on_failing(self, entry: Entry, effect: Effect, reason: str) -> None:
        """Ask for a person, if the reply did before it failed for good, or if that is what failures lead to."""
        data, asked = entry.data, await effect.value("asked")
        if asked:
            await self._request(data, orjson.loads(asked), effect)
        elif self._on_failure == HANDOFF and self._is_owed(entry) and await effect.value("send") is None:
            await self._request(data, {"reason": f"the AI agent's reply failed: {reason[:FAILURE]}"}, effect)

    async def on_given_up(self, entry: Entry, effect: Effect) -> HandlerResult:
        """Send the apology, if there is one, to the customer whose entry failed for good before anything was sent."""
        data = entry.data
        fields: dict[str, Any] = {"apology": "none"}
        if (asked := await effect.value(_STEP)) is not None:
            fields["handoff"] = asked
        if (
            not self._apology
            or not isinstance(data, JoinedData | CommunicationData | TurnData)
            or not self._is_owed(entry)
        ):
            return HandlerResult(GIVEN_UP, fields, level="error")
        if not await effect.is_begun("send"):
            joined = await self._join(data, effect)
            fields["apology"] = joined.how
            if joined.participant_id is not None:
                message = self._texts.make(entry, data, joined.participant_id, self._apology)
                fields["apology"] = await self._send_once(data, message, effect, "apology")
        return HandlerResult(GIVEN_UP, fields, level="error")

    def _is_owed(self, entry: Entry) -> bool:
        """Return whether the customer of an entry waits for an answer of the reply."""
        data = entry.data
        if not isinstance(data, JoinedData | CommunicationData | TurnData) or not is_asked_for(self._reply, entry.type):
            return False
        return _can_send(data) and not _opt_out(data)

    async def _respond(self, entry: Entry, data: ParticipantData, effect: Effect) -> HandlerResult:
        """ReplyAnswer an entry: join only if there is a text."""
        if not _can_send(data):
            return HandlerResult(ReplyOutcome.CANNOT_SEND)
        answer = await self._ask(entry, effect)
        if not answer.text:
            silent = ReplyOutcome.SILENT if answer.request is None else ReplyOutcome.HANDOFF
            return HandlerResult(silent, await self._hand_off(data, answer, silent, effect))
        joined = await self._join(data, effect)
        if joined.participant_id is None:
            return await self._not_joined(data, joined, await self._hand_off(data, answer, joined.how, effect))
        outcome = await self._send_answer(entry, data, answer, joined.participant_id, effect)
        fields = {"participant": joined.participant_id} | await self._hand_off(data, answer, outcome, effect)
        return HandlerResult(outcome, fields | await self._moved(data, outcome))

    async def _not_joined(
        self, data: ParticipantData, joined: JoinResult, asked: Mapping[str, str] | None = None
    ) -> HandlerResult:
        return HandlerResult(joined.how, dict(asked or {}) | await self._moved(data, joined.how), level="warning")

    async def _moved(self, data: ParticipantData, outcome: str) -> dict[str, Any]:
        """Let the message open another conversation if this one is gone; return that for the log."""
        return {"moved": await self._joiners.follow_gone(data)} if outcome == JoinOutcome.GONE else {}

    async def _ask(self, entry: Entry, effect: Effect) -> ReplyAnswer:
        """Return the answer of the reply, which is called once; what it asks for is kept before its text is."""
        called: list[ReplyAnswer] = []

        async def call(_: object) -> str:
            where = entry.data.conversation.id
            with reading(lambda most: read_history(self._apis.of(entry.data.account_id), where, most)):
                answer = await ask(self._reply, entry)
            if answer.request is not None:
                await effect.finish("asked", orjson.dumps(answer.request).decode())
            called.append(answer)
            return answer.text

        text = await effect.once("reply", call)
        if called:
            return called[0]
        asked = await effect.value("asked")
        return ReplyAnswer(text, orjson.loads(asked) if asked else None)

    async def _hand_off(
        self, data: ParticipantData, answer: ReplyAnswer, outcome: str, effect: Effect
    ) -> dict[str, str]:
        """Ask for a person if the answer does and the conversation goes on with us; return that for the log."""
        if answer.request is None or outcome in _OVER:
            return {}
        return {"handoff": await self._request(data, answer.request, effect)}

    async def _request(self, data: EntryData, request: Mapping[str, Any], effect: Effect) -> str:
        where = {"account": data.account_id, "conversation": data.conversation.id, "epoch": data.epoch}
        return await effect.command(REQUEST, {**request, **where})

    async def _join(self, data: ParticipantData, effect: Effect) -> JoinResult:
        async def join(_: object) -> str:
            address = await self._find_address(data)
            joiner = self._joiners.of(data.account_id, data.conversation.id)
            if address is None:
                ending = await joiner.find_ending(data.conversation.id)
                return JoinResult(how=ending or JoinOutcome.NO_ADDRESS).model_dump_json()
            request = JoinRequest(ParticipantType.AI_AGENT, address, self._name)
            return (await joiner.join(data.conversation.id, request)).model_dump_json()

        return JoinResult.model_validate_json(await effect.once("join", join))

    async def _find_address(self, data: ParticipantData) -> Address | None:
        if is_classic(data.conversation.id):
            return Address(Channel.CHAT, AI_IDENTITY)
        if self._address is not None and fits(data.channel, self._address):
            return Address(data.channel, self._address)
        if data.recipient is not None and data.recipient.channel == data.channel:
            return Address(data.channel, data.recipient.address)
        joiner = self._joiners.of(data.account_id, data.conversation.id)
        return await joiner.find_our_address(data.conversation.id, data.channel)

    async def _send_answer(
        self, entry: Entry, data: ParticipantData, answer: ReplyAnswer, participant_id: str, effect: Effect
    ) -> str:
        """Send the text once; returns a ReplyOutcome, or the ending because of which nothing was sent."""
        if not answer.text:
            return ReplyOutcome.SILENT if answer.request is None else ReplyOutcome.HANDOFF
        return await self._send_once(data, self._texts.make(entry, data, participant_id, answer.text), effect, "send")

    async def _send_once(self, data: ParticipantData, message: OutgoingText, effect: Effect, step: str) -> str:
        joiner = self._joiners.of(data.account_id, data.conversation.id)
        sending = effect.send(message, ticket_of(data), step=step, settle=self._settle, clock=self._clock)
        return await unless_ended(sending, partial(joiner.find_ending, data.conversation.id, data.participant.id))


def _can_send(data: ParticipantData) -> bool:
    """Return whether an answer can reach the customer; a classic conversation sends on all its channels."""
    return data.channel in SENDING or is_classic(data.conversation.id)


def _opt_out(data: JoinedData | CommunicationData | TurnData) -> str | None:
    """Return the keyword that Twilio has answered itself, if the entry is about one."""
    return data.communication.opt_out if isinstance(data, CommunicationData) else data.opt_out


def make_ai_agent(ports: Ports) -> Handler:
    """Join every conversation as the AI agent, and answer with a configured text or function."""
    settings = ports.settings
    dotted = settings.ai_agent_reply
    agent = AiAgent(
        apis=ports.apis,
        joiners=Joiners(ports.apis, ports.store),
        reply=load_reply(dotted) if dotted else make_greeting(settings.ai_agent_greeting),
        address=settings.ai_agent_address,
        name=settings.ai_agent_name,
        apology=settings.ai_agent_apology,
        on_failure=settings.ai_agent_on_failure,
        api_ahead=lambda account_id: ports.apis.ahead_of(account_id, ports.clock),
        has_turns=ports.store.has_turns,
    )
    return agent.handler
