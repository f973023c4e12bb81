"""Replies: found by their dotted path, called for the entries that they want, with a text or None as result."""

from __future__ import annotations

import threading

import pytest

from handlers.replies import (
    CommunicationEntry,
    Handoff,
    JoinedEntry,
    ReplyAnswer,
    ask,
    handoff,
    is_asked_for,
    load_reply,
    make_greeting,
    replies_to,
)
from router.core.entries import CommunicationData, Entry, JoinedData
from router.core.errors import SettingsError
from router.core.resources import Participant, ParticipantAddress
from tests.handlers.harness import make

CUSTOMER = Participant(id="p1", type="CUSTOMER", addresses=(ParticipantAddress(channel="SMS", address="+15550001111"),))
ENTRY = make(JoinedData, "conv_1", CUSTOMER)


class Answering:
    """A reply that is an object."""

    async def __call__(self, joined: JoinedEntry) -> str:
        return f"hello {joined.data.participant.id}"


def promising(joined):
    return Answering()(joined)


def plain(joined):
    return f"{joined.data.channel} {threading.current_thread() is threading.main_thread()}"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(make_greeting("hi"), "hi", id="greeting"),
        pytest.param(make_greeting(""), "", id="empty greeting"),
        pytest.param(lambda _: None, "", id="None"),
        pytest.param(lambda _: " \n", "", id="blank"),
        pytest.param(plain, "SMS False", id="a plain function runs in a thread"),
        pytest.param(Answering(), "hello p1", id="an object"),
        pytest.param(promising, "hello p1", id="a plain function that returns an awaitable"),
    ],
)
async def test_every_kind_of_reply_returns_its_text(reply, expected):
    """Functions, coroutines and objects work; None and blank are the empty text."""
    assert await ask(reply, ENTRY) == ReplyAnswer(expected)


async def test_a_reply_that_returns_no_text_is_an_error():
    """The error names the type that was returned."""
    with pytest.raises(TypeError, match="returned dict, not text, a handoff or None"):
        await ask(lambda _: {"text": "hi"}, ENTRY)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(handoff("angry"), ReplyAnswer("", {"reason": "angry", "priority": 0}), id="a person only"),
        pytest.param(handoff("x", text=" "), ReplyAnswer("", {"reason": "x", "priority": 0}), id="blank text"),
        pytest.param(
            handoff(
                "x", text="hi", summary="s", skills=("german",), context={"a": [1]}, queue="q", agent="d", priority=3
            ),
            ReplyAnswer(
                "hi",
                {
                    "reason": "x",
                    "summary": "s",
                    "skills": ["german"],
                    "context": {"a": [1]},
                    "queue": "q",
                    "agent": "d",
                    "priority": 3,
                },
            ),
            id="everything",
        ),
    ],
)
async def test_a_reply_may_ask_for_a_person(answer, expected):
    """Beside a text or instead of one; what is not given is not in the request."""
    assert await ask(lambda _: answer, ENTRY) == expected


async def test_a_handoff_with_a_text_that_is_none_is_an_error():
    """As with a reply that returns it directly."""
    with pytest.raises(TypeError, match="returned int, not text"):
        await ask(lambda _: Handoff({"reason": "x"}, 7), ENTRY)


def test_a_long_reason_and_summary_are_cut():
    """A model may write more than a request carries; a person is needed all the same."""
    request = handoff("r" * 5000, summary="s" * 5000).request
    assert (len(request["reason"]), len(request["summary"])) == (4000, 4000)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        pytest.param({"reason": ""}, "reason", id="no reason"),
        pytest.param({"reason": None}, "reason", id="reason of None"),
        pytest.param({"summary": "\ud83d"}, "is not JSON", id="half a surrogate pair"),
        pytest.param({"context": {"a": "\ud83d"}}, "is not JSON", id="half a surrogate pair in the context"),
        pytest.param({"context": {"a": {1}}}, "is not JSON", id="a set in the context"),
        pytest.param({"context": {1: "a"}}, "is not JSON", id="a number as name"),
        pytest.param({"context": {"a": "x" * 8192}}, "8192", id="a large context"),
        pytest.param({"skills": "german"}, "skills", id="one skill as text"),
        pytest.param({"skills": [1]}, "skills", id="a number as skill"),
        pytest.param({"queue": ""}, "queue", id="no queue"),
        pytest.param({"priority": -1}, "priority", id="priority below 0"),
    ],
)
def test_a_handoff_that_cannot_be_requested_is_an_error(fields, problem):
    """At the reply, which names the field and no value of it, instead of a request that nobody reads."""
    with pytest.raises(ValueError, match=problem) as caught:
        handoff(**({"reason": "x"} | fields))
    assert "german" not in str(caught.value)


SAID = make(CommunicationData, "conv_1", CUSTOMER)


@replies_to(CommunicationEntry)
async def echo(entry):
    return f"You said: {entry.data.communication.text}"


@replies_to(JoinedEntry, CommunicationEntry)
def both(entry):
    return entry.type


async def test_a_reply_is_called_for_the_entries_that_it_names():
    """An unmarked reply is called for participant.joined only, a marked one for exactly its entries."""
    assert [(await ask(make_greeting("hi"), one)).text for one in (ENTRY, SAID)] == ["hi", ""]
    assert [(await ask(echo, one)).text for one in (ENTRY, SAID)] == ["", "You said: hi"]
    assert [(await ask(both, one)).text for one in (ENTRY, SAID)] == [ENTRY.type, SAID.type]
    assert is_asked_for(both, SAID.type)
    assert not is_asked_for(plain, SAID.type)


@pytest.mark.parametrize("models", [(), (Entry,), (JoinedEntry, JoinedEntry), (CommunicationEntry, Entry)], ids=str)
def test_replies_to_refuses_other_entries(models):
    """A wrong model is an error at the decorator, not an agent that stays silent."""
    with pytest.raises(TypeError, match=r"JoinedEntry, CommunicationEntry, TurnEntry, HolderChangedEntry, .* once"):
        replies_to(*models)


def test_a_reply_is_loaded_by_its_dotted_path():
    """The path leads to a function of a module, or to a method of a class."""
    assert load_reply("tests.handlers.test_replies:plain") is plain
    assert load_reply("tests.handlers.test_replies:Answering.__call__") is Answering.__call__


@pytest.mark.parametrize(
    ("dotted", "problem"),
    [
        ("plain", "not of the form"),
        ("tests.handlers.test_replies:", "not of the form"),
        (":plain", "not of the form"),
        ("tests.no_such_module:plain", "cannot be loaded: ModuleNotFoundError"),
        ("tests.handlers.test_replies:nothing", "cannot be loaded: AttributeError"),
        ("tests.handlers.test_replies:ENTRY", "is not a function (Entry)"),
    ],
)
def test_a_reply_that_cannot_be_loaded_stops_the_start(dotted, problem):
    """The problem names ROUTER_AI_AGENT_REPLY."""
    with pytest.raises(SettingsError) as caught:
        load_reply(dotted)
    (found,) = caught.value.problems
    assert found.startswith("ROUTER_AI_AGENT_REPLY: ")
    assert problem in found
