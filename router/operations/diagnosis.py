"""The rules by which a state is ok, degraded or down: each finds one kind of problem, and says what to do about it.

To add a rule, write a function and add it to RULES.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.keys import OWN_GROUPS, RESOLVER, Target
from router.core.timestamps import show_span
from router.operations.status_values import Level, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from router.operations.status_values import Status
    from router.operations.streams import GroupReport, StreamReport

#: µs since which an event may wait, or be unread, before that is a problem.
LATE: Final = 60_000_000
#: µs since which customers may wait for a person although somebody is available: they may be busy.
VERY_LATE: Final = 300_000_000
#: µs for which the death of a process is a problem, although others are alive.
RECENT: Final = 600_000_000

#: The groups of shipped processes: what runs, its level without any, and the command that starts it.
_PROCESSES: Final = {
    RESOLVER: ("worker", Level.DOWN, "python -m router work"),
    Target.AI_AGENT: ("AI agent", Level.DEGRADED, "python -m handlers ai_agent"),
    Target.HUMAN_AGENT: ("consumer of the human agents", Level.DEGRADED, "python -m handlers human_agent"),
}


def worst(problems: Iterable[Problem]) -> Level:
    """Return the level of a state with these problems."""
    order = list(Level)
    return max((problem.level for problem in problems), key=order.index, default=Level.OK)


def find_problems(status: Status) -> tuple[Problem, ...]:
    """Return all problems of a state, the worst first."""
    found = [problem for rule in RULES for problem in rule(status)]
    return tuple(sorted(found, key=lambda problem: -list(Level).index(problem.level)))


def _no_writes(status: Status) -> Iterator[Problem]:
    if status.refusals:
        partitions = ", ".join(map(str, status.refusals))
        text = f"Redis takes no writes to partition {partitions}: {next(iter(status.refusals.values()))}"
        action = "receivers keep webhooks in their spools; give Redis memory or disk, or repair its failover"
        yield Problem(Level.DOWN, text, action, "redis-does-not-answer")


def _no_receiver(status: Status) -> Iterator[Problem]:
    if status.refusals:
        return  # nobody can announce themselves
    if not any(one.kind == "web" and one.is_alive for one in status.processes):
        yield Problem(
            Level.DOWN,
            "no receiver is running: webhooks are not accepted",
            "start `python -m router receive`; its log says why it ended",
            "a-process-is-not-running",
        )


def _nobody_reads(status: Status) -> Iterator[Problem]:
    """Find groups whose processes do not run; one problem for each group over all partitions."""
    if status.refusals:
        return  # heartbeats cannot be renewed
    groups: dict[str, list[GroupReport]] = {}
    for stream in status.streams:
        for group in stream.groups:
            groups.setdefault(group.name, []).append(group)
    for name, (what, level, command) in _PROCESSES.items():
        mine = groups.get(name, [])
        if not any(group.is_read for group in mine):
            todo = sum(group.lag + group.pending + group.parked for group in mine)
            text = f"no {what} is running" + (f": {_some(todo, 'event')} left to do" if todo else "")
            yield Problem(level, text, f"start `{command}`; its log says why it ended", "a-process-is-not-running")
    for name, theirs in groups.items():
        todo = sum(group.lag + group.pending for group in theirs)
        if name not in OWN_GROUPS and todo and not any(group.is_read for group in theirs):
            text = f"nobody reads for the group {name}: {_some(todo, 'entry', 'entries')} left to do, and never trimmed"
            action = f"start its consumer, or `python -m router groups remove {name}` if nobody needs it"
            yield Problem(Level.DEGRADED, text, action, "consumer-groups")


def _late(status: Status) -> Iterator[Problem]:
    """Find groups that are read, and have entries older than LATE that are not parked."""
    for stream, group in _groups(status):
        oldest = group.oldest_active
        if oldest is None or not group.is_read or status.at - oldest < LATE:
            continue
        age = _age(status, oldest)
        text = (
            f"{stream.kind}: the oldest entry that {group.name} has not finished is {age} old ("
            f"{group.lag:,} unread, {group.pending:,} under way)"
        )
        action = "look at `event.waiting` and `event.failed` in its log; start more processes if it is only slow"
        yield Problem(Level.DEGRADED, text, action, "events-wait-or-are-slow")


def _waiting(status: Status) -> Iterator[Problem]:
    since = min((one.oldest_parked for _, one in _groups(status) if one.oldest_parked is not None), default=None)
    if since is not None and status.at - since >= LATE:
        text = (
            f"{_some(status.waiting, 'event')} waiting for something to recover, the oldest for {_age(status, since)}"
        )
        yield Problem(Level.DEGRADED, text, "see the reasons: `python -m router waiting`", "events-wait-or-are-slow")


def _spool(status: Status) -> Iterator[Problem]:
    spool = status.spool
    if spool.entries:
        text = f"{_some(spool.entries, 'webhook')} in the spool on disk, since Redis did not take them"
        yield Problem(Level.DEGRADED, text, "they follow by themselves once Redis takes writes", "the-spool")
    for host, number in sorted(spool.left.items()):
        text = f"{_some(number, 'webhook')} left on the disk of {host} by a receiver that has ended"
        action = "start a receiver there with the same ROUTER_SPOOL_DIR: it adopts them; after a day this is forgotten"
        yield Problem(Level.DEGRADED, text, action, "the-spool")
    if spool.state in {"full", "failed"}:
        text = f"the spool is {spool.state}: if Redis fails now, webhooks are refused with 503"
        action = "free the disk, or raise ROUTER_SPOOL_MAX_BYTES; `spool.failed` in the receiver's log has the reason"
        yield Problem(Level.DEGRADED, text, action, "what-to-do-about-a-503")


def _not_stored(status: Status) -> Iterator[Problem]:
    number, last = status.not_stored
    if number:
        text = (
            f"{_some(number, 'webhook')} answered 503, the last one {_age(status, last)} ago: nothing could store them"
        )
        action = "nothing is known of those that Twilio did not repeat: its debugger lists them (error 11200)"
        yield Problem(Level.DEGRADED, text, action, "what-to-do-about-a-503")


def _dead_letters(status: Status) -> Iterator[Problem]:
    if status.dead_letters:
        text = f"{_some(status.dead_letters, 'dead letter')}: given up, so customers may have no answer"
        action = "see the reasons: `python -m router dead-letters list`; repair, then `dead-letters replay --all`"
        yield Problem(Level.DEGRADED, text, action, "dead-letters")


def _refused(status: Status) -> Iterator[Problem]:
    if status.refused_lately:
        text = f"{_some(status.refused_lately, 'webhook')} of our accounts refused within the last hour"
        action = "see the reasons: `python -m router quarantine list --since 1h`; fix the setting, then replay them"
        yield Problem(Level.DEGRADED, text, action, "what-to-do-about-a-403")


def _deaths(status: Status) -> Iterator[Problem]:
    dead = [one for one in status.processes if not one.is_alive and status.at - one.seen_at < RECENT]
    for kind in sorted({one.kind for one in dead}) if not status.refusals else ():
        mine = [one for one in dead if one.kind == kind]
        last = max(mine, key=lambda one: one.seen_at)
        text = f"the process {last.name} died {_age(status, last.seen_at)} ago without ending in order"
        if len(mine) > 1:
            text += f", and so did {_some(len(mine) - 1, f'other {kind}', f'others of the kind {kind}')} lately"
        action = "its platform restarts it, and others take over its events; its log may say why"
        yield Problem(Level.DEGRADED, text, action, "a-process-is-not-running")


def _customers(status: Status) -> Iterator[Problem]:
    """Find queues in which customers wait for LATE and nobody is there, or much longer although somebody is."""
    for queue in status.queues:
        if queue.oldest is None or status.at - queue.oldest < (VERY_LATE if queue.available else LATE):
            continue
        who = f"{queue.available} are available and do not take them" if queue.available else "nobody is available"
        customers, age = _some(queue.waiting, "customer"), _age(status, queue.oldest)
        text = f"{customers} waiting in the queue {queue.name}, the longest for {age}, and {who}"
        first = queue.conversations[0].split()[-1] if queue.conversations else "CONVERSATION"  # account and id
        action = f"see who is present and why nobody is asked: `python -m router explain {first}`"
        yield Problem(Level.DEGRADED, text, action, "customers-wait-for-a-person")


def _some(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def _age(status: Status, time: int) -> str:
    return show_span((status.at - time) / 1_000_000)


def _groups(status: Status) -> Iterator[tuple[StreamReport, GroupReport]]:
    return ((stream, group) for stream in status.streams for group in stream.groups)


RULES: Final[tuple[Callable[[Status], Iterator[Problem]], ...]] = (
    _no_writes,
    _no_receiver,
    _nobody_reads,
    _spool,
    _not_stored,
    _refused,
    _dead_letters,
    _waiting,
    _late,
    _customers,
    _deaths,
)


def redis_away(reason: str, *, takes_webhooks: bool | None) -> Problem:
    """Return the problem of a Redis that does not answer. `takes_webhooks`: the receiver's /readyz; None: not asked."""
    receivers = {
        None: "",
        True: "; the receiver keeps webhooks in its spool meanwhile",
        False: "; the receiver does not answer, or refuses webhooks with 503",
    }
    action = "start or repair Redis; workers and consumers go on by themselves"
    return Problem(Level.DOWN, f"{reason}{receivers[takes_webhooks]}", action, "redis-does-not-answer")
