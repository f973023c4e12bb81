"""The ledger: one joined per stay, stale facts change nothing, the first decision holds, closed is final."""

import pytest

from router.core.addresses import Address
from router.core.entries import ClosedData, EntryAddress, JoinedData, LeftData, UpdatedData
from router.core.events import Version
from router.core.ledger.fields import FieldNotReadError
from router.core.ledger.marker import Result, address_field, fields_for, participant_field, recipient_field
from tests.core.book import Book
from tests.core.builders import (
    ACCOUNT,
    CONFIGURATION,
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

WHATSAPP = Address("WHATSAPP", "whatsapp:+14155550101")
HOUR = 3_600_000_000


@pytest.fixture
def book():
    """A conversation of which nothing is committed."""
    return Book()


# --- joining --------------------------------------------------------------------------------------


def test_first_sight_is_announced(book):
    """A participant that is seen for the first time is announced, with all that is known of it."""
    book.tell(classic_sid="ignored")
    fact = {"origin": "created", "address": CUSTOMER, "recipient": DESK}
    assert book.see(make_participant(name="Ana"), **fact) is Result.JOINED
    (entry,) = book.entries
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


def test_a_duplicate_is_silent(book):
    """The same fact a second time changes nothing, not even the revision."""
    book.see()
    before = dict(book.fields)
    assert book.see() is Result.KNOWN
    assert book.fields == before
    assert book.types == ["participant.joined"]


def test_another_source_of_the_same_stay_is_silent(book):
    """Whichever source reports a participant first, the others add nothing."""
    book.see(version=1, origin="created", cause=make_cause("message.received", source="messaging"))
    assert book.see(version=2, origin="announced") is Result.KNOWN
    assert book.types == ["participant.joined"]


def test_repeating_a_lost_commit_makes_the_same_entry(book):
    """A fact that is taken again after a crash, or by somebody else, becomes an entry with the same id."""
    one, other = book.open(), book.open()
    one.take_participant(make_fact())
    other.take_participant(
        make_fact(origin="created", cause=make_cause(source="messaging", received_at=RECEIVED_AT + 5))
    )
    assert one.entries[0].id == other.entries[0].id


def test_recipient_from_the_ledger(book):
    """Our side's address on the customer's channel is remembered and shown where the fact does not tell it."""
    ledger = book.open()
    ledger.note_recipient(DESK)
    book.commit(ledger)
    assert book.open().recipient("SMS") == DESK
    assert book.open().recipient("WHATSAPP") is None
    book.see()
    book.see(make_participant("p2", WHATSAPP))
    assert [entry.data.recipient for entry in book.entries] == [EntryAddress(channel="SMS", address=DESK.value), None]


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        pytest.param({"decision": TO_NOBODY}, "our-side (participant_type)", id="policy"),
        pytest.param({"is_ours": True}, "our own side", id="ours"),
        pytest.param({"participant": make_participant(addresses=[])}, "it has no address yet", id="no-address"),
    ],
)
def test_what_is_not_announced(book, fact, reason):
    """Who gets no target, is our own side or has no address is recorded and not announced."""
    ledger = book.open()
    outcome = ledger.take_participant(make_fact(**fact))
    assert (outcome.result, outcome.reason) == (Result.IGNORED, reason)
    assert ledger.entries == []
    assert ledger.marker("p1").target is None
    book.commit(ledger)
    assert book.see(**fact) is Result.KNOWN


def test_what_was_ignored_is_announced_later(book):
    """A participant that the policy ignored is announced once it does not any more, in the same stay."""
    book.see(make_participant(type="AGENT"), version=1, decision=TO_NOBODY)
    assert book.see(make_participant(type="CUSTOMER"), version=2) is Result.JOINED
    assert book.marker().stay == 1


def test_no_address_yet(book):
    """A participant without an address is announced when it gets one."""
    book.see(make_participant(addresses=[]), version=1)
    assert book.see(version=2) is Result.JOINED


