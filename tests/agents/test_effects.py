"""Effects: a step that is done is never done again, one in doubt gets a Doubt, and the state expires."""

from __future__ import annotations

import orjson
import pytest

from router.agents.effects import LIFE, Doubt, Effects, ReplyOutcome, StaleEpochError, Ticket
from router.core.errors import (
    AuthenticationError,
    ConflictError,
    RateLimitError,
    RequestError,
    ServerError,
    TransportError,
    UnusableError,
)
from router.core.keys import Keys
from router.core.routing.commands import read_command
from router.metrics import REGISTRY


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
    assert await effect.again("step") == "first"
    assert await effect.once("step", Step("third")) == "first"


async def test_an_entry_ends_once_and_is_remembered_for_its_life(harness):
    """Its first outcome is kept for redeliveries, and the key expires."""
    effect = harness.effects().of(0, "e")
    assert await effect.outcome() is None
    await effect.end("joined • ja")
    await effect.end("other")
    assert await harness.effects().of(0, "e").outcome() == "joined • ja"
    assert LIFE - 60 < await harness.redis.ttl(harness.keys.effect(0, "ai-agent", "e")) <= LIFE


# --- tickets --------------------------------------------------------------------------------------


TICKET = Ticket("AC1", "conv_1", 3, "ai-agent")


async def set_floor(harness, epoch, target="ai-agent"):
    """Let a conversation be in an epoch, held by a target; None leaves the field out, as earlier releases did."""
    name = harness.keys.conversation("AC1", "conv_1")
    await harness.redis.delete(name)
    fields = {"epoch": epoch, "target": target}
    await harness.redis.hset(name, mapping={"f": "2"} | {key: one for key, one in fields.items() if one is not None})
    await harness.redis.expire(name, 60)


@pytest.mark.parametrize(
    ("epoch", "target", "ticket", "is_held"),
    [
        pytest.param(3, "ai-agent", TICKET, True, id="as it was"),
        pytest.param(4, "ai-agent", TICKET, False, id="a later epoch"),
        pytest.param(2, "ai-agent", TICKET, False, id="an earlier epoch"),
        pytest.param(3, "human-agent", TICKET, False, id="another target in the same epoch"),
        pytest.param(3, "human-agent", Ticket("AC1", "conv_1", 3), True, id="whatever the target"),
        pytest.param(3, None, TICKET, True, id="a ledger without a target"),
        pytest.param(None, "ai-agent", TICKET, False, id="a ledger of an earlier release, which is in epoch 0"),
        pytest.param(None, "ai-agent", Ticket("AC1", "conv_1", 0, "ai-agent"), True, id="the same, and epoch 0"),
        pytest.param(3, "ai-agent", Ticket("AC1", "conv_2", 3), False, id="a conversation without a ledger"),
        pytest.param(3, "ai-agent", Ticket("AC2", "conv_1", 0), True, id="that of another account"),
    ],
)
async def test_a_step_is_begun_only_by_the_holder(harness, epoch, target, ticket, is_held):
    """By one check of epoch and target, in the script that begins it."""
    await set_floor(harness, epoch, target)
    effect, step = harness.effects().of(0, "e"), Step()
    assert await effect.holds(ticket) is is_held
    if is_held:
        assert await effect.once("step", step, ticket) == "done"
    else:
        with pytest.raises(StaleEpochError) as caught:
            await effect.once("step", step, ticket)
        assert caught.value.begun_for is None
    assert (step.doubts, await effect.is_begun("step")) == ([None] if is_held else [], is_held)


async def test_a_step_in_doubt_is_not_begun_again_by_whoever_lost_the_conversation(harness):
    """The holder changes between the first try and the next, or between the look for the effect and the next try."""
    effect, step = harness.effects().of(0, "e"), Step(failures=[RuntimeError()])
    await set_floor(harness, 3)
    with pytest.raises(RuntimeError):
        await effect.once("step", step, TICKET)

    async def looked_for(doubt):
        assert isinstance(doubt, Doubt)
        await set_floor(harness, 4)
        await effect.again("step", TICKET)
        return "sent again"

    with pytest.raises(StaleEpochError):
        await effect.once("step", looked_for, TICKET)
    with pytest.raises(StaleEpochError) as caught:
        await effect.once("step", step, TICKET)
    assert 0 <= caught.value.begun_for < 60
    assert step.doubts == [None]


async def test_what_is_done_stays_done_in_any_epoch(harness):
    """A redelivery gets the value, so that the entry ends."""
    effect = harness.effects().of(0, "e")
    await set_floor(harness, 3)
    assert await effect.once("step", Step("one"), TICKET) == "one"
    await set_floor(harness, 4, "human-agent")
    assert await effect.once("step", Step("two"), TICKET) == "one"
    assert await effect.value("step") == "one"


class Message:
    """A text that is sent, and recorded or not."""

    def __init__(self, *, error=None, on_send=None):
        self.error, self.on_send, self.sent, self.is_there = error, on_send, 0, False

    async def send(self):
        if self.on_send is not None:
            await self.on_send()
        self.sent += 1
        if self.error is not None:
            raise self.error

    async def is_recorded(self):
        return self.is_there


