"""Conformance: Twilio's own client does every classic operation on the sandbox, and ours gets the same results."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from router.conversations import Transport
from router.conversations.v1 import ClassicConversations
from router.core.classic.resources import ClassicChange, ClassicConversation, NewClassicParticipant, is_already_there
from router.core.errors import ApiError, ConflictError
from router.sandbox.options import DEFAULT_CLASSIC_SERVICE_SID as SERVICE
from tests.sandbox.classic.harness import LinkedHttpClient, official_fields, our_fields
from tests.support.accounts import ACCOUNT, CUSTOMER, KEY, OURS, SECRET

BINDING = {"messaging_binding_address": CUSTOMER, "messaging_binding_proxy_address": OURS}
ANA = NewClassicParticipant(address=CUSTOMER, proxy_address=OURS)
VARIANTS = pytest.mark.parametrize("service_sid", [None, SERVICE], ids=["default", "service"])
PAGE_SIZES = pytest.mark.parametrize("page_size", [1, 7, 50])


@pytest.fixture
def official(sandbox):
    http_client = LinkedHttpClient(sandbox.url)
    yield Client(KEY, SECRET, ACCOUNT, http_client=http_client).conversations.v1
    http_client.session.close()


@pytest.fixture
async def ours(sandbox):
    async with Transport(sandbox.url, KEY, SECRET, retries=0) as transport:
        yield ClassicConversations(transport)


def scope(official, service_sid):
    """The default service, or one by its SID."""
    return official if service_sid is None else official.services(service_sid)


@VARIANTS
async def test_conversation_life_cycle(official, service_sid):
    """Create, fetch by SID and unique name, list by state, close and delete a conversation."""

    def drive():
        conversations = scope(official, service_sid).conversations
        made = conversations.create(
            friendly_name="Order", unique_name="order 7", attributes='{"a": 1}', timers_inactive="PT5M"
        )
        assert (made.state, made.unique_name, made.attributes) == ("active", "order 7", '{"a": 1}')
        assert made.account_sid == ACCOUNT
        assert made.chat_service_sid == SERVICE
        assert list(made.timers) == ["date_inactive"]
        assert conversations("order 7").fetch().sid == conversations(made.sid).fetch().sid == made.sid
        changed = conversations(made.sid).update(friendly_name="Done", state="closed")
        assert (changed.state, changed.friendly_name, changed.timers) == ("closed", "Done", {})
        assert conversations.list(state="active") == []
        assert [each.sid for each in conversations.list(state="closed", start_date="2020-01-01")] == [made.sid]
        assert conversations.list(end_date="2020-01-01") == []
        assert conversations(made.sid).delete(x_twilio_webhook_enabled="true")
        with pytest.raises(TwilioRestException) as caught:
            conversations(made.sid).fetch()
        assert (caught.value.status, caught.value.code) == (404, 50350)

    await asyncio.to_thread(drive)


@VARIANTS
async def test_participant_life_cycle(official, service_sid):
    """Create, fetch by SID and identity, update, list and delete participants."""

    def drive():
        root = scope(official, service_sid)
        conversation = root.conversations.create()
        participants = root.conversations(conversation.sid).participants
        customer = participants.create(**BINDING)
        assert customer.messaging_binding == {"type": "sms", "address": CUSTOMER, "proxy_address": OURS}
        assert (customer.identity, customer.attributes) == (None, "{}")
        user = participants.create(identity="ana é/1", attributes='{"vip": true}')
        assert (user.identity, user.messaging_binding) == ("ana é/1", None)
        assert participants("ana%20%C3%A9%2F1").fetch().sid == participants(user.sid).fetch().sid == user.sid
        changed = participants(user.sid).update(last_read_message_index=3, attributes="{}")
        assert (changed.last_read_message_index, changed.attributes) == (3, "{}")
        assert [each.sid for each in participants.list()] == [customer.sid, user.sid]
        assert participants(customer.sid).delete()
        assert [each.sid for each in participants.list()] == [user.sid]
        with pytest.raises(TwilioRestException) as caught:
            participants(customer.sid).fetch()
        assert (caught.value.status, caught.value.code) == (404, 50432)

    await asyncio.to_thread(drive)


@VARIANTS
@PAGE_SIZES
async def test_pages(official, ours, service_sid, page_size):
    """In pages of any size, both clients list every participant once, and the same."""

    def make():
        root = scope(official, service_sid)
        conversation = root.conversations.create()
        participants = root.conversations(conversation.sid).participants
        for number in range(11):
            participants.create(identity=f"user {number}")
        return conversation.sid, [official_fields(each) for each in participants.list(page_size=page_size)]

    sid, expected = await asyncio.to_thread(make)
    found = [
        our_fields(each) for each in await ours.list_participants(sid, service_sid=service_sid, page_size=page_size)
    ]
    assert found == expected
    assert [each["identity"] for each in found] == [f"user {number}" for number in range(11)]


@VARIANTS
@PAGE_SIZES
async def test_lookup_pages(official, ours, service_sid, page_size):
    """Both clients find all conversations of an address, in alphabetical order of their SIDs."""

    def make():
        root = scope(official, service_sid)
        for number in range(11):
            conversation = root.conversations.create(friendly_name=str(number))
            participants = root.conversations(conversation.sid).participants
            participants.create(**(BINDING | {"messaging_binding_proxy_address": f"+1555020{number:04d}"}))
        rows = root.participant_conversations.list(address=CUSTOMER, page_size=page_size)
        return [official_fields(each) for each in rows]

    expected = await asyncio.to_thread(make)
    rows = ours.find_conversations(address=CUSTOMER, service_sid=service_sid, page_size=page_size)
    found = [our_fields(each) async for each in rows]
    assert found == expected
    sids = [each["conversation_sid"] for each in found]
    assert len(set(sids)) == 11
    assert sids == sorted(sids)
    assert {each["conversation_friendly_name"] for each in found} == {str(number) for number in range(11)}


async def test_pages_back_and_forth(official):
    """The official client pages forward and back by the links."""

    def drive():
        conversation = official.conversations.create()
        participants = official.conversations(conversation.sid).participants
        for number in range(5):
            participants.create(identity=f"user {number}")
        first = participants.page(page_size=2)
        names = [each.identity for each in first]
        second = first.next_page()
        following = [each.identity for each in second]
        third = second.next_page()
        assert [each.identity for each in third] == ["user 4"]
        assert third.next_page() is None
        assert [each.identity for each in third.previous_page()] == following
        assert [each.identity for each in second.previous_page()] == names
        assert first.previous_page() is None

    await asyncio.to_thread(drive)


class OfficialCalls:
    """The operations that are compared, through the official client."""

    def __init__(self, official, service_sid):
        self.root = scope(official, service_sid)

    async def run(self, name, seed):
        try:
            return await asyncio.to_thread(lambda: normal(getattr(self, name)(seed), official_fields))
        except TwilioRestException as error:
            return error.status, error.code

    def participants(self, seed):
        return self.root.conversations(seed.conversation).participants

    def create(self, seed):
        return self.participants(seed).create(identity="new", attributes='{"a": 1}')

    def create_twice(self, seed):
        return self.participants(seed).create(**BINDING)

    def create_elsewhere(self, seed):
        return self.root.conversations(seed.other).participants.create(**BINDING)

    def fetch(self, seed):
        return self.participants(seed)(seed.member).fetch()

    def fetch_by_identity(self, seed):
        return self.participants(seed)("ana").fetch()

    def fetch_missing(self, seed):
        return self.participants(seed)("nobody").fetch()

    def fetch_in_missing(self, seed):
        return self.root.conversations("CH0").participants("ana").fetch()

    def update(self, seed):
        return self.participants(seed)(seed.member).update(attributes='{"b": 2}', last_read_message_index=1)

    def update_badly(self, seed):
        return self.participants(seed)(seed.member).update(attributes="{")

    def delete(self, seed):
        assert self.participants(seed)(seed.member).delete()

    def find_by_address(self, seed):
        return self.root.participant_conversations.list(address=CUSTOMER)

    def find_by_identity(self, seed):
        return self.root.participant_conversations.list(identity="ana")

    def find_nobody(self, seed):
        return self.root.participant_conversations.list(address="+15550100009")

    def fetch_conversation(self, seed):
        return self.root.conversations("first").fetch()

    def list_conversations(self, seed):
        return self.root.conversations.list(state="active")


class OurCalls:
    """The same operations, through ours."""

    def __init__(self, client, service_sid):
        self.client, self.more = client, {"service_sid": service_sid}

    async def run(self, name, seed):
        try:
            return normal(await getattr(self, name)(seed), our_fields)
        except ApiError as error:
            return error.status, error.code

    async def create(self, seed):
        new = NewClassicParticipant(identity="new", attributes='{"a": 1}')
        return await self.client.create_participant(seed.conversation, new, **self.more)

    async def create_twice(self, seed):
        return await self.client.create_participant(seed.conversation, ANA, **self.more)

    async def create_elsewhere(self, seed):
        return await self.client.create_participant(seed.other, ANA, **self.more)

    async def fetch(self, seed):
        return await self.client.fetch_participant(seed.conversation, seed.member, **self.more)

    async def fetch_by_identity(self, seed):
        return await self.client.fetch_participant(seed.conversation, "ana", **self.more)

    async def fetch_missing(self, seed):
        return await self.client.fetch_participant(seed.conversation, "nobody", **self.more)

    async def fetch_in_missing(self, seed):
        return await self.client.fetch_participant("CH0", "ana", **self.more)

    async def update(self, seed):
        change = ClassicChange(attributes='{"b": 2}', last_read_message_index=1)
        return await self.client.update_participant(seed.conversation, seed.member, change, **self.more)

    async def update_badly(self, seed):
        change = ClassicChange(attributes="{")
        return await self.client.update_participant(seed.conversation, seed.member, change, **self.more)

    async def delete(self, seed):
        await self.client.delete_participant(seed.conversation, seed.member, **self.more)

    async def find_by_address(self, seed):
        return [each async for each in self.client.find_conversations(address=CUSTOMER, **self.more)]

    async def find_by_identity(self, seed):
        return [each async for each in self.client.find_conversations(identity="ana", **self.more)]

    async def find_nobody(self, seed):
        return [each async for each in self.client.find_conversations(address="+15550100009", **self.more)]

    async def fetch_conversation(self, seed):
        return await self.client.fetch_conversation("first", **self.more)

    async def list_conversations(self, seed):
        prefix = f"/v1/Services/{self.more['service_sid']}" if self.more["service_sid"] else "/v1"
        page = await self.client._transport.request("GET", f"{prefix}/Conversations", query={"State": "active"})
        return [ClassicConversation.model_validate(each) for each in page.data["conversations"]]


def normal(result, read):
    if result is None:
        return None
    return [read(each) for each in result] if isinstance(result, list) else read(result)


OPERATIONS = [name for name in vars(OurCalls) if not name.startswith("_") and name != "run"]
EXPECTED_REFUSALS = {
    "create_twice": (409, 50433),
    "create_elsewhere": (409, 50416),
    "fetch_missing": (404, 50432),
    "fetch_in_missing": (404, 50350),
    "update_badly": (400, 50304),
}


@VARIANTS
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_both_clients_get_the_same(start, service_sid, operation):
    """On two sandboxes with the same history, both clients get the same result of an operation, errors included."""
    results = []
    for make in (OfficialCalls, OurCalls):
        sandbox = await start(clock=lambda: 1_800_000_000_000_000, entropy=SameEntropy())
        http_client = LinkedHttpClient(sandbox.url)
        official = Client(KEY, SECRET, ACCOUNT, http_client=http_client).conversations.v1
        async with Transport(sandbox.url, KEY, SECRET, retries=0) as transport:
            seed = await asyncio.to_thread(seed_history, official)
            client = official if make is OfficialCalls else ClassicConversations(transport)
            result = await make(client, service_sid).run(operation, seed)
            results.append(without_host(result, sandbox.url))
        http_client.session.close()
    assert results[0] == results[1]
    assert results[0] == EXPECTED_REFUSALS.get(operation, results[0])
    assert (operation in EXPECTED_REFUSALS) is isinstance(results[0], tuple)


class SameEntropy:
    """Entropy that counts, so that two sandboxes make the same SIDs."""

    def __init__(self):
        self._count = 0

    def getrandbits(self, bits):
        self._count += 1
        return self._count if bits == 128 else 0

    def random(self):
        return 0.5

    def randrange(self, end):
        return 0


def seed_history(official):
    """Two conversations, a customer and a chat user in the first."""
    first = official.conversations.create(unique_name="first", friendly_name="First", timers_closed="PT10M")
    other = official.conversations.create()
    participants = official.conversations(first.sid).participants
    member = participants.create(**BINDING)
    participants.create(identity="ana")
    return SimpleNamespace(conversation=first.sid, other=other.sid, member=member.sid)


def without_host(value, url):
    if isinstance(value, str):
        return value.replace(url, "")
    if isinstance(value, list):
        return [without_host(each, url) for each in value]
    return {name: without_host(each, url) for name, each in value.items()} if isinstance(value, dict) else value


async def test_a_hundred_creates_at_once(ours, official):
    """Of a hundred creates of one member at once, one succeeds; the others are told that it exists."""
    conversation = await asyncio.to_thread(official.conversations.create)
    creates = (ours.create_participant(conversation.sid, ANA) for _ in range(100))
    results = await asyncio.gather(*creates, return_exceptions=True)
    refused = [each for each in results if isinstance(each, ConflictError)]
    assert len(refused) == 99
    assert all(is_already_there(each) and each.code == 50433 for each in refused)
    assert len(await ours.list_participants(conversation.sid)) == 1


async def test_twenty_conversations_for_one_pair(ours, official):
    """Of twenty conversations that bind one pair at once, one gets it; the others are told which."""

    def make():
        return [official.conversations.create().sid for _ in range(20)]

    sids = await asyncio.to_thread(make)
    results = await asyncio.gather(*(ours.create_participant(each, ANA) for each in sids), return_exceptions=True)
    (made,) = [each for each in results if not isinstance(each, Exception)]
    named = {(each.code, each.conflicting_id) for each in results if isinstance(each, ConflictError)}
    assert named == {(50416, made.conversation_sid)}


async def test_wrong_credentials(sandbox):
    """A wrong secret is a 401 with code 20003 in the classic shape."""
    http_client = LinkedHttpClient(sandbox.url)

    def drive():
        with pytest.raises(TwilioRestException) as caught:
            Client(KEY, "wrong", ACCOUNT, http_client=http_client).conversations.v1.conversations("CH1").fetch()
        assert (caught.value.status, caught.value.code) == (401, 20003)

    await asyncio.to_thread(drive)
    http_client.session.close()


async def test_another_service(official):
    """An unknown service is a 404 with the generic code."""

    def drive():
        with pytest.raises(TwilioRestException) as caught:
            official.services("IS" + "9" * 32).conversations("CH1").fetch()
        assert (caught.value.status, caught.value.code) == (404, 20404)

    await asyncio.to_thread(drive)
