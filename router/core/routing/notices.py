"""The texts for a customer who waits for a person, if the queue has any. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from router.core.routing.queues import Fallback

if TYPE_CHECKING:
    from router.core.routing.holding import Holding
    from router.core.routing.team import Team

_MINUTE: Final = 60_000


class Notice(NamedTuple):
    """A text, and the name by which it is sent once: each place in line is told once."""

    name: str
    text: str


def notice_of(holding: Holding, team: Team, *, line: int, pace: int) -> Notice | None:
    """Return the text that is due now, None if there is none.

    `line`: the place in line, 0 if the conversation does not wait there. `pace`: ms from one conversation of the queue
    that found an agent to the next, 0 if it is not known; then an offer's time stands for it.
    """
    request = holding.request
    if holding.is_closed or request is None:
        return None
    queue = team.queue(request.queue)
    if request.is_overdue and queue.fallback is Fallback.MESSAGE:
        return Notice(f"{request.id} fallback", queue.fallback_message)
    if not line or not queue.wait_message or holding.offer is not None:
        return None
    minutes = max(1, -(-line * (pace or int(queue.ring * 1000)) // _MINUTE))
    text = queue.wait_message.replace("{place}", str(line)).replace("{minutes}", str(minutes))
    return Notice(f"{request.id} place {line}", text)
