"""Classic webhooks: what each event type becomes, how it is named, and whose member it is about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.errors import RouterError, UnreadableError
from router.core.events import Change, ClassicReported, Disregarded, Version
from router.core.signing.form import parse_form
from router.inbound.classic.fields import MAX_TEXT
from router.inbound.classic.parser import EVENT_TYPES, PRE_ACTIONS, identify, normalize
from tests.inbound.samples import ACCOUNT, OTHER_ACCOUNT, RECEIVED_AT, encode_form, load_form, make_entry

CONVERSATION = "CH00000000000000000000000000000001"
MEMBER = "MB00000000000000000000000000000001"
MESSAGE = "IM00000000000000000000000000000001"
AT = 1_767_787_201_000_000  # 2026-01-07T12:00:01Z
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


def make(sample="participant_added", **changes):
    """Return the body of a sample with some parameters changed."""
    fields = {name.replace("__", "."): value for name, value in changes.items()}
    return encode_form(load_form(f"classic_{sample}", **fields))


def see(body):
    return identify(parse_form(body), default_account=OTHER_ACCOUNT)


def read(body):
    return normalize(make_entry(body, "classic"))


# --- the table of event types ----------------------------------------------------------------------


@pytest.mark.parametrize("event_type", sorted(PRE_ACTIONS))
def test_pre_actions_hold_no_event(event_type):
    """A question is not identified, and if one were read all the same, nothing has happened yet."""
    body = make(EventType=event_type, ConversationSid=None)
    assert see(body) is None
    assert read(body).reason == "it has not happened yet"


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_post_action_is_reported_or_disregarded_by_name(event_type):
    """Each known type becomes an event about its resource, or is disregarded with a reason that says why."""
    event = read(make(EventType=event_type, MessageSid=MESSAGE))
    assert event.cause.event_type == event_type
    if event_type in REPORTED:
        assert isinstance(event, ClassicReported)
        sid = {"conversation": event.conversation_sid, "participant": event.participant_sid}.get(event.kind)
        assert (event.kind, event.change, sid or event.message_sid) == REPORTED[event_type]
    else:
        assert isinstance(event, Disregarded)
        assert event.reason.endswith(("changes no participant", "is not a participant"))


def test_both_halves_of_the_table():
    """Every pre-action has its post-action; a state, a delivery and a new user are only told."""
    told_only = {"onConversationStateUpdated", "onDeliveryUpdated", "onUserAdded"}
    halves = {f"{name}d" if name.endswith("e") else f"{name}ed" for name in PRE_ACTIONS}
    assert halves == set(EVENT_TYPES) - told_only


def test_unknown_event_types_are_disregarded_by_name():
    """The product grows: what is not known is taken, named with a bound, and costs nothing."""
    body = make(EventType="onTyping" + "x" * 100)
    assert read(body).reason == "unknown event type onTyping" + "x" * 56
    assert see(body).subject == CONVERSATION
    assert (
        see(make(EventType="onTyping", ConversationSid=None)).subject
        in see(make(EventType="onTyping", ConversationSid=None)).key
    )


# --- keys ------------------------------------------------------------------------------------------


def test_key_subject_and_account():
    """The key names the event and its SID, the subject is the conversation, the account the form's, else ours."""
    identity = see(make())
    assert identity.key == f"{ACCOUNT}:classic:participant.added:{MEMBER}"
    assert (identity.account_id, identity.subject, identity.aliases) == (ACCOUNT, CONVERSATION, ())
    assert see(make(AccountSid=None)).account_id == OTHER_ACCOUNT


@pytest.mark.parametrize("changes", [{"DateCreated": "2026-01-07T12:00:09Z"}, {"RetryCount": "1"}, {"Attributes": "x"}])
def test_what_happens_once_has_one_key(changes):
    """A member is added once in the life of its SID, whatever else the webhook says."""
    assert see(make(**changes)).key == see(make()).key


@pytest.mark.parametrize(
    "changes",
    [
        {"DateUpdated": "2026-01-07T12:00:09Z"},
        {"Identity": "ana"},
        {"MessagingBinding__ProxyAddress": "whatsapp:+15557650009"},
        {"ParticipantSid": "MB00000000000000000000000000000002"},
        {"EventType": "onParticipantRemoved"},
    ],
)
def test_updates_are_told_apart(changes):
    """Two updates of one member differ in time or in what they say, even within one second."""
    update = {"EventType": "onParticipantUpdated", "DateUpdated": "2026-01-07T12:00:02Z"}
    assert see(make(**update | changes)).key != see(make(**update)).key


def test_spellings_of_one_update_have_one_key():
    """Another precision of the time, spelling of the type or order of parameters is the same update."""
    update = {"EventType": "onParticipantUpdated", "DateUpdated": "2026-01-07T12:00:02Z"}
    other = update | {"DateUpdated": "2026-01-07T12:00:02.000Z", "MessagingBinding__Type": "WhatsApp", "Identity": None}
    assert see(make(**other)).key == see(make(**update)).key


