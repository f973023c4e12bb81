"""The AI agent: joins the conversation of every participant that it is given, and answers.

It answers whoever joined, and what they say where its `reply` wants to be asked for that.

It joins under ROUTER_AI_AGENT_ADDRESS on the customer's channel, without one (or where it does not fit the channel)
at our side's address of the entry, else as the single agent that sits there. What it answers comes from `reply` (see
replies); by default ROUTER_AI_AGENT_GREETING, and nothing at all while that is empty.

A message goes out once per entry. Where it is not known whether it did (the process died, the answer was lost), the
conversation's communications are searched for it before it is sent again, and who was stopped between beginning and
sending looks too. Known gap: a message that the API accepted and took longer than SETTLE to record is sent twice, and
so is one that was on its way to the API for so long; one in doubt counts as sent where the same words went out in the
minute before its entry. What becomes of a message after the API took it is not followed.

A classic conversation it joins and answers as the chat user AI_IDENTITY (see handlers.classic).
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from handlers.classic import AI_IDENTITY, ClassicText
from handlers.effects import Doubt, Effect, NotYetError
from handlers.handler import Handler, HandlerResult, Ports, data_of
from handlers.joiners import Joiners
from handlers.joining import fits
from handlers.replies import ask, is_asked_for, load_reply, make_greeting
from handlers.seats import REFUSALS, How, Joined, Seat
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

#: Channels that can send; on the others an agent only listens.
SENDING: Final = frozenset({Channel.SMS, Channel.RCS, Channel.WHATSAPP, Channel.CHAT})
#: Seconds that a message gets to appear among the communications before it counts as never sent.
SETTLE: Final = 10.0
#: Seconds after its beginning in which a message may be sent: well before a successor stops waiting for it.
PROMPT: Final = SETTLE / 2
#: µs by which our clock may be ahead of the API's.
SKEW: Final = 60_000_000


class AiAgent:
    """Reacts to participant.joined and communication.received. `settle` and `clock` are in seconds."""

    def __init__(
        self,
        *,
        apis: Apis,
        joiners: Joiners,
        reply: Reply,
        address: str | None = None,
        name: str = "AI agent",
        settle: float = SETTLE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._apis = apis
        self._joiners = joiners
        self._reply = reply
        self._address = address
        self._name = name
        self._settle = settle
        self._clock = clock

    @property
    def reactions(self) -> dict[str, Reaction]:
        """What it reacts to: communications only where its reply is asked for them, else they cost nothing."""
        reactions: dict[str, Reaction] = {JoinedData.type: self.joined}
        if is_asked_for(self._reply, CommunicationData.type):
            reactions[CommunicationData.type] = self.heard
        return reactions

    async def heard(self, entry: Entry, effect: Effect) -> HandlerResult:
        """Answer what a participant said, where there is something to say; whoever speaks has a seat."""
        data = data_of(entry, CommunicationData)
        if not _can_send(data):
            return HandlerResult("channel cannot send")
        if not await effect.once("reply", lambda _: ask(self._reply, entry)):
            return HandlerResult("silent")
        joined = Joined.model_validate_json(await effect.once("join", lambda _: self._join(data)))
        if joined.participant_id is None:
            return HandlerResult(joined.how, level="warning")
        said = await self._answer(entry, data, effect, joined.participant_id)
        return HandlerResult(said, {"participant": joined.participant_id})

    async def joined(self, entry: Entry, effect: Effect) -> HandlerResult:
        """Join the conversation, and answer where there is something to say."""
        data = data_of(entry, JoinedData)
        joined = Joined.model_validate_json(await effect.once("join", lambda _: self._join(data)))
        if joined.participant_id is None:
            return HandlerResult(joined.how, level="warning")
        said = await self._answer(entry, data, effect, joined.participant_id)
        return HandlerResult(joined.how, {"participant": joined.participant_id, "reply": said})

    async def _join(self, data: ParticipantData) -> str:
        address = await self._find_address(data)
        if address is None:
            return Joined(how=How.NO_ADDRESS).model_dump_json()
        seat = Seat(ParticipantType.AI_AGENT, address, self._name)
        joiner = self._joiners.of(data.account_id)
        return (await joiner.join(data.account_id, data.conversation.id, seat)).model_dump_json()

    async def _find_address(self, data: ParticipantData) -> Address | None:
        if is_classic(data.conversation.id):
            return Address(Channel.CHAT, AI_IDENTITY)
        if self._address is not None and fits(data.channel, self._address):
            return Address(data.channel, self._address)
        if data.recipient is not None and data.recipient.channel == data.channel:
            return Address(data.channel, data.recipient.address)
        return await self._joiners.of(data.account_id).find_seat(data.conversation.id, data.channel)

    async def _answer(self, entry: Entry, data: ParticipantData, effect: Effect, participant_id: str) -> str:
        """Return what was said, in a word for the log: sent, found, silent, or why it could not be."""
        if not _can_send(data):
            return "channel cannot send"
        text = await effect.once("reply", lambda _: ask(self._reply, entry))
        if not text:
            return "silent"
        message = self._message(entry, data, participant_id, text)
        try:
            return await effect.once("send", partial(self._send, message, effect, self._clock()))
        except REFUSALS:
            ending = await self._joiners.of(data.account_id).ending(data.conversation.id, data.participant.id)
            if ending is None:
                raise
            return ending  # it has closed or gone meanwhile, or the customer has left: nobody needs an answer

    def _message(self, entry: Entry, data: ParticipantData, participant_id: str, text: str) -> _Message | ClassicText:
        api = self._apis.of(data.account_id)
        if not is_classic(data.conversation.id):
            return _Message(api.v2, entry, data, participant_id, text)
        return ClassicText(
            api.classic,
            data.conversation.id,
            author=AI_IDENTITY,
            text=text,
            since=_earliest(entry),
            service_sid=api.account.classic_service_sid,
        )

    async def _send(self, message: _Message | ClassicText, effect: Effect, begun: float, doubt: Doubt | None) -> str:
        """Send it, unless it went out or may still appear; `begun` is from before the step was begun."""
        if doubt is not None:
            if await message.is_there():
                return "found"
            if doubt.age < self._settle:
                raise NotYetError("a message that may have been sent has not appeared", delay=self._settle - doubt.age)
            begun = self._clock()
            await effect.again("send")
        if self._clock() - begun > PROMPT:
            raise NotYetError("its sending was begun too long ago: another may have sent it", delay=PROMPT)
        return await message.send()


def _can_send(data: ParticipantData) -> bool:
    """Tell whether an answer can reach the customer; a classic conversation sends on every channel that it has."""
    return data.channel in SENDING or is_classic(data.conversation.id)


def _earliest(entry: Entry) -> int:
    """Return since when an answer to the entry can have been sent, in µs by the API's clock."""
    return (to_microseconds(entry.time) or 0) - SKEW