async def test_a_stale_text_is_not_sent_and_is_counted(harness):
    """Any handler's: the outcome says so, and nothing was begun."""
    labels = {"step": "notice"}
    before = REGISTRY.get_sample_value("router_stale_texts_total", labels) or 0
    message, effect = Message(), harness.effects("archive").of(0, "e")
    await set_floor(harness, 4)
    assert await effect.send(message, TICKET, step="notice") == ReplyOutcome.STALE
    assert (message.sent, await effect.is_begun("notice")) == (0, False)
    assert REGISTRY.get_sample_value("router_stale_texts_total", labels) == before + 1
    assert await effect.send(message, Ticket("AC1", "conv_1", 4), step="notice") == ReplyOutcome.SENT


@pytest.mark.parametrize(
    ("is_recorded", "outcome"), [(True, ReplyOutcome.FOUND), (False, ReplyOutcome.STALE)], ids=["sent", "not sent"]
)
async def test_a_text_in_doubt_is_looked_for_and_not_sent_by_whoever_lost_the_conversation(
    harness, is_recorded, outcome
):
    """It was sent by the holder of its time, or it is too late for it."""
    message, effect = Message(error=ServerError("no", status=503)), harness.effects().of(0, "e")
    await set_floor(harness, 3)
    with pytest.raises(ServerError):
        await effect.send(message, TICKET)
    await set_floor(harness, 4)
    message.is_there = is_recorded
    assert await effect.send(message, TICKET, settle=0.0) == outcome
    assert message.sent == 1


async def test_a_text_that_another_process_sends_meanwhile_is_not_sent_again(harness):
    """The one that looked for it in vain finds the step done as it begins it again."""

    class SlowlyRecorded(Message):
        async def is_recorded(self):
            await harness.effects().of(0, "e").finish("send", ReplyOutcome.SENT)
            return False

    message, effect = SlowlyRecorded(error=ServerError("no", status=503)), harness.effects().of(0, "e")
    await set_floor(harness, 3)
    with pytest.raises(ServerError):
        await effect.send(message, TICKET)
    assert await effect.send(message, TICKET, settle=0.0) == ReplyOutcome.SENT
    assert message.sent == 1


async def test_the_known_gap(harness):
    """Between the check and the API's acceptance the holder may change: that text goes out."""
    await set_floor(harness, 3)

    async def accept():
        await set_floor(harness, 4, "human-agent")

    message = Message(on_send=accept)
    assert await harness.effects().of(0, "e").send(message, TICKET) == ReplyOutcome.SENT
    assert message.sent == 1


# --- commands -------------------------------------------------------------------------------------


REQUEST = {"conversation": "conv_1", "reason": "wants a person", "epoch": 3}


async def test_a_command_is_written_once(harness):
    """In the shape of docs/handoff.md, with an id that follows from entry, group and step."""
    ids = set()
    for _ in range(2):
        ids.add(await harness.effects("archive").of(0, "e").command("handoff.request", {**REQUEST, "summary": None}))
    ids.add(await harness.effects("archive").of(0, "e").command("handoff.request", REQUEST, step="second"))
    ids.add(await harness.effects("other").of(0, "e").command("handoff.request", REQUEST))
    assert ids == {"e:archive:handoff.request", "e:archive:second", "e:other:handoff.request"}
    rows = [fields for _, fields in await harness.redis.xrange(harness.keys.commands(0))]
    assert len(rows) == 3
    command = read_command(rows[0])
    assert (command.type, command.id, command.raw) == ("handoff.request", "e:archive:handoff.request", REQUEST)
    assert orjson.loads(rows[0][b"command"])["source"] == "/participant-router/router/archive"


async def test_a_command_in_doubt_is_written_again_with_its_id(harness):
    """The worker takes an id once."""
    effect = harness.effects().of(0, "e")
    await harness.redis.hset(harness.keys.effect(0, "ai-agent", "e"), "command:handoff.request", "b1000")
    await effect.command("handoff.request", REQUEST)
    rows = await harness.redis.xrange(harness.keys.commands(0))
    assert [fields[b"id"] for _, fields in rows] == [b"e:ai-agent:handoff.request"]
    await harness.redis.expire(harness.keys.effect(0, "ai-agent", "e"), 60)


async def test_a_command_goes_to_the_partition_of_its_conversation(harness):
    """Presence goes to partition 0; an id that is too long is replaced by its digest."""
    keys = Keys("elsewhere", 3)
    effect = Effects(harness.redis, keys, "ai-agent").of(0, "e" * 300)
    home = keys.partition_of("conv_1")
    command_id = await effect.command("handoff.request", REQUEST)
    await effect.command("agent.away", {"agent": "dana"})
    assert len(command_id) == 64
    counts = [await harness.redis.xlen(keys.commands(number)) for number in range(3)]
    assert counts == [1 + (home == 0), int(home == 1), int(home == 2)]


@pytest.mark.parametrize(
    ("kind", "data", "problem"),
    [
        pytest.param("handoff.ask", REQUEST, "is not a command", id="unknown"),
        pytest.param("handoff.request", {"reason": "x"}, "conversation", id="without a conversation"),
        pytest.param("handoff.request", REQUEST | {"context": {"a": {1}}}, "not JSON", id="a set"),
        pytest.param("handoff.request", REQUEST | {"summary": "\ud83d"}, "not JSON", id="half a surrogate pair"),
        pytest.param("handoff.request", REQUEST | {"context": {"a": "x" * 9000}}, "8192", id="a large context"),
    ],
)
async def test_what_is_no_command_is_not_written(harness, kind, data, problem):
    """The error says what is wrong."""
    with pytest.raises(UnusableError, match=problem):
        await harness.effects().of(0, "e").command(kind, data)
    assert await harness.redis.exists(harness.keys.commands(0)) == 0
