"""`python -m router waiting`: the events that wait for something to recover, each with the reason and since when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.commands.connected import connected
from router.commands.selecting import selection_of
from router.core.timestamps import show_span, to_text
from router.operations.redaction import plain
from router.operations.waiting import list_waiting
from router.process.terminal import show, show_json
from router.streams.client.clock import RedisClock

if TYPE_CHECKING:
    import argparse

    from router.operations.waiting import WaitingEvent


async def run_waiting(arguments: argparse.Namespace) -> int:
    """Print the events that wait and match; returns 0."""
    count, previous = 0, ""
    async with connected() as (redis, settings):
        clock = RedisClock(settings.keys.inbound(0))
        await clock.measure(redis)
        async for event in list_waiting(redis, settings.keys, selection_of(arguments)):
            count += 1
            if arguments.json:
                show_json(event.to_json(unmasked=arguments.unmasked), unmasked=arguments.unmasked)
            else:
                is_told = previous == event.subject and not event.is_first  # else it waits elsewhere too
                lines = _as_lines(event, clock(), is_told=is_told, unmasked=arguments.unmasked)
                show(*lines, unmasked=arguments.unmasked)
                previous = event.subject
            if count == arguments.limit:
                break
    if not arguments.json:
        show(f"{count} events wait" if count != 1 else "1 event waits")
    return 0


def _as_lines(event: WaitingEvent, now: int, *, is_told: bool, unmasked: bool) -> list[str]:
    """Return the lines of an event: for how long and what, then why, unless the line above has told that."""
    facts = event.facts.to_json(unmasked=unmasked)
    about = {
        "": event.event_id or event.entry_id,
        "for": event.group,
        "from": f"{facts['channel']} {facts['address']}" if facts["address"] else "",
        "in": facts["conversation"],
        "account": facts["account"],
    }
    words = [f"{name} {plain(value)}".lstrip() for name, value in about.items() if value]
    line = f"{to_text(event.since)}  since {show_span((now - event.since) / 1_000_000)}  {'  '.join(words)}"
    if is_told:
        return [f"{line}  (behind the one above)"]
    if not event.is_first:
        line += "  (behind earlier ones)"
    left = (event.due - now) / 1_000_000
    due = f"again in {show_span(left)}" if left > 0 else "due now"
    tries = f"tried {event.tries} times" if event.tries != 1 else "tried once"
    return [line, f"    {plain(event.shown_reason(unmasked=unmasked)) or 'no reason is noted'}; {tries}, {due}"]
