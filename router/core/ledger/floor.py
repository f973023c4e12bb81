"""The floor of a conversation in its ledger: inputs of the state machine, and the entries that tell what happened.

A ledger without a Holding has had one holder since it began, its target, and is in epoch 0: ledgers of earlier releases
are read so. `ledger.wake_at` is when the conversation must be looked at again: its partition's timers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from router.core.addresses import Channel, from_key
from router.core.handoff_models import (
    HandoffFailedData,
    HandoffRequestedData,
    HolderChangedData,
    OfferEndedData,
    OfferMadeData,
)
from router.core.keys import Target
from router.core.ledger.marker import HOLDING_FIELD
from router.core.resources import AGENT_TYPES, ParticipantType
from router.core.routing.holding import HandoffRequest, Holder, Holding, read_holding
from router.core.routing.inputs import AskForPerson, Changed, Ended, Failed, Made, Requested
from router.core.routing.queues import DEFAULT_QUEUE
from router.core.routing.transitions import FOREIGN, Step, take
from router.core.timestamps import to_text

if TYPE_CHECKING:
    from router.core.entry_models import EntryData
    from router.core.ledger.fields import LedgerFields
    from router.core.ledger.marker import Marker
    from router.core.policy import Decision
    from router.core.routing.holding import Offer
    from router.core.routing.inputs import Happening, Input
    from router.core.routing.team import Team


def holding_of(ledger: LedgerFields, team: Team | None = None) -> Holding | None:
    """Return the floor of a conversation; None if nobody was announced in it. Raises FieldNotReadError.

    An earlier release noted no holder, and closed conversations without saying so in the Holding. Of its conversations
    for people, whoever has joined as HUMAN_AGENT holds: the person of the `team` at that address, else somebody of
    another system. Without a `team`, or if the ledger was not read as a whole, nobody is found.
    """
    if (text := ledger.get(HOLDING_FIELD)) is not None:
        holding = read_holding(text)
        if (customer := customer_there(ledger, holding.customer)) is not holding.customer:
            holding = holding.changed(customer=customer)
        return holding.changed(is_closed=True) if ledger.is_closed and not holding.is_closed else holding
    target = ledger.get("target")
    if target is None:
        return None
    holding = Holding(holder=Holder(target=Target(target)), epoch=ledger.epoch, is_closed=ledger.is_closed)
    if not is_of_earlier_release(ledger):
        return holding
    holder = Holder(target=Target.HUMAN_AGENT, agent=_find_person(ledger, team) if team else None)
    return holding.changed(holder=holder, customer=find_customer(ledger))


def is_of_earlier_release(ledger: LedgerFields) -> bool:
    """Return whether people hold a conversation in which no release ever asked for one of them."""
    return ledger.get("target") == Target.HUMAN_AGENT and ledger.get("epoch") is None


def _find_person(ledger: LedgerFields, team: Team) -> str | None:
    """Return the person who is in the conversation as HUMAN_AGENT; None if nobody is known to be."""
    for participant_id, marker in ledger.markers().items() if ledger.known is None else ():
        if marker.type != ParticipantType.HUMAN_AGENT or not marker.is_present:
            continue
        agent = next(filter(None, map(team.agent_at, map(from_key, marker.addresses))), None)
        if agent is not None or team.is_holder_foreign:
            return agent or FOREIGN + participant_id
    return None


class Telling(NamedTuple):
    """An entry that tells each of `targets` what happened; `name` distinguishes it from others about the customer."""

    model: type[EntryData]
    targets: tuple[Target, ...]
    subject: str
    name: str
    fields: dict[str, Any]


def open_floor(ledger: LedgerFields, decision: Decision, customer: dict[str, Any], now: int) -> Telling:
    """Begin at `now` (ms) with people as the holder, of whom nobody has accepted yet, and a request for one."""
    asking = decision.asking
    request = HandoffRequest(
        id=f"{ledger.account_id}/{ledger.conversation_id}/rule",
        reason=decision.reason,
        queue=asking.queue or DEFAULT_QUEUE,
        since=now,
        queued_at=now,
        skills=asking.skills,
        priority=asking.priority,
    )
    holding = Holding(holder=Holder(target=Target.HUMAN_AGENT), request=request, customer=customer)
    ledger.put("epoch", "0")
    ledger.put(HOLDING_FIELD, holding.model_dump_json(exclude_defaults=True))
    return _tell(ledger, holding, Requested(request))


def take_input(ledger: LedgerFields, holding: Holding, given: Input) -> tuple[Step, list[tuple[int, Telling]]]:
    """Apply an input to the floor that `holding_of` gave, and store it unless it is refused.

    Returns the step, and what is to be told, each with the epoch that it belongs to.
    """
    if holding.customer is None or isinstance(given, AskForPerson):
        holding = holding.changed(customer=_customer_of_now(ledger, holding.customer))
    step = take(holding, given)
    if step.refused is not None:
        return step, []
    epoch, told = holding.epoch, []
    for one in step.happened:
        epoch = one.epoch if isinstance(one, Changed) else epoch
        told.append((epoch, _tell(ledger, step.holding, one)))
    ledger.put("epoch", str(step.holding.epoch))
    ledger.put("target", str(step.holding.holder.target))
    ledger.put(HOLDING_FIELD, step.holding.model_dump_json(exclude_defaults=True))
    return step, told


def _customer_of_now(ledger: LedgerFields, known: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the customer of a request: a caller while a call lasts, as a call takes more of a person than messages.

    What is known of the same one, on the same channel first, stays as it is.
    """
    found = find_customer(ledger, known["id"] if known else None)
    if found is None or known is None:
        return found or known
    is_same = (found["id"], _first_channel(found)) == (known["id"], _first_channel(known))
    return known if is_same else found


