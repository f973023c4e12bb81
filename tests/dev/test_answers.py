"""What our side says, from the callbacks on the inbound streams."""

from __future__ import annotations

import orjson
import pytest

from router.core.entries import HolderChangedData
from router.dev import answers as module
from router.dev.answers import AnswerReader
from router.dev.known import Known
from router.simulator.messages import callback
from router.streams.store.watch import StreamRow
from tests.dev.test_entry_lines import AI, SHE, row_of
from tests.support.accounts import ACCOUNT
from tests.support.entries import NONSENSE, make_entry
from tests.test_docs import an_entry

AT = "2026-11-30T10:00:00.000Z"


def inbound(event_type, **data):
    body = callback(event_type, data | {"accountId": ACCOUNT, "createdAt": AT, "updatedAt": AT}, timestamp=AT).body
    fields = {"source": "conversations", "account": ACCOUNT, "key": "k", "subject": "c", "received_at": "7000000"}
    return row_of(fields | {"body": body}, stream="router:{0}:inbound")


def person(participant_id, kind, name=None):
    return inbound(
        "PARTICIPANT_ADDED",
        id=participant_id,
        conversationId="c1",
        type=kind,
        name=name,
        addresses=[{"channel": "SMS", "address": "+15557650000"}],
    )


def words(author, text="Hello!"):
    return inbound(
        "COMMUNICATION_CREATED",
        id="m1",
        conversationId="c1",
        author={"participantId": author, "address": "+15557650000", "channel": "SMS"},
        content={"type": "TEXT", "text": text},
        recipients=[],
    )


@pytest.fixture
def known():
    return Known()


@pytest.fixture
def answers(known, monkeypatch):
    """AnswerReader that ask nobody: `asked` is what they would have asked for, `documents` what they get."""

    async def find(url, **_):
        found.asked.append(url)
        return found.documents.pop() if found.documents else None

    found = AnswerReader(known, {"TWILIO_CONVERSATIONS_URL": "http://api"})
    found.asked, found.documents = [], []
    monkeypatch.setattr(module, "find_json", find)
    return found


@pytest.mark.parametrize(
    ("kind", "name", "who"),
    [
        ("AI_AGENT", None, "ai-agent"),
        ("AI_AGENT", "Robo", "Robo"),
        ("AI_AGENT", "+15557650000", "ai-agent"),
        ("HUMAN_AGENT", None, "human-agent"),
        ("AGENT", None, "agent"),
    ],
)
async def test_the_words_of_an_agent_are_shown_with_a_name(answers, kind, name, who):
    """The participant's own name, or its type; the address, which the API may put in its place, is none."""
    assert await answers.tell(person("p1", kind, name)) is None
    happening = await answers.tell(words("p1"))
    assert (happening.who, happening.text, happening.at, happening.conversation) == (who, "Hello!", 7_000_000, "c1")
    assert answers.asked == []


async def test_a_person_is_named_by_who_holds_the_conversation(answers, known):
    """People speak as the participant at our number; who that is, and since when, tells the entry before."""
    common = an_entry().data.model_dump() | {"target": "human-agent", "participant": None}
    data = HolderChangedData.model_validate(common | {"from": AI, "to": SHE, "because": "accepted"})
    data = data.model_copy(update={"conversation": data.conversation.model_copy(update={"id": "c1"})})
    await answers.tell(person("p1", "AI_AGENT"))
    known.note_entry(make_entry(data, subject="c1"), 7_000_001)
    assert (await answers.tell(words("p1"))).who == "ai-agent"
    known.note_entry(make_entry(data, subject="c1"), 7_000_000)
    assert (await answers.tell(words("p1"))).who == "dana"
    back = HolderChangedData.model_validate(common | {"from": SHE, "to": AI, "because": "released"})
    known.note_entry(make_entry(back.model_copy(update={"conversation": data.conversation}), subject="c1"), 7_000_002)
    assert (await answers.tell(words("p1"))).who == "dana"  # said before, read after she has given it back


@pytest.mark.parametrize("kind", ["CUSTOMER", "UNKNOWN", "OTHER"])
async def test_a_customer_s_words_are_left_to_the_entry(answers, kind):
    """They are on the stream of the participants, with the decision."""
    await answers.tell(person("p1", kind))
    assert await answers.tell(words("p1")) is None


async def test_an_unknown_author_is_asked_for_once(answers):
    """After a restart no callback of this run has told who it is; without an answer nothing is shown."""
    assert await answers.tell(words("a/b?")) is None
    assert answers.asked == ["http://api/v2/Conversations/c1/Participants/a%2Fb%3F"]
    answers.documents.append({"id": "p1", "type": "AI_AGENT", "conversationId": "c1", "addresses": []})
    assert [(await answers.tell(words("p1"))).who for _ in range(2)] == ["ai-agent", "ai-agent"]
    assert len(answers.asked) == 2


async def test_an_answer_of_the_api_that_is_no_participant(answers):
    """It is nobody."""
    answers.documents.append({"type": []})
    assert await answers.tell(words("p1")) is None


@pytest.mark.parametrize("fields", NONSENSE)
async def test_nonsense_is_nothing(answers, fields):
    """The worker makes a dead letter of it."""
    for word in ("PARTICIPANT_ADDED", "COMMUNICATION_CREATED"):
        for source in ("conversations", "classic", "event-streams", "messaging", "", "x"):
            event = fields.get("event", "")
            body = (event if isinstance(event, bytes) else event.encode()) + word.encode()
            assert await answers.tell(row_of({"source": source, "body": body, "received_at": "x"})) is None


async def test_a_callback_without_author_content_or_text(answers):
    """What the API leaves out is left out."""
    await answers.tell(person("p1", "AI_AGENT"))
    body = orjson.loads(words("p1").fields[b"body"])
    for change, shown in (
        ({"author": None}, None),
        ({"content": None}, "(no text)"),
        ({"content": {"text": 7}}, "(no text)"),
    ):
        row = words("p1")
        row.fields[b"body"] = orjson.dumps(body | {"data": body["data"] | change})
        happening = await answers.tell(row)
        assert (happening and happening.text) == shown


async def test_a_row_of_another_kind_costs_no_parsing(answers):
    """A message of a customer is no answer."""
    assert await answers.tell(StreamRow("s", "1-0", {b"source": b"messaging", b"body": b"Body=hi"})) is None
