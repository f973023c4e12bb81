"""Rules for participants, communications and resolved messages, with plain values: outcomes, or None for the API."""

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


def make_ledger(fields=None, known=None):
    return Ledger("router", "AC1", HERE, fields or {}, known)


def participant(participant_id="p1", kind="CUSTOMER", address=ANA, **more):
    shown = [{"channel": address.channel, "address": address.value}] if address else []
    return Participant(id=participant_id, type=kind, addresses=shown, conversation_id=HERE, **more)


def reported(one, change=Change.ADDED, version=1):
    return ParticipantReported(CAUSE, "AC1", change, one, Version(version, version))


def communication(**author):
    parts = {"address": ANA.value, "channel": ANA.channel, "participantId": "p1"} | author
    return CommunicationReported(
        CAUSE, "AC1", Communication(id="c1", conversation_id=HERE, author=parts if author != {"none": 1} else None)
    )


@pytest.mark.parametrize(("own", "result"), [((), Result.JOINED), ((OURS,), Result.IGNORED)], ids=["unknown", "ours"])
def test_an_agent_at_one_of_our_addresses_is_ignored(own, result):
    """An agent is announced where the policy says so, but not at one of our own addresses."""
    ledger = make_ledger()
    outcome = judge(context(EVERYBODY, own), reported(participant(kind="AI_AGENT", address=OURS)), ledger)
    assert outcome.result is result


def test_a_customer_at_one_of_our_addresses_is_announced():
    """A CUSTOMER is announced even at one of our own addresses."""
    outcome = judge(context(own=(OURS,)), reported(participant(address=OURS)), make_ledger())
    assert outcome.result is Result.JOINED


def test_the_address_of_an_ignored_agent_becomes_the_recipient():
    """A customer who joins on the channel of an ignored agent has the agent's address as recipient."""
    ledger = make_ledger()
    judge(context(), reported(participant("p0", "AGENT", OURS)), ledger)
    judge(context(), reported(participant()), ledger)
    assert read_draft(ledger.entries[0]).data.recipient.address == OURS.value


def test_the_address_of_a_human_agent_is_no_recipient():
    """A human agent's address does not become the recipient of customers."""
    ledger = make_ledger()
    judge(context(), reported(participant("p0", "HUMAN_AGENT", OURS)), ledger)
    judge(context(), reported(participant()), ledger)
    assert read_draft(ledger.entries[0]).data.recipient is None


def test_a_target_that_depends_on_the_recipient_needs_the_surroundings():
    """A rule on the recipient leaves the target open until the surroundings are known, even if those are empty."""
    policy = context(PLAIN + DESK_RULE)
    assert judge(policy, reported(participant()), make_ledger()) is None
    there = Surroundings((participant("p0", "AGENT", Address("SMS", DESK)),), Conversation(id=HERE))
    ledger = make_ledger()
    assert judge(policy, reported(participant()), ledger, there).result is Result.JOINED
    assert read_draft(ledger.entries[0]).data.target == "human-agent"
    ledger = make_ledger()
    assert judge(policy, reported(participant()), ledger, Surroundings()).result is Result.JOINED
    assert read_draft(ledger.entries[0]).data.target == "ai-agent"


def test_surroundings_on_another_channel_give_no_recipient():
    """An agent on another channel does not become the participant's recipient."""
    ledger = make_ledger()
    mail = participant("p0", "AGENT", Address("EMAIL", "desk@example.com"))
    note_surroundings(Surroundings((mail,)), participant(), ledger)
    assert ledger.recipient("SMS") is None


def test_a_removal_needs_no_surroundings():
    """A removal has an outcome where an addition would need the surroundings."""
    outcome = judge(context(PLAIN + DESK_RULE), reported(participant(), Change.REMOVED), make_ledger())
    assert outcome.result is Result.NOTED


def test_participant_of_a_closed_conversation_is_stale():
    """A participant reported after the conversation closed is stale."""
    outcome = judge(context(), reported(participant()), make_ledger({"status": "CLOSED"}))
    assert outcome.result is Result.STALE


