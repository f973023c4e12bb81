"""Requests and outcomes of a resolution are values: comparable and immutable."""

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
def test_equal_requests_are_equal_values(make):
    """Two equal requests compare equal and have one hash."""
    assert make() == make()
    assert len({make(), make()}) == 1


def test_requests_are_frozen():
    """A request cannot be changed."""
    with pytest.raises(AttributeError, match="immutable"):
        FetchConversation(CONVERSATION).conversation_id = "other"


def test_outcomes_have_defaults():
    """An outcome reports no other participants and no doubt by default."""
    assert Resolved(CONVERSATION, make_participant(), "found").ours == ()
    assert Surroundings().participants == ()
    assert not Wait("an outage", 1.0).is_unsure
    assert FindConversations().channel_id is None
