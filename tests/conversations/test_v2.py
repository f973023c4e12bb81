"""Every operation of the v2 client: the requests it sends, and the models that it returns."""

import orjson
import pytest
from aiohttp import web

from router.conversations import UNSET
from router.core.errors import ConflictError, NotFoundError, RequestError, ServerError, TransportError
from router.core.resources import (
    Action,
    ActionParty,
    Configuration,
    Conversation,
    NewParticipant,
    Participant,
    ParticipantAddress,
)

CONVERSATION = "conv_conversation_01k1etx3jbfx88476ccja0889c"
PARTICIPANT = "conv_participant_01k1etx3jbfx88476ccja0889c"
CUSTOMER = NewParticipant(
    type="CUSTOMER", addresses=(ParticipantAddress(channel="WHATSAPP", address="whatsapp:+15550100001"),)
)
CUSTOMER_BODY = {"type": "CUSTOMER", "addresses": [{"channel": "WHATSAPP", "address": "whatsapp:+15550100001"}]}
FULL = {
    "id": PARTICIPANT,
    "conversationId": CONVERSATION,
    "accountId": "AC1",
    "name": "Ana",
    "type": "UNKNOWN",
    "profileId": "mem_profile_1",
    "addresses": [{"channel": "SMS", "address": "+15550100001", "channelId": "SM1"}],
    "createdAt": "2026-01-01T12:00:00Z",
    "updatedAt": "2026-01-01T12:00:00.123456789Z",
}


async def test_create_conversation(api, client):
    """A conversation is created with the given fields and no others; any 2xx is success."""
    api.reply(200, {"id": CONVERSATION, "status": "ACTIVE", "participants": [FULL]})
    conversation = await client.create_conversation(
        "conv_configuration_1",
        [CUSTOMER, NewParticipant(type="AI_AGENT", name="Bot")],
        name="Order 7",
        metadata={"order": "7"},
        configuration={"memoryExtractionEnabled": False},
    )
    assert isinstance(conversation, Conversation)
    assert conversation.participants[0].profile_id == "mem_profile_1"
    assert api.wire == [
        (
            "POST",
            "/v2/Conversations",
            {
                "configurationId": "conv_configuration_1",
                "name": "Order 7",
                "participants": [CUSTOMER_BODY, {"type": "AI_AGENT", "name": "Bot", "addresses": []}],
                "metadata": {"order": "7"},
                "configuration": {"memoryExtractionEnabled": False},
            },
        )
    ]


async def test_create_conversation_without_participants(api, client):
    """Fields that are not given are not sent."""
    api.reply(201, {"id": CONVERSATION})
    await client.create_conversation("conv_configuration_1")
    assert api.wire == [("POST", "/v2/Conversations", {"configurationId": "conv_configuration_1"})]


async def test_create_conversation_that_exists(api, client):
    """The conflict names the conversation that is already open."""
    api.reply(409, {"message": "exists"}, headers={"x-conflicting-resource-id": CONVERSATION})
    with pytest.raises(ConflictError) as caught:
        await client.create_conversation("conv_configuration_1", [CUSTOMER])
    assert caught.value.conflicting_id == CONVERSATION
    assert len(api.seen) == 1


async def test_list_conversations(api, client):
    """The filters are sent for every page, statuses repeated; incomplete items are models."""
    api.reply(200, {"conversations": [{"id": "a"}], "meta": {"key": "conversations", "nextToken": "x+/=&"}})
    api.reply(200, {"conversations": [{"id": "b", "status": "ARCHIVED"}], "meta": {"key": "conversations"}})
    found = [
        each async for each in client.list_conversations(status=["ACTIVE", "INACTIVE"], channel_id="CA1", page_size=7)
    ]
    assert [(each.id, each.status) for each in found] == [("a", None), ("b", "ARCHIVED")]
    query = "/v2/Conversations?status=ACTIVE&status=INACTIVE&channelId=CA1&pageSize=7"
    assert api.wire == [("GET", query, None), ("GET", f"{query}&pageToken=x%2B/%3D%26", None)]


async def test_list_conversations_with_limit(api, client):
    """A limit ends the list; filters that are not given are not sent."""
    api.reply(200, {"conversations": [{"id": "a"}, {"id": "b"}], "meta": {"nextToken": "x"}})
    assert [each.id async for each in client.list_conversations(limit=2)] == ["a", "b"]
    assert api.wire == [("GET", "/v2/Conversations?pageSize=50", None)]