def test_a_state_and_an_update_of_one_second_are_two():
    """A conversation's attributes and its state may change in one second: the closing must not be lost."""
    state = make("state_updated")
    update = make("state_updated", EventType="onConversationUpdated", DateUpdated="2026-01-07T12:00:01Z")
    assert see(state).key != see(update).key
    assert see(state).key != see(make("state_updated", StateTo="inactive")).key


def test_an_update_without_a_time_is_named_by_its_form():
    """Where nothing says which update it is, the same form is a repeat, and another form is another update."""
    update = {"EventType": "onParticipantUpdated", "DateCreated": None}
    assert see(make(**update)).key == see(make(**update)).key
    assert see(make(**update)).key != see(make(**update, Attributes='{"a":1}')).key


# --- what is in them -------------------------------------------------------------------------------


def test_participant():
    """A member comes with its SIDs and both ends of its binding; what says null or nothing is not there."""
    event = read(make())
    assert (event.conversation_sid, event.participant_sid) == (CONVERSATION, MEMBER)
    assert event.customer == Address("WHATSAPP", "whatsapp:+14155550101")
    assert event.recipient == Address("WHATSAPP", "whatsapp:+15557650001")
    assert (event.identity, event.projected, event.is_by_api) == (None, None, False)
    assert event.version == Version(AT, AT)
    assert (event.cause.source, event.cause.resource_id) == ("classic", MEMBER)


@pytest.mark.parametrize(
    ("binding", "ends"),
    [
        pytest.param({"Address": "+1", "ProxyAddress": "+2", "Type": "SMS"}, ("SMS|+1", "SMS|+2", None), id="sms"),
        pytest.param({"Address": "a@x.io", "Type": "Email"}, ("EMAIL|a@x.io", None, None), id="mail"),
        pytest.param({"ProjectedAddress": "+3", "Type": "sms"}, (None, None, "SMS|+3"), id="group-agent"),
        pytest.param({"Address": '["+1"]', "Type": "sms"}, ("SMS|+1", None, None), id="list-of-one"),
        pytest.param({"Address": '["+1", "+2"]'}, (None, None, None), id="list-of-several"),
        pytest.param({"Address": "[+1"}, ("SMS|[+1", None, None), id="no-list"),
        pytest.param({"Type": "chat"}, (None, None, None), id="chat"),
    ],
)
def test_bindings(binding, ends):
    """The channel of a binding follows from a prefix or its type, in any case; a list names nobody in particular."""
    none = dict.fromkeys(f"MessagingBinding__{name}" for name in ("Address", "ProxyAddress", "Type"))
    event = read(make(**none | {f"MessagingBinding__{name}": value for name, value in binding.items()}))
    assert tuple(end and end.key for end in (event.customer, event.recipient, event.projected)) == ends


def test_message():
    """A message comes with author, member, index and its text, which has a bound."""
    event = read(make("message_added", Source="api"))
    assert (event.message_sid, event.participant_sid, event.author) == (MESSAGE, MEMBER, "whatsapp:+14155550101")
    assert (event.text, event.index, event.is_by_api) == ("Hello", 0, True)
    assert len(read(make("message_added", Body="x" * 99_999, Index="one")).text) == MAX_TEXT
    assert read(make("message_added", Index="9" * 5000)).index is None


def test_state():
    """A state comes with the time since which it holds, and the service of its conversation."""
    event = read(make("state_updated"))
    assert (event.state, event.version, event.service_sid) == ("closed", Version(AT, AT), "IS" + "0" * 31 + "1")


def test_without_times():
    """What has no time is as new as its receipt."""
    assert read(make(DateCreated="soon")).version == Version(RECEIVED_AT, RECEIVED_AT)


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
def test_what_cannot_be_told_is_unreadable(sample, changes, missing):
    """An event without its SIDs is refused at the door and in the worker, by the name of what is missing."""
    for take in (see, read):
        with pytest.raises(UnreadableError, match=missing):
            take(make(sample, **changes))


NAMES = st.sampled_from(["EventType", "ConversationSid", "ParticipantSid", "MessagingBinding.Address", "DateUpdated"])
VALUES = st.one_of(st.text(max_size=5), st.sampled_from([*EVENT_TYPES, "null", "[", '["+1"]', "2026-01-07T12:00:01Z"]))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_receiver_and_worker_agree(pairs):
    """Whatever a form says, both refuse it, or one identifies what the other normalizes; nothing else comes out."""
    body = encode_form([pair for pair in pairs if pair[1].isprintable()])
    try:
        identity = see(body)
    except RouterError:
        with pytest.raises(RouterError):
            read(body)
    else:
        assert identity is None or identity.key
        assert read(body).account_id == ACCOUNT
