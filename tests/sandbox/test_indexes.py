"""The containers against plain models of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from router.sandbox.indexes import OwnerIndex, Timeline

steps = st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.sampled_from("xyz")))


@given(steps)
def test_owners_hold_as_often_as_they_took(changes):
    """An owner holds a key until it gave it back as often as it took it; keys of nobody are forgotten."""
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


@given(st.lists(st.integers(0, 9)))
def test_a_timeline_keeps_its_order(removals):
    """Records stay in order of creation, whichever go."""
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