async def test_fetch_conversation(api, client):
    """A conversation is fetched by its id; unknown fields are kept."""
    api.reply(200, {"id": CONVERSATION, "configurationId": None, "mood": "fine"})
    conversation = await client.fetch_conversation(CONVERSATION)
    assert conversation.model_extra == {"mood": "fine"}
    assert api.wire == [("GET", f"/v2/Conversations/{CONVERSATION}", None)]


async def test_ids_are_encoded(api, client):
    """An id is one segment of the path, whatever characters it has."""
    api.reply(200, {"id": "x"})
    await client.fetch_participant("a/../b?c", "d#é")
    assert api.wire == [("GET", "/v2/Conversations/a%2F..%2Fb%3Fc/Participants/d%23%C3%A9", None)]


async def test_empty_id(api, client):
    """With an empty id nothing is sent, because the path would name another resource."""
    with pytest.raises(RequestError):
        await client.fetch_conversation("")
    assert api.seen == []


async def test_patch_conversation(api, client):
    """PATCH distinguishes a field that is kept from one that is removed."""
    api.reply(200, {"id": CONVERSATION}, times=3)
    await client.patch_conversation(CONVERSATION, status="INACTIVE")
    await client.patch_conversation(CONVERSATION, name=None, metadata={"a": None, "b": "1"}, status_callbacks=[])
    await client.patch_conversation(CONVERSATION, name=UNSET)
    path = f"/v2/Conversations/{CONVERSATION}"
    assert api.wire == [
        ("PATCH", path, {"status": "INACTIVE"}),
        (
            "PATCH",
            path,
            {"name": None, "metadata": {"a": None, "b": "1"}, "configuration": {"statusCallbacks": []}},
        ),
        ("PATCH", path, {}),
    ]


async def test_create_participant(api, client):
    """A participant is posted to its conversation and returned as a model."""
    api.reply(201, FULL)
    participant = await client.create_participant(CONVERSATION, CUSTOMER)
    assert participant == Participant.model_validate(FULL)
    assert api.wire == [("POST", f"/v2/Conversations/{CONVERSATION}/Participants", CUSTOMER_BODY)]


@pytest.mark.parametrize("page_size", [1, 50, 1000])
async def test_list_participants_in_full(api, client, page_size):
    """Three thousand participants are all listed, with any page size, over one connection."""

    async def serve(request):
        start = int(request.query.get("pageToken", "0"))
        end = min(start + int(request.query["pageSize"]), 3000)
        items = [{"id": f"p{number}"} for number in range(start, end)]
        meta = {"key": "participants", "pageSize": len(items), "nextToken": str(end) if end < 3000 else None}
        return web.Response(body=orjson.dumps({"participants": items, "meta": meta}))

    api.otherwise = serve
    participants = await client.list_participants(CONVERSATION, page_size)
    assert [each.id for each in participants] == [f"p{number}" for number in range(3000)]
    assert len(api.seen) == 3000 // page_size
    assert len(api.connections) == 1


async def test_list_participants_by_default(api, client):
    """By default the page size is the largest one."""
    api.reply(200, {"participants": [], "meta": {"key": "participants"}})
    assert await client.list_participants(CONVERSATION) == []
    assert api.wire == [("GET", f"/v2/Conversations/{CONVERSATION}/Participants?pageSize=1000", None)]


async def test_repeated_page_token(api, client):
    """A list that repeats a page token is an error, not a loop."""
    api.reply(200, {"participants": [{"id": "a"}], "meta": {"nextToken": "again"}}, times=9)
    with pytest.raises(ServerError, match="does not end"):
        await client.list_participants(CONVERSATION)
    assert len(api.seen) == 2


async def test_failed_page_is_repeated(api, client):
    """Only a page that failed is fetched again, not the pages before it."""
    api.reply(200, {"participants": [{"id": "a"}], "meta": {"nextToken": "2"}})
    api.reply(503).reply(200, {"participants": [{"id": "b"}], "meta": {}})
    assert [each.id for each in await client.list_participants(CONVERSATION)] == ["a", "b"]
    assert [each.query[1:] for each in api.seen] == [[], [("pageToken", "2")], [("pageToken", "2")]]


async def test_fetch_participant(api, client):
    """A participant is fetched by the ids of its conversation and its own."""
    api.reply(200, FULL)
    assert (await client.fetch_participant(CONVERSATION, PARTICIPANT)).name == "Ana"
    assert api.wire == [("GET", f"/v2/Conversations/{CONVERSATION}/Participants/{PARTICIPANT}", None)]


