"""Communications: published once, by whichever source first, from announced authors, until the closing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.entries import CommunicationData, EntryAddress, EntryMedium
from router.core.events import Choice, Content, Location, Medium, Referral
from router.core.judging.kinds import KINDS
from router.core.ledger.communications import (
    LIFE,
    MAIL_LIFE,
    find_author,
    from_classic,
    from_communication,
    from_message,
    take_communication,
    was_heard,
)
from router.core.ledger.ledger import Ledger
from router.core.ledger.marker import Claim, Hearing, fields_for
from router.core.provider_fields import ProviderFields
from router.core.timestamps import to_text
from router.core.values import replace
from tests.core.builders import (
    CUSTOMER,
    DESK,
    MESSAGE_SID,
    TO_NOBODY,
    TO_PEOPLE,
    make_cause,
    make_classic,
    make_communication,
    make_fact,
    make_message,
    make_participant,
)
from tests.core.committed import CommittedState, read_draft

CALL_SID = "CA00000000000000000000000000000001"
WHATSAPP = Address("WHATSAPP", "whatsapp:+14155550101")


@pytest.fixture
def state():
    """A conversation in which p1 is announced."""
    state = CommittedState()
    ledger = state.open()
    ledger.note_recipient(DESK)
    state.commit(ledger)
    state.see(make_participant(name="Ana"))
    return state


def message(text="hi", sid=MESSAGE_SID):
    """Return the fact of a received message."""
    return from_message(replace(make_message(sid=sid), content=Content(text)))


def reported(text="hi", **changes):
    """Return the fact of a communication in an API callback."""
    return from_communication(make_communication(content={"type": "TEXT", "text": text}, **changes))


def published(state):
    """Return the published texts, in order."""
    return [entry.data.communication.text for entry in state.entries if type(entry.data) is CommunicationData]


# --- the entry ------------------------------------------------------------------------------------


def test_entry_of_a_message(state):
    """The entry has author, address, recipient and content, and of the participant what needs no API call."""
    content = Content("hi", media=(Medium("image/jpeg", "https://example.com/ME1"), Medium()))
    assert state.publish(replace(message(), content=content, created_at="2026-01-07T11:59:59Z"))
    entry = state.entries[-1]
    data = entry.data
    assert (entry.type, entry.subject, data.target, data.reason) == (
        "communication.received",
        "p1",
        "ai-agent",
        "default",
    )
    assert (data.channel, data.address) == ("SMS", CUSTOMER.value)
    assert data.recipient == EntryAddress(channel="SMS", address=DESK.value)
    assert data.communication.model_dump() == {
        "id": None,
        "channel_id": MESSAGE_SID,
        "type": "TEXT",
        "text": "hi",
        "is_text_cut": False,
        "media": (
            {"content_type": "image/jpeg", "url": "https://example.com/ME1"},
            EntryMedium().model_dump(),
        ),
        "location": None,
        "reply": None,
        "in_reply_to": None,
        "referral": None,
        "opt_out": None,
        "provider": {},
        "is_provider_cut": False,
        "created_at": "2026-01-07T11:59:59Z",
    }
    assert (data.participant.id, data.participant.type, data.participant.name) == ("p1", "CUSTOMER", None)
    assert [one.address for one in data.participant.addresses] == [CUSTOMER.value]


def test_entry_has_all_of_the_content(state):
    """What is no text has fields of its own."""
    content = Content(
        kind="LOCATION",
        location=Location(52.5, 13.3, "Example Square 1", "Gate"),
        choice=Choice("slot-2", "10:30", {"slot": "10:30"}),
        in_reply_to="SM9",
        referral=Referral("ad", headline="Sale", media=(Medium("image/png", "https://example.com/ad"),)),
        opt_out="STOP",
        provider=ProviderFields((("Forwarded", "true"),), is_cut=True),
    )
    assert state.publish(replace(message(), content=content))
    shown = state.entries[-1].data.communication
    assert (shown.type, shown.text, shown.in_reply_to, shown.opt_out) == ("LOCATION", "", "SM9", "STOP")
    assert shown.location.model_dump() == {
        "latitude": 52.5,
        "longitude": 13.3,
        "address": "Example Square 1",
        "label": "Gate",
    }
    assert shown.reply.model_dump() == {"id": "slot-2", "title": "10:30", "data": {"slot": "10:30"}}
    assert (shown.referral.source_type, shown.referral.headline) == ("ad", "Sale")
    assert shown.referral.media == (EntryMedium(content_type="image/png", url="https://example.com/ad"),)
    assert (shown.provider, shown.is_provider_cut) == ({"Forwarded": "true"}, True)


def test_opt_out_is_found_whichever_source_reports_it(state):
    """Twilio's default handling marks no message, and the API's communications and classic messages never."""
    assert reported("STOP").content.opt_out == "STOP"
    ours = [{"address": DESK.value, "channel": "SMS"}]
    assert reported("help", recipients=ours).content.opt_out == "HELP"
    assert reported("help").content.opt_out is None  # our number may be one for which Twilio does not answer it
    assert reported("stop it").content.opt_out is None
    classic = make_classic(kind="message", message_sid="IM1", text="Stop")
    assert from_classic(classic, CUSTOMER).content.opt_out == "STOP"
    assert from_classic(classic, Address("WHATSAPP", CUSTOMER.value)).content.opt_out is None
    joining = (
        make_communication(content={"text": "STOP"}),
        make_classic("message", author=CUSTOMER.value, text="STOP"),
    )
    assert [KINDS[type(event)].opt_out(event) for event in joining] == ["STOP", "STOP"]


def test_further_content_of_the_api_is_passed_on(state):
    """A transcription's engine, or what the API may add, stands under `provider`."""
    told = {"type": "TRANSCRIPTION", "text": "hi", "transcription": {"confidence": 0.9}}
    state.publish(from_communication(make_communication(content=told)))
    shown = state.entries[-1].data.communication
    assert (shown.type, shown.provider) == ("TRANSCRIPTION", {"transcription": {"confidence": 0.9}})


