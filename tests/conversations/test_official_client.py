"""The requests of the v2 client are those of Twilio's library, whose synchronous client is used without a network."""

import pytest
from twilio.base.exceptions import TwilioException
from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.rest import Client
from twilio.rest.conversations.v2.action import ActionList
from twilio.rest.conversations.v2.conversation import ConversationList
from twilio.rest.conversations.v2.participant import ParticipantList

from router.core.resources import ActionParty, NewParticipant, ParticipantAddress

CONVERSATION = "conv_conversation_01k1etx3jbfx88476ccja0889c"
PARTICIPANT = "conv_participant_01k1etx3jbfx88476ccja0889c"
ADDRESS = {"channel": "WHATSAPP", "address": "whatsapp:+15550100001", "channelId": "SM1"}
FIELDS = {"name": "Ana", "type": "CUSTOMER", "profileId": "mem_profile_1", "addresses": [ADDRESS]}
OURS = NewParticipant(
    name="Ana",
    type="CUSTOMER",
    profile_id="mem_profile_1",
    addresses=(ParticipantAddress(channel="WHATSAPP", address="whatsapp:+15550100001", channel_id="SM1"),),
)


class Recorder(HttpClient):
    """Keeps the request that the library would send and answers with an error."""

    def __init__(self):
        super().__init__(None, False, None)
        self.wire = []

    def request(self, method, url, params=None, data=None, **_options):
        self.wire.append((method, url.removeprefix("https://conversations.twilio.com"), params, data))
        return Response(500, "{}")


@pytest.fixture
def official():
    """Return a function that runs an operation of the library and returns the request that it would send."""

    def run(operate):
        recorder = Recorder()
        with pytest.raises(TwilioException):
            operate(Client("AC" + "0" * 32, "made-up", http_client=recorder).conversations.v2)
        (wire,) = recorder.wire
        return wire

    return run


def given(params):
    """Return the query parameters of the library's request that have a value."""
    return [
        (name, each)
        for name, value in (params or {}).items()
        for each in (value if isinstance(value, list) else [value])
        if isinstance(each, str | int)
    ]


async def test_create_participant(api, client, official):
    """Both clients post the same participant to the same path."""
    body = ParticipantList.CreateParticipantInConversationRequest(FIELDS)
    method, path, _, data = official(lambda v2: v2.participants(CONVERSATION).create(body))
    api.reply(201, {"id": PARTICIPANT})
    await client.create_participant(CONVERSATION, OURS)
    assert api.wire == [(method, path, data)]


async def test_update_participant(api, client, official):
    """Both clients put the same participant to the same path."""
    body = ParticipantList.UpdateParticipantInConversationRequest(FIELDS)
    method, path, _, data = official(lambda v2: v2.participants(CONVERSATION, PARTICIPANT).update(body))
    api.reply(200, {"id": PARTICIPANT})
    await client.update_participant(CONVERSATION, PARTICIPANT, OURS)
    assert api.wire == [(method, path, data)]


async def test_create_conversation(api, client, official):
    """Both clients post the same conversation to the same path."""
    fields = {"configurationId": "conv_configuration_1", "participants": [FIELDS], "metadata": {"order": "7"}}
    body = ConversationList.CreateConversationWithConfigRequest(fields)
    method, path, _, data = official(lambda v2: v2.conversations.create(body))
    api.reply(201, {"id": CONVERSATION})
    await client.create_conversation("conv_configuration_1", [OURS], metadata={"order": "7"})
    assert api.wire == [(method, path, data)]


async def test_send_message(api, client, official):
    """Both clients post the same message to the same path."""
    party, other = {"participantId": "p1", "channel": "SMS"}, {"address": "+15550100001", "channel": "SMS"}
    payload = {"from": party, "to": [other], "content": {"text": "hello", "mediaUrls": ["https://x.example/a.png"]}}
    body = ActionList.CreateConversationActionRequest({"type": "SEND_MESSAGE", "payload": payload})
    method, path, _, data = official(lambda v2: v2.actions(CONVERSATION).create(body))
    api.reply(202, {"id": "conv_action_1"})
    await client.send_message(
        CONVERSATION,
        ActionParty(participant_id="p1", channel="SMS"),
        [ActionParty(address="+15550100001", channel="SMS")],
        text="hello",
        media_urls=["https://x.example/a.png"],
    )
    assert api.wire == [(method, path, data)]


async def test_list_conversations(api, client, official):
    """Both clients request the same list with the same parameters."""
    method, path, params, _ = official(
        lambda v2: v2.conversations.list(status=["ACTIVE", "INACTIVE"], channel_id="CA1", page_size=7)
    )
    api.reply(200, {"conversations": [], "meta": {"key": "conversations"}})
    assert [
        each async for each in client.list_conversations(status=["ACTIVE", "INACTIVE"], channel_id="CA1", page_size=7)
    ] == []
    (seen,) = api.seen
    assert (seen.method, seen.target.partition("?")[0]) == (method, path)
    assert sorted(seen.query) == sorted((name, str(value)) for name, value in given(params))


@pytest.mark.parametrize("kind", ["conversation", "participant", "configuration", "participants"])
async def test_reads(api, client, official, kind):
    """Both clients read every resource from the same path."""
    theirs, ours = {
        "conversation": (lambda v2: v2.conversations("x1").fetch(), lambda: client.fetch_conversation("x1")),
        "participant": (lambda v2: v2.participants("x1", "x2").fetch(), lambda: client.fetch_participant("x1", "x2")),
        "configuration": (lambda v2: v2.configurations("x1").fetch(), lambda: client.fetch_configuration("x1")),
        "participants": (lambda v2: v2.participants("x1").list(), lambda: client.list_participants("x1")),
    }[kind]
    method, path, _, _ = official(theirs)
    api.reply(200, {"id": "x", "participants": []})
    await ours()
    assert (api.seen[0].method, api.seen[0].target.partition("?")[0]) == (method, path)
