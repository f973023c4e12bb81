"""Rules for messages from customers: the route of both addresses leads to their conversation, else the API is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.addresses import Address, Channel, from_key, is_phone
from router.core.judging.context import decide_sender
from router.core.judging.groups import announce_members, are_settled, wanted_members
from router.core.judging.resolved import announce
from router.core.judging.routes import Route, pair_of
from router.core.judging.work import Memory, Preparation
from router.core.keys import Target
from router.core.ledger.aliases import find_announced, learn_aliases
from router.core.ledger.communications import from_message, name_of, shared_by, take_communication
from router.core.ledger.marker import Outcome, Result, fields_for, member_field, subject_field
from router.core.resolution.groups import resolve_group
from router.core.resolution.messages import MessageResolver
from router.core.resources import ParticipantType
from router.core.values import replace

if TYPE_CHECKING:
    from router.core.events import MessageReceived
    from router.core.judging.context import AccountRules, Context
    from router.core.judging.work import Needed, Work
    from router.core.ledger.ledger import Ledger
    from router.core.policy import Decision
    from router.core.resolution.requests import Resolution, Resolved


def route(rules: AccountRules, message: MessageReceived) -> str:
    """Return the name of the route between both addresses."""
    return pair_of(rules.configuration_id, message.known_as, message.recipient)


def known_at(message: MessageReceived) -> tuple[Address, ...]:
    """Return the addresses of a WhatsApp user, `From` first: other messages may lack the phone, or the id."""
    return (message.customer, *message.aliases) if message.customer.channel == Channel.WHATSAPP else ()


def ends(message: MessageReceived) -> tuple[Address, Address]:
    """Return the sender's address and ours."""
    return message.customer, message.recipient


def fields(_: AccountRules, work: Work[MessageReceived]) -> Needed | None:
    """Return the conversation of the route and the ledger fields that the message needs; None if that one is gone."""
    route, message = work.route, work.event
    if route is None or route.conversation_id == work.entry.gone:
        return None
    names = fields_for((route.participant_id,), (message.customer, *message.aliases, *message.others))
    if message.others:
        names += [member_field(other.key) for other in message.others]
    return route.conversation_id, names


def apply(context: Context, work: Work[MessageReceived]) -> Outcome | None:
    """Publish the message if its sender is announced in a conversation that is trusted to be open."""
    route, ledger = work.route, work.ledger
    if route is not None and ledger is not None and not ledger.is_closed:
        if not _is_trusted(context, route, ledger) and decide(context, work).target is not None:
            return None
        if (outcome := _apply_open(context, work, route, ledger, is_certain=False)) is not None:
            return outcome
    decision = decide(context, work)
    return Outcome(Result.IGNORED, decision.reason) if decision.target is None else None


def apply_confirmed(context: Context, work: Work[MessageReceived], route: Route, ledger: Ledger) -> Outcome | None:
    """Publish the message if its sender is announced in the conversation that the API has just confirmed as open."""
    if find_announced(ledger, work.event.customer, work.event.aliases) is None:
        return None
    return _apply_open(context, work, route, ledger, is_certain=True)


def names(message: MessageReceived) -> tuple[str, ...]:
    """Return the names under which the message may be claimed in its conversation."""
    return (name_of(message), *shared_by(message))


def opt_out(message: MessageReceived) -> str | None:
    """Return the keyword that Twilio has answered itself, if the message is one."""
    return message.content.opt_out


def decide(context: Context, work: Work[MessageReceived]) -> Decision:
    """Return the policy's decision for the sender; made once, and only if the outcome depends on it.

    Messages of an announced sender are published whatever the policy now says about new customers.
    """
    if work.decision is None:
        work.decision = decide_sender(
            context,
            _as_led(work),
            kind=ParticipantType.CUSTOMER,
            configuration_id=context.rules.configuration_id,
        )
    return work.decision


def prepare(context: Context, work: Work[MessageReceived]) -> Preparation:
    """Return the recipient, which is our side from now on, and the addresses of customers who may be created."""
    message = work.event
    return Preparation((message.recipient,), (work.lead or message.customer, *_members(context, work)))


def resolve(context: Context, work: Work[MessageReceived]) -> Resolution:
    """Find or create the sender and the further members of a group in one conversation."""
    rules, message = context.rules, _as_led(work)
    is_for_ai = decide(context, work).target is Target.AI_AGENT
    our_type = ParticipantType.AI_AGENT if is_for_ai else ParticipantType.AGENT
    resolver = MessageResolver(rules.configuration_id, our_type)
    members = _members(context, work)
    resolution = resolve_group(resolver, message, members, is_unsure=work.entry.is_redelivered)
    if rules.is_classic_lookup:
        return rules.classic.enter(message, resolution, age=work.age(context.now))
    return resolution


