"""The walk-through: the whole system in use, step by step. Read this file first.

`python -m router dev` runs as for a user: an embedded server, the sandbox, receiver, worker and consumers as processes.
The test is a second program that knows only dev.env.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import urllib.error
import urllib.request
from urllib.parse import urlencode

import orjson
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat

from router.streams.client.connection import connect
from tests.support.official_client import official_client
from tests.support.waiting import scaled, until

pytestmark = pytest.mark.processes
STRUCTURED = {"content-type": "application/cloudevents+json"}


@pytest.fixture
async def redis(dev):
    """Connect to dev's Redis."""
    client = connect(dev["REDIS_URL"], timeout=scaled(20))
    yield client
    await client.aclose()


def sign(env, path, params):
    """Sign a form as documented: the URL, then names and values sorted by name.

    https://www.twilio.com/docs/usage/security#validating-requests
    """
    text = env["PUBLIC_BASE_URL"] + path + "".join(name + params[name] for name in sorted(params))
    return base64.b64encode(hmac.new(env["TWILIO_AUTH_TOKEN"].encode(), text.encode(), hashlib.sha1).digest()).decode()


def post(env, path, params, signature):
    """Post a form with the standard library; returns status, content type and body."""
    request = urllib.request.Request(env["ROUTER_URL"] + path, data=urlencode(params).encode())
    request.add_header("X-Twilio-Signature", signature)
    try:
        with urllib.request.urlopen(request, timeout=scaled(15)) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get_content_type(), error.read()


def a_message(env, number, sid):
    return {
        "MessageSid": sid,
        "AccountSid": env["TWILIO_ACCOUNT_SID"],
        "From": number,
        "To": "+15557650000",
        "Body": "Hello, wo ist meine Bestellung? ñ 👋",
        "NumMedia": "0",
        "FromCity": "",
    }


def streams(env, kind):
    """Return the keys of the streams of one kind, one for each partition."""
    return [f"{env['ROUTER_NAMESPACE']}:{{{number}}}:{kind}" for number in range(int(env["ROUTER_PARTITIONS"]))]


async def rows_of(redis, env, kind):
    """Return the fields of all entries on the streams of one kind."""
    return [fields for stream in streams(env, kind) for _, fields in await redis.xrange(stream)]


async def has_finished(redis, env, kind, group):
    """Tell whether a group has read and finished all entries."""
    for stream in streams(env, kind):
        groups = await redis.xinfo_groups(stream)
        if any(one["pending"] or one["lag"] for one in groups if one["name"] == group.encode()):
            return False
    return True


async def joined_entries(redis, env, participant_or_address):
    return [
        (target, fields)
        for target in ("ai-agent", "human-agent")
        for fields in await rows_of(redis, env, f"participants:{target}")
        if fields[b"type"] == b"participant.joined" and participant_or_address.encode() in fields[b"event"]
    ]


async def test_a_signed_webhook_becomes_one_participant_and_one_entry(dev, redis):
    """A signed form makes an empty TwiML response, one participant in the API, and one CloudEvents entry."""
    message = a_message(dev, "+15551110001", "SM" + "1" * 32)
    signature = sign(dev, "/webhooks/messaging", message)

    # 1. Twilio posts the webhook. With the right signature the response is 200 with an empty TwiML.
    status, kind, body = await asyncio.to_thread(post, dev, "/webhooks/messaging", message, "AAAA" + signature[4:])
    assert (status, body) == (403, b"")
    status, kind, body = await asyncio.to_thread(post, dev, "/webhooks/messaging", message, signature)
    assert (status, kind) == (200, "text/xml")
    assert body.endswith(b"<Response/>")

    # 2. One entry is on the stream of the target.
    await until(lambda: joined_entries(redis, dev, "+15551110001"))
    ((target, fields),) = await joined_entries(redis, dev, "+15551110001")
    assert target == "ai-agent"

    # 3. The entry is a CloudEvents document that the official library reads.
    entry = from_structured_event(HTTPMessage(STRUCTURED, fields[b"event"]), JSONFormat())
    assert entry.get_type() == "participant.joined"
    assert entry.get_source() == "/participant-router/router"
    data = entry.get_data()
    assert (data["target"], data["origin"], data["channel"]) == ("ai-agent", "created", "SMS")
    assert data["address"] == "+15551110001"
    assert data["recipient"] == {"channel": "SMS", "address": "+15557650000"}
    assert data["cause"]["resource_id"] == message["MessageSid"]
    assert entry.get_subject() == data["participant"]["id"]

    # 4. Twilio's official library finds the participant in the conversation.
    def look():
        with official_client(
            dev["TWILIO_CONVERSATIONS_URL"],
            dev["TWILIO_API_KEY"],
            dev["TWILIO_API_SECRET"],
            dev["TWILIO_ACCOUNT_SID"],
        ) as client:
            participants = client.conversations.v2.participants(data["conversation"]["id"])
            return participants.list(), participants(data["participant"]["id"]).fetch()

    people, fetched = await asyncio.to_thread(look)
    assert [one.id for one in people if one.type == "CUSTOMER"] == [data["participant"]["id"]]
    assert fetched.addresses[0]["address"] == "+15551110001"


