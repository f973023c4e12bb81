"""From an event and a ledger to an outcome, with plain values: what the ledger tells, where the API must be asked."""

import pytest

from router.core.addresses import Address
from router.core.errors import RouterError
from router.core.events import Cause, Change, CommunicationReported, ConversationReported, ParticipantReported, Version
from router.core.judging.context import decide_sender, note_surroundings
from router.core.judging.resolved import resolved_fields
from router.core.ledger.fields import FieldNotReadError
from router.core.ledger.ledger import Ledger
from router.core.ledger.marker import Result
from router.core.resolution.requests import Resolved, Surroundings
from router.core.resources import Communication, Conversation, Participant
from tests.core.builders import make_message
from tests.core.committed import read_draft
from tests.core.judging.events import NOW, judge, make_context, make_work, needed_fields
from tests.support.accounts import DESK
from tests.support.policies import DESK_RULE, EVERYBODY, PLAIN

HERE = "conv_conversation_1"
ANA, OURS = Address("SMS", "+15551230001"), Address("SMS", "+15557650000")
CAUSE = Cause("conversations", "X", "r1", "k1", NOW)


def context(policy=PLAIN, own=()):
    return make_context(policy, {address.key for address in own})


def ledger(fields=None, known=None):
    return Ledger("router", "AC1", HERE, fields or {}, known)


def participant(participant_id="p1", kind="CUSTOMER", address=ANA, **more):
    shown = [{"channel": address.channel, "address": address.value}] if address else []
    return Participant(id=participant_id, type=kind, addresses=shown, conversation_id=HERE, **more)


def reported(one, change=Change.ADDED, version=1):
    return ParticipantReported(CAUSE, "AC1", change, one, Version(version, version))


def said(**author):
    parts = {"address": ANA.value, "channel": ANA.channel, "participantId": "p1"} | author
    return CommunicationReported(
        CAUSE, "AC1", Communication(id="c1", conversation_id=HERE, author=parts if author != {"none": 1} else None)
    )


def types(book):
    return [entry.type for entry in book.entries]


@pytest.mark.parametrize(("own", "result"), [((), Result.JOINED), ((OURS,), Result.IGNORED)], ids=["unknown", "ours"])
def test_agent_at_one_of_our_addresses_is_our_side(own, result):
    """Whoever is at one of our own addresses is nobody's to take, whatever the policy says."""
    book = ledger()
    outcome = judge(context(EVERYBODY, own), reported(participant(kind="AI_AGENT", address=OURS)), book)
    assert outcome.result is result


def test_customer_at_one_of_our_addresses_is_a_customer():
    """A number of ours that writes to another of ours is a customer there."""
    outcome = judge(context(own=(OURS,)), reported(participant(address=OURS)), ledger())
    assert outcome.result is Result.JOINED


def test_ignored_agent_is_remembered_as_our_side_of_its_channel():
    """Who answers on a channel becomes the recipient of whoever joins on it later."""
    book = ledger()
    judge(context(), reported(participant("p0", "AGENT", OURS)), book)
    judge(context(), reported(participant()), book)
    assert read_draft(book.entries[0]).data.recipient.address == OURS.value


def test_human_agent_is_not_our_sides_address():
    """A person's own phone is not the address that customers write to."""
    book = ledger()
    judge(context(), reported(participant("p0", "HUMAN_AGENT", OURS)), book)
    judge(context(), reported(participant()), book)
    assert read_draft(book.entries[0]).data.recipient is None


def test_target_that_hangs_on_what_the_callback_does_not_say_is_asked_for():
    """A rule on the recipient leaves it open; with the surroundings it is decided, and with nobody there as well."""
    policy = context(PLAIN + DESK_RULE)
    assert judge(policy, reported(participant()), ledger()) is None
    there = Surroundings((participant("p0", "AGENT", Address("SMS", DESK)),), Conversation(id=HERE))
    book = ledger()
    assert judge(policy, reported(participant()), book, there).result is Result.JOINED
    assert read_draft(book.entries[0]).data.target == "human-agent"
    book = ledger()
    assert judge(policy, reported(participant()), book, Surroundings()).result is Result.JOINED
    assert read_draft(book.entries[0]).data.target == "ai-agent"


def test_surroundings_of_another_channel_say_nothing():
    """Our side on another channel is not who the participant talks to."""
    book = ledger()
    mail = participant("p0", "AGENT", Address("EMAIL", "desk@example.com"))
    note_surroundings(Surroundings((mail,)), participant(), book)
    assert book.recipient("SMS") is None


