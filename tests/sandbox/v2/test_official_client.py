"""Conformance: Twilio's own synchronous client does every v2 operation against the sandbox."""

from __future__ import annotations

import asyncio

import pytest
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest.conversations.v2.action import ActionList
from twilio.rest.conversations.v2.communication import CommunicationList
from twilio.rest.conversations.v2.configuration import ConfigurationList
from twilio.rest.conversations.v2.conversation import ConversationList
from twilio.rest.conversations.v2.participant import ParticipantList

from tests.sandbox.harness import BY_CHANNEL, make_participant
from tests.support.accounts import ACCOUNT, CUSTOMER, KEY, OURS, SECRET, TOKEN
from tests.support.official_client import SandboxHttpClient, official_client

SMS = {"channel": "SMS", "address": CUSTOMER}


@pytest.fixture
async def sandbox(start):
    """A sandbox that writes times without fraction, as the official client reads them."""
    return await start(fraction_digits=0)


@pytest.fixture
def v2(sandbox):
    with official_client(sandbox.url, KEY, SECRET, ACCOUNT) as client:
        yield client.conversations.v2


def new_conversation(**fields):
    return ConversationList.CreateConversationWithConfigRequest({"configurationId": BY_CHANNEL} | fields)


def new_participant(kind="CUSTOMER", address=CUSTOMER, **fields):
    body = {"type": kind, "addresses": [{"channel": "SMS", "address": address}]} | fields
    return ParticipantList.CreateParticipantInConversationRequest(body)


def new_communication(text, resource_id=None):
    body = {
        "author": {"address": CUSTOMER, "channel": "SMS"},
        "content": {"type": "TEXT", "text": text},
        "recipients": [{"address": OURS, "channel": "SMS"}],
        "channelId": "SM" + "a" * 32,
        "resourceId": resource_id,
    }
    return CommunicationList.CreateCommunicationInConversationRequest(body)


async def test_conversation_life_cycle(v2):
    """Create, fetch, update, patch, list by status and delete a conversation, with its operation."""

    def drive():
        made = v2.conversations.create(new_conversation(name="first", metadata={"case": "7"}))
        assert (made.status, made.name, made.metadata, made.configuration_id) == (
            "ACTIVE",
            "first",
            {"case": "7"},
            BY_CHANNEL,
        )
        assert made.created_at.tzinfo is not None
        assert v2.conversations(made.id).fetch().id == made.id
        patch = ConversationList.PatchConversationByIdRequest({"metadata": {"more": "8"}})
        assert v2.conversations(made.id).patch(patch).metadata == {"case": "7", "more": "8"}
        change = ConversationList.UpdateConversationByIdRequest({"status": "CLOSED"})
        assert v2.conversations(made.id).update(change).status == "CLOSED"
        assert [each.id for each in v2.conversations.list(status=["CLOSED"])] == [made.id]
        assert v2.conversations.list(status=["ACTIVE", "INACTIVE"]) == []
        answer = v2.conversations(made.id).delete_with_http_info()
        operation = v2.operations(answer.headers["Operation-Id"]).fetch()
        assert (answer.status_code, operation.status, operation.related) == (
            202,
            "COMPLETED",
            {"conversationId": made.id},
        )
        with pytest.raises(TwilioRestException) as caught:
            v2.conversations(made.id).fetch()
        assert (caught.value.status, caught.value.code) == (404, 20404)

    await asyncio.to_thread(drive)


async def test_participant_operations(v2):
    """Create, fetch, update and list participants; a duplicate is a 409 with the SDK's exception."""

    def drive():
        conversation = v2.conversations.create(new_conversation())
        participants = v2.participants(conversation.id)
        made = participants.create(new_participant(name="Ana"))
        assert (made.type, made.name, made.conversation_id, made.account_id) == (
            "CUSTOMER",
            "Ana",
            conversation.id,
            ACCOUNT,
        )
        assert made.addresses == [{"channel": "SMS", "address": CUSTOMER, "channelId": None}]
        assert participants(made.id).fetch().id == made.id
        change = ParticipantList.UpdateParticipantInConversationRequest({"type": "CUSTOMER", "addresses": [SMS]})
        assert participants(made.id).update(change).name == CUSTOMER
        with pytest.raises(TwilioRestException) as caught:
            participants.create(new_participant())
        assert caught.value.status == 409
        assert [each.id for each in participants.list()] == [made.id]

    await asyncio.to_thread(drive)


@pytest.mark.parametrize("page_size", [1, 7, 1000])
async def test_pages_of_any_size(v2, page_size):
    """The client's own pagination returns every participant once, in pages of 1 to 1,000."""

    def drive():
        conversation = v2.conversations.create(new_conversation())
        participants = v2.participants(conversation.id)
        made = {participants.create(new_participant("AI_AGENT", f"+1555020{number:04d}")).id for number in range(23)}
        found = [each.id for each in participants.list(page_size=page_size)]
        assert len(found) == len(made)
        assert set(found) == made
        page = participants.page(page_size=5)
        following = page.next_page()
        assert [each.id for each in following.previous_page()] == [each.id for each in participants.page(page_size=5)]

    await asyncio.to_thread(drive)


async def test_conversation_pages_embed_participants(v2, sandbox):
    """Conversations are listed page by page with their participants."""
    for number in range(5):
        await sandbox.open(make_participant("CUSTOMER", f"+1555030000{number}"), make_participant("AGENT", OURS))

    def drive():
        found = v2.conversations.list(page_size=2)
        assert len({each.id for each in found}) == 5
        assert all(len(each.participants) == 2 for each in found)
        assert len(v2.conversations.list(limit=3)) == 3

    await asyncio.to_thread(drive)


