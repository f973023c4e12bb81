"""The rows about who holds the conversations, from the entries alone, and about the desk. Pure.

Both targets are told of every change of a holder, in the stream in which their other entries are: so each stream by
itself shows the epoch and the holder of every moment.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from router.core.keys import Target
from tests.chaos.row import Row
from tests.chaos.watcher import CHANGED, CLOSED, ENDED, FAILED, JOINED, LEFT, MADE, RECEIVED, REQUESTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.final_state import Published
    from tests.chaos.record import RoundRecord

#: Entries that only the target of the holder gets.
_TO_HOLDER: Final = frozenset({JOINED, RECEIVED, LEFT, CLOSED, "participant.updated"})


def streams_of(record: RoundRecord) -> dict[tuple[str, str], list[Published]]:
    """Return the entries of each conversation, target by target, in their order."""
    found: defaultdict[tuple[str, str], list[Published]] = defaultdict(list)
    for one in sorted(record.state.published, key=lambda one: one.place):
        found[one.conversation, one.target].append(one)
    return found


def holders_of(record: RoundRecord) -> dict[str, set[str]]:
    """Return the people who have held each conversation."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for one in record.entries(CHANGED):
        target, _, agent = one.floor.after.partition(" ")
        if target == Target.HUMAN_AGENT and agent:
            found[one.conversation].add(agent)
    return found


def one_holder_at_every_moment(record: RoundRecord) -> Row:
    """Promise 6: on both streams epochs rise by one, each from the holder before; entries go to the holder's target."""
    first = {one.conversation: one.target for one in record.entries(JOINED) if one.epoch == 0}
    wrong: list[str] = []
    told: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
    for (conversation, target), entries in streams_of(record).items():
        epoch, holder = 0, first.get(conversation, "")
        told[conversation][target] = []
        for one in entries:
            if one.type == CHANGED:
                if (one.epoch, one.floor.before) != (epoch + 1, holder):
                    before = f"{holder} in epoch {epoch}"
                    wrong.append(f"{conversation}: from {one.floor.before} to epoch {one.epoch} after {before}")
                epoch, holder = one.epoch, one.floor.after
                told[conversation][target].append(epoch)
            elif one.epoch != epoch:
                wrong.append(f"{one.type} {one.id} to {target} has epoch {one.epoch}, and it was {epoch}")
            elif one.type in _TO_HOLDER and holder.partition(" ")[0] != target:
                wrong.append(f"{one.type} {one.id} went to {target}, and {holder} held {conversation}")
    for conversation, epochs in told.items():
        if any(epochs.values()) and epochs.get(Target.AI_AGENT) != epochs.get(Target.HUMAN_AGENT):
            wrong.append(f"{conversation}: the targets were told of different epochs, {epochs}")
    return Row("entries = in the epoch of their holder", *_counts(record.state.published, wrong), tuple(wrong))


def requests_ended(record: RoundRecord) -> Row:
    """Promise 6: a request is the only one, and ends: accepted, given up by the queue, or with the conversation."""

    def check(entries: list[Published], wrong: list[str]) -> None:
        opened = ""
        for one in entries:
            if one.type == REQUESTED:
                if opened:
                    wrong.append(f"{one.floor.name} was made while {opened} was open")
                opened = one.floor.name
            elif one.type == CHANGED or (one.type == FAILED and one.floor.how in {Target.AI_AGENT, None}):
                opened = ""
        if opened and entries[0].conversation not in record.state.closed:
            wrong.append(f"{opened} was never ended")

    return _checked(record, "handoff.requested = ended", REQUESTED, check)


def offers_ended(record: RoundRecord) -> Row:
    """Promise 6: one person at a time is asked, each offer ends once, and who accepts holds from then on."""

    def check(entries: list[Published], wrong: list[str]) -> None:
        opened, accepted = "", ""
        for one in entries:
            if accepted and one.type in {MADE, ENDED, CHANGED, REQUESTED}:
                if (one.type, one.floor.after) != (CHANGED, f"{Target.HUMAN_AGENT} {accepted}"):
                    wrong.append(f"{one.type} {one.id} after {accepted} had accepted {one.conversation}")
                accepted = ""
            if one.type == MADE:
                if opened:
                    wrong.append(f"{one.floor.name} was made while {opened} was open")
                opened = one.floor.name
            elif one.type == ENDED:
                if one.floor.name != opened:
                    wrong.append(f"{one.floor.name} ended while {opened or 'no offer'} was open")
                opened, accepted = "", one.floor.agent if one.floor.how == "accepted" else ""
            elif one.type == CHANGED and opened and one.floor.how != "presence-lapsed":
                wrong.append(f"{opened} was open when {one.floor.after} got {one.conversation}")
        wrong += [f"{one} was never ended" for one in (opened,) if one]
        wrong += [f"{one} accepted and does not hold" for one in (accepted,) if one]

    return _checked(record, "offer.made = ended once", MADE, check)


def desk_agrees(record: RoundRecord) -> Row:
    """At the end the desk says of every person what the ledgers say: what they hold, and how much that is."""
    wrong = tuple(record.state.desk)
    return Row("desk = ledgers", len(record.state.loads), len(record.state.loads) - len(wrong), wrong)


def _checked(record: RoundRecord, name: str, kind: str, check: Callable[[list[Published], list[str]], None]) -> Row:
    wrong: list[str] = []
    for (_, target), entries in streams_of(record).items():
        if target == Target.HUMAN_AGENT:
            check(entries, wrong)
    return Row(name, *_counts(record.entries(kind), wrong), tuple(wrong))


def _counts(items: list[Published], wrong: list[str]) -> tuple[int, int]:
    return len(items), len(items) - len(wrong)


HOLDER_ROWS: Final = (one_holder_at_every_moment, requests_ended, offers_ended, desk_agrees)