def test_ours_stays_ours(book):
    """What was once proven to be our own side is never announced, whatever is reported of it later, even a return."""
    book.see(version=1, is_ours=True)
    assert book.see(make_participant(name="x"), version=2) is Result.IGNORED
    assert book.lose(version=3) is Result.NOTED
    assert book.see(version=4) is Result.IGNORED
    assert book.types == []


def test_one_address_has_one_participant(book):
    """Who stands at an address where another one is announced is not announced, until that one has left."""
    book.see(make_participant("p1", CUSTOMER), version=1)
    ledger = book.open()
    outcome = ledger.take_participant(make_fact(make_participant("p2", WHATSAPP, CUSTOMER)))
    assert (outcome.result, outcome.reason) == (Result.IGNORED, "its address is announced as p1")
    book.commit(ledger)
    book.lose(make_participant("p1", CUSTOMER), version=2)
    assert book.see(make_participant("p2", WHATSAPP, CUSTOMER)) is Result.JOINED
    assert [entry.subject for entry in book.entries] == ["p1", "p1", "p2"]


def test_one_address_that_only_the_event_tells(book):
    """A participant that came without addresses is announced at the event's, and no other is announced there."""
    bare = make_participant("p1", addresses=[])
    assert book.see(bare, address=CUSTOMER) is Result.JOINED
    assert book.entries[0].data.address == CUSTOMER.value
    assert book.open().announced_at(CUSTOMER) == "p1"
    assert book.see(make_participant("p2", CUSTOMER)) is Result.IGNORED
    assert book.see(make_participant("p3", addresses=[]), address=CUSTOMER) is Result.IGNORED


# --- the holder -----------------------------------------------------------------------------------


def test_first_decision_holds(book):
    """A conversation belongs to the target of the first participant that was announced in it, with that reason."""
    book.see(make_participant("p1", CUSTOMER), decision=TO_PEOPLE)
    book.see(make_participant("p2", WHATSAPP), decision=TO_AI)
    assert [(entry.data.target, entry.data.reason) for entry in book.entries] == [
        ("human-agent", "service-desk (recipient)")
    ] * 2


def test_ignoring_holds_nothing(book):
    """A participant that nobody takes does not decide who takes the next."""
    book.see(make_participant("p1", DESK), decision=TO_NOBODY)
    book.see(make_participant("p2", CUSTOMER), decision=TO_PEOPLE)
    assert book.entries[0].data.target == "human-agent"


# --- updates --------------------------------------------------------------------------------------


def test_a_newer_difference_is_published(book):
    """Another name of an announced participant is an update, for the target that has it."""
    book.see(version=1)
    assert book.see(make_participant(name="Ana"), version=2, decision=TO_PEOPLE) is Result.UPDATED
    assert type(book.entries[1].data) is UpdatedData
    assert (book.entries[1].data.target, book.entries[1].data.participant.name) == ("ai-agent", "Ana")


@pytest.mark.parametrize(
    ("version", "result"),
    [
        pytest.param(Version(5, 5), Result.KNOWN, id="as-old"),
        pytest.param(Version(5, 4), Result.STALE, id="told-earlier"),
        pytest.param(Version(4, 9), Result.STALE, id="updated-earlier"),
        pytest.param(Version(5, 6), Result.UPDATED, id="told-later"),
        pytest.param(Version(6, 1), Result.UPDATED, id="updated-later"),
    ],
)
def test_only_newer_facts_update(book, version, result):
    """The resource's own time decides, and where it is the same, the time of the event."""
    book.see(version=Version(5, 5))
    assert book.see(make_participant(name="Ana"), version=version) is result
    assert len(book.entries) == (2 if result is Result.UPDATED else 1)