class _Message:
    """One text from us to the customer of an entry."""

    def __init__(
        self, client: ConversationsV2, entry: Entry, data: ParticipantData, participant_id: str, text: str
    ) -> None:
        self._client = client
        self._data = data
        self._text = text
        self._ours = participant_id
        self._since = _earliest(entry)

    async def send(self) -> str:
        """Start the action."""
        data, conversation_id = self._data, self._data.conversation.id
        sender = ActionParty(participant_id=self._ours, channel=data.channel)
        customer = ActionParty(participant_id=data.participant.id, channel=data.channel)
        await self._client.send_message(
            conversation_id, sender, [customer], text=self._text, channel_settings=await self._settings()
        )
        return "sent"

    async def _settings(self) -> dict[str, str] | None:
        """CHAT is bridged through a classic conversation, which the channelId of the customer's address names."""
        data = self._data
        if data.channel != Channel.CHAT:
            return None
        channel_id = _chat_id(data.participant.addresses)
        if channel_id is None and isinstance(data, CommunicationData):  # it tells no more than who spoke
            customer = await self._client.fetch_participant(data.conversation.id, data.participant.id)
            channel_id = _chat_id(customer.addresses)
        return {"channelId": channel_id} if channel_id else None

    async def is_there(self) -> bool:
        """Tell whether the conversation holds the text from us to the customer since the entry."""
        async for one in self._client.list_communications(self._data.conversation.id, page_size=1000):
            if self._is_it(one):
                return True
        return False

    def _is_it(self, communication: Communication) -> bool:
        author, text = communication.author, (communication.content or {}).get("text")
        if author is None or author.participant_id != self._ours or not isinstance(text, str):
            return False
        receivers = {one.participant_id for one in communication.recipients if one.participant_id}
        if text.strip() != self._text.strip() or (receivers and self._data.participant.id not in receivers):
            return False
        written = to_microseconds(communication.created_at)
        return written is None or written >= self._since


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
    )
    return Handler(agent.reactions)
