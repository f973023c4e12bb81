"""The ledger: one joined per stay, stale facts change nothing, the first decision is kept, closed is final."""

import pytest

from router.core.addresses import Address
from router.core.entries import ClosedData, EntryAddress, JoinedData, LeftData, UpdatedData
from router.core.events import Version
from router.core.ledger.fields import EVIDENCE_STEP, FieldNotReadError
from router.core.ledger.floor import holding_of
from router.core.ledger.marker import Result, address_field, fields_for, participant_field, recipient_field
from router.core.policy import Asking
from router.core.routing.holding import Why
from router.core.routing.inputs import GetPlace
from router.core.values import replace
from tests.core.builders import (
    CONVERSATION,
    CUSTOMER,
    DESK,
    RECEIVED_AT,
    TO_AI,
    TO_NOBODY,
    TO_PEOPLE,
    make_cause,
    make_conversation,
    make_fact,
    make_participant,
)
from tests.core.committed import CommittedState
from tests.support.accounts import ACCOUNT, CONFIGURATION

WHATSAPP = Address("WHATSAPP", "whatsapp:+14155550101")
HOUR = 3_600_000_000


@pytest.fixture
def state():
    """A conversation without any committed state."""
    return CommittedState()


# --- joining --------------------------------------------------------------------------------------


def test_a_new_participant_is_announced(state):
    """A participant seen for the first time is announced with everything known about it."""
    state.report(classic_sid="ignored")
    fact = {"origin": "created", "address": CUSTOMER, "recipient": DESK}
    assert state.see(make_participant(name="Ana"), **fact) is Result.JOINED
    (entry,) = state.entries
    assert type(entry.data) is JoinedData
    assert entry.subject == "p1"
    assert entry.time == "2026-01-07T12:00:00.000Z"
    data = entry.data
    assert (data.target, data.reason, data.origin) == ("ai-agent", "default", "created")
    assert (data.account_id, data.channel, data.address) == (ACCOUNT, "SMS", CUSTOMER.value)
    assert data.recipient == EntryAddress(channel="SMS", address=DESK.value)
    assert data.conversation.model_dump() == {
        "id": CONVERSATION,
        "configuration_id": CONFIGURATION,
        "status": "ACTIVE",
        "classic_sid": None,
    }
    assert data.participant.name == "Ana"
    assert data.cause.received_at == "2026-01-07T12:00:00.000Z"
    assert (data.cause.source, data.cause.event_type) == ("conversations", "PARTICIPANT_ADDED")


def test_a_duplicate_is_silent(state):
    """The same fact a second time changes nothing, not even the revision."""
    state.see()
    before = dict(state.fields)
    assert state.see() is Result.KNOWN
    assert state.fields == before
    assert state.types == ["participant.joined"]


def test_another_source_of_the_same_stay_is_silent(state):
    """Whichever source reports a participant first, the others add nothing."""
    state.see(version=1, origin="created", cause=make_cause("message.received", source="messaging"))
    assert state.see(version=2, origin="announced") is Result.KNOWN
    assert state.types == ["participant.joined"]


def test_repeating_a_lost_commit_makes_the_same_entry(state):
    """A fact that is taken again, after a crash or by another worker, makes an entry with the same id."""
    one, other = state.open(), state.open()
    one.take_participant(make_fact())
    other.take_participant(
        make_fact(origin="created", cause=make_cause(source="messaging", received_at=RECEIVED_AT + 5))
    )
    assert one.entries[0].id == other.entries[0].id