async def test_two_hundred_copies_of_a_webhook_make_one_participant(dev, redis):
    """All concurrent copies are answered 200, and there is one participant and one entry."""
    message = a_message(dev, "+15551110002", "SM" + "2" * 32)
    signature = sign(dev, "/webhooks/messaging", message)
    answers = await asyncio.gather(
        *[asyncio.to_thread(post, dev, "/webhooks/messaging", message, signature) for _ in range(200)]
    )
    assert {status for status, _, _ in answers} == {200}
    await until(lambda: joined_entries(redis, dev, "+15551110002"))
    # the entry of a later customer shows that all copies have been handled
    later = a_message(dev, "+15551110003", "SM" + "3" * 32)
    await asyncio.to_thread(post, dev, "/webhooks/messaging", later, sign(dev, "/webhooks/messaging", later))
    await until(lambda: joined_entries(redis, dev, "+15551110003"))
    assert len(await joined_entries(redis, dev, "+15551110002")) == 1
    inbound = await rows_of(redis, dev, "inbound")
    messages = [fields[b"body"] for fields in inbound if fields[b"source"] == b"messaging"]
    assert sum(message["MessageSid"].encode() in body for body in messages) == 1


async def test_callbacks_of_our_own_participants_make_no_entry(dev, redis):
    """The AI agent joins, which causes a status callback; only the customer has a participant.joined."""
    message = a_message(dev, "+15551110004", "SM" + "4" * 32)
    await asyncio.to_thread(post, dev, "/webhooks/messaging", message, sign(dev, "/webhooks/messaging", message))
    await until(lambda: joined_entries(redis, dev, "+15551110004"))
    ((_, fields),) = await joined_entries(redis, dev, "+15551110004")
    conversation = orjson.loads(fields[b"event"])["data"]["conversation"]["id"]

    async def callbacks_are_done():
        callbacks = [row for row in await rows_of(redis, dev, "inbound") if conversation.encode() in row[b"body"]]
        # a conversation was created and two participants were added
        return len(callbacks) >= 3 and await has_finished(redis, dev, "inbound", "resolver")

    await until(callbacks_are_done)
    assert len(await joined_entries(redis, dev, conversation)) == 1


async def test_nothing_is_sent_to_a_customer_unless_configured(dev, redis):
    """Without a greeting the AI agent joins and is silent."""
    message = a_message(dev, "+15551110005", "SM" + "5" * 32)
    await asyncio.to_thread(post, dev, "/webhooks/messaging", message, sign(dev, "/webhooks/messaging", message))
    entries = await until(lambda: joined_entries(redis, dev, "+15551110005"))

    await until(lambda: has_finished(redis, dev, "participants:ai-agent", "ai-agent"))

    def communications():
        with official_client(
            dev["TWILIO_CONVERSATIONS_URL"],
            dev["TWILIO_API_KEY"],
            dev["TWILIO_API_SECRET"],
            dev["TWILIO_ACCOUNT_SID"],
        ) as client:
            ids = [orjson.loads(fields[b"event"])["data"]["conversation"]["id"] for _, fields in entries]
            return [one for each in ids for one in client.conversations.v2.communications(each).list()]

    assert await asyncio.to_thread(communications) == []


async def test_health_and_metrics_are_served(dev):
    """/healthz and /readyz answer 200, and /metrics has the consumer groups."""

    def get(path):
        with urllib.request.urlopen(dev["ROUTER_URL"] + path, timeout=scaled(10)) as answer:
            return answer.status, answer.read().decode()

    assert (await asyncio.to_thread(get, "/healthz"))[0] == 200
    assert (await asyncio.to_thread(get, "/readyz"))[0] == 200
    status, text = await asyncio.to_thread(get, "/metrics")
    assert status == 200
    assert 'router_group_pending{group="resolver"' in text