def test_the_status_of_a_conversation_is_noted():
    """The reported status of a conversation is stored in its ledger."""
    ledger = make_ledger()
    event = ConversationReported(CAUSE, "AC1", Conversation(id=HERE, status="ACTIVE"), Version(1, 1))
    assert judge(context(), event, ledger).result is Result.NOTED
    assert ledger.changes["status"] == "ACTIVE"


def test_the_author_of_a_communication_is_found_by_id_or_address():
    """An announced author is found by id or by address, our side is ignored, and an unknown author needs the API."""
    ledger = make_ledger()
    assert judge(context(), communication(), ledger) is None
    judge(context(), reported(participant()), ledger)
    judge(context(), reported(participant("p9", "AGENT", OURS)), ledger)
    assert judge(context(), communication(), ledger).result is Result.KNOWN
    assert judge(context(), communication(participantId=None), ledger).result is Result.KNOWN
    assert judge(context(), communication(participantId="p9", address=OURS.value), ledger).result is Result.IGNORED
    assert judge(context(), communication(none=1), ledger).result is Result.IGNORED
    assert judge(context(), communication(), make_ledger({"status": "CLOSED"})).result is Result.STALE


@pytest.mark.parametrize(
    "event",
    [
        reported(participant()),
        reported(participant(), Change.REMOVED),
        communication(),
        communication(none=1),
        ConversationReported(CAUSE, "AC1", Conversation(id=HERE, status="CLOSED"), Version(1, 1)),
    ],
    ids=["added", "removed", "communication", "no author", "closed"],
)
def test_the_named_fields_suffice_for_an_empty_ledger(event):
    """An event reads no ledger fields besides those that it names, if nothing is committed yet."""
    conversation_id, names = needed_fields(context(), event)
    assert conversation_id == HERE
    judge(context(), event, make_ledger(known=frozenset(names)))


def test_a_missing_field_raises_an_error_with_its_name():
    """A participant with a new address raises FieldNotReadError, naming the field of the old address."""
    ledger = make_ledger()
    judge(context(), reported(participant()), ledger)
    moved = reported(participant(address=Address("SMS", "+15559990000")), Change.UPDATED, version=2)
    names = frozenset(needed_fields(context(), moved)[1])
    again = make_ledger({name: value for name, value in ledger.fields.items() if name in names}, names)
    with pytest.raises(FieldNotReadError) as caught:
        judge(context(), moved, again)
    assert isinstance(caught.value, RouterError)
    assert caught.value.name == f"a:{ANA.key}"


def test_a_resolved_message_announces_the_customer_and_not_our_side():
    """A resolution stores our side without an entry and announces the customer with recipient and origin."""
    message = make_message(ANA, OURS)
    resolved = Resolved(
        HERE,
        participant(),
        "created",
        Conversation(id=HERE, status="ACTIVE", configuration_id="cc"),
        (participant("p0", "AI_AGENT", OURS),),
    )
    work = make_work(message)
    ledger = make_ledger(known=frozenset(resolved_fields(work, resolved)))
    outcome = work.kind.apply_resolved(context(EVERYBODY), work, resolved, ledger)
    assert outcome.result is Result.JOINED
    entry, _ = map(read_draft, ledger.entries)
    assert (entry.data.origin, entry.data.recipient.address) == ("created", OURS.value)
    assert entry.data.conversation.configuration_id == "cc"
    assert ledger.marker("p0").is_ours


def test_resolved_customer_in_a_closed_conversation_is_gone():
    """A resolution into a conversation that has closed has the result GONE."""
    work = make_work(make_message(ANA, OURS))
    resolved, closed = Resolved(HERE, participant(), "found"), make_ledger({"status": "CLOSED"})
    outcome = work.kind.apply_resolved(context(), work, resolved, closed)
    assert outcome.result is Result.GONE


def test_a_message_is_decided_by_its_recipient_and_type():
    """The policy decides a message by its recipient and by the type of its sender."""
    policy = context(PLAIN + DESK_RULE)
    for recipient, target in ((OURS, "ai-agent"), (Address("SMS", DESK), "human-agent")):
        decision = decide_sender(policy, make_message(ANA, recipient), kind="CUSTOMER", configuration_id="cc")
        assert decision.target == target
    assert decide_sender(policy, make_message(), kind="AGENT", configuration_id=None).target is None