def test_recipient_from_the_ledger(state):
    """Our side's address is noted per channel and shown if the fact has none."""
    ledger = state.open()
    ledger.note_recipient(DESK)
    state.commit(ledger)
    assert state.open().recipient("SMS") == DESK
    assert state.open().recipient("WHATSAPP") is None
    state.see()
    state.see(make_participant("p2", WHATSAPP))
    assert [entry.data.recipient for entry in state.entries] == [EntryAddress(channel="SMS", address=DESK.value), None]


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        pytest.param({"decision": TO_NOBODY}, "our-side (participant_type)", id="policy"),
        pytest.param({"is_ours": True}, "our own side", id="ours"),
        pytest.param({"participant": make_participant(addresses=[])}, "it has no address yet", id="no-address"),
    ],
)
def test_who_is_not_announced(state, fact, reason):
    """Participants without target or address, and our own side, are recorded and not announced."""
    ledger = state.open()
    outcome = ledger.take_participant(make_fact(**fact))
    assert (outcome.result, outcome.reason) == (Result.IGNORED, reason)
    assert ledger.entries == []
    assert ledger.marker("p1").target is None
    state.commit(ledger)
    assert state.see(**fact) is Result.KNOWN


def test_an_ignored_participant_is_announced_later(state):
    """A participant is announced once the policy no longer ignores it, in the same stay."""
    state.see(make_participant(type="AGENT"), version=1, decision=TO_NOBODY)
    assert state.see(make_participant(type="CUSTOMER"), version=2) is Result.JOINED
    assert state.marker().stay == 1


def test_no_address_yet(state):
    """A participant without an address is announced when it gets one."""
    state.see(make_participant(addresses=[]), version=1)
    assert state.see(version=2) is Result.JOINED


def test_ours_stays_ours(state):
    """A participant once known as our own side is never announced, whatever is reported later, even a return."""
    state.see(version=1, is_ours=True)
    assert state.see(make_participant(name="x"), version=2) is Result.IGNORED
    assert state.lose(version=3) is Result.NOTED
    assert state.see(version=4) is Result.IGNORED
    assert state.types == []


def test_one_address_has_one_participant(state):
    """While one participant is announced at an address, no other is announced there."""
    state.see(make_participant("p1", CUSTOMER), version=1)
    ledger = state.open()
    outcome = ledger.take_participant(make_fact(make_participant("p2", WHATSAPP, CUSTOMER)))
    assert (outcome.result, outcome.reason) == (Result.IGNORED, "its address is announced as p1")
    state.commit(ledger)
    state.lose(make_participant("p1", CUSTOMER), version=2)
    assert state.see(make_participant("p2", WHATSAPP, CUSTOMER)) is Result.JOINED
    assert [entry.subject for entry in state.entries] == ["p1", "p1", "p2"]


def test_one_address_known_from_the_event_only(state):
    """A participant without addresses is announced at the event's, and no other is announced there."""
    bare = make_participant("p1", addresses=[])
    assert state.see(bare, address=CUSTOMER) is Result.JOINED
    assert state.entries[0].data.address == CUSTOMER.value
    assert state.open().announced_at(CUSTOMER) == "p1"
    assert state.see(make_participant("p2", CUSTOMER)) is Result.IGNORED
    assert state.see(make_participant("p3", addresses=[]), address=CUSTOMER) is Result.IGNORED


# --- the holder -----------------------------------------------------------------------------------


def test_the_first_decision_is_kept(state):
    """A conversation keeps the target and reason of the first participant announced in it."""
    state.see(make_participant("p1", CUSTOMER), decision=TO_PEOPLE)
    state.see(make_participant("p2", WHATSAPP), decision=TO_AI)
    assert [(entry.data.target, entry.data.reason) for entry in state.entries] == [
        ("human-agent", "service-desk (recipient)")
    ] * 3
    assert state.types == ["participant.joined", "handoff.requested", "participant.joined"]


