"""Values of the core with sensible defaults, so that a test names only what it is about."""

from datetime import UTC, datetime

from router.core.addresses import Address
from router.core.events import Cause, Change, ClassicReported, CommunicationReported, MessageReceived, Version
from router.core.keys import Target
from router.core.ledger.marker import ParticipantFact
from router.core.policy import Decision, Facts, Rule
from router.core.resources import Communication, Conversation, Participant
from tests.support.accounts import ACCOUNT, CONFIGURATION

CONVERSATION = "conv_conversation_01k1etx3jbfx88476ccja00001"
OTHER = "conv_conversation_01k1etx3jbfx88476ccja00002"
MESSAGE_SID = "SM00000000000000000000000000000001"
CUSTOMER = Address("SMS", "+14155550101")
DESK = Address("SMS", "+15557650001")
NOON = datetime(2026, 1, 7, 12, 0, tzinfo=UTC)  # a Wednesday
RECEIVED_AT = 1_767_787_200_000_000
TO_AI = Decision(Target.AI_AGENT, "default")
TO_PEOPLE = Decision(Target.HUMAN_AGENT, "service-desk (recipient)")
TO_NOBODY = Decision(None, "our-side (participant_type)")


def make_cause(event_type="PARTICIPANT_ADDED", **changes):
    """Return the cause of a fact."""
    fields = {"source": "conversations", "resource_id": "r1", "idempotency_key": "k1", "received_at": RECEIVED_AT}
    return Cause(event_type=event_type, **(fields | changes))


def make_participant(participant_id="p1", *addresses, **changes):
    """Return a participant at `addresses` (default: the customer's)."""
    shown = [{"channel": one.channel, "address": one.value} for one in addresses or (CUSTOMER,)]
    fields = {"id": participant_id, "type": "CUSTOMER", "addresses": shown, "conversation_id": CONVERSATION}
    return Participant(**(fields | changes))


def make_conversation(conversation_id=CONVERSATION, *participants, **changes):
    """Return a conversation with `participants` (none: not reported)."""
    fields = {"id": conversation_id, "status": "ACTIVE", "configuration_id": CONFIGURATION}
    return Conversation(**(fields | {"participants": participants or None} | changes))


def make_fact(participant=None, version=1, decision=TO_AI, **changes):
    """Return the fact that a participant was seen; a number as `version` stands for both of its times."""
    versions = version if isinstance(version, Version) else Version(version, version)
    return ParticipantFact(
        participant or make_participant(), versions, changes.pop("cause", make_cause()), decision, **changes
    )


def make_message(customer=CUSTOMER, recipient=DESK, sid=MESSAGE_SID, **changes):
    """Return an inbound message."""
    cause = make_cause("message.received", resource_id=sid)
    return MessageReceived(cause, ACCOUNT, customer, recipient, sid, **changes)


def make_communication(**changes):
    """Return a communication whose author is known by id and address."""
    author = {"address": CUSTOMER.value, "channel": CUSTOMER.channel, "participantId": "p1"}
    fields = {"id": "c1", "conversation_id": CONVERSATION, "author": author}
    return CommunicationReported(make_cause("COMMUNICATION_CREATED"), ACCOUNT, Communication(**(fields | changes)))


def make_facts(**changes):
    """Return the facts of a routing decision."""
    fields = {
        "source": "messaging",
        "channel": "SMS",
        "participant_type": "CUSTOMER",
        "customer": CUSTOMER,
        "now": NOON,
    }
    return Facts(**(fields | changes))


def make_rule(name="rule", target=Target.AI_AGENT, **conditions):
    """Return a rule with the given conditions."""
    return Rule(name=name, line=1, target=target, **conditions)


def make_classic(kind="participant", change=Change.ADDED, **fields):
    """Return a classic event, about nobody by default."""
    given = {"participant_sid": "MB00000000000000000000000000000001", "version": Version(RECEIVED_AT, RECEIVED_AT)}
    return ClassicReported(
        cause=make_cause("onParticipantAdded", source="classic"),
        account_id=ACCOUNT,
        kind=kind,
        change=change,
        conversation_sid="CH00000000000000000000000000000001",
        **(given | fields),
    )