def apply_resolved(context: Context, work: Work[MessageReceived], resolved: Resolved, ledger: Ledger) -> Outcome:
    """Announce the sender and the members, then publish the message."""
    message = work.event
    outcome = announce(context, work, resolved, ledger, person=message.person)
    if outcome.result is Result.GONE:
        return outcome
    if message.aliases or work.lead is not None:
        learn_aliases(ledger, resolved.participant.id, (message.customer, *message.aliases))
    ledger.put(subject_field(work.entry.subject), "1")
    if resolved.members:
        left_out = announce_members(context, resolved, ledger, message=message, read_at=work.begun)
        outcome = replace(outcome, reason="; ".join(filter(None, (outcome.reason, left_out))))
    # If the conversation is there after all, nobody has handled what was published there under the message's own name.
    is_again = resolved.conversation_id == work.entry.gone
    take_communication(ledger, from_message(message, is_again=is_again), text_limit=context.rules.text_limit)
    return outcome


def remember(rules: AccountRules, work: Work[MessageReceived], resolved: Resolved) -> Memory:
    """Return the route between both addresses."""
    message, participant = work.event, resolved.participant
    found = Route(resolved.conversation_id, participant.id, participant.type or ParticipantType.UNKNOWN, work.begun)
    addresses = known_at(message)
    if all(map(is_phone, addresses)):  # a phone alone tells nothing new
        return Memory(route(rules, message), found)
    return Memory(route(rules, message), found, known_at=(work.lead or addresses[0], *addresses))


def _as_led(work: Work[MessageReceived]) -> MessageReceived:
    """Return the message as if it came from the address at which its sender's conversation is looked for."""
    return replace(work.event, customer=work.lead) if work.lead is not None else work.event


def _lead_of(ledger: Ledger, participant_id: str, customer: Address) -> Address:
    """Return the address over WhatsApp at which a participant was announced, as the API writes it; else `customer`."""
    marker = ledger.marker(participant_id)
    addresses = map(from_key, marker.addresses if marker is not None else ())
    found = (address for address in addresses if address.channel == Channel.WHATSAPP)
    return next((Address(one.channel, f"whatsapp:{one.canonical}") for one in found), customer)


def _apply_open(
    context: Context, work: Work[MessageReceived], route: Route, ledger: Ledger, *, is_certain: bool
) -> Outcome | None:
    """Return the outcome of a message whose conversation is open; None if the API must be asked.

    Not `is_certain`: that the conversation is open is trusted, not known.
    """
    message = work.event
    if (sender := find_announced(ledger, message.customer, message.aliases)) is not None:
        # Nearly all messages have no further members and need no decision.
        if message.others and not _are_settled(context, work, ledger):
            return None
        fact = from_message(message, is_certain=is_certain)
        if not take_communication(ledger, fact, text_limit=context.rules.text_limit, author_id=sender):
            return None
        if message.aliases and learn_aliases(ledger, sender, (message.customer, *message.aliases)):
            work.learned = (_lead_of(ledger, sender, message.customer), message.customer, *message.aliases)
        work.is_on_trust = not is_certain
        ledger.touch(context.now, open_at=work.begun if is_certain else 0)
        return Outcome(Result.KNOWN, "announced in its conversation")
    decision = decide_sender(
        context, message, kind=route.participant_type, configuration_id=ledger.get("configuration_id")
    )
    return Outcome(Result.IGNORED, decision.reason) if decision.target is None else None


def _are_settled(context: Context, work: Work[MessageReceived], ledger: Ledger) -> bool:
    return decide(context, work).target is None or are_settled(ledger, _members(context, work))


def _members(context: Context, work: Work[MessageReceived]) -> tuple[Address, ...]:
    """Return the further members of a group message who have a target."""
    message = work.event
    if not message.others:
        return ()
    return wanted_members(context, message)


def _is_trusted(context: Context, route: Route, ledger: Ledger) -> bool:
    """Return whether its own conversation was shown as open within the TTL: by the API, or by a callback about it.

    Callbacks about other conversations prove nothing: the one about this closing may be lost.
    """
    ttl = context.rules.route_ttl
    return context.now - route.confirmed_at < ttl or context.now - ledger.open_at < ttl