def test_a_conversation_for_people_begins_with_a_request_in_epoch_0(state):
    """Of whoever was announced first; a further customer and a repeated fact ask for nobody."""
    asking = Asking(queue="refunds", skills=("german",), priority=3)
    state.see(make_participant("p1", CUSTOMER), decision=replace(TO_PEOPLE, asking=asking))
    state.see(make_participant("p1", CUSTOMER), version=2, decision=TO_PEOPLE)
    state.see(make_participant("p2", WHATSAPP), version=3, decision=TO_PEOPLE)
    joined, requested, again = state.entries
    assert [entry.type for entry in (joined, requested, again)] == [
        "participant.joined",
        "handoff.requested",
        "participant.joined",
    ]
    assert (requested.subject, requested.data.participant) == ("p1", joined.data.participant)
    request = requested.data.request
    assert (request.queue, request.skills, request.priority) == ("refunds", ("german",), 3)
    assert (request.reason, request.requested_at) == ("service-desk (recipient)", "2026-01-07T12:00:00.000Z")
    assert [entry.data.epoch for entry in state.entries] == [0, 0, 0]
    assert state.fields["epoch"] == "0"


def test_a_conversation_of_the_ai_agent_asks_for_nobody(state):
    """It is in epoch 0 of its target, and needs no field for that."""
    state.see(decision=TO_AI)
    assert (state.types, state.entries[0].data.epoch) == (["participant.joined"], 0)
    assert not {"epoch", "holding"} & state.fields.keys()


def test_an_ignored_participant_sets_no_target(state):
    """An ignored participant does not decide the conversation's target."""
    state.see(make_participant("p1", DESK), decision=TO_NOBODY)
    state.see(make_participant("p2", CUSTOMER), decision=TO_PEOPLE)
    assert state.entries[0].data.target == "human-agent"


# --- updates --------------------------------------------------------------------------------------


def test_a_newer_difference_is_published(state):
    """A new name of an announced participant is an update for the conversation's target."""
    state.see(version=1)
    assert state.see(make_participant(name="Ana"), version=2, decision=TO_PEOPLE) is Result.UPDATED
    assert type(state.entries[1].data) is UpdatedData
    assert (state.entries[1].data.target, state.entries[1].data.participant.name) == ("ai-agent", "Ana")


@pytest.mark.parametrize(
    ("version", "result"),
    [
        pytest.param(Version(5, 5), Result.KNOWN, id="as-old"),
        pytest.param(Version(5, 4), Result.STALE, id="reported-earlier"),
        pytest.param(Version(4, 9), Result.STALE, id="updated-earlier"),
        pytest.param(Version(5, 6), Result.UPDATED, id="reported-later"),
        pytest.param(Version(6, 1), Result.UPDATED, id="updated-later"),
    ],
)
def test_only_newer_facts_update(state, version, result):
    """The resource's own time decides, then the time of the event."""
    state.see(version=Version(5, 5))
    assert state.see(make_participant(name="Ana"), version=version) is result
    assert len(state.entries) == (2 if result is Result.UPDATED else 1)


def test_updates_have_ids_of_their_own(state):
    """Different updates have different ids, and the same update has one."""
    state.see(version=1)
    state.see(make_participant(name="Ana"), version=2)
    state.see(make_participant(name="Eve"), version=3)
    assert len({entry.id for entry in state.entries}) == 3
    ledger, again = state.open(), state.open()
    ledger.take_participant(make_fact(make_participant(name="Zoe"), 4))
    again.take_participant(make_fact(make_participant(name="Zoe"), 4))
    assert ledger.entries[0].id == again.entries[0].id


def test_update_moves_addresses(state):
    """An update frees the addresses that the participant gave up and takes the new ones."""
    state.see(make_participant("p1", CUSTOMER), version=1)
    state.see(make_participant("p1", WHATSAPP), version=2)
    assert state.open().announced_at(CUSTOMER) is None
    assert state.open().announced_at(WHATSAPP) == "p1"
    assert state.see(make_participant("p2", CUSTOMER), version=3) is Result.JOINED


