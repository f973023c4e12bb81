"""Replies: found by their dotted path, called for the entries that they want, with a text or None as result."""

from __future__ import annotations

import threading

import pytest

from handlers.replies import (
    CommunicationEntry,
    JoinedEntry,
    ask,
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
    assert await ask(reply, ENTRY) == expected


async def test_a_reply_that_returns_no_text_is_an_error():
    """The error names the type that was returned."""
    with pytest.raises(TypeError, match="returned dict, not text"):
        await ask(lambda _: {"text": "hi"}, ENTRY)


SAID = make(CommunicationData, "conv_1", CUSTOMER)


@replies_to(CommunicationEntry)
async def echo(entry):
    return f"You said: {entry.data.communication.text}"


@replies_to(JoinedEntry, CommunicationEntry)
def both(entry):
    return entry.type


async def test_a_reply_is_called_for_the_entries_that_it_names():
    """An unmarked reply is called for participant.joined only, a marked one for exactly its entries."""
    assert [await ask(make_greeting("hi"), one) for one in (ENTRY, SAID)] == ["hi", ""]
    assert [await ask(echo, one) for one in (ENTRY, SAID)] == ["", "You said: hi"]
    assert [await ask(both, one) for one in (ENTRY, SAID)] == [ENTRY.type, SAID.type]
    assert is_asked_for(both, SAID.type)
    assert not is_asked_for(plain, SAID.type)


@pytest.mark.parametrize("models", [(), (Entry,), (JoinedEntry, JoinedEntry), (CommunicationEntry, Entry)], ids=str)
def test_replies_to_refuses_other_entries(models):
    """A wrong model is an error at the decorator, not an agent that stays silent."""
    with pytest.raises(TypeError, match="JoinedEntry, CommunicationEntry and TurnEntry"):
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
