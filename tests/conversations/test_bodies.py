"""Request bodies: which fields are left out, empty or null."""

import pytest

from router.conversations.bodies import UNSET, to_conversation_patch, to_message, to_participant
from router.core.resources import ActionParty, NewParticipant, Participant, ParticipantAddress

ADDRESS = ParticipantAddress(channel="SMS", address="+15550100001")
NOTHING = {"name": UNSET, "status": None, "metadata": None, "status_callbacks": None}


def test_participant_in_full():
    """All four fields are sent in camelCase."""
    address = ParticipantAddress(channel="CHAT", address="ana", channel_id="CH1")
    participant = NewParticipant(type="CUSTOMER", name="Ana", profile_id="mem_profile_1", addresses=(address,))
    assert to_participant(participant) == {
        "type": "CUSTOMER",
        "name": "Ana",
        "profileId": "mem_profile_1",
        "addresses": [{"channel": "CHAT", "address": "ana", "channelId": "CH1"}],
    }


def test_empty_participant():
    """A field without a value is left out and never null; addresses are always sent."""
    assert to_participant(NewParticipant()) == {"addresses": []}


def test_fetched_participant():
    """Of a fetched participant only the writable fields are sent: no id, no times, no unknown fields."""
    fetched = Participant.model_validate(
        {
            "id": "p",
            "conversationId": "c",
            "accountId": "AC1",
            "createdAt": "2026-01-01T00:00:00Z",
            "type": "UNKNOWN",
            "mood": "fine",
            "addresses": [{"channel": "SMS", "address": "+15550100001", "channelId": None, "hops": 3}],
        }
    )
    expected = {"type": "UNKNOWN", "addresses": [{"channel": "SMS", "address": "+15550100001"}]}
    assert to_participant(fetched) == expected


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        ({}, {}),
        ({"name": None}, {"name": None}),
        ({"name": "x", "status": "CLOSED"}, {"name": "x", "status": "CLOSED"}),
        ({"metadata": {"a": "1", "b": None}}, {"metadata": {"a": "1", "b": None}}),
        ({"metadata": {}}, {"metadata": {}}),
        ({"status_callbacks": ()}, {"configuration": {"statusCallbacks": []}}),
        (
            {"status_callbacks": [{"url": "https://x.example/", "method": "POST"}]},
            {"configuration": {"statusCallbacks": [{"url": "https://x.example/", "method": "POST"}]}},
        ),
    ],
)
def test_patch(changes, body):
    """A PATCH has only the given fields, and a null for a value that is removed."""
    assert to_conversation_patch(**(NOTHING | changes)) == body


PARTY = ActionParty(participant_id="p")
EMPTY = {"text": None, "content_id": None, "variables": None, "media_urls": (), "channel_settings": None}


@pytest.mark.parametrize(
    ("to", "content"),
    [((), {"text": "hello"}), ((PARTY,), {}), ((PARTY,), {"variables": {"1": "x"}})],
    ids=["nobody", "nothing", "variables-alone"],
)
def test_impossible_message(to, content):
    """A message without receiver or content is refused before anything is sent."""
    with pytest.raises(ValueError, match="a message needs"):
        to_message(PARTY, to, **(EMPTY | content))