def test_update_takes_no_address_from_another(state):
    """An update takes no address of another announced participant, and leaving does not free it."""
    state.see(make_participant("p1", CUSTOMER), version=1)
    state.see(make_participant("p2", WHATSAPP), version=1)
    assert state.see(make_participant("p1", CUSTOMER, WHATSAPP), version=2) is Result.UPDATED
    assert state.open().announced_at(WHATSAPP) == "p2"
    state.see(make_participant("p1", CUSTOMER), version=3)
    assert state.open().announced_at(WHATSAPP) == "p2"
    state.see(make_participant("p1", CUSTOMER, WHATSAPP), version=4)
    state.lose(make_participant("p1", CUSTOMER, WHATSAPP), version=5)
    assert state.open().announced_at(WHATSAPP) == "p2"
    assert state.open().announced_at(CUSTOMER) is None


def test_update_without_an_address(state):
    """An update of a participant that lost its addresses is published with none."""
    state.see(version=1)
    assert state.see(make_participant(addresses=[]), version=2) is Result.UPDATED
    data = state.entries[1].data
    assert (data.channel, data.address, data.recipient) == ("", "", None)


# --- leaving --------------------------------------------------------------------------------------


def test_leaving_ends_the_stay(state):
    """An announced participant that leaves is published as left, and its address is free."""
    state.see(version=1)
    assert state.lose(version=2) is Result.LEFT
    assert type(state.entries[1].data) is LeftData
    assert state.open().announced_at(CUSTOMER) is None
    assert state.lose(version=2) is Result.KNOWN


def test_a_second_stay(state):
    """A participant that returns is announced again, with a new id."""
    state.see(version=1)
    state.lose(version=2)
    assert state.see(version=3) is Result.JOINED
    assert state.lose(version=4) is Result.LEFT
    assert state.types == ["participant.joined", "participant.left"] * 2
    assert len({entry.id for entry in state.entries}) == 4


@pytest.mark.parametrize("version", [1, 2], ids=["older", "as-old"])
def test_a_late_arrival_does_not_announce_again(state, version):
    """A fact from before the departure, reported after it, announces nobody."""
    state.see(version=1)
    state.lose(version=2)
    assert state.see(version=version) is Result.STALE
    assert state.types == ["participant.joined", "participant.left"]


def test_removal_before_the_arrival(state):
    """After a removal that overtook it the arrival is stale, and a later return is announced."""
    assert state.lose(version=2) is Result.NOTED
    assert state.see(version=1) is Result.STALE
    assert state.see(version=3) is Result.JOINED
    assert state.types == ["participant.joined"]


def test_removal_frees_no_address_of_another(state):
    """The removal of an unknown participant frees no address of an announced one."""
    state.see(make_participant("p1", CUSTOMER))
    state.lose(make_participant("p2", CUSTOMER))
    assert state.open().announced_at(CUSTOMER) == "p1"


def test_a_stale_removal(state):
    """A removal older than the committed state changes nothing."""
    state.see(version=5)
    before = dict(state.fields)
    assert state.lose(version=4) is Result.STALE
    assert state.fields == before


def test_removal_of_an_unannounced_participant(state):
    """A participant that was not announced leaves without an entry."""
    state.see(version=1, decision=TO_NOBODY)
    assert state.lose(version=2) is Result.NOTED
    assert state.types == []
    assert not state.marker().is_present


@pytest.mark.parametrize("decision", [TO_AI, TO_NOBODY], ids=["announced", "ignored"])
def test_a_silent_fact_makes_older_ones_stale(state, decision):
    """A fact without news still dates the marker: an earlier removal is stale."""
    state.see(version=1, decision=decision)
    assert state.see(version=3, decision=decision) is Result.KNOWN
    assert state.lose(version=2) is Result.STALE
    assert state.marker().is_present


def test_a_second_removal_makes_older_facts_stale(state):
    """A second removal still dates the marker: an earlier return is stale."""
    state.see(version=1)
    state.lose(version=2)
    assert state.lose(version=5) is Result.KNOWN
    assert state.see(version=4) is Result.STALE
    assert state.types == ["participant.joined", "participant.left"]


# --- the conversation -----------------------------------------------------------------------------