def test_entry_of_a_communication(state):
    """The API's id, type and time are in the entry; our side comes from the ledger."""
    fact = from_communication(
        make_communication(
            content={"type": "TRANSCRIPTION", "text": "hello", "transcription": {"confidence": 0.9}},
            channel_id=CALL_SID,
            created_at="2026-01-07T12:00:00Z",
            recipients=[{"channel": "CHAT", "address": "desk"}, {"channel": "SMS", "participantId": "p9"}],
        )
    )
    assert state.publish(fact)
    data = state.entries[-1].data
    shown = data.communication
    assert (shown.id, shown.channel_id, shown.type, shown.text) == ("c1", CALL_SID, "TRANSCRIPTION", "hello")
    assert shown.created_at == "2026-01-07T12:00:00Z"
    assert data.recipient == EntryAddress(channel="SMS", address=DESK.value)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        pytest.param("hello", 5, ("hello", False), id="fits"),
        pytest.param("hello!", 5, ("hello", True), id="too long"),
        pytest.param("héllo 👋", 7, ("héllo 👋", False), id="characters, not bytes"),
        pytest.param("hello", 0, ("", True), id="no text wanted"),
        pytest.param("", 0, ("", False), id="no text"),
    ],
)
def test_text_is_cut_at_the_limit(state, text, limit, expected):
    """A text over the limit is cut and marked as cut."""
    state.publish(message(text), limit)
    shown = state.entries[-1].data.communication
    assert (shown.text, shown.is_text_cut) == expected


def test_a_text_cut_by_its_source_is_marked(state):
    """A text that the receiver has cut is marked as cut, however short it is."""
    state.publish(replace(message(), content=Content("hi", is_cut=True)))
    assert state.entries[-1].data.communication.is_text_cut


@pytest.mark.parametrize("content", [None, {}, {"type": "TEXT", "text": 7}, {"type": None, "text": None}], ids=str)
def test_content_without_text_is_published(state, content):
    """A communication is published whatever its content is."""
    assert state.publish(from_communication(make_communication(content=content)))
    assert (state.entries[-1].data.communication.type, published(state)) == ("TEXT", [""])


# --- once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)], ids=str)
def test_every_report_of_one_message_is_published_once(state, order):
    """In any order, reports that share a name make one entry."""
    reports = [message(), reported(channel_id=MESSAGE_SID), reported()]
    for index in order:
        assert state.publish(reports[index])
    alone = {0, 2} == {order[0], order[1]}  # these two have no name in common
    assert len(published(state)) == (2 if alone else 1)


def test_id_is_equal_over_sources(state):
    """A message and its callback make the same entry id; another message makes another."""
    ids = []
    for fact in (message(), reported(channel_id=MESSAGE_SID), message(sid="SM2")):
        other = CommittedState()
        other.see(recipient=DESK)
        other.publish(fact)
        ids.append(other.entries[-1].id)
    assert ids[0] == ids[1] != ids[2]
    assert ids[0] not in {entry.id for entry in state.entries}


