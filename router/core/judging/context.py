"""The context in which events of an account are judged, and the participant facts that follow from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from router.core.events import STRANGER, Person, Version
from router.core.ledger.marker import ParticipantFact
from router.core.policy import Decision, Facts
from router.core.resolution.classic import ClassicResolver
from router.core.resources import AGENT_TYPES, ParticipantType
from router.core.routing.team import Team
from router.core.timestamps import to_microseconds
from router.core.values import Value

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.core.events import Cause, MessageReceived
    from router.core.ledger.ledger import Ledger
    from router.core.policy import Policy
    from router.core.resolution.requests import Surroundings
    from router.core.resources import Participant


@dataclass(frozen=True, slots=True)
class AccountRules:
    """The rules of one account; constant while a worker runs.

    `configuration_id`: the configuration of conversations that the router opens. `classic` resolves classic
    conversations; with `is_classic_lookup` a customer is looked up in those before a conversation is opened.
    `text_limit`: the published length of a text, in characters. `route_ttl` (µs): how long a route is trusted after the
    newest evidence that its own conversation is open. `team`: what happens if another system adds an agent.
    """

    policy: Policy
    configuration_id: str = ""
    classic: ClassicResolver = field(default_factory=ClassicResolver)
    is_classic_lookup: bool = False
    text_limit: int = 4096
    route_ttl: int = 0
    team: Team = field(default_factory=Team)


class Context(Value):
    """The input of a judgment besides the event and its ledger: the account's rules and its current state.

    `own`: the keys of our own addresses. `now`: µs since 1970.
    """

    rules: AccountRules
    own: frozenset[str]
    now: int


def decide_sender(context: Context, message: MessageReceived, *, kind: str, configuration_id: str | None) -> Decision:
    """Return the policy's decision for the sender of a message, taken as a participant of type `kind`."""
    return context.rules.policy.decide(
        Facts(
            source=message.cause.source,
            channel=message.customer.channel,
            participant_type=kind,
            customer=message.customer,
            recipient=message.recipient,
            configuration_id=configuration_id,
            account_id=message.account_id,
            now=to_moment(context.now),
        )
    )


def make_fact(
    context: Context,
    participant: Participant,
    ledger: Ledger,
    *,
    cause: Cause,
    version: Version,
    origin: str = "announced",
    address: Address | None = None,
    recipient: Address | None = None,
    call_sid: str | None = None,
    opt_out: str | None = None,
    person: Person = STRANGER,
) -> ParticipantFact:
    """Return the fact that `participant` is in the conversation, with the policy's decision for it.

    A participant at one of our own addresses is our own side unless its type is CUSTOMER.
    """
    shown = address or _address_of(participant, call_sid)
    kind = participant.type or ParticipantType.UNKNOWN
    recipient = recipient or (ledger.recipient(shown.channel) if shown else None)
    is_ours = kind != ParticipantType.CUSTOMER and any(one.key in context.own for one in participant.addresses)
    decision = Decision(None, "it has no address yet")
    if shown is not None:
        facts = facts_of(context, participant, ledger, cause=cause, customer=shown, recipient=recipient)
        decision = context.rules.policy.decide(facts)
    return ParticipantFact(
        participant, version, cause, decision, origin, shown, recipient, is_ours, call_sid, opt_out, person
    )


def _address_of(participant: Participant, call_sid: str | None) -> Address | None:
    """Return the address at which a participant is in a call, else its first one."""
    own = participant.addresses
    if not own:
        return None
    found = next((one for one in own if one.channel_id == call_sid), own[0]) if call_sid else own[0]
    return found.as_address()


def facts_of(
    context: Context,
    participant: Participant,
    ledger: Ledger,
    *,
    cause: Cause,
    customer: Address,
    recipient: Address | None,
) -> Facts:
    """Return the policy's input for a participant at the address `customer`."""
    return Facts(
        source=cause.source,
        channel=customer.channel,
        participant_type=participant.type or ParticipantType.UNKNOWN,
        customer=customer,
        recipient=recipient,
        configuration_id=ledger.get("configuration_id"),
        account_id=ledger.account_id,
        now=to_moment(context.now),
    )


def note_surroundings(surroundings: Surroundings, participant: Participant, ledger: Ledger) -> None:
    """Note in the ledger our side's address on each of the participant's channels, and the configuration."""
    if surroundings.conversation is not None:
        ledger.note_conversation(surroundings.conversation)
    channels = {address.channel for address in participant.addresses}
    for other in surroundings.participants:
        for address in other.addresses:
            is_our_side = other.type in AGENT_TYPES and other.type != ParticipantType.HUMAN_AGENT
            if is_our_side and address.channel in channels:
                ledger.note_recipient(address.as_address())


def note_our_side(participant: Participant, ledger: Ledger) -> None:
    """Note the address of an agent as our side of the conversation on its channel."""
    if participant.type in {ParticipantType.AGENT, ParticipantType.AI_AGENT}:
        for address in participant.addresses:
            ledger.note_recipient(address.as_address())


def version_of(participant: Participant, read_at: int) -> Version:
    """Return the version of a participant whose reading began at `read_at` (µs): the age of its resource."""
    updated = to_microseconds(participant.updated_at or participant.created_at)
    return Version(read_at if updated is None else updated, read_at)


def to_moment(micros: int) -> datetime:
    """Return a time in µs since 1970 as a datetime in UTC."""
    return datetime.fromtimestamp(micros / 1_000_000, tz=UTC)
