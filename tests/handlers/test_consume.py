"""One entry in a handler: parsed or poison, handled or ignored, reported by one masked line."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.consume import Consumption, about_entry, subject_of
from handlers.handler import Handler, HandlerResult, data_of
from router.agents.effects import ENTRY, NotYetError
from router.core.entries import ClosedData, Entry, JoinedData, LeftData, UpdatedData
from router.core.resources import Participant, ParticipantAddress
from router.core.stories import event_id
from router.metrics import REGISTRY
from router.streams.delivery import Delivery, Done, Later, Poison, StreamRef
from tests.handlers.harness import delivery_of, make
from tests.support.entries import fields_of

CUSTOMER = Participant(id="p1", type="CUSTOMER", addresses=(ParticipantAddress(channel="SMS", address="+15550001111"),))
ENTRY_OF_ONE = make(JoinedData, "conv_1", CUSTOMER)


class Reaction:
    """A reaction that records its entries, and returns or raises `answer`."""

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
    """After it has returned once, redeliveries and replays are only acknowledged."""
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


async def test_the_log_line_has_all_fields_and_no_address(consume, lines):
    """There is one line per entry, with the address masked."""
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
    """The counter has the labels handler and result."""
    labels = {"consumer": "third", "result": "noted"}
    before = REGISTRY.get_sample_value("router_consumed_total", labels) or 0
    await consume(participant_joined=Reaction()).attempt(delivery_of(ENTRY_OF_ONE))
    assert REGISTRY.get_sample_value("router_consumed_total", labels) == before + 1


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        pytest.param(make(UpdatedData, "conv_1", CUSTOMER), "participant.updated", id="known type"),
        pytest.param(make(ClosedData, "conv_1"), "conversation.closed", id="about a conversation"),
        pytest.param(ENTRY_OF_ONE.model_copy(update={"type": "customer.moved"}), "customer.moved", id="unknown"),
    ],
)
async def test_types_without_a_reaction_are_ignored(consume, lines, entry, kind):
    """They are acknowledged, and the log line names the type."""
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
async def test_an_unreadable_entry_is_poison(consume, event):
    """The reason names the problem and its place, but no value, which may be an address."""
    verdict = await consume(participant_joined=Reaction()).attempt(delivery_of(event))
    assert isinstance(verdict, Poison)
    assert verdict.reason.startswith("not an entry: ")
    assert "+1" not in verdict.reason


async def test_a_missing_event_field_is_poison(consume):
    """Such an entry was written by another program."""
    delivery = Delivery(StreamRef(0, "s"), "1-0", {b"data": b"x"})
    assert isinstance(await consume().attempt(delivery), Poison)


async def test_a_failing_reaction_fails_the_attempt(consume, lines):
    """The next attempt calls it again, and nothing is reported before it succeeds."""
    reaction = Reaction(ValueError("no"))
    consumption = consume(participant_joined=reaction)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await consumption.attempt(delivery_of(ENTRY_OF_ONE))
    assert len(reaction.entries) == 2
    assert lines("consumed") == []


async def test_a_reaction_may_ask_for_a_later_attempt(consume):
    """NotYetError becomes Later, which does not count as a failure."""
    consumption = consume(participant_joined=Reaction(NotYetError("wait", delay=4.0)))
    assert await consumption.attempt(delivery_of(ENTRY_OF_ONE)) == Later("wait", 4.0, is_unsure=True)


async def test_groups_are_independent(harness, consume):
    """An entry that one group has handled is handled by another group too."""
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
def test_the_subject_is_the_conversation(event, expected):
    """An unreadable entry is its own subject."""
    assert subject_of(delivery_of(event, "9-0")) == expected


@given(
    st.binary() | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(orjson.dumps)
)
def test_every_entry_has_a_subject(event):
    """No content raises."""
    assert isinstance(subject_of(delivery_of(event, "9-0")), str)


@pytest.mark.parametrize(("key", "event"), [("k", event_id("k")), ("", event_id("entry-7"))])
def test_what_time_has_caused_is_an_event_of_its_own(key, event):
    """Two offers that lapse are two events, although neither has a key."""
    cause = {"resource_id": None, "idempotency_key": key}
    data = {"account_id": "AC1", "conversation": {"id": "conv_1"}, "participant": None, "cause": cause}
    fields = {b"event": orjson.dumps({"id": "entry-7", "data": data})}
    assert about_entry(Delivery(StreamRef(0, "s"), "1-0", fields)).event == event


def test_data_of_another_type_is_an_error():
    """A reaction for the wrong type of entry gets a TypeError."""
    assert data_of(ENTRY_OF_ONE, JoinedData) is ENTRY_OF_ONE.data
    with pytest.raises(TypeError, match=r"participant\.joined carries no LeftData"):
        data_of(ENTRY_OF_ONE, LeftData)
    assert isinstance(ENTRY_OF_ONE, Entry)
