"""The AI agent: joins the conversation of every participant that it is given, and answers.

It answers those who joined, and what they say if its `reply` asks for communications or turns. It joins under
ROUTER_AI_AGENT_ADDRESS; where that is not set or does not fit the channel, under our side's address of the entry; else
as the single agent that is in the conversation already. A classic conversation it joins as the chat user AI_IDENTITY
(see router.agents.classic). The text comes from `reply` (see replies), by default ROUTER_AI_AGENT_GREETING; empty is
silent. An opt-out keyword is not answered, because Twilio has answered it. Known gap: if Twilio's report of the
participant came before the keyword, a new customer is greeted all the same.

If the reply fails for good, the entry is a dead letter, and ROUTER_AI_AGENT_APOLOGY, where it is set, is sent instead.

A text is sent once per entry, and not if somebody else holds the conversation by then (see router.agents.texts).
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from handlers.consume import GIVEN_UP
from handlers.handler import Handler, HandlerResult, Ports, data_of
from handlers.replies import ask, is_asked_for, load_reply, make_greeting
from router.agents.classic import AI_IDENTITY, ClassicText
from router.agents.effects import Effect, Ticket
from router.agents.joiners import Joiners
from router.agents.joining import fits
from router.agents.joins import JoinOutcome, JoinRequest, JoinResult, unless_ended
from router.agents.texts import SETTLE, ReplyOutcome, V2Text, send_once
from router.core.addresses import Address, Channel
from router.core.classic.members import is_classic
from router.core.entries import CommunicationData, JoinedData, TurnData
from router.core.resources import ParticipantType
from router.core.timestamps import to_microseconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from handlers.handler import Reaction
    from handlers.replies import Reply
    from router.core.entries import Entry, ParticipantData
    from router.process.apis import Apis

#: Channels on which the API can send; on the others the agent joins and is silent.
SENDING: Final = frozenset({Channel.SMS, Channel.RCS, Channel.WHATSAPP, Channel.CHAT})
#: µs by which our clock may be ahead of the API's without that being noticed.
CLOCK_SKEW: Final = 60_000_000


class AiAgent:
    """Reacts to participant.joined, communication.received and turn.ready. `settle` and `clock` are in seconds.

    `has_turns` tells whether what is said in a conversation (of an account) comes in turns too.
    `api_ahead` tells by how much (µs) the clock of an account's API is ahead of that of entries.
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
        settle: float = SETTLE,
        clock: Callable[[], float] = time.monotonic,
        api_ahead: Callable[[str], int] = lambda _: 0,
        has_turns: Callable[[str, str], Awaitable[bool]],
    ) -> None:
        self._apis = apis
        self._joiners = joiners
        self._reply = reply
        self._address = address
        self._name = name
        self._apology = apology
        self._settle = settle
        self._clock = clock
        self._api_ahead = api_ahead
        self._has_turns = has_turns

    @property
    def reactions(self) -> dict[str, Reaction]:
        """The reactions; to communications and turns only if the reply asks for them: they cost nothing otherwise."""
        reactions: dict[str, Reaction] = {JoinedData.type: self.on_joined}
        if is_asked_for(self._reply, CommunicationData.type):
            reactions[CommunicationData.type] = self.on_communication
        if is_asked_for(self._reply, TurnData.type):
            reactions[TurnData.type] = self.on_turn
        return reactions

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
        if not _can_send(data):
            return HandlerResult(ReplyOutcome.CANNOT_SEND)
        if _opt_out(data):
            return HandlerResult(ReplyOutcome.OPT_OUT)
        if not await self._text(entry, effect):
            return HandlerResult(ReplyOutcome.SILENT)
        joined = await self._join(data, effect)
        if joined.participant_id is None:
            return await self._not_joined(data, joined)
        outcome = await self._answer(entry, data, effect, joined.participant_id)
        return HandlerResult(outcome, {"participant": joined.participant_id} | await self._moved(data, outcome))

    async def on_joined(self, entry: Entry, effect: Effect) -> HandlerResult:
        """Join the conversation, and answer if there is an answer."""
        data = data_of(entry, JoinedData)
        joined = await self._join(data, effect)
        if joined.participant_id is None:
            return await self._not_joined(data, joined)
        outcome: str = ReplyOutcome.OPT_OUT
        if not _opt_out(data):
            outcome = await self._answer(entry, data, effect, joined.participant_id)
        fields = {"participant": joined.participant_id, "reply": outcome} | await self._moved(data, outcome)
        return HandlerResult(joined.how, fields)

    async def on_given_up(self, entry: Entry, effect: Effect) -> HandlerResult:
        """Send the apology, if there is one, to the customer whose entry failed for good before anything was sent."""
        data = entry.data
        result = HandlerResult(GIVEN_UP, {"apology": "none"}, level="error")
        if not self._apology or not isinstance(data, JoinedData | CommunicationData | TurnData) or not _can_send(data):
            return result
        if _opt_out(data) or not is_asked_for(self._reply, entry.type) or await effect.is_begun("send"):
            return result
        joined = await self._join(data, effect)
        outcome: str = joined.how
        if joined.participant_id is not None:
            message = self._message(entry, data, joined.participant_id, self._apology)
            outcome = await self._send_once(data, message, effect, "apology")
        return HandlerResult(GIVEN_UP, {"apology": outcome}, level="error")

    async def _not_joined(self, data: ParticipantData, joined: JoinResult) -> HandlerResult:
        return HandlerResult(joined.how, await self._moved(data, joined.how), level="warning")

    async def _moved(self, data: ParticipantData, outcome: str) -> dict[str, bool]:
        """Let the message open another conversation if this one is gone; return that for the log."""
        return {"moved": await self._joiners.follow_gone(data)} if outcome == JoinOutcome.GONE else {}

    async def _text(self, entry: Entry, effect: Effect) -> str:
        return await effect.once("reply", lambda _: ask(self._reply, entry))

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

    async def _answer(self, entry: Entry, data: ParticipantData, effect: Effect, participant_id: str) -> str:
        """Send the reply once; returns a ReplyOutcome, or the ending because of which nothing was sent."""
        if not _can_send(data):
            return ReplyOutcome.CANNOT_SEND
        text = await self._text(entry, effect)
        if not text:
            return ReplyOutcome.SILENT
        return await self._send_once(data, self._message(entry, data, participant_id, text), effect, "send")

    async def _send_once(self, data: ParticipantData, message: V2Text | ClassicText, effect: Effect, step: str) -> str:
        joiner = self._joiners.of(data.account_id, data.conversation.id)
        ticket = Ticket(data.account_id, data.conversation.id, data.epoch)
        sending = send_once(message, effect, step, ticket, settle=self._settle, clock=self._clock)
        return await unless_ended(sending, partial(joiner.find_ending, data.conversation.id, data.participant.id))

    def _message(self, entry: Entry, data: ParticipantData, participant_id: str, text: str) -> V2Text | ClassicText:
        api = self._apis.of(data.account_id)

        def since() -> int:  # asked after an answer of the API, which tells its time
            return (to_microseconds(entry.time) or 0) + self._api_ahead(data.account_id) - CLOCK_SKEW

        if not is_classic(data.conversation.id):
            return V2Text(
                api.v2, data.conversation.id, data.participant, data.channel, participant_id, text, since=since
            )
        return ClassicText(
            api.classic,
            data.conversation.id,
            author=AI_IDENTITY,
            text=text,
            since=since,
            service_sid=api.account.classic_service_sid,
        )


def _can_send(data: ParticipantData) -> bool:
    """Tell whether an answer can reach the customer; a classic conversation sends on all its channels."""
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
        api_ahead=lambda account_id: ports.apis.ahead_of(account_id, ports.clock),
        has_turns=ports.store.has_turns,
    )
    return Handler(agent.reactions, given_up=agent.on_given_up)