async def test_fetch_missing_participant(api, client):
    """A missing participant is a NotFoundError and is not fetched again."""
    api.reply(404, {"code": 20404, "message": "not found", "status": 404})
    with pytest.raises(NotFoundError) as caught:
        await client.fetch_participant(CONVERSATION, PARTICIPANT)
    assert caught.value.code == 20404
    assert len(api.seen) == 1


async def test_update_participant(api, client):
    """PUT sends the given fields; the ones that are left out are cleared."""
    api.reply(200, FULL)
    await client.update_participant(CONVERSATION, PARTICIPANT, NewParticipant(type="AGENT"))
    path = f"/v2/Conversations/{CONVERSATION}/Participants/{PARTICIPANT}"
    assert api.wire == [("PUT", path, {"type": "AGENT", "addresses": []})]


async def test_modify_participant(api, client):
    """Changing one field sends the other three as they were fetched."""
    api.reply(200, FULL).reply(200, FULL | {"type": "CUSTOMER"})
    participant = await client.modify_participant(CONVERSATION, PARTICIPANT, type="CUSTOMER")
    assert participant.type == "CUSTOMER"
    path = f"/v2/Conversations/{CONVERSATION}/Participants/{PARTICIPANT}"
    fields = {name: FULL[name] for name in ("name", "profileId", "addresses")}
    assert api.wire == [("GET", path, None), ("PUT", path, fields | {"type": "CUSTOMER"})]


async def test_modify_participant_to_none(api, client):
    """None clears a field."""
    api.reply(200, FULL).reply(200, FULL)
    await client.modify_participant(CONVERSATION, PARTICIPANT, name=None)
    assert "name" not in api.seen[1].body
    assert api.seen[1].body["profileId"] == "mem_profile_1"


async def test_modify_unknown_field(api, client):
    """An unknown field is refused before anything is sent."""
    with pytest.raises(TypeError, match="no writable profileId"):
        await client.modify_participant(CONVERSATION, PARTICIPANT, profileId="mem_profile_2")
    assert api.seen == []


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


async def test_message_that_may_have_been_sent_is_not_repeated(api, client):
    """A message that may have been sent is not repeated."""
    api.reset()
    with pytest.raises(TransportError) as caught:
        await client.send_message(
            CONVERSATION, ActionParty(participant_id="p1"), [ActionParty(participant_id="p2")], text="hello"
        )
    assert caught.value.is_sent
    assert len(api.seen) == 1


async def test_create_action(api, client):
    """The payload of another kind of action is sent unchanged."""
    api.reply(202, {"id": "conv_action_1"})
    await client.create_action(CONVERSATION, {"flowId": "FW1"}, type="START_FLOW")
    body = {"type": "START_FLOW", "payload": {"flowId": "FW1"}}
    assert api.wire == [("POST", f"/v2/Conversations/{CONVERSATION}/Actions", body)]


async def test_list_communications(api, client):
    """Communications are listed page by page, filtered by channel id."""
    item = {"id": "m1", "author": {"address": "+15550100001", "channel": "SMS"}, "recipients": None}
    api.reply(200, {"communications": [item], "meta": {"key": "communications", "nextToken": ""}})
    (communication,) = [each async for each in client.list_communications(CONVERSATION, "CA1")]
    assert communication.author.channel == "SMS"
    assert communication.recipients == ()
    path = f"/v2/Conversations/{CONVERSATION}/Communications?channelId=CA1&pageSize=50"
    assert api.wire == [("GET", path, None)]


async def test_fetch_configuration(api, client):
    """A configuration is fetched from the control plane."""
    api.reply(200, {"id": "conv_configuration_1", "version": 3, "conversationsV1Bridge": {"serviceId": "IS1"}})
    configuration = await client.fetch_configuration("conv_configuration_1")
    assert isinstance(configuration, Configuration)
    assert configuration.conversations_v1_bridge == {"serviceId": "IS1"}
    assert api.wire == [("GET", "/v2/ControlPlane/Configurations/conv_configuration_1", None)]


async def test_create_with_an_unreadable_response(api, client):
    """A 201 without a participant may have had an effect: ServerError, and no second POST."""
    api.reply(201, {"name": "no id"})
    with pytest.raises(ServerError, match="no Participant"):
        await client.create_participant(CONVERSATION, CUSTOMER)
    assert len(api.seen) == 1