def _first_channel(customer: dict[str, Any]) -> str | None:
    return customer["addresses"][0]["channel"] if customer["addresses"] else None


def find_customer(ledger: LedgerFields, known_id: str | None = None) -> dict[str, Any] | None:
    """Return the announced customer in the shape of EntryParticipant; None if the ledger was not read as a whole.

    Of several, one who is in a call; else the one of `known_id`.
    """
    if ledger.known is not None:
        return None
    customers = [
        (not marker.calls, one != known_id, one, marker)
        for one, marker in ledger.markers().items()
        if marker.is_announced and not marker.is_ours and marker.type not in AGENT_TYPES
    ]
    if not customers:
        return None
    *_, participant_id, marker = min(customers, key=lambda one: one[:3])
    return _show(ledger, participant_id, marker)


def customer_there(ledger: LedgerFields, known: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the customer who is present: the `known` one, or another one if that one has left, or none was known.

    Without others, or if the ledger was not read as a whole, the known one.
    """
    marker = ledger.marker(known["id"]) if known is not None and ledger.known is None else None
    return known if marker is not None and marker.is_announced else find_customer(ledger) or known


def is_abandoned(ledger: LedgerFields) -> bool:
    """Return whether all who were announced in a conversation have left it, and their calls are over."""
    if ledger.known is not None or ledger.get("target") is None:
        return False
    others = [marker for marker in ledger.markers().values() if not marker.is_ours]
    return not any(marker.is_announced or (marker.calls and not marker.is_present) for marker in others)


def _show(ledger: LedgerFields, participant_id: str, marker: Marker) -> dict[str, Any]:
    addresses = [from_key(key) for key in marker.addresses]
    addresses.sort(key=lambda one: (one.channel == Channel.VOICE) != bool(marker.calls))  # a telephone first, in a call
    return {
        "id": participant_id,
        "conversation_id": ledger.conversation_id,
        "account_id": ledger.account_id,
        "name": None,
        "type": marker.type or None,
        "profile_id": None,
        "addresses": [{"channel": one.channel, "address": one.value, "channel_id": None} for one in addresses],
        "created_at": None,
        "updated_at": None,
    }


def _tell(ledger: LedgerFields, holding: Holding, one: Happening) -> Telling:
    customer = holding.customer
    subject = str(customer["id"]) if customer else ledger.conversation_id
    model, targets, name, shown = _show_happening(one)
    return Telling(model, targets, subject, name, {"participant": customer, **shown})


def _show_happening(one: Happening) -> tuple[type[EntryData], tuple[Target, ...], str, dict[str, Any]]:
    """Return the model, the targets, the name and the fields of the entry that tells what happened."""
    people = (Target.HUMAN_AGENT,)
    match one:
        case Requested(request):
            return HandoffRequestedData, people, request.id, {"request": show_request(request)}
        case Made(offer, request):
            return OfferMadeData, people, offer.id, _show_offer(offer, request)
        case Ended(offer, how, request):
            return OfferEndedData, people, offer.id, _show_offer(offer, request) | {"how": str(how)}
        case Changed(before, after, epoch, because, note, by):
            shown = {
                "from": before.model_dump(mode="json"),
                "to": after.model_dump(mode="json"),
                "because": str(because),
                "note": note,
                "request": show_request(by) if by else None,
            }
            return HolderChangedData, tuple(Target), str(epoch), shown
        case Failed(request, fallback):
            shown = {"request": show_request(request), "fallback": str(fallback) if fallback is not None else None}
            return HandoffFailedData, tuple(Target), f"{request.id} {request.queue}", shown


def show_request(request: HandoffRequest) -> dict[str, Any]:
    """Return a request in the shape of EntryRequest."""
    return {
        "id": request.id,
        "reason": request.reason,
        "queue": request.queue,
        "summary": request.summary,
        "context": request.context,
        "skills": list(request.skills),
        "agent": request.agent,
        "priority": request.priority,
        "asked_by": request.asked_by,
        "note": request.note,
        "requested_at": to_text(request.since * 1000),
    }


def _show_offer(offer: Offer, request: HandoffRequest) -> dict[str, Any]:
    return {
        "offer": {
            "id": offer.id,
            "queue": request.queue,
            "expires_at": to_text(offer.expires_at * 1000),
            "reason": request.reason,
            "summary": request.summary,
            "context": request.context,
            "note": request.note,
        },
        "agent": {"identity": offer.agent, "name": offer.name},
    }
