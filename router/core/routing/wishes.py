"""The next needs of a conversation's floor: its wish to the desk, and its deadlines. Pure.

All times are in ms since 1970.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from router.core.addresses import Address
from router.core.keys import Target
from router.core.policy import MAX_PRIORITY
from router.core.routing.choice import Need
from router.core.routing.holding import HandoffRequest, Why
from router.core.routing.inputs import AskAgain, AskForPerson, ExpireOffer, GiveUp, LapseHolder, LosePlace, Overflow
from router.core.routing.queues import DEFAULT_QUEUE, AcceptMode
from router.core.routing.transitions import FOREIGN
from router.core.values import Value, replace

if TYPE_CHECKING:
    from router.core.routing.holding import Holding
    from router.core.routing.inputs import Input
    from router.core.routing.team import Team, TeamMember

#: ms after which a queue with hours is looked at again, whether it has closed.
_HOURS: Final = 60_000
#: ms after which the place in line of a customer who is told it is looked at again: at least, and for each place.
_LINE: Final = 5_000
_PLACE: Final = 100


class AgentCard(Value):
    """An agent who is present, as the desk stores them; `channels` None: all, `wrap_up` in seconds."""

    identity: str
    name: str
    capacity: int
    skills: tuple[str, ...] = ()
    channels: tuple[str, ...] | None = None
    wrap_up: float = 0.0


class Wish(Value):
    """The state of a conversation to which the desk is made to agree.

    `holder`: the agent who holds, `asked`: the one with an open offer, `need`: what it needs while nobody is asked.
    `units`: what it takes of the holder's capacity, None for all. `is_over`: the desk can forget the conversation.
    `customer`: the customer's addresses, by which the desk remembers the holder (`customer_addresses`).
    """

    queue: str = ""
    holder: str | None = None
    asked: str | None = None
    need: Need | None = None
    units: int | None = 1
    is_over: bool = False
    customer: tuple[str, ...] = ()


def cards_to_enroll(team: Team) -> list[AgentCard]:
    """Return the people who need not tell their presence: all of them, if a queue assigns without asking."""
    if all(queue.accept is not AcceptMode.AUTOMATIC for queue in team.queues.values()):
        return []
    return [card_of(member) for member in team.members.values()]


def card_of(
    member: TeamMember, skills: tuple[str, ...] | None = None, channels: tuple[str, ...] | None = None
) -> AgentCard:
    """Return the card of a person; `skills` and `channels` of a command of presence replace the roster's."""
    return AgentCard(
        member.identity,
        member.name,
        member.capacity,
        member.skills if skills is None else skills,
        member.channels if channels is None else channels,
        member.wrap_up,
    )


def channel_of(holding: Holding) -> str:
    """Return the channel of the customer's first address, empty if it is not known."""
    addresses = (holding.customer or {}).get("addresses") or [{}]
    return str(addresses[0].get("channel", ""))


def customer_addresses(holding: Holding) -> tuple[str, ...]:
    """Return the customer's addresses without channels: who calls and who writes from a number is the same customer."""
    addresses = (holding.customer or {}).get("addresses") or ()
    canonical = {Address(one["channel"], one["address"]).canonical.removeprefix("whatsapp:") for one in addresses}
    return tuple(sorted(canonical))


def own_agent(holding: Holding) -> str | None:
    """Return the person of the roster who holds; None if nobody does, or somebody whom another system added."""
    agent = holding.holder.agent
    is_own = holding.holder.target == Target.HUMAN_AGENT and agent is not None and not agent.startswith(FOREIGN)
    return agent if is_own else None


def wish_of(holding: Holding, team: Team, now: int) -> Wish:
    """Return the wish of a conversation."""
    wish = _wish_of(holding, team, now)
    return wish if wish.holder is None else replace(wish, customer=customer_addresses(holding))


def _wish_of(holding: Holding, team: Team, now: int) -> Wish:
    channel, holder, request = channel_of(holding), own_agent(holding), holding.request
    is_over = holder is None and request is None
    units = team.units_of(channel)
    if holding.is_closed or request is None:
        holder = None if holding.is_closed else holder
        return Wish(holder=holder, units=units, is_over=is_over or holding.is_closed)
    if holding.offer is not None:
        return Wish(request.queue, holder, holding.offer.agent, units=units)
    if not _asks(holding, request, team, now):
        return Wish(request.queue, holder, units=units)
    return Wish(request.queue, holder, need=_need(request, team, holding, now), units=units)


def _asks(holding: Holding, request: HandoffRequest, team: Team, now: int) -> bool:
    """Return whether an agent is looked for: while the queue is open, and before its overflow or fallback is due."""
    return _is_open(request, team, now) and due_now(holding, team, now) is None


def _is_open(request: HandoffRequest, team: Team, now: int) -> bool:
    return team.queue(request.queue).is_open(datetime.fromtimestamp(now / 1000, tz=UTC))