def test_two_reports_in_one_commit_are_one_entry(state):
    """Two reports in one ledger make one entry that claims all names."""
    ledger = state.open()
    for fact in (message(), reported(channel_id=MESSAGE_SID)):
        assert take_communication(ledger, fact, text_limit=100)
    (entry,) = ledger.entries
    assert ledger.claims[entry.id] == Claim((MESSAGE_SID, "c1"), LIFE)


@given(
    text=st.text(max_size=20),
    media=st.lists(st.builds(Medium, st.none() | st.text(max_size=5), st.none() | st.text(max_size=5)), max_size=2),
    is_cut=st.booleans(),
    sent_at=st.none() | st.just("2026-01-07T12:00:00Z"),
    is_seen=st.booleans(),
)
def test_every_communication_is_written_as_its_models_would_write_it(text, media, is_cut, sent_at, is_seen):
    """Any text and media are published, and CommittedState.commit finds the bytes that the models would write."""
    state = CommittedState()
    if is_seen:
        state.see(make_participant(name="Ana"), recipient=DESK)
    else:
        state.fields = {"target": "ai-agent", "reason": "default", f"a:{CUSTOMER.key}": "p1"}
    content = Content(text, is_cut=is_cut, media=tuple(media))
    state.publish(from_message(replace(make_message(sid=MESSAGE_SID), content=content, sent_at=sent_at)), limit=10)
    entry = state.entries[-1]
    assert type(entry.data) is CommunicationData
    assert (entry.source, entry.subject, entry.data.target) == ("/participant-router/router", "p1", "ai-agent")
    assert entry.time == to_text(make_cause().received_at)


def test_two_messages_are_two_entries_and_no_change(state):
    """Communications change no field, so they conflict with no other commit."""
    before = dict(state.fields)
    assert state.publish(message("one"))
    assert state.publish(message("two", sid="SM2"))
    assert published(state) == ["one", "two"]
    assert state.fields == before


@pytest.mark.parametrize(
    ("channel", "channel_id", "names"),
    [
        pytest.param("SMS", MESSAGE_SID, (MESSAGE_SID, "c1"), id="SMS"),
        pytest.param("SMS", f"MM{MESSAGE_SID[2:]}", (f"MM{MESSAGE_SID[2:]}", "c1"), id="MMS"),
        pytest.param("CHAT", f"IM{MESSAGE_SID[2:]}", (f"IM{MESSAGE_SID[2:]}", "c1"), id="classic message"),
        pytest.param("EMAIL", "<m1@example.com>", ("<m1@example.com>", "c1"), id="mail"),
        pytest.param("CHAT", "ana@example.com", ("c1",), id="no mail"),
        pytest.param("VOICE", CALL_SID, ("c1",), id="call"),
        pytest.param("CHAT", f"CH{MESSAGE_SID[2:]}", ("c1",), id="classic conversation"),
        pytest.param("SMS", None, ("c1",), id="none"),
    ],
)
def test_names_of_a_communication(channel, channel_id, names):
    """A channelId is a name only if it identifies one message: a call has many utterances."""
    author = {"channel": channel, "address": "x"}
    assert from_communication(make_communication(author=author, channel_id=channel_id)).names == names


def test_names_of_a_mail_stay_claimed_for_longer():
    """Mails are redelivered for days."""
    mail = make_message(Address("EMAIL", "ana@example.com"), Address("EMAIL", "desk@example.com"), "<m1@example.com>")
    assert from_message(mail).claim == Claim(("<m1@example.com>",), MAIL_LIFE)
    assert message().claim == Claim((MESSAGE_SID,), LIFE)


@pytest.mark.parametrize(
    ("claim", "arrived_at", "closed_at", "expected"),
    [
        (None, 1, 5, False),
        (Hearing.CERTAIN, 9, 5, True),
        (Hearing.ON_TRUST, 4, 5, True),
        (Hearing.ON_TRUST, 5, 5, False),
        (Hearing.ON_TRUST, 6, None, True),
    ],
    ids=["never", "certain", "before the closing", "after the closing", "closing unknown"],
)
def test_a_message_on_trust_counts_if_it_came_before_the_closing(claim, arrived_at, closed_at, expected):
    """A message that was published on trust was rightly published if it arrived before the closing."""
    fields = {"status": "CLOSED"} | ({"version": f"{closed_at}.7"} if closed_at else {})
    ledger = Ledger("router", "AC1", "c1", fields)
    assert was_heard(ledger, claim, arrived_at=arrived_at) is expected


