"""The floor of a conversation in its ledger: inputs of the state machine, and the entries that tell what happened.

A ledger without a Holding has had one holder since it began, its target, and is in epoch 0: ledgers of earlier releases
are read so. `ledger.wake_at` is when the conversation must be looked at again: its partition's timers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.addresses import from_key
from router.core.handoff_models import (
    HandoffFailedData,
    HandoffRequestedData,
    HolderChangedData,
    OfferEndedData,
    OfferMadeData,
)
from router.core.keys import Target
from router.core.ledger.marker import PARTICIPANT, Marker, read_marker
from router.core.resources import AGENT_TYPES
from router.core.routing.holding import Holder, Holding, read_holding
from router.core.routing.inputs import Changed, Ended, Failed, Made, Requested
from router.core.routing.transitions import Step, take
from router.core.timestamps import to_text

if TYPE_CHECKING:
    from router.core.events import Cause
    from router.core.ledger.ledger import Ledger
    from router.core.routing.holding import HandoffRequest, Offer
    from router.core.routing.inputs import Happening, Input

_HOLDING: Final = "holding"


def holding_of(ledger: Ledger) -> Holding | None:
    """Return the floor of a conversation; None if nobody was announced in it. Raises FieldNotReadError."""
    if (text := ledger.get(_HOLDING)) is not None:
        return read_holding(text)
    target = ledger.get("target")
    return Holding(holder=Holder(target=Target(target)), epoch=ledger.epoch) if target is not None else None


def take_input(ledger: Ledger, holding: Holding, given: Input, cause: Cause) -> Step:
    """Apply an input to the floor that `holding_of` gave; an input that is not refused is stored and published."""
    if holding.customer is None:
        holding = holding.changed(customer=find_customer(ledger))
    step = take(holding, given)
    if step.refused is not None:
        return step
    after = step.holding
    for one in step.happened:
        # What ends or was asked before belongs to the epoch before; the change itself begins the next one.
        if isinstance(one, Changed):
            ledger.put("epoch", str(after.epoch))
            ledger.put("target", str(after.holder.target))
        _publish(ledger, after, one, cause)
    ledger.put("epoch", str(after.epoch))
    ledger.put(_HOLDING, after.model_dump_json(exclude_defaults=True))
    return step


def find_customer(ledger: Ledger) -> dict[str, Any] | None:
    """Return the announced customer in the shape of EntryParticipant; None if the ledger was not read as a whole."""
    if ledger.known is not None:
        return None
    markers = {
        name.removeprefix(PARTICIPANT): read_marker(text)
        for name, text in sorted(ledger.fields.items())
        if name.startswith(PARTICIPANT)
    }
    announced = {one: marker for one, marker in markers.items() if marker.is_announced and not marker.is_ours}
    for participant_id, marker in announced.items():
        if marker.type not in AGENT_TYPES:
            return _show(ledger, participant_id, marker)
    return None


def _show(ledger: Ledger, participant_id: str, marker: Marker) -> dict[str, Any]:
    addresses = [from_key(key) for key in marker.addresses]
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


def _publish(ledger: Ledger, holding: Holding, one: Happening, cause: Cause) -> None:
    """Add the entries that tell what happened; those for both targets have an id each."""
    customer = holding.customer
    subject = str(customer["id"]) if customer else ledger.conversation_id
    people = (Target.HUMAN_AGENT,)
    match one:
        case Requested(request):
            shown: dict[str, Any] = {"request": show_request(request)}
            ledger.tell(people, HandoffRequestedData, cause, subject, request.id, participant=customer, **shown)
        case Made(offer, request):
            shown = _show_offer(offer, request)
            ledger.tell(people, OfferMadeData, cause, subject, offer.id, participant=customer, **shown)
        case Ended(offer, how, request):
            shown = _show_offer(offer, request) | {"how": str(how)}
            ledger.tell(people, OfferEndedData, cause, subject, offer.id, participant=customer, **shown)
        case Changed(before, after, epoch, because, note, by):
            shown = {
                "from": before.model_dump(mode="json"),
                "to": after.model_dump(mode="json"),
                "because": str(because),
                "note": note,
                "request": show_request(by) if by else None,
            }
            ledger.tell(tuple(Target), HolderChangedData, cause, subject, str(epoch), participant=customer, **shown)
        case Failed(request, fallback):
            shown = {"request": show_request(request), "fallback": str(fallback)}
            name = f"{request.id}.{request.queue}"
            ledger.tell(tuple(Target), HandoffFailedData, cause, subject, name, participant=customer, **shown)


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