def _need(request: HandoffRequest, team: Team, holding: Holding, now: int) -> Need:
    queue, channel = team.queue(request.queue), channel_of(holding)
    excluded = {*request.declined, *filter(None, (holding.holder.agent, request.asked_by))}
    return Need(
        skills=queue.needed_skills(request.skills, (now - request.queued_at) / 1000),
        channel=channel,
        units=team.units_of(channel),
        priority=min(MAX_PRIORITY, max(0, request.priority + queue.priority)),
        since=request.since,
        agent=request.agent,
        last_agent=holding.last_agent,
        excluded=frozenset(excluded),
        missed=frozenset(request.missed),
        is_automatic=queue.accept is AcceptMode.AUTOMATIC,
    )


def due_now(holding: Holding, team: Team, now: int) -> Input | None:
    """Return the input that a conversation's deadlines bring about by `now`, None if none has passed."""
    request, offer = holding.request, holding.offer
    if offer is not None and now >= offer.expires_at:
        return ExpireOffer(offer.id, now)
    if holding.is_closed or request is None or offer is not None:
        return None
    queue = team.queue(request.queue)
    is_open = _is_open(request, team, now)
    if request.is_overdue:
        is_due = is_open and request.declined and now >= _asks_again_at(request, team)
        return AskAgain(request.id, now) if is_due else None
    is_refused = request.agent is not None and request.agent in request.declined
    if is_open and not is_refused and now < _patience_ends(request, team):
        return None
    if queue.overflow is not None and not is_refused:
        return Overflow(request.id, queue.overflow, now)
    return GiveUp(request.id, queue.fallback)


def ask_if_nobody_is(holding: Holding, conversation: str, reason: str, now: int) -> AskForPerson | None:
    """Return a request if people hold a conversation and nobody is asked for.

    An earlier release gave it to them, or its customer had left and is back. `conversation` begins the id of the
    request: the account and the conversation.
    """
    is_held = holding.holder.target != Target.HUMAN_AGENT or holding.holder.agent is not None
    if is_held or holding.is_closed or holding.request is not None:
        return None
    name = f"{conversation}/unasked-{holding.epoch}"
    if holding.taken is not None:
        return AskForPerson(_ask_anew(holding.taken, f"{name}-{now}", holding.taken.reason, now))
    return AskForPerson(HandoffRequest(id=name, reason=reason, queue=DEFAULT_QUEUE, since=now, queued_at=now))


def _ask_anew(request: HandoffRequest, name: str, reason: str, now: int) -> HandoffRequest:
    """Return a request for whoever comes, with the needs of an earlier one."""
    fresh = {"id": name, "reason": reason, "since": now, "queued_at": now, "asked_by": None, "agent": None}
    return request.model_copy(update=fresh | {"declined": (), "missed": (), "is_overdue": False, "asked_again_at": 0})


def next_due(holding: Holding, team: Team, now: int, *, line: int = 0) -> int | None:
    """Return when a conversation must be looked at again, None if nothing of it has a deadline.

    `line`: its place in line, 0 if it does not wait there.
    """
    request, offer = holding.request, holding.offer
    if holding.is_closed or request is None:
        return None
    if offer is not None:
        return offer.expires_at
    if due_now(holding, team, now) is not None:
        return now
    queue = team.queue(request.queue)
    times = [] if request.is_overdue else [_patience_ends(request, team)]
    if request.is_overdue and request.declined and _is_open(request, team, now):
        times.append(_asks_again_at(request, team))
    if queue.hours or queue.holidays:
        times.append(now + _HOURS)
    if queue.wait_message and line:
        times.append(now + max(_LINE, line * _PLACE))
    relaxation = queue.next_relaxation((now - request.queued_at) / 1000)
    if relaxation is not None:
        times.append(request.queued_at + int(relaxation * 1000))
    return min(times, default=None)


def _patience_ends(request: HandoffRequest, team: Team) -> int:
    return request.queued_at + int(team.queue(request.queue).patience * 1000)


def _asks_again_at(request: HandoffRequest, team: Team) -> int:
    """Return when those who declined are asked again, of a request that waits on: as patiently as the queue."""
    queue = team.queue(request.queue)
    return (request.asked_again_at or request.queued_at) + int(max(queue.patience, queue.ring) * 1000)


def after_lapse(holding: Holding, agent: str, conversation: str, now: int) -> Input | Why | None:
    """Return the input of a conversation whose holder, or the agent who is asked, is no longer present."""
    if own_agent(holding) == agent:
        name = f"{conversation}/lapse-{holding.epoch}"
        reason = f"the presence of {agent} ended"
        if holding.taken is None:
            request = HandoffRequest(id=name, reason=reason, queue=DEFAULT_QUEUE, since=now, queued_at=now)
        else:
            request = _ask_anew(holding.taken, name, reason, now)
        return LapseHolder(agent, request)
    if holding.offer is not None and holding.offer.agent == agent:
        return LosePlace(agent)
    return Why.NOT_HOLDER
