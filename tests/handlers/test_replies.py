"""Replies: found by their dotted path, plain or asynchronous, and nothing but a text or None."""

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
    """A reply with a state."""

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
async def test_ask(reply, expected):
    """Every kind of reply gives its text, and none is the empty text."""
    assert await ask(reply, ENTRY) == expected


async def test_ask_refuses_other_values():
    """A reply that returns something else is told so instead of having it sent."""
    with pytest.raises(TypeError, match="no text but dict"):
        await ask(lambda _: {"text": "hi"}, ENTRY)


SAID = make(CommunicationData, "conv_1", CUSTOMER)


@replies_to(CommunicationEntry)
async def echo(entry):
    return f"You said: {entry.data.communication.text}"


@replies_to(JoinedEntry, CommunicationEntry)
def both(entry):
    return entry.type


async def test_reply_is_asked_for_what_it_wants():
    """An unmarked reply is asked for who joins only; a marked one for what it names, and for nothing else."""
    assert [await ask(make_greeting("hi"), one) for one in (ENTRY, SAID)] == ["hi", ""]
    assert [await ask(echo, one) for one in (ENTRY, SAID)] == ["", "You said: hi"]
    assert [await ask(both, one) for one in (ENTRY, SAID)] == [ENTRY.type, SAID.type]
    assert is_asked_for(both, SAID.type)
    assert not is_asked_for(plain, SAID.type)


@pytest.mark.parametrize("models", [(), (Entry,), (JoinedEntry, JoinedEntry), (CommunicationEntry, Entry)], ids=str)
def test_replies_to_refuses_other_entries(models):
    """A slip is told where it stands, not by an agent that keeps silent."""
    with pytest.raises(TypeError, match="JoinedEntry and CommunicationEntry"):
        replies_to(*models)


def test_load_reply():
    """The dotted path leads to a function, or to something in a class."""
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
        ("tests.handlers.test_replies:ENTRY", "is no function but Entry"),
    ],
)
def test_load_reply_refuses(dotted, problem):
    """What cannot be called stops the start, naming its variable."""
    with pytest.raises(SettingsError) as caught:
        load_reply(dotted)
    (found,) = caught.value.problems
    assert found.startswith("ROUTER_AI_AGENT_REPLY: ")
    assert problem in found
