"""What participants say: heard once, whoever tells of it, from whom was announced, until the conversation closes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.entries import CommunicationData, EntryAddress, EntryMedium
from router.core.events import Content, Medium
from router.core.ledger.communications import (
    LIFE,
    MAIL_LIFE,
    find_author,
    from_communication,
    from_message,
    take_communication,
)
from router.core.ledger.marker import Claim, fields_for
from router.core.timestamps import to_text
from tests.core.book import Book, read_draft
from tests.core.builders import (
    CUSTOMER,
    DESK,
    MESSAGE_SID,
    TO_NOBODY,
    TO_PEOPLE,
    make_cause,
    make_communication,
    make_fact,
    make_message,
    make_participant,
)

CALL_SID = "CA00000000000000000000000000000001"
WHATSAPP = Address("WHATSAPP", "whatsapp:+14155550101")


@pytest.fixture
def book():
    """A conversation in which p1 is announced."""
    book = Book()
    ledger = book.open()
    ledger.note_recipient(DESK)
    book.commit(ledger)
    book.see(make_participant(name="Ana"))
    return book


def message(text="hi", sid=MESSAGE_SID):
    """Return what a received message says."""
    return from_message(replace(make_message(sid=sid), content=Content(text)))


def told(text="hi", **changes):
    """Return what the API's callback says of a communication."""
    return from_communication(make_communication(content={"type": "TEXT", "text": text}, **changes))


def heard(book):
    """Return the texts that were published, in order."""
    return [entry.data.communication.text for entry in book.entries if type(entry.data) is CommunicationData]


# --- the entry ------------------------------------------------------------------------------------


def test_entry_of_a_message(book):
    """The holder gets who said what from where; of the participant what needs no call."""
    content = Content("hi", media=(Medium("image/jpeg", "https://example.com/ME1"), Medium()))
    assert book.hear(replace(message(), content=content, created_at="2026-01-07T11:59:59Z"))
    entry = book.entries[-1]
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
        "created_at": "2026-01-07T11:59:59Z",
    }
    assert (data.participant.id, data.participant.type, data.participant.name) == ("p1", "CUSTOMER", None)
    assert [one.address for one in data.participant.addresses] == [CUSTOMER.value]


def test_entry_of_a_communication(book):
    """What the API tells is all there: its id, the kind, the time; our side comes from the ledger."""
    fact = from_communication(
        make_communication(
            content={"type": "TRANSCRIPTION", "text": "hello", "transcription": {"confidence": 0.9}},
            channel_id=CALL_SID,
            created_at="2026-01-07T12:00:00Z",
            recipients=[{"channel": "CHAT", "address": "desk"}, {"channel": "SMS", "participantId": "p9"}],
        )
    )
    assert book.hear(fact)
    data = book.entries[-1].data
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
def test_text_is_cut_at_the_limit(book, text, limit, expected):
    """A text that is too long is cut and says so."""
    book.hear(message(text), limit)
    shown = book.entries[-1].data.communication
    assert (shown.text, shown.is_text_cut) == expected


def test_text_that_its_source_has_cut_says_so(book):
    """A mail whose end was left out at the door is no whole text, however short it is here."""
    book.hear(replace(message(), content=Content("hi", is_cut=True)))
    assert book.entries[-1].data.communication.is_text_cut


@pytest.mark.parametrize("content", [None, {}, {"type": "TEXT", "text": 7}, {"type": None, "text": None}], ids=str)
def test_content_that_is_no_text(book, content):
    """Whatever the content is, that something was said is told."""
    assert book.hear(from_communication(make_communication(content=content)))
    assert (book.entries[-1].data.communication.type, heard(book)) == ("TEXT", [""])


# --- once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)], ids=str)
def test_every_telling_of_one_message_is_heard_once(book, order):
    """Message, callback with its SID, and callback by id alone: whichever is first, the pair that knows both joins."""
    tellings = [message(), told(channel_id=MESSAGE_SID), told()]
    for index in order:
        assert book.hear(tellings[index])
    alone = {0, 2} == {order[0], order[1]}  # these two have no name in common
    assert len(heard(book)) == (2 if alone else 1)


def test_id_is_equal_over_sources(book):
    """The message and its callback make the same entry, whoever is faster; another message makes another."""
    ids = []
    for fact in (message(), told(channel_id=MESSAGE_SID), message(sid="SM2")):
        other = Book()
        other.see(recipient=DESK)
        other.hear(fact)
        ids.append(other.entries[-1].id)
    assert ids[0] == ids[1] != ids[2]
    assert ids[0] not in {entry.id for entry in book.entries}


def test_two_tellings_in_one_commit_are_one_entry(book):
    """In a batch the ledger itself sees that it is the same, and claims all of the names."""
    ledger = book.open()
    for fact in (message(), told(channel_id=MESSAGE_SID)):
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
    """Any text and media are published, and Book.commit finds the bytes that the models would write."""
    book = Book()
    if is_seen:
        book.see(make_participant(name="Ana"), recipient=DESK)
    else:
        book.fields = {"target": "ai-agent", "reason": "default", f"a:{CUSTOMER.key}": "p1"}
    content = Content(text, is_cut=is_cut, media=tuple(media))
    book.hear(from_message(replace(make_message(sid=MESSAGE_SID), content=content, sent_at=sent_at)), limit=10)
    entry = book.entries[-1]
    assert type(entry.data) is CommunicationData
    assert (entry.source, entry.subject, entry.data.target) == ("/participant-router/router", "p1", "ai-agent")
    assert entry.time == to_text(make_cause().received_at)