def test_updates_have_ids_of_their_own(book):
    """Two updates are two entries, and the same update is one."""
    book.see(version=1)
    book.see(make_participant(name="Ana"), version=2)
    book.see(make_participant(name="Eve"), version=3)
    assert len({entry.id for entry in book.entries}) == 3
    ledger, again = book.open(), book.open()
    ledger.take_participant(make_fact(make_participant(name="Zoe"), 4))
    again.take_participant(make_fact(make_participant(name="Zoe"), 4))
    assert ledger.entries[0].id == again.entries[0].id


def test_update_moves_addresses(book):
    """An address that an announced participant gave up is free, and a new one is its own."""
    book.see(make_participant("p1", CUSTOMER), version=1)
    book.see(make_participant("p1", WHATSAPP), version=2)
    assert book.open().announced_at(CUSTOMER) is None
    assert book.open().announced_at(WHATSAPP) == "p1"
    assert book.see(make_participant("p2", CUSTOMER), version=3) is Result.JOINED


def test_update_takes_no_address_from_another(book):
    """An address that another one is announced at stays that one's, and leaving frees nothing of it."""
    book.see(make_participant("p1", CUSTOMER), version=1)
    book.see(make_participant("p2", WHATSAPP), version=1)
    assert book.see(make_participant("p1", CUSTOMER, WHATSAPP), version=2) is Result.UPDATED
    assert book.open().announced_at(WHATSAPP) == "p2"
    book.see(make_participant("p1", CUSTOMER), version=3)
    assert book.open().announced_at(WHATSAPP) == "p2"
    book.see(make_participant("p1", CUSTOMER, WHATSAPP), version=4)
    book.lose(make_participant("p1", CUSTOMER, WHATSAPP), version=5)
    assert book.open().announced_at(WHATSAPP) == "p2"
    assert book.open().announced_at(CUSTOMER) is None


def test_update_without_an_address(book):
    """An update of a participant that has lost its addresses is published with none."""
    book.see(version=1)
    assert book.see(make_participant(addresses=[]), version=2) is Result.UPDATED
    data = book.entries[1].data
    assert (data.channel, data.address, data.recipient) == ("", "", None)


# --- leaving --------------------------------------------------------------------------------------


def test_leaving_ends_the_stay(book):
    """An announced participant that leaves is published as left, and its address is free."""
    book.see(version=1)
    assert book.lose(version=2) is Result.LEFT
    assert type(book.entries[1].data) is LeftData
    assert book.open().announced_at(CUSTOMER) is None
    assert book.lose(version=2) is Result.KNOWN


def test_a_second_stay(book):
    """A participant that comes back is announced again, with an id of its own."""
    book.see(version=1)
    book.lose(version=2)
    assert book.see(version=3) is Result.JOINED
    assert book.lose(version=4) is Result.LEFT
    assert book.types == ["participant.joined", "participant.left"] * 2
    assert len({entry.id for entry in book.entries}) == 4


@pytest.mark.parametrize("version", [1, 2], ids=["older", "as-old"])
def test_a_late_arrival_does_not_bring_back(book, version):
    """What was seen before a participant left, and is told after, does not announce it again."""
    book.see(version=1)
    book.lose(version=2)
    assert book.see(version=version) is Result.STALE
    assert book.types == ["participant.joined", "participant.left"]


def test_removal_before_the_arrival(book):
    """A removal that overtakes its arrival is remembered: the arrival is stale, a later return is announced."""
    assert book.lose(version=2) is Result.NOTED
    assert book.see(version=1) is Result.STALE
    assert book.see(version=3) is Result.JOINED
    assert book.types == ["participant.joined"]


def test_removal_frees_no_address_of_another(book):
    """The removal of somebody who was never seen leaves the one who is announced at its address alone."""
    book.see(make_participant("p1", CUSTOMER))
    book.lose(make_participant("p2", CUSTOMER))
    assert book.open().announced_at(CUSTOMER) == "p1"


