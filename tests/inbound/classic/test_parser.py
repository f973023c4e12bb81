"""Source `classic`: event types, accounts and subjects of its webhooks, and pre-action webhooks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import RouterError, UnreadableError
from router.core.events import Change, ClassicReported, Disregarded
from router.inbound.classic.parser import EVENT_TYPES, PRE_ACTIONS
from tests.inbound.classic.forms import CONVERSATION, MEMBER, MESSAGE, event_of, identity_of, key_of, make
from tests.inbound.samples import encode_form
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT

REPORTED = {
    "onConversationAdded": ("conversation", Change.ADDED, CONVERSATION),
    "onConversationUpdated": ("conversation", Change.UPDATED, CONVERSATION),
    "onConversationStateUpdated": ("conversation", Change.UPDATED, CONVERSATION),
    "onConversationRemoved": ("conversation", Change.REMOVED, CONVERSATION),
    "onParticipantAdded": ("participant", Change.ADDED, MEMBER),
    "onParticipantUpdated": ("participant", Change.UPDATED, MEMBER),
    "onParticipantRemoved": ("participant", Change.REMOVED, MEMBER),
    "onMessageAdded": ("message", Change.ADDED, MESSAGE),
}


@pytest.mark.parametrize("event_type", sorted(PRE_ACTIONS))
def test_pre_actions_hold_no_event(event_type):
    """A pre-action webhook has no identity, and would be disregarded if it were read."""
    body = make(EventType=event_type, ConversationSid=None)
    assert identity_of(body) is None
    assert event_of(body).reason == "it has not happened yet"


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_post_action_is_reported_or_disregarded_by_name(event_type):
    """Each post-action webhook becomes an event about its resource, or is disregarded with a reason."""
    event = event_of(make(EventType=event_type, MessageSid=MESSAGE))
    assert event.cause.event_type == event_type
    if event_type in REPORTED:
        assert isinstance(event, ClassicReported)
        sid = {"conversation": event.conversation_sid, "participant": event.participant_sid}.get(event.kind)
        assert (event.kind, event.change, sid or event.message_sid) == REPORTED[event_type]
    else:
        assert isinstance(event, Disregarded)
        assert event.reason.endswith(("changes no participant", "is not a participant"))


def test_pre_and_post_actions():
    """Every pre-action has its post-action; state, delivery and new user have no pre-action."""
    post_only = {"onConversationStateUpdated", "onDeliveryUpdated", "onUserAdded"}
    expected = {f"{name}d" if name.endswith("e") else f"{name}ed" for name in PRE_ACTIONS}
    assert expected == set(EVENT_TYPES) - post_only


def test_unknown_event_types_are_disregarded_by_name():
    """An unknown event type is accepted and disregarded, with its shortened name in the reason."""
    body = make(EventType="onTyping" + "x" * 100)
    assert event_of(body).reason == "unknown event type onTyping" + "x" * 56
    assert identity_of(body).subject == CONVERSATION
    assert identity_of(make(EventType="onTyping", ConversationSid=None)).subject in key_of(
        make(EventType="onTyping", ConversationSid=None)
    )


def test_key_subject_and_account():
    """The key has event and SID; the subject is the conversation; a form may leave out its account."""
    identity = identity_of(make())
    assert identity.key == f"{ACCOUNT}:classic:participant.added:{MEMBER}"
    assert (identity.account_id, identity.subject, identity.aliases) == (ACCOUNT, CONVERSATION, ())
    assert identity_of(make(AccountSid=None)).account_id == OTHER_ACCOUNT


@pytest.mark.parametrize(
    ("sample", "changes", "missing"),
    [
        ("participant_added", {"EventType": None}, "EventType"),
        ("participant_added", {"EventType": "null"}, "EventType"),
        ("participant_added", {"ConversationSid": None}, "ConversationSid"),
        ("participant_added", {"ParticipantSid": " "}, "ParticipantSid"),
        ("message_added", {"MessageSid": None}, "MessageSid"),
    ],
)
def test_missing_sids_are_unreadable(sample, changes, missing):
    """An event without its SIDs is refused by receiver and worker, and the error names the missing parameter."""
    for take in (identity_of, event_of):
        with pytest.raises(UnreadableError, match=missing):
            take(make(sample, **changes))


NAMES = st.sampled_from(["EventType", "ConversationSid", "ParticipantSid", "MessagingBinding.Address", "DateUpdated"])
VALUES = st.one_of(st.text(max_size=5), st.sampled_from([*EVENT_TYPES, "null", "[", '["+1"]', "2026-01-07T12:00:01Z"]))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_receiver_and_worker_agree(pairs):
    """Any form is refused by both, or identified by one and normalized by the other."""
    body = encode_form([pair for pair in pairs if pair[1].isprintable()])
    try:
        identity = identity_of(body)
    except RouterError:
        with pytest.raises(RouterError):
            event_of(body)
    else:
        assert identity is None or identity.key
        assert event_of(body).account_id == ACCOUNT