def test_two_messages_are_two_entries_and_no_change(book):
    """Nothing but entries: whoever else commits meanwhile is not in the way."""
    before = dict(book.fields)
    assert book.hear(message("one"))
    assert book.hear(message("two", sid="SM2"))
    assert heard(book) == ["one", "two"]
    assert book.fields == before


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
    """A channelId is a name where it is that of one message: a call has many utterances."""
    author = {"channel": channel, "address": "x"}
    assert from_communication(make_communication(author=author, channel_id=channel_id)).names == names


def test_mail_is_remembered_for_longer():
    """Mails are repeated for days."""
    mail = make_message(Address("EMAIL", "ana@example.com"), Address("EMAIL", "desk@example.com"), "<m1@example.com>")
    assert from_message(mail).claim == Claim(("<m1@example.com>",), MAIL_LIFE)
    assert message().claim == Claim((MESSAGE_SID,), LIFE)


def test_resource_id_names_a_message():
    """A communication that was recorded from a message names it, whatever the channelId is."""
    fact = told(resource_id=MESSAGE_SID, channel_id=MESSAGE_SID)
    assert fact.names == (MESSAGE_SID, "c1")
    assert told(resource_id="GT1.3", channel_id=CALL_SID).names == ("c1",)


# --- who ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fact",
    [
        pytest.param(make_fact(make_participant("p2", WHATSAPP), decision=TO_NOBODY), id="ignored by the policy"),
        pytest.param(make_fact(make_participant("p2", WHATSAPP, type="AI_AGENT"), decision=TO_NOBODY), id="agent"),
        pytest.param(make_fact(make_participant("p2", WHATSAPP), is_ours=True), id="our own side"),
    ],
)
def test_who_is_not_announced_is_not_heard(book, fact):
    """Nobody's participants and our own side say nothing to the holder."""
    ledger = book.open()
    ledger.take_participant(fact)
    book.commit(ledger)
    author = {"channel": "WHATSAPP", "address": WHATSAPP.value, "participantId": "p2"}
    assert not book.hear(told(author=author))
    assert heard(book) == []


def test_our_own_side_at_a_customers_address_is_not_heard(book):
    """An agent whom the API shows at the customer's address does not speak for the customer."""
    agent = make_participant("p2", type="HUMAN_AGENT")
    book.see(agent, decision=TO_NOBODY)
    assert not book.hear(told(author={"channel": "SMS", "address": CUSTOMER.value, "participantId": "p2"}))


@pytest.mark.parametrize("participant_id", ["p2", "never seen", None])
def test_author_is_found_by_its_address(book, participant_id):
    """Another participant at an announced address is the one who was announced there."""
    book.see(make_participant("p2", type="UNKNOWN"))
    author = {"channel": "SMS", "address": "+1 (415) 555-0101", "participantId": participant_id}
    assert book.hear(told(author=author))
    assert book.entries[-1].subject == "p1"


def test_author_without_an_address(book):
    """Who is named by id alone spoke from where it was announced."""
    book.see(make_participant("p2", WHATSAPP, Address("CHAT", "ana")), decision=TO_PEOPLE)
    for channel, expected in (("CHAT", ("CHAT", "ana")), ("", ("WHATSAPP", "+14155550101"))):
        fact = told(channel, author={"channel": channel, "participantId": "p2"}, id=f"c-{channel}")
        assert book.hear(fact)
        assert (book.entries[-1].data.channel, book.entries[-1].data.address) == expected
    assert book.entries[-1].data.target == "ai-agent", "the holder's, not that of a later decision"


def test_type_is_not_known_where_the_marker_was_not_read(book):
    """A message is heard with what was read for it: nothing more is asked for."""
    ledger = book.open(known=frozenset(fields_for((), [CUSTOMER])))
    assert take_communication(ledger, message(), text_limit=10)
    assert read_draft(ledger.entries[0]).data.participant.type is None


def test_communication_without_an_author():
    """Nobody said it."""
    assert from_communication(make_communication(author=None)) is None


def test_who_has_left_is_not_heard_until_coming_back(book):
    """A stay ends with what is said in it."""
    book.lose(version=2)
    assert not book.hear(told())
    book.see(version=3)
    assert book.hear(told())
    assert [kind.partition(".")[2] for kind in book.types] == ["joined", "left", "joined", "received"]


def test_nothing_is_heard_after_the_closing(book):
    """CLOSED is final for what is said, too."""
    book.tell(version=2, status="CLOSED")
    assert not book.hear(message())
    assert not book.hear(told())
    assert book.types[-1] == "conversation.closed"


def test_find_author_of_a_stranger(book):
    """Who was never seen at an address where nobody is announced is nobody."""
    assert find_author(book.open(), told(author={"channel": "SMS", "address": "+1"})) is None