def test_a_stale_removal(book):
    """A removal that is older than what is committed changes nothing."""
    book.see(version=5)
    before = dict(book.fields)
    assert book.lose(version=4) is Result.STALE
    assert book.fields == before


def test_removal_of_who_was_not_announced(book):
    """Who had not been announced leaves without an entry."""
    book.see(version=1, decision=TO_NOBODY)
    assert book.lose(version=2) is Result.NOTED
    assert book.types == []
    assert not book.marker().is_present


@pytest.mark.parametrize("decision", [TO_AI, TO_NOBODY], ids=["announced", "ignored"])
def test_a_silent_fact_makes_older_ones_stale(book, decision):
    """A fact that tells nothing new still dates what is known: a removal before it is stale."""
    book.see(version=1, decision=decision)
    assert book.see(version=3, decision=decision) is Result.KNOWN
    assert book.lose(version=2) is Result.STALE
    assert book.marker().is_present


def test_a_second_removal_makes_older_facts_stale(book):
    """A removal of who had left already still dates it: a return before it is stale."""
    book.see(version=1)
    book.lose(version=2)
    assert book.lose(version=5) is Result.KNOWN
    assert book.see(version=4) is Result.STALE
    assert book.types == ["participant.joined", "participant.left"]


# --- the conversation -----------------------------------------------------------------------------


def test_closing_is_published_to_the_holder(book):
    """The closing of a conversation is published once, to the target that held it, about the conversation."""
    book.see(decision=TO_PEOPLE)
    assert book.tell(2, status="CLOSED") is Result.CLOSED
    entry = book.entries[1]
    assert type(entry.data) is ClosedData
    assert (entry.subject, entry.data.target) == (CONVERSATION, "human-agent")
    assert entry.data.conversation.status == "CLOSED"
    assert book.tell(3, status="CLOSED") is Result.KNOWN
    assert len(book.entries) == 2


def test_closing_without_anybody(book):
    """A conversation in which nobody was announced closes without an entry."""
    assert book.tell(status="CLOSED") is Result.NOTED
    assert book.types == []


def test_closed_is_final(book):
    """After the closing nothing that is told changes or publishes anything."""
    book.see(version=1)
    book.tell(2, status="CLOSED")
    before = dict(book.fields)
    assert book.see(make_participant("p2", WHATSAPP), version=3) is Result.GONE
    assert book.see(make_participant(name="Ana"), version=3) is Result.GONE
    assert book.lose(version=4) is Result.STALE
    assert book.tell(5, status="ACTIVE") is Result.KNOWN
    assert book.fields == before
    assert book.types == ["participant.joined", "conversation.closed"]


def test_an_old_closing_is_a_closing(book):
    """Closing is final, so it counts even where something newer was told before it."""
    book.see()
    book.tell(9, status="ACTIVE")
    assert book.tell(1, status="CLOSED") is Result.CLOSED


def test_an_old_state_is_stale(book):
    """What is older than the committed state of a conversation changes nothing, and what is as old may."""
    book.tell(5, status="INACTIVE")
    before = dict(book.fields)
    assert book.tell(4, status="ACTIVE", configuration_id="x") is Result.STALE
    assert book.fields == before
    assert book.tell(5, status="INACTIVE") is Result.NOTED
    assert book.tell(6, status="ACTIVE") is Result.NOTED
    assert book.fields["status"] == "ACTIVE"


def test_a_read_tells_only_what_is_not_known(book):
    """A conversation without a version fills gaps and overwrites nothing that an event told."""
    ledger = book.open()
    ledger.note_conversation(make_conversation())
    assert (ledger.get("configuration_id"), ledger.get("status")) == (CONFIGURATION, "ACTIVE")
    ledger.note_conversation(make_conversation(configuration_id="other", status="INACTIVE"))
    assert (ledger.get("configuration_id"), ledger.get("status")) == (CONFIGURATION, "ACTIVE")
    ledger.note_conversation(make_conversation(configuration_id=None, status=None), Version(1, 1))
    assert (ledger.get("configuration_id"), ledger.get("status")) == (CONFIGURATION, "ACTIVE")