async def test_a_limit_over_1000_is_refused(v2):
    """The client sends a limit over 1,000 as page size, which the API refuses."""

    def drive():
        with pytest.raises(TwilioException, match="Unable to fetch page"):
            v2.conversations.list(limit=1001)

    await asyncio.to_thread(drive)


async def test_communication_operations(v2):
    """Create, update by resource id, fetch and list communications."""

    def drive():
        conversation = v2.conversations.create(new_conversation())
        v2.participants(conversation.id).create(new_participant())
        communications = v2.communications(conversation.id)
        first = communications.create(new_communication("one", "SM1"))
        assert first.author["participantId"] is not None
        second = communications.create(new_communication("two", "SM1"))
        assert (second.id, second.content) == (first.id, {"type": "TEXT", "text": "two"})
        communications.create(new_communication("three"))
        assert communications(first.id).fetch().resource_id == "SM1"
        assert len(communications.list(channel_id="SM" + "a" * 32)) == 2
        assert communications.list(channel_id="CA0") == []
        assert [each.id for each in v2.conversations.list(channel_id="SM1")] == [conversation.id]

    await asyncio.to_thread(drive)


async def test_action_operations(v2):
    """An action is accepted as PENDING, completes, and leaves a communication of the agent."""

    def drive():
        conversation = v2.conversations.create(new_conversation())
        customer = v2.participants(conversation.id).create(new_participant())
        agent = v2.participants(conversation.id).create(new_participant("AI_AGENT", OURS))
        payload = {
            "from": {"participantId": agent.id, "channel": "SMS"},
            "to": [{"participantId": customer.id}],
            "content": {"text": "hi"},
        }
        request = ActionList.CreateConversationActionRequest({"type": "SEND_MESSAGE", "payload": payload})
        action = v2.actions(conversation.id).create(request)
        assert action.status == "PENDING"
        done = v2.actions(conversation.id, action.id).fetch()
        assert (done.status, done.type) == ("COMPLETED", "action-send-message")
        communication = v2.communications(conversation.id, done.related["communicationId"]).fetch()
        assert communication.author == {"address": OURS, "channel": "SMS", "participantId": agent.id}
        assert communication.recipients[0]["deliveryStatus"] == "DELIVERED"

    await asyncio.to_thread(drive)


async def test_configuration_reads(v2):
    """Configurations are listed, filtered by memory store and fetched."""

    def drive():
        assert len(v2.configurations.list(page_size=1)) == 3
        fetched = v2.configurations(BY_CHANNEL).fetch()
        assert fetched.conversation_grouping_type == "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE"
        assert [each.id for each in v2.configurations.list(memory_store_id=fetched.memory_store_id)] == [BY_CHANNEL]

    await asyncio.to_thread(drive)


async def test_configuration_writes(v2):
    """Create, replace, patch and delete a configuration; each is an operation that names it."""
    fields = {
        "displayName": "Support",
        "description": "of the tests",
        "conversationGroupingType": "GROUP_BY_PROFILE",
        "memoryStoreId": "mem_store_1",
        "channelSettings": {"SMS": {"statusTimeouts": {"inactive": 1, "closed": 2}}},
    }

    def drive():
        request = ConfigurationList.CreateConfigurationRequest(fields)
        made = v2.configurations.create_with_http_info(create_configuration_request=request)
        configuration_id = v2.operations(made.headers["Operation-Id"]).fetch().related["configurationId"]
        context = v2.configurations(configuration_id)
        assert context.fetch().channel_settings == fields["channelSettings"]
        change = ConfigurationList.UpdateConfigurationRequest(fields | {"description": "new"})
        context.update(update_configuration_request=change)
        assert context.fetch().description == "new"
        patch = ConfigurationList.PatchConfigurationRequest({"memoryExtractionEnabled": True})
        context.patch(patch_configuration_request=patch)
        changed = context.fetch()
        assert (changed.memory_extraction_enabled, changed.description, changed.version) == (True, "new", 3)
        context.delete()
        with pytest.raises(TwilioRestException) as caught:
            context.fetch()
        assert caught.value.status == 404

    await asyncio.to_thread(drive)


async def test_page_size_in_the_wrong_case_is_ignored(v2):
    """The client's `page_with_http_info` sends `PageSize`, which must not be an error."""

    def drive():
        assert v2.conversations.page_with_http_info(page_size=3).status_code == 200

    await asyncio.to_thread(drive)


async def test_account_credentials_are_accepted(sandbox):
    """Account SID and auth token are accepted like an API key."""

    def drive():
        with official_client(sandbox.url, ACCOUNT, TOKEN, ACCOUNT) as client:
            assert client.conversations.v2.conversations.list() == []

    await asyncio.to_thread(drive)


async def test_wrong_credentials_are_refused(sandbox):
    """A wrong secret is a 401 with code 20003."""

    def drive():
        with (
            official_client(sandbox.url, KEY, "wrong", ACCOUNT) as client,
            pytest.raises(TwilioRestException) as caught,
        ):
            client.conversations.v2.configurations(BY_CHANNEL).fetch()
        assert (caught.value.status, caught.value.code) == (401, 20003)

    await asyncio.to_thread(drive)


def test_the_helper_calls_no_other_host():
    """The HTTP client of the tests refuses every URL outside the Conversations API."""
    with pytest.raises(AssertionError, match="not a Conversations API URL"):
        SandboxHttpClient("http://127.0.0.1:1").request("GET", "https://api.twilio.com/2010-04-01")