def test_closing_is_published_to_the_holder(state):
    """The closing is published once, to the conversation's target, with the conversation as subject."""
    state.see(decision=TO_PEOPLE)
    assert state.report(2, status="CLOSED") is Result.CLOSED
    entry = state.entries[2]
    assert type(entry.data) is ClosedData
    assert (entry.subject, entry.data.target) == (CONVERSATION, "human-agent")
    assert entry.data.conversation.status == "CLOSED"
    assert state.report(3, status="CLOSED") is Result.KNOWN
    assert len(state.entries) == 3


def test_the_closing_ends_the_request(state):
    """Nobody can be asked any more, and the epoch stays: nobody holds from then on."""
    state.see(decision=TO_PEOPLE)
    state.report(2, status="CLOSED")
    ledger = state.open()
    holding = holding_of(ledger)
    assert (holding.request, holding.offer, holding.is_closed, holding.epoch) == (None, None, True, 0)
    place = GetPlace(f"{ACCOUNT}/{CONVERSATION}/rule", "dana", "Dana", 1, 20_000)
    assert ledger.take_floor(holding, place, make_cause()).refused is Why.CLOSED
    assert ledger.entries == []


def test_the_closing_ends_the_offer(state):
    """Whoever is asked is told before the conversation's closing."""
    state.see(decision=TO_PEOPLE)
    ledger = state.open()
    place = GetPlace(f"{ACCOUNT}/{CONVERSATION}/rule", "dana", "Dana", 1, 20_000)
    assert ledger.take_floor(holding_of(ledger), place, make_cause()).refused is None
    state.commit(ledger)
    state.report(2, status="CLOSED")
    assert state.types[2:] == ["offer.made", "offer.ended", "conversation.closed"]
    assert (state.entries[3].data.how, state.entries[3].data.agent.identity) == ("withdrawn", "dana")


def test_closing_without_an_announcement(state):
    """A conversation without any announcement closes without an entry."""
    assert state.report(status="CLOSED") is Result.NOTED
    assert state.types == []


def test_closed_is_final(state):
    """After the closing no fact changes or publishes anything."""
    state.see(version=1)
    state.report(2, status="CLOSED")
    before = dict(state.fields)
    assert state.see(make_participant("p2", WHATSAPP), version=3) is Result.GONE
    assert state.see(make_participant(name="Ana"), version=3) is Result.GONE
    assert state.lose(version=4) is Result.STALE
    assert state.report(5, status="ACTIVE") is Result.KNOWN
    assert state.fields == before
    assert state.types == ["participant.joined", "conversation.closed"]


def test_an_old_closing_is_a_closing(state):
    """Closing is final, so it counts even if a newer state was reported before it."""
    state.see()
    state.report(9, status="ACTIVE")
    assert state.report(1, status="CLOSED") is Result.CLOSED


def test_an_old_state_is_stale(state):
    """A conversation's state older than the committed one changes nothing; an equally old one may."""
    state.report(5, status="INACTIVE")
    before = dict(state.fields)
    assert state.report(4, status="ACTIVE", configuration_id="x") is Result.STALE
    assert state.fields == before
    assert state.report(5, status="INACTIVE") is Result.NOTED
    assert state.report(6, status="ACTIVE") is Result.NOTED
    assert state.fields["status"] == "ACTIVE"


def test_a_read_only_fills_gaps(state):
    """A conversation without a version overwrites nothing that an event reported."""
    ledger = state.open()
    ledger.note_conversation(make_conversation())
    assert (ledger.get("configuration_id"), ledger.get("status")) == (CONFIGURATION, "ACTIVE")
    ledger.note_conversation(make_conversation(configuration_id="other", status="INACTIVE"))
    assert (ledger.get("configuration_id"), ledger.get("status")) == (CONFIGURATION, "ACTIVE")
    ledger.note_conversation(make_conversation(configuration_id=None, status=None), Version(1, 1))
    assert (ledger.get("configuration_id"), ledger.get("status")) == (CONFIGURATION, "ACTIVE")


