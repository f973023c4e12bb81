"""POST /sandbox/classic/inbound: an inbound message, or a message of a chat user, as the classic product handles it.

A message goes to the open conversation that holds (from, to). Without one, `classic_auto_creation` opens one, with
onConversationAdd as the only pre-action webhook, then onConversationAdded, onParticipantAdded and onMessageAdded. With
`classic_bridge` the message is captured into a v2 conversation too, as a communication whose `channelId` is the SID of
the classic conversation; the first one opens the v2 conversation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from router.core.addresses import Channel, parse_address
from router.sandbox.bodies import Body, Text
from router.sandbox.classic.conversations import make_conversation, open_conversation
from router.sandbox.classic.errors import CONVERSATION_NOT_FOUND, is_final, missing, refuse
from router.sandbox.classic.events import adding_fields, message_fields
from router.sandbox.classic.forms import ConversationForm, MemberForm, MessageForm
from router.sandbox.classic.members import add_member, make_member, pair_of, type_of
from router.sandbox.classic.messages import write_message
from router.sandbox.classic.records import Binding
from router.sandbox.classic.webhooks import Origin
from router.sandbox.v2.capture import CaptureBody, capture

if TYPE_CHECKING:
    from router.sandbox.bodies import Wire
    from router.sandbox.classic.records import ClassicConversationRecord, ClassicMember
    from router.sandbox.state import SandboxState
    from router.sandbox.v2.records import ConversationRecord

InboundOutcome = Literal["created", "added", "rejected", "ignored"]


class InboundBody(Body):
    """The body: `from` and `to`, or `conversation` and the `identity` of one of its members."""

    sender: Text | None = Field(default=None, alias="from")
    to: Text | None = None
    conversation: Text | None = None
    identity: Text | None = None
    body: str = ""
    attributes: str = "{}"

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        is_message, is_chat = bool(self.sender and self.to), bool(self.conversation and self.identity)
        if is_message == is_chat:
            raise ValueError("needs from and to, or conversation and identity")
        return self


@dataclass(frozen=True, slots=True)
class InboundResult:
    """The outcome of a message; `ignored` if auto-creation is off (Twilio would call the number's own webhook)."""

    outcome: InboundOutcome
    conversation: ClassicConversationRecord | None = None
    member: ClassicMember | None = None
    message: Wire | None = None
    bridged: ConversationRecord | None = None


async def receive_message(state: SandboxState, body: InboundBody) -> InboundResult:
    """Receive a message; raises RefusalError for an unknown conversation or identity."""
    if body.identity is not None:
        conversation, member = _find_chat(state, body)
        return await _add(state, body, conversation, member)
    binding = Binding(type_of(body.sender or ""), body.sender, body.to)
    held = state.classic.holder(pair_of(binding) or ("", ""))
    if held is not None:
        return await _add(state, body, *held)
    if not state.options.classic_auto_creation:
        return InboundResult("ignored")
    return await _create(state, body, binding)


def _find_chat(state: SandboxState, body: InboundBody) -> tuple[ClassicConversationRecord, ClassicMember]:
    conversation = state.classic.find(body.conversation or "")
    if conversation is None:
        raise missing(CONVERSATION_NOT_FOUND, f"/Conversations/{body.conversation}", state.options.classic_not_found)
    if conversation.is_closed:
        raise is_final()
    member = next((each for each in conversation.members if each.identity == body.identity), None)
    if member is None:
        raise refuse(50430, "User not member of conversation", 403)
    return conversation, member


async def _create(state: SandboxState, body: InboundBody, binding: Binding) -> InboundResult:
    """Open a conversation for a message, unless one was opened during the pre-action webhook."""
    conversation = make_conversation(state, ConversationForm())
    fields = adding_fields(conversation, binding, body.body)
    verdict = await state.classic_webhooks.ask("onConversationAdd", fields, Origin())
    if verdict.is_rejected:
        return InboundResult("rejected")
    held = state.classic.holder(pair_of(binding) or ("", ""))
    if held is not None:
        return await _add(state, body, *held)
    conversation.friendly_name = verdict.changes.get("friendly_name")
    form = MemberForm.model_construct(address=binding.address, proxy_address=binding.proxy_address)
    member = make_member(state, conversation, form, is_checked=False)
    open_conversation(state, conversation, Origin())
    add_member(state, conversation, member, Origin())
    message = _write(state, conversation, member, _content(body, member))
    return InboundResult("created", conversation, member, message, _bridge(state, body, conversation))


async def _add(
    state: SandboxState, body: InboundBody, conversation: ClassicConversationRecord, member: ClassicMember
) -> InboundResult:
    """Add a message to an open conversation."""
    content, origin = _content(body, member), Origin(identity=member.identity)
    fields = {"ConversationSid": conversation.id, "ParticipantSid": member.id, **content}
    verdict = await state.classic_webhooks.ask("onMessageAdd", fields, origin)
    if verdict.is_rejected:
        return InboundResult("rejected", conversation, member)
    if conversation.is_closed or conversation.members.get(member.id) is None:
        return await receive_message(state, body)  # it changed during the pre-action webhook
    content |= {name.capitalize(): value for name, value in verdict.changes.items()}
    message = _write(state, conversation, member, content)
    return InboundResult("added", conversation, member, message, _bridge(state, body, conversation))


def _content(body: InboundBody, member: ClassicMember) -> dict[str, str | None]:
    return {"Body": body.body, "Author": member.identity or body.sender, "Attributes": body.attributes}


def _write(
    state: SandboxState, conversation: ClassicConversationRecord, member: ClassicMember, content: dict[str, str | None]
) -> Wire:
    """Record the member's message; returns its webhook parameters."""
    form = MessageForm.model_validate(content)
    message = write_message(state, conversation, form, member, Origin(identity=member.identity))
    return dict(message_fields(message, "onMessageAdded", conversation.messaging_service_sid))


def _bridge(
    state: SandboxState, body: InboundBody, conversation: ClassicConversationRecord
) -> ConversationRecord | None:
    """Capture the message into v2 as well, if the bridge is on."""
    if not state.options.classic_bridge:
        return None
    sender, to = body.identity or body.sender or "", body.to or conversation.service_sid
    channel = Channel.CHAT if body.identity else parse_address(sender, _channel_of(sender)).channel
    captured = capture(
        state,
        CaptureBody.model_validate(
            {
                "channel": channel if channel in set(Channel) else Channel.SMS,
                "from": sender,
                "to": to,
                "body": body.body,
                "channelId": conversation.id,
                "configurationId": _bridged_configuration(state),
            }
        ),
    )
    return captured.conversation


def _channel_of(address: str) -> str:
    return Channel.EMAIL if type_of(address) == "email" else Channel.SMS


def _bridged_configuration(state: SandboxState) -> str | None:
    """Return the configuration that bridges our service; None takes the first one."""
    for each in state.configurations:
        bridge = each.settings.wire.get("conversationsV1Bridge") or {}
        if bridge.get("serviceId") == state.options.classic_service_sid:
            return each.id
    return None
