"""Actions on the wire: how messages are sent, and that none is sent twice."""

import pytest

from router.core.errors import TransportError
from router.core.resources import Action, ActionParty

CONVERSATION = "conv_conversation_01k1etx3jbfx88476ccja0889c"


async def test_send_message(api, client):
    """A message is an action with sender, receivers, content and channel settings."""
    api.reply(202, {"id": "conv_action_1", "type": "action-send-message", "status": "PENDING"})
    action = await client.send_message(
        CONVERSATION,
        ActionParty(participant_id="p1", channel="SMS"),
        [ActionParty(address="+15550100001", channel="SMS"), ActionParty(participant_id="p2")],
        text="hello",
        content_id="HX1",
        variables={"1": "x"},
        media_urls=["https://x.example/a.png"],
        channel_settings={"channelId": "CH1"},
    )
    assert isinstance(action, Action)
    assert action.status == "PENDING"
    assert api.wire == [
        (
            "POST",
            f"/v2/Conversations/{CONVERSATION}/Actions",
            {
                "type": "SEND_MESSAGE",
                "payload": {
                    "from": {"participantId": "p1", "channel": "SMS"},
                    "to": [{"address": "+15550100001", "channel": "SMS"}, {"participantId": "p2"}],
                    "content": {
                        "text": "hello",
                        "contentId": "HX1",
                        "variables": {"1": "x"},
                        "mediaUrls": ["https://x.example/a.png"],
                    },
                    "channelSettings": {"channelId": "CH1"},
                },
            },
        )
    ]


async def test_message_is_never_sent_twice(api, client):
    """A message whose fate is unknown is the caller's to look up."""
    api.reset()
    with pytest.raises(TransportError) as caught:
        await client.send_message(
            CONVERSATION, ActionParty(participant_id="p1"), [ActionParty(participant_id="p2")], text="hello"
        )
    assert caught.value.is_sent
    assert len(api.seen) == 1


async def test_create_action(api, client):
    """Another kind of action goes out as it is."""
    api.reply(202, {"id": "conv_action_1"})
    await client.create_action(CONVERSATION, {"flowId": "FW1"}, type="START_FLOW")
    body = {"type": "START_FLOW", "payload": {"flowId": "FW1"}}
    assert api.wire == [("POST", f"/v2/Conversations/{CONVERSATION}/Actions", body)]


async def test_fetch_action(api, client):
    """An action is fetched to see what became of it."""
    api.reply(200, {"id": "conv_action_1", "status": "FAILED", "failureReason": "blocked"})
    assert (await client.fetch_action(CONVERSATION, "conv_action_1")).failure_reason == "blocked"
    assert api.wire == [("GET", f"/v2/Conversations/{CONVERSATION}/Actions/conv_action_1", None)]
