"""The AI agent: joins the conversation of every participant that it is given, and answers.

It answers those who joined, and what they say if its `reply` asks for communications. It joins under
ROUTER_AI_AGENT_ADDRESS; where that is not set or does not fit the channel, under our side's address of the entry; else
as the single agent that is in the conversation already. A classic conversation it joins as the chat user AI_IDENTITY
(see handlers.classic). The text comes from `reply` (see replies), by default ROUTER_AI_AGENT_GREETING; empty is silent.
An opt-out keyword is not answered, because Twilio has answered it. Known gap: if Twilio's report of the participant
came before the keyword, a new customer is greeted all the same.

If the reply fails for good, the entry is a dead letter, and ROUTER_AI_AGENT_APOLOGY, where it is set, is sent instead.

A message is sent once per entry. If it is unknown whether it was sent (the process died or was stopped, the answer was
lost), the conversation is searched for it before it is sent again. Known gaps: a message that needs longer than SETTLE
to reach the API and be recorded is sent twice; a message in doubt counts as sent if the same text was sent in the
minute before its entry. What happens to a message after the API accepted it is not followed.
https://www.twilio.com/docs/api/conversations/v2/action
"""

from __future__ import annotations

import time
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final

from handlers.classic import AI_IDENTITY, ClassicText
from handlers.consume import GIVEN_UP
from handlers.effects import Doubt, Effect, NotYetError
from handlers.handler import Handler, HandlerResult, Ports, data_of
from handlers.joiners import Joiners
from handlers.joining import fits
from handlers.joins import JoinOutcome, JoinRequest, JoinResult, unless_ended
from handlers.replies import ask, is_asked_for, load_reply, make_greeting
from router.core.addresses import Address, Channel
from router.core.classic.members import is_classic
from router.core.entries import CommunicationData, JoinedData
from router.core.resources import ActionParty, Communication, ParticipantType
from router.core.timestamps import to_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from handlers.handler import Reaction
    from handlers.replies import Reply
    from router.conversations.v2 import ConversationsV2
    from router.core.entries import Entry, EntryParticipantAddress, ParticipantData
    from router.core.resources import ParticipantAddress
    from router.process.apis import Apis

#: Channels on which the API can send; on the others the agent joins and is silent.
SENDING: Final = frozenset({Channel.SMS, Channel.RCS, Channel.WHATSAPP, Channel.CHAT})
#: Seconds in which a message must appear among the communications, or it counts as not sent.
SETTLE: Final = 10.0
#: Seconds after the step was begun in which the message may be sent: well before a successor stops waiting for it.
SEND_WITHIN: Final = SETTLE / 2
#: µs by which our clock may be ahead of the API's without that being noticed.
CLOCK_SKEW: Final = 60_000_000


class ReplyOutcome(StrEnum):
    """The outcome of an answer, for the log."""

    SENT = "sent"
    FOUND = "found"  # an earlier try had sent it
    SILENT = "silent"  # the reply gave no text
    CANNOT_SEND = "channel cannot send"
    OPT_OUT = "opt-out keyword"  # Twilio has answered it, and refuses further messages after STOP