def test_a_read_does_not_reopen(book):
    """A conversation that is known to be closed stays so, whatever a read tells."""
    book.tell(status="CLOSED")
    ledger = book.open()
    ledger.note_conversation(make_conversation(status="ACTIVE"), Version(9, 9))
    assert ledger.is_closed


# --- the fields -----------------------------------------------------------------------------------


def test_revision(book):
    """The revision is the one that was read: 0 at first, then what the commits count."""
    assert book.open().revision == 0
    book.see()
    assert book.open().revision == 1


def test_changes_are_changes_only(book):
    """Setting a field to what it is, or removing one that is not there, is no change; the last change counts."""
    book.fields["status"] = "ACTIVE"
    ledger = book.open()
    ledger.put("status", "ACTIVE")
    ledger.put("target", None)
    assert ledger.changes == {}
    ledger.put("status", None)
    assert (ledger.changes, ledger.get("status")) == ({"status": None}, None)
    ledger.put("status", "INACTIVE")
    assert ledger.changes == {"status": "INACTIVE"}


def test_touch_writes_once_a_day(book):
    """Keeping a conversation alive costs one write a day, and noting callbacks one an hour."""
    now = 400 * 24 * HOUR
    ledger = book.open()
    ledger.touch(now)
    assert ledger.changes == {"day": "400"}
    book.commit(ledger)
    ledger = book.open()
    ledger.touch(now + HOUR)
    assert ledger.changes == {}
    ledger.touch(now, callbacks_seen=True)
    assert ledger.changes == {"told": str(now)}
    ledger.touch(now + HOUR, callbacks_seen=True)
    assert ledger.changes == {"told": str(now)}
    ledger.touch(now + HOUR + 1, callbacks_seen=True)
    assert ledger.changes == {"told": str(now + HOUR + 1)}
    ledger.touch(now + 24 * HOUR)
    assert ledger.changes["day"] == "401"


def test_a_field_that_was_not_read_is_asked_for(book):
    """A decision that depends on a field that was not read names it instead of guessing that it is not there."""
    book.see(make_participant("p1", CUSTOMER, WHATSAPP), version=1)
    ledger = book.open(frozenset(fields_for(["p1"], [CUSTOMER])))
    with pytest.raises(FieldNotReadError) as caught:
        ledger.take_removal(make_fact(make_participant("p1", CUSTOMER), 2))
    assert caught.value.name == address_field(WHATSAPP.key)
    known = frozenset([*fields_for(["p1"], [CUSTOMER]), caught.value.name])
    assert book.open(known).take_removal(make_fact(make_participant("p1", CUSTOMER), 2)).result is Result.LEFT


def test_a_field_that_was_set_is_known(book):
    """What a ledger set or removed itself needs no reading."""
    ledger = book.open(frozenset())
    ledger.put(recipient_field("SMS"), DESK.value)
    assert ledger.recipient("SMS") == DESK
    ledger.put(recipient_field("SMS"), None)
    assert ledger.recipient("SMS") is None
    with pytest.raises(FieldNotReadError, match="p:p1"):
        ledger.marker("p1")


def test_fields_of_a_fact_are_enough(book):
    """The fields that belong to a participant and its addresses are all that its arrival and its leaving need."""
    known = frozenset(fields_for(["p1"], [CUSTOMER]))
    for method, version in (("take_participant", 1), ("take_participant", 2), ("take_removal", 3)):
        ledger = book.open(known)
        getattr(ledger, method)(make_fact(make_participant(name=f"n{version}"), version))
        book.commit(ledger)
    assert book.types == ["participant.joined", "participant.updated", "participant.left"]
    assert set(book.fields) <= known
    assert participant_field("p1") in book.fields
