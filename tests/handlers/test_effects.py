"""Effects: a step that is done is never done again, one in doubt gets a Doubt, and the state expires."""

from __future__ import annotations

import pytest

from router.agents.effects import LIFE, Doubt
from router.core.errors import (
    AuthenticationError,
    ConflictError,
    RateLimitError,
    RequestError,
    ServerError,
    TransportError,
)


class Step:
    """A step that records its doubts, and raises `failures` before it returns `value`."""

    def __init__(self, value="done", failures=()):
        self.value, self.failures, self.doubts = value, list(failures), []

    async def __call__(self, doubt):
        self.doubts.append(doubt)
        if self.failures:
            raise self.failures.pop(0)
        return self.value


async def test_a_finished_step_keeps_its_value_and_is_skipped(harness):
    """The second delivery gets the value of the first."""
    first, second = Step("one"), Step("two")
    assert await harness.effects().of(0, "e").once("step", first) == "one"
    assert await harness.effects().of(0, "e").once("step", second) == "one"
    assert (first.doubts, second.doubts) == ([None], [])


async def test_steps_entries_and_groups_are_independent(harness):
    """Another step, another entry and another group each do the step."""
    step = Step()
    await harness.effects().of(0, "e").once("step", step)
    await harness.effects().of(0, "e").once("other", step)
    await harness.effects().of(0, "f").once("step", step)
    await harness.effects("archive").of(0, "e").once("step", step)
    assert step.doubts == [None] * 4


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RuntimeError("died"), id="crash"),
        pytest.param(ServerError("no", status=503), id="5xx"),
        pytest.param(TransportError("cut", is_sent=True), id="lost answer"),
    ],
)
async def test_a_step_that_was_begun_and_not_finished_is_in_doubt(harness, error):
    """The next try gets a Doubt with the age of the first."""
    step = Step(failures=[error])
    with pytest.raises(type(error)):
        await harness.effects().of(0, "e").once("step", step)
    assert await harness.effects().of(0, "e").once("step", step) == "done"
    assert step.doubts[0] is None
    assert isinstance(step.doubts[1], Doubt)
    assert 0 <= step.doubts[1].age < 60


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RateLimitError("slow", status=429), id="429"),
        pytest.param(TransportError("refused", is_sent=False), id="never sent"),
        pytest.param(RequestError("bad", status=400), id="400"),
        pytest.param(ConflictError("there", status=409), id="409"),
        pytest.param(AuthenticationError("who", status=401), id="401"),
    ],
)
async def test_a_step_that_certainly_had_no_effect_is_new_again(harness, error):
    """After a refusal or a call that never arrived, the next try gets no Doubt."""
    step = Step(failures=[error])
    with pytest.raises(type(error)):
        await harness.effects().of(0, "e").once("step", step)
    await harness.effects().of(0, "e").once("step", step)
    assert step.doubts == [None, None]


async def test_a_refusal_keeps_an_older_doubt(harness):
    """The first try may still have had its effect after a 429 for the second."""
    step = Step(failures=[RuntimeError(), RateLimitError("slow", status=429)])
    for error in (RuntimeError, RateLimitError):
        with pytest.raises(error):
            await harness.effects().of(0, "e").once("step", step)
    await harness.effects().of(0, "e").once("step", step)
    assert [type(doubt) for doubt in step.doubts] == [type(None), Doubt, Doubt]


@pytest.mark.parametrize("is_again", [False, True], ids=["in doubt", "begun again"])
async def test_a_refusal_keeps_the_doubt_of_a_concurrent_try(harness, is_again):
    """Of two concurrent tries the refused one forgets only its own; the other may have had its effect."""
    effect, other, third = harness.effects().of(0, "e"), Step(failures=[RuntimeError()]), Step()

    async def overtaken(_):
        with pytest.raises(RuntimeError):
            await harness.effects().of(0, "e").once("step", other)
        if is_again:
            await harness.effects().of(0, "e").again("step")
        raise RateLimitError("slow", status=429)

    with pytest.raises(RateLimitError):
        await effect.once("step", overtaken)
    await effect.once("step", third)
    assert [type(doubt) for doubt in (*other.doubts, *third.doubts)] == [Doubt, Doubt]


async def test_beginning_again_counts_the_age_from_then(harness):
    """A step that is repeated after its effect was not found gets the full time to appear again."""
    effect = harness.effects().of(0, "e")
    key = harness.keys.effect(0, "ai-agent", "e")
    await harness.redis.hset(key, "step", "b1000")
    old, new = Step(failures=[RuntimeError()]), Step()
    with pytest.raises(RuntimeError):
        await effect.once("step", old)
    await effect.again("step")
    await effect.once("step", new)
    assert old.doubts[0].age > 1_000_000
    assert new.doubts[0].age < 60


async def test_a_finished_step_stays_finished(harness):
    """A concurrent try that ends later changes neither value nor state."""
    effect = harness.effects().of(0, "e")

    async def overtaken(_):
        await harness.effects().of(0, "e").once("step", Step("first"))
        raise RequestError("late", status=400)

    with pytest.raises(RequestError):
        await effect.once("step", overtaken)
    assert await effect.once("step", Step("second")) == "first"
    await effect.again("step")
    assert await effect.once("step", Step("third")) == "first"


async def test_an_entry_ends_once_and_is_remembered_for_its_life(harness):
    """Its first outcome is kept for redeliveries, and the key expires."""
    effect = harness.effects().of(0, "e")
    assert await effect.outcome() is None
    await effect.end("joined • ja")
    await effect.end("other")
    assert await harness.effects().of(0, "e").outcome() == "joined • ja"
    assert LIFE - 60 < await harness.redis.ttl(harness.keys.effect(0, "ai-agent", "e")) <= LIFE
