"""The containers of the sandbox, against plain models of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from router.sandbox.indexes import OwnerIndex, Timeline, TimerQueue

steps = st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.sampled_from("xyz")))


@given(steps)
def test_owners_of_keys(changes):
    """An owner holds a key until it was discarded as often as added; a key without owners is deleted."""
    index, model = OwnerIndex(), Counter()
    for is_added, key, owner in changes:
        if is_added:
            index.add([key], owner)
            model[key, owner] += 1
        else:
            index.discard([key], owner)
            model[key, owner] = max(0, model[key, owner] - 1)
    for key in "abc":
        assert set(index.owners(key)) == {owner for owner in "xyz" if model[key, owner]}
    assert len(index) == len({key for (key, _), count in model.items() if count})


@dataclass
class Row:
    id: str
    moment: int
    timer_at: int | None = None


@given(st.lists(st.integers(0, 9)))
def test_a_timeline_keeps_its_order(removals):
    """Records stay in order of creation, whichever are removed."""
    rows = Timeline()
    for number in range(10):
        rows.add(Row(str(number), number))
    left = [str(number) for number in range(10)]
    for number in removals:
        if rows.get(str(number)) is not None:
            rows.remove(str(number))
            left.remove(str(number))
    assert [row.id for row in rows] == left
    assert (len(rows), [row.id for row in rows.ordered]) == (len(left), left)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9))))
def test_a_timer_queue_yields_each_record_once_at_its_earliest_time(entries):
    """A record is due at the earliest time that was scheduled; a removed one never is."""
    rows = Timeline()
    for number in range(4):
        rows.add(Row(str(number), number))
    queue, earliest = TimerQueue(rows), {}
    for number, at in entries:
        queue.schedule(rows.get(str(number)), at)
        earliest[str(number)] = min(at, earliest.get(str(number), at))
    rows.remove("0")
    earliest.pop("0", None)
    for now in range(10):
        assert {row.id for row in queue.take_due(now)} == {name for name, at in earliest.items() if at == now}


def test_a_timer_queue_yields_records_that_are_scheduled_meanwhile():
    """A record that is due again at once is yielded again, until it is due later or never."""
    rows = Timeline()
    rows.add(Row("0", 0))
    queue, seen = TimerQueue(rows), 0
    queue.schedule(rows.get("0"), 1)
    for row in queue.take_due(5):
        seen += 1
        queue.schedule(row, 3 if seen == 1 else None)
    assert seen == 2
