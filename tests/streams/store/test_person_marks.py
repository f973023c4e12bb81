"""What people say on the page about themselves."""

from router.core.keys import Keys
from router.streams.store import person_marks
from router.streams.store.person_marks import PersonMarks


async def test_whoever_is_away_stays_away_until_they_are_back(redis):
    """Each person for themselves."""
    marks = PersonMarks(redis, Keys())
    await marks.set_away("dana", is_away=True)
    assert await marks.who_is_away(["dana", "eli"]) == {"dana"}
    await marks.set_away("dana", is_away=False)
    assert await marks.who_is_away(["dana", "eli"]) == set()
    assert await marks.who_is_away([]) == set()


async def test_a_mark_only_moves_forward(redis):
    """A page that is late does not make read messages new."""
    marks = PersonMarks(redis, Keys())
    assert await marks.mark_read("dana", "AC c1", 20)
    assert not await marks.mark_read("dana", "AC c1", 10)
    assert not await marks.mark_read("dana", "AC c1", 20)
    assert await marks.read_marks("dana", ["AC c1", "AC c2"]) == {"AC c1": 20}
    assert await marks.read_marks("eli", ["AC c1"]) == {}
    assert await marks.read_marks("eli", []) == {}


async def test_marks_are_bounded(redis, monkeypatch):
    """The oldest go first."""
    monkeypatch.setattr(person_marks, "MAX_MARKS", 2)
    marks = PersonMarks(redis, Keys())
    for at, name in enumerate(("a", "b", "c"), 1):
        await marks.mark_read("dana", name, at)
    assert await marks.read_marks("dana", ["a", "b", "c"]) == {"b": 2, "c": 3}
