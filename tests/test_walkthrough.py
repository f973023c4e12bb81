"""The walk-through: what a newcomer does, step by step, on the real thing. Read this file first.

`python -m router dev` runs as it does for a person: an embedded server, the sandbox, receiver, worker and consumers as
processes. The test is a second program that knows nothing but dev.env.
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
from tests.support.waiting import until

pytestmark = pytest.mark.processes
STRUCTURED = {"content-type": "application/cloudevents+json"}


@pytest.fixture
async def redis(dev):
    """A plain client on dev's Redis."""
    client = connect(dev["REDIS_URL"])
    yield client
    await client.aclose()


def sign(env, path, params):
    """Sign a form as Twilio's documentation says: the URL, then names and values in order."""
    text = env["PUBLIC_BASE_URL"] + path + "".join(name + params[name] for name in sorted(params))
    return base64.b64encode(hmac.new(env["TWILIO_AUTH_TOKEN"].encode(), text.encode(), hashlib.sha1).digest()).decode()


def post(env, path, params, signature):
    """Post a form with nothing but the standard library; returns status, content type and body."""
    request = urllib.request.Request(env["ROUTER_URL"] + path, data=urlencode(params).encode())
    request.add_header("X-Twilio-Signature", signature)
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
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
    """The streams of one kind: one for each partition."""
    return [f"{env['ROUTER_NAMESPACE']}:{{{number}}}:{kind}" for number in range(int(env["ROUTER_PARTITIONS"]))]


async def rows_of(redis, env, kind):
    """All that the streams of one kind hold."""
    return [fields for stream in streams(env, kind) for _, fields in await redis.xrange(stream)]


async def has_finished(redis, env, kind, group):
    """Tell whether a group has read all and finished with it."""
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
    """A hand-made signed form gives an empty TwiML, one participant in the API, and one CloudEvents entry."""
    message = a_message(dev, "+15551110001", "SM" + "1" * 32)
    signature = sign(dev, "/webhooks/messaging", message)

    # 1. Twilio posts the webhook: accepted only with the right signature, answered with an empty TwiML.
    status, kind, body = await asyncio.to_thread(post, dev, "/webhooks/messaging", message, "AAAA" + signature[4:])
    assert (status, body) == (403, b"")
    status, kind, body = await asyncio.to_thread(post, dev, "/webhooks/messaging", message, signature)
    assert (status, kind) == (200, "text/xml")
    assert body.endswith(b"<Response/>")

    # 2. One entry is on the stream of whoever shall take the participant.
    await until(lambda: joined_entries(redis, dev, "+15551110001"))
    ((target, fields),) = await joined_entries(redis, dev, "+15551110001")
    assert target == "ai-agent"

    # 3. It is a CloudEvents document that the official library reads.
    entry = from_structured_event(HTTPMessage(STRUCTURED, fields[b"event"]), JSONFormat())
    assert entry.get_type() == "participant.joined"
    assert entry.get_source() == "/participant-router/router"
    data = entry.get_data()
    assert (data["target"], data["origin"], data["channel"]) == ("ai-agent", "created", "SMS")
    assert data["address"] == "+15551110001"
    assert data["recipient"] == {"channel": "SMS", "address": "+15557650000"}
    assert data["cause"]["resource_id"] == message["MessageSid"]
    assert entry.get_subject() == data["participant"]["id"]

    # 4. The participant is in the conversation, as Twilio's own library sees it.
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


async def test_the_same_webhook_two_hundred_times_doubles_nothing(dev, redis):
    """Two hundred copies at once are all answered 200, and make one participant and one entry."""
    message = a_message(dev, "+15551110002", "SM" + "2" * 32)
    signature = sign(dev, "/webhooks/messaging", message)
    answers = await asyncio.gather(
        *[asyncio.to_thread(post, dev, "/webhooks/messaging", message, signature) for _ in range(200)]
    )
    assert {status for status, _, _ in answers} == {200}
    await until(lambda: joined_entries(redis, dev, "+15551110002"))
    # a later customer's entry shows that the two hundred have been worked on
    later = a_message(dev, "+15551110003", "SM" + "3" * 32)
    await asyncio.to_thread(post, dev, "/webhooks/messaging", later, sign(dev, "/webhooks/messaging", later))
    await until(lambda: joined_entries(redis, dev, "+15551110003"))
    assert len(await joined_entries(redis, dev, "+15551110002")) == 1
    inbound = await rows_of(redis, dev, "inbound")
    messages = [fields[b"body"] for fields in inbound if fields[b"source"] == b"messaging"]
    assert sum(message["MessageSid"].encode() in body for body in messages) == 1


async def test_our_own_additions_come_back_as_callbacks_and_cause_nothing(dev, redis):
    """The AI agent joins and its callback returns; nobody but the customer is ever announced."""
    message = a_message(dev, "+15551110004", "SM" + "4" * 32)
    await asyncio.to_thread(post, dev, "/webhooks/messaging", message, sign(dev, "/webhooks/messaging", message))
    await until(lambda: joined_entries(redis, dev, "+15551110004"))
    ((_, fields),) = await joined_entries(redis, dev, "+15551110004")
    conversation = orjson.loads(fields[b"event"])["data"]["conversation"]["id"]

    async def callbacks_are_done():
        told = [row for row in await rows_of(redis, dev, "inbound") if conversation.encode() in row[b"body"]]
        return len(told) >= 3 and await has_finished(redis, dev, "inbound", "resolver")  # created, two were added

    await until(callbacks_are_done)
    everybody = await joined_entries(redis, dev, conversation)
    assert len(everybody) == 1


async def test_nothing_is_sent_to_a_customer_unless_configured(dev, redis):
    """Without a greeting the AI agent joins and stays silent."""
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


async def test_metrics_and_health_tell_how_it_goes(dev):
    """/healthz, /readyz and /metrics answer, and the metrics name the streams."""

    def get(path):
        with urllib.request.urlopen(dev["ROUTER_URL"] + path, timeout=10) as answer:
            return answer.status, answer.read().decode()

    assert (await asyncio.to_thread(get, "/healthz"))[0] == 200
    assert (await asyncio.to_thread(get, "/readyz"))[0] == 200
    status, text = await asyncio.to_thread(get, "/metrics")
    assert status == 200
    assert 'router_group_pending{group="resolver"' in text
