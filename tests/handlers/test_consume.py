"""One entry through a handler: read or poison, reacted to or ignored, reported in one masked line."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.consume import Consumption, subject_of
from handlers.effects import ENTRY, NotYetError
from handlers.handler import Handler, HandlerResult, data_of
from router.core.entries import ClosedData, Entry, JoinedData, LeftData, UpdatedData
from router.core.resources import Participant, ParticipantAddress
from router.metrics import REGISTRY
from router.streams.delivery import Delivery, Done, Later, Poison, StreamRef
from tests.handlers.harness import delivery_of, make
from tests.support.entries import fields_of

CUSTOMER = Participant(id="p1", type="CUSTOMER", addresses=(ParticipantAddress(channel="SMS", address="+15550001111"),))
ENTRY_OF_ONE = make(JoinedData, "conv_1", CUSTOMER)


class Reaction:
    """Counts how often it was asked; answers or raises as told."""

    def __init__(self, answer=None):
        self.answer, self.entries = answer or HandlerResult("noted", {"agent": "dana"}), []

    async def __call__(self, entry, effect):
        self.entries.append(entry)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def consume(harness):
    def make_consumption(**reactions):
        named = {name.replace("_", "."): reaction for name, reaction in reactions.items()}
        return Consumption("third", Handler(named), harness.effects("third"))

    return make_consumption


async def test_a_reaction_gets_the_typed_entry_once(consume, lines):
    """It is called until it has returned once; redeliveries and replays are acknowledged in silence."""
    reaction = Reaction()
    consumption = consume(participant_joined=reaction)
    for entry_id in ("1-0", "1-0", "7-0"):
        assert await consumption.attempt(delivery_of(ENTRY_OF_ONE, entry_id)) == Done()
    assert reaction.entries == [ENTRY_OF_ONE]
    assert isinstance(reaction.entries[0].data, JoinedData)
    assert [(line["result"], line.get("earlier")) for line in lines("consumed")] == [
        ("noted", None),
        ("repeated", "noted"),
        ("repeated", "noted"),
    ]


async def test_the_line_tells_who_and_what_and_no_address(consume, lines):
    """One wide line per entry, the address masked."""
    await consume(participant_joined=Reaction()).attempt(delivery_of(ENTRY_OF_ONE))
    (line,) = lines("consumed")
    assert line.pop("ms") >= 0
    assert line.pop("time")
    assert line == {
        "level": "info",
        "event": "consumed",
        "process": line["process"],
        "handler": "third",
        "type": "participant.joined",
        "result": "noted",
        "entry": ENTRY_OF_ONE.id,
        "conversation": "conv_1",
        "customer": "p1",
        "channel": "SMS",
        "address": "+155***11",
        "agent": "dana",
    }


async def test_every_entry_is_counted(consume):
    """By handler and result."""
    labels = {"consumer": "third", "result": "noted"}
    before = REGISTRY.get_sample_value("router_consumed_total", labels) or 0
    await consume(participant_joined=Reaction()).attempt(delivery_of(ENTRY_OF_ONE))
    assert REGISTRY.get_sample_value("router_consumed_total", labels) == before + 1


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        pytest.param(make(UpdatedData, "conv_1", CUSTOMER), "participant.updated", id="known, not wanted"),
        pytest.param(make(ClosedData, "conv_1"), "conversation.closed", id="about a conversation"),
        pytest.param(ENTRY_OF_ONE.model_copy(update={"type": "handoff.requested"}), "handoff.requested", id="unknown"),
    ],
)
async def test_types_without_a_reaction_are_ignored_by_name(consume, lines, entry, kind):
    """They are acknowledged, and the line says which type it was."""
    assert await consume(participant_joined=Reaction()).attempt(delivery_of(entry)) == Done()
    assert [(line["result"], line["type"]) for line in lines("consumed")] == [("ignored", kind)]


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b'{"id": "1"}', id="fields missing"),
        pytest.param(fields_of(ENTRY_OF_ONE)["event"].replace("conv_1", "").encode()[:-1], id="truncated"),
        pytest.param(
            fields_of(ENTRY_OF_ONE)["event"].replace('"channel":"SMS","address":"+1', '"channel":{"a":"+1').encode(),
            id="wrong type",
        ),
    ],
)
async def test_what_is_no_entry_is_poison_without_its_values(consume, event):
    """The reason says what does not fit and where, never what was there: it may be somebody's address."""
    verdict = await consume(participant_joined=Reaction()).attempt(delivery_of(event))
    assert isinstance(verdict, Poison)
    assert verdict.reason.startswith("not an entry: ")
    assert "+1" not in verdict.reason


async def test_a_missing_event_field_is_poison(consume):
    """An entry of somebody else's making."""
    delivery = Delivery(StreamRef(0, "s"), "1-0", {b"data": b"x"})
    assert isinstance(await consume().attempt(delivery), Poison)


async def test_a_failing_reaction_fails_the_attempt_and_leaves_no_trace(consume, lines):
    """The consumer decides about the retry; the next attempt calls it again."""
    reaction = Reaction(ValueError("no"))
    consumption = consume(participant_joined=reaction)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await consumption.attempt(delivery_of(ENTRY_OF_ONE))
    assert len(reaction.entries) == 2
    assert lines("consumed") == []


async def test_not_yet_is_later(consume):
    """What cannot be told yet is looked at again, and never counts as a failure."""
    consumption = consume(participant_joined=Reaction(NotYetError("wait", delay=4.0)))
    assert await consumption.attempt(delivery_of(ENTRY_OF_ONE)) == Later("wait", 4.0, is_unsure=True)


async def test_groups_react_each_for_themselves(harness, consume):
    """What one group did with an entry is not done for another."""
    first, second = Reaction(), Reaction()
    await consume(participant_joined=first).attempt(delivery_of(ENTRY_OF_ONE))
    other = Consumption("fourth", Handler({"participant.joined": second}), harness.effects("fourth"))
    await other.attempt(delivery_of(ENTRY_OF_ONE))
    assert len(first.entries) == len(second.entries) == 1
    assert await harness.redis.hexists(harness.keys.effect(0, "fourth", ENTRY_OF_ONE.id), ENTRY)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(fields_of(ENTRY_OF_ONE)["event"].encode(), "conv_1", id="an entry"),
        pytest.param(fields_of(make(ClosedData, "conv_1"))["event"].encode(), "conv_1", id="about a conversation"),
        pytest.param(b"\xff", "9-0", id="not UTF-8"),
        pytest.param(b"[1]", "9-0", id="no object"),
        pytest.param(b'{"data": null}', "9-0", id="no data"),
    ],
)
def test_subject_of(event, expected):
    """Entries of a conversation share its lane; what cannot be read has one of its own."""
    assert subject_of(delivery_of(event, "9-0")) == expected


@given(
    st.binary() | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(orjson.dumps)
)
def test_subject_of_is_total(event):
    """Whatever an entry holds, it has a lane."""
    assert isinstance(subject_of(delivery_of(event, "9-0")), str)


def test_data_of():
    """A reaction that stands at the wrong type is told so."""
    assert data_of(ENTRY_OF_ONE, JoinedData) is ENTRY_OF_ONE.data
    with pytest.raises(TypeError, match=r"participant\.joined carries no LeftData"):
        data_of(ENTRY_OF_ONE, LeftData)
    assert isinstance(ENTRY_OF_ONE, Entry)