def test_one_certain_report_makes_a_claim_certain(state):
    """Of two reports of one communication in one commit, a certain one makes the claim certain."""
    ledger = state.open()
    for fact in (replace(message(), is_certain=False), reported(channel_id=MESSAGE_SID)):
        assert take_communication(ledger, fact, text_limit=100)
    (claim,) = ledger.claims.values()
    assert claim.is_certain


def test_resource_id_names_a_message():
    """The resource id of a message is a name, whatever the channelId is."""
    fact = reported(resource_id=MESSAGE_SID, channel_id=MESSAGE_SID)
    assert fact.names == (MESSAGE_SID, "c1")
    assert reported(resource_id="GT1.3", channel_id=CALL_SID).names == ("c1",)


# --- who ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fact",
    [
        pytest.param(make_fact(make_participant("p2", WHATSAPP), decision=TO_NOBODY), id="ignored by the policy"),
        pytest.param(make_fact(make_participant("p2", WHATSAPP, type="AI_AGENT"), decision=TO_NOBODY), id="agent"),
        pytest.param(make_fact(make_participant("p2", WHATSAPP), is_ours=True), id="our own side"),
    ],
)
def test_only_announced_participants_are_published(state, fact):
    """Ignored participants and our own side publish nothing."""
    ledger = state.open()
    ledger.take_participant(fact)
    state.commit(ledger)
    author = {"channel": "WHATSAPP", "address": WHATSAPP.value, "participantId": "p2"}
    assert not state.publish(reported(author=author))
    assert published(state) == []


def test_our_own_side_at_a_customers_address_publishes_nothing(state):
    """An agent that the API shows at the customer's address is not the customer."""
    agent = make_participant("p2", type="HUMAN_AGENT")
    state.see(agent, decision=TO_NOBODY)
    assert not state.publish(reported(author={"channel": "SMS", "address": CUSTOMER.value, "participantId": "p2"}))


@pytest.mark.parametrize("participant_id", ["p2", "never seen", None])
def test_author_is_found_by_its_address(state, participant_id):
    """An unannounced participant at an announced address is the announced one."""
    state.see(make_participant("p2", type="UNKNOWN"))
    author = {"channel": "SMS", "address": "+1 (415) 555-0101", "participantId": participant_id}
    assert state.publish(reported(author=author))
    assert state.entries[-1].subject == "p1"


def test_author_without_an_address(state):
    """An author known by id only has the address that it was announced at."""
    state.see(make_participant("p2", WHATSAPP, Address("CHAT", "ana")), decision=TO_PEOPLE)
    for channel, expected in (("CHAT", ("CHAT", "ana")), ("", ("WHATSAPP", "+14155550101"))):
        fact = reported(channel, author={"channel": channel, "participantId": "p2"}, id=f"c-{channel}")
        assert state.publish(fact)
        assert (state.entries[-1].data.channel, state.entries[-1].data.address) == expected
    assert state.entries[-1].data.target == "ai-agent", "the holder's, not that of a later decision"


def test_without_the_marker_the_type_is_null(state):
    """A message is published from the fields read for it; no further read is made."""
    ledger = state.open(known=frozenset(fields_for((), [CUSTOMER])))
    assert take_communication(ledger, message(), text_limit=10)
    assert read_draft(ledger.entries[0]).data.participant.type is None


def test_communication_without_an_author():
    """A communication without an author makes no fact."""
    assert from_communication(make_communication(author=None)) is None


def test_a_participant_who_left_publishes_nothing_until_it_returns(state):
    """Communications are published during a stay only."""
    state.lose(version=2)
    assert not state.publish(reported())
    state.see(version=3)
    assert state.publish(reported())
    assert [kind.partition(".")[2] for kind in state.types] == ["joined", "left", "joined", "received"]


def test_nothing_is_published_after_the_closing(state):
    """CLOSED is final for communications too."""
    state.report(version=2, status="CLOSED")
    assert not state.publish(message())
    assert not state.publish(reported())
    assert state.types[-1] == "conversation.closed"


def test_an_unknown_author_is_not_found(state):
    """An unknown participant at an address without an announcement has no author."""
    assert find_author(state.open(), reported(author={"channel": "SMS", "address": "+1"})) is None