class AiAgent:
    """Reacts to participant.joined and communication.received. `settle` and `clock` are in seconds.

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

    @property
    def reactions(self) -> dict[str, Reaction]:
        """The reactions; one to communications only if the reply asks for them, so that they cost nothing otherwise."""
        reactions: dict[str, Reaction] = {JoinedData.type: self.on_joined}
        if is_asked_for(self._reply, CommunicationData.type):
            reactions[CommunicationData.type] = self.on_communication
        return reactions

    async def on_communication(self, entry: Entry, effect: Effect) -> HandlerResult:
        """Answer what a participant said; join first, if there is an answer."""
        data = data_of(entry, CommunicationData)
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
        if not self._apology or not isinstance(data, JoinedData | CommunicationData) or not _can_send(data):
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
        async def join(_: Doubt | None) -> str:
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
        sending = effect.once(step, partial(self._send, message, effect, step, self._clock()))
        return await unless_ended(sending, partial(joiner.find_ending, data.conversation.id, data.participant.id))

    def _message(self, entry: Entry, data: ParticipantData, participant_id: str, text: str) -> V2Text | ClassicText:
        api = self._apis.of(data.account_id)

        def since() -> int:  # asked after an answer of the API, which tells its time
            return (to_microseconds(entry.time) or 0) + self._api_ahead(data.account_id) - CLOCK_SKEW

        if not is_classic(data.conversation.id):
            return V2Text(api.v2, data, participant_id, text, since=since)
        return ClassicText(
            api.classic,
            data.conversation.id,
            author=AI_IDENTITY,
            text=text,
            since=since,
            service_sid=api.account.classic_service_sid,
        )

    async def _send(
        self, message: V2Text | ClassicText, effect: Effect, step: str, begun_at: float, doubt: Doubt | None
    ) -> str:
        """Send a message unless it was sent or may still appear; `begun_at` is from before the step was begun."""
        if doubt is not None:
            if await message.is_recorded():
                return ReplyOutcome.FOUND
            if doubt.age < self._settle:
                raise NotYetError("a message that may have been sent has not appeared", delay=self._settle - doubt.age)
            begun_at = self._clock()
            await effect.again(step)
        if self._clock() - begun_at > SEND_WITHIN:
            raise NotYetError("sending was begun too long ago: another process may have sent it", delay=SEND_WITHIN)
        await message.send()
        return ReplyOutcome.SENT


def _can_send(data: ParticipantData) -> bool:
    """Tell whether an answer can reach the customer; a classic conversation sends on all its channels."""
    return data.channel in SENDING or is_classic(data.conversation.id)


def _opt_out(data: JoinedData | CommunicationData) -> str | None:
    """Return the keyword that Twilio has answered itself, if the entry is about one."""
    return data.opt_out if isinstance(data, JoinedData) else data.communication.opt_out


class V2Text:
    """One text from our participant to the customer of an entry, in a v2 conversation.

    `since()` is the earliest time at which it can have been sent, in µs by the API's clock.
    """

    def __init__(
        self,
        client: ConversationsV2,
        data: ParticipantData,
        participant_id: str,
        text: str,
        *,
        since: Callable[[], int],
    ) -> None:
        self._client = client
        self._data = data
        self._text = text
        self._author_id = participant_id
        self._since = since

    async def send(self) -> None:
        """Start the action that sends it."""
        data = self._data
        sender = ActionParty(participant_id=self._author_id, channel=data.channel)
        customer = ActionParty(participant_id=data.participant.id, channel=data.channel)
        await self._client.send_message(
            data.conversation.id, sender, [customer], text=self._text, channel_settings=await self._channel_settings()
        )

    async def _channel_settings(self) -> dict[str, str] | None:
        """Return the classic conversation through which CHAT is sent: the channelId of the customer's address."""
        data = self._data
        if data.channel != Channel.CHAT:
            return None
        channel_id = _chat_id(data.participant.addresses)
        if channel_id is None and isinstance(data, CommunicationData):  # such an entry has no channelId
            customer = await self._client.fetch_participant(data.conversation.id, data.participant.id)
            channel_id = _chat_id(customer.addresses)
        return {"channelId": channel_id} if channel_id else None

    async def is_recorded(self) -> bool:
        """Tell whether the conversation contains the text from us to the customer, since the entry."""
        async for one in self._client.list_communications(self._data.conversation.id, page_size=1000):
            if self._is_ours(one):
                return True
        return False

    def _is_ours(self, communication: Communication) -> bool:
        author, text = communication.author, (communication.content or {}).get("text")
        if author is None or author.participant_id != self._author_id or not isinstance(text, str):
            return False
        receivers = {one.participant_id for one in communication.recipients if one.participant_id}
        if text.strip() != self._text.strip() or (receivers and self._data.participant.id not in receivers):
            return False
        created_at = to_microseconds(communication.created_at)
        return created_at is None or created_at >= self._since()


def _chat_id(addresses: Iterable[EntryParticipantAddress | ParticipantAddress]) -> str | None:
    return next((one.channel_id for one in addresses if one.channel_id and one.channel == Channel.CHAT), None)


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
    )
    return Handler(agent.reactions, given_up=agent.on_given_up)