def test_a_read_does_not_reopen(state):
    """A conversation known to be closed stays closed, whatever a read shows."""
    state.report(status="CLOSED")
    ledger = state.open()
    ledger.note_conversation(make_conversation(status="ACTIVE"), Version(9, 9))
    assert ledger.is_closed


# --- the fields -----------------------------------------------------------------------------------


def test_revision(state):
    """The revision is the one that was read: 0 at first, then the number of commits."""
    assert state.open().revision == 0
    state.see()
    assert state.open().revision == 1


def test_changes_are_changes_only(state):
    """Setting a field to its value, or removing a missing one, is no change; the last change counts."""
    state.fields["status"] = "ACTIVE"
    ledger = state.open()
    ledger.put("status", "ACTIVE")
    ledger.put("target", None)
    assert ledger.changes == {}
    ledger.put("status", None)
    assert (ledger.changes, ledger.get("status")) == ({"status": None}, None)
    ledger.put("status", "INACTIVE")
    assert ledger.changes == {"status": "INACTIVE"}


def test_touch_writes_once_a_day(state):
    """Keeping a conversation alive costs one write a day, evidence that it is open one in EVIDENCE_STEP."""
    now = 400 * 24 * HOUR
    ledger = state.open()
    ledger.touch(now)
    assert ledger.changes == {"day": "400"}
    state.commit(ledger)
    ledger = state.open()
    ledger.touch(now + HOUR)
    assert ledger.changes == {}
    ledger.touch(now, open_at=now)
    assert ledger.changes == {"told": str(now)}
    ledger.touch(now, open_at=now + EVIDENCE_STEP - 1)
    assert ledger.changes == {"told": str(now)}
    ledger.touch(now, open_at=now + EVIDENCE_STEP)
    assert ledger.changes == {"told": str(now + EVIDENCE_STEP)}
    ledger.touch(now, open_at=now)
    assert ledger.changes == {"told": str(now + EVIDENCE_STEP)}, "older evidence"
    ledger.touch(now + 24 * HOUR)
    assert ledger.changes["day"] == "401"


def test_an_unread_field_is_requested(state):
    """A decision that depends on an unread field names it instead of assuming that it is missing."""
    state.see(make_participant("p1", CUSTOMER, WHATSAPP), version=1)
    ledger = state.open(frozenset(fields_for(["p1"], [CUSTOMER])))
    with pytest.raises(FieldNotReadError) as caught:
        ledger.take_removal(make_fact(make_participant("p1", CUSTOMER), 2))
    assert caught.value.name == address_field(WHATSAPP.key)
    known = frozenset([*fields_for(["p1"], [CUSTOMER]), caught.value.name])
    assert state.open(known).take_removal(make_fact(make_participant("p1", CUSTOMER), 2)).result is Result.LEFT


def test_a_field_that_was_set_is_known(state):
    """A field that the ledger itself set or removed needs no read."""
    ledger = state.open(frozenset())
    ledger.put(recipient_field("SMS"), DESK.value)
    assert ledger.recipient("SMS") == DESK
    ledger.put(recipient_field("SMS"), None)
    assert ledger.recipient("SMS") is None
    with pytest.raises(FieldNotReadError, match="p:p1"):
        ledger.marker("p1")


def test_fields_of_a_fact_are_enough(state):
    """The fields of a participant and its addresses are all that its arrival and departure need."""
    known = frozenset(fields_for(["p1"], [CUSTOMER]))
    for method, version in (("take_participant", 1), ("take_participant", 2), ("take_removal", 3)):
        ledger = state.open(known)
        getattr(ledger, method)(make_fact(make_participant(name=f"n{version}"), version))
        state.commit(ledger)
    assert state.types == ["participant.joined", "participant.updated", "participant.left"]
    assert set(state.fields) <= known
    assert participant_field("p1") in state.fields