def test_removal_is_never_asked_for():
    """Somebody who leaves needs no decision."""
    outcome = judge(context(PLAIN + DESK_RULE), reported(participant(), Change.REMOVED), ledger())
    assert outcome.result is Result.NOTED


def test_participant_of_a_closed_conversation_is_stale():
    """What comes after the end changes nothing."""
    outcome = judge(context(), reported(participant()), ledger({"status": "CLOSED"}))
    assert outcome.result is Result.STALE


def test_conversation_is_taken_in():
    """A conversation's state is noted."""
    book = ledger()
    event = ConversationReported(CAUSE, "AC1", Conversation(id=HERE, status="ACTIVE"), Version(1, 1))
    assert judge(context(), event, book).result is Result.NOTED
    assert book.changes["status"] == "ACTIVE"


def test_communication_is_known_by_id_by_address_or_not_at_all():
    """An announced author is known by id or address, our own side is ignored, and of a stranger the API is asked."""
    book = ledger()
    assert judge(context(), said(), book) is None
    judge(context(), reported(participant()), book)
    judge(context(), reported(participant("p9", "AGENT", OURS)), book)
    assert judge(context(), said(), book).result is Result.KNOWN
    assert judge(context(), said(participantId=None), book).result is Result.KNOWN
    assert judge(context(), said(participantId="p9", address=OURS.value), book).result is Result.IGNORED
    assert judge(context(), said(none=1), book).result is Result.IGNORED
    assert judge(context(), said(), ledger({"status": "CLOSED"})).result is Result.STALE


@pytest.mark.parametrize(
    "event",
    [
        reported(participant()),
        reported(participant(), Change.REMOVED),
        said(),
        said(none=1),
        ConversationReported(CAUSE, "AC1", Conversation(id=HERE, status="CLOSED"), Version(1, 1)),
    ],
    ids=["added", "removed", "communication", "no author", "closed"],
)
def test_fields_that_are_named_are_enough(event):
    """An event applied to a ledger of just the fields that it names needs no other, if nothing is committed yet."""
    conversation_id, names = needed_fields(context(), event)
    assert conversation_id == HERE
    judge(context(), event, ledger(known=frozenset(names)))


def test_field_that_is_not_named_is_asked_for():
    """A participant that had another address needs that address' field: it says so instead of guessing."""
    book = ledger()
    judge(context(), reported(participant()), book)
    moved = reported(participant(address=Address("SMS", "+15559990000")), Change.UPDATED, version=2)
    names = frozenset(needed_fields(context(), moved)[1])
    again = ledger({name: value for name, value in book.fields.items() if name in names}, names)
    with pytest.raises(FieldNotReadError) as caught:
        judge(context(), moved, again)
    assert isinstance(caught.value, RouterError)
    assert caught.value.name == f"a:{ANA.key}"


def test_resolved_message_announces_the_customer_and_notes_our_side():
    """What a resolution found is committed as a whole: our side silently, the customer with recipient and origin."""
    message = make_message(ANA, OURS)
    resolved = Resolved(
        HERE,
        participant(),
        "created",
        Conversation(id=HERE, status="ACTIVE", configuration_id="cc"),
        (participant("p0", "AI_AGENT", OURS),),
    )
    work = make_work(message)
    book = ledger(known=frozenset(resolved_fields(work, resolved)))
    outcome = work.kind.apply_resolved(context(EVERYBODY), work, resolved, book)
    assert outcome.result is Result.JOINED
    entry, _ = map(read_draft, book.entries)
    assert (entry.data.origin, entry.data.recipient.address) == ("created", OURS.value)
    assert entry.data.conversation.configuration_id == "cc"
    assert book.marker("p0").is_ours


def test_resolved_customer_in_a_closed_conversation_is_gone():
    """The caller must look for the conversation that follows it."""
    work = make_work(make_message(ANA, OURS))
    resolved, closed = Resolved(HERE, participant(), "found"), ledger({"status": "CLOSED"})
    outcome = work.kind.apply_resolved(context(), work, resolved, closed)
    assert outcome.result is Result.GONE


def test_message_is_decided_by_its_recipient_and_the_time():
    """The policy sees both ends, the configuration and the clock."""
    policy = context(PLAIN + DESK_RULE)
    for recipient, target in ((OURS, "ai-agent"), (Address("SMS", DESK), "human-agent")):
        decision = decide_sender(policy, make_message(ANA, recipient), kind="CUSTOMER", configuration_id="cc")
        assert decision.target == target
    assert decide_sender(policy, make_message(), kind="AGENT", configuration_id=None).target is None
