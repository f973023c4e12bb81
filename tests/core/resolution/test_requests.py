"""Requests and outcomes are values: equal if they ask the same, and nobody changes them."""

from dataclasses import FrozenInstanceError

import pytest

from router.core.resolution.requests import (
    CreateConversation,
    CreateParticipant,
    FetchConversation,
    FetchParticipant,
    FindConversations,
    ListParticipants,
    ReplaceParticipant,
    Resolved,
    Surroundings,
    Wait,
)
from router.core.resources import NewParticipant, ParticipantAddress
from tests.core.builders import CONVERSATION, make_participant
from tests.support.accounts import CONFIGURATION


def new():
    """Return a participant to create."""
    return NewParticipant(type="CUSTOMER", addresses=(ParticipantAddress(channel="SMS", address="+14155550101"),))


@pytest.mark.parametrize(
    "make",
    [
        lambda: CreateConversation(CONFIGURATION, (new(),)),
        lambda: FetchConversation(CONVERSATION),
        lambda: FindConversations("SM1"),
        lambda: ListParticipants(CONVERSATION),
        lambda: FetchParticipant(CONVERSATION, "p1"),
        lambda: CreateParticipant(CONVERSATION, new()),
        lambda: ReplaceParticipant(CONVERSATION, "p1", new()),
    ],
    ids=["create", "fetch", "find", "list", "fetch-participant", "add", "replace"],
)
def test_requests_are_values(make):
    """Two requests that ask the same are equal and count as one, so that a test can name what it expects."""
    assert make() == make()
    assert len({make(), make()}) == 1


def test_requests_are_frozen():
    """A request does not change between being asked for and being made."""
    with pytest.raises(FrozenInstanceError):
        FetchConversation(CONVERSATION).conversation_id = "other"


def test_outcomes_have_sane_blanks():
    """An outcome that says no more than it must has seen nobody else and is in no doubt."""
    assert Resolved(CONVERSATION, make_participant(), "found").ours == ()
    assert Surroundings().participants == ()
    assert not Wait("an outage", 1.0).is_unsure
    assert FindConversations().channel_id is None
