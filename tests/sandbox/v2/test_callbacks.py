"""Status callbacks: their events, their signature, and every way in which delivery fails."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections import Counter

import pytest
from aiohttp import web
from twilio.request_validator import RequestValidator

from router.core.backoff import backoff
from router.sandbox.deliveries import MAX_CONCURRENT
from router.sandbox.v2.callbacks import signed_url
from tests.harness.serving import serving
from tests.sandbox.harness import BY_CHANNEL, catch_all, make_participant, opening, pair
from tests.support.accounts import CUSTOMER, OURS, TOKEN


@pytest.fixture
def subscribed(start, receiver):
    """Start a sandbox whose first configuration calls the receiver."""

    async def start_one(**switches):
        sandbox = await start(**switches)
        await sandbox.subscribe(receiver.callbacks)
        return sandbox

    return start_one


@pytest.fixture
async def hanging():
    """Run a receiver that answers nothing while the test runs; yields its URL and the paths that were called."""
    released, called = asyncio.Event(), []

    async def take(request):
        called.append(request.path)
        await released.wait()
        return web.Response()

    async with serving(catch_all(take)) as url:
        yield url, called
        released.set()


async def test_hanging_urls_delay_no_other(start, hanging, receiver):
    """Each URL has a lane of its own: four that answer nothing hold no event of another one, however many wait."""
    sandbox = await start()
    url, called = hanging
    slow = [{"url": f"{url}/{number}"} for number in range(4)]
    await sandbox.subscribe([*slow, *receiver.callbacks])
    for number in range(MAX_CONCURRENT + 6):
        await sandbox.open(*pair(customer=f"+1555777{number:04d}"))
    await receiver.wait_for(3 * (MAX_CONCURRENT + 6))
    assert Counter(called) == dict.fromkeys((f"/{number}" for number in range(4)), MAX_CONCURRENT)


async def test_a_full_lane_drops_only_its_own_events(start, hanging, receiver, monkeypatch):
    """Events that wait for a URL that answers nothing fill its lane, and no event of another URL is dropped."""
    monkeypatch.setattr("router.sandbox.deliveries.MAX_PENDING", 10)
    sandbox = await start()
    await sandbox.subscribe([{"url": hanging[0]}, *receiver.callbacks])
    for number in range(12):
        await sandbox.open(make_participant("CUSTOMER", f"+1555777{number:04d}"))
        await receiver.wait_for(2 * (number + 1))
    assert (await sandbox.get("/sandbox/callbacks")).body["dropped"] == 2 * 12 - 10


async def test_all_seven_events(subscribed, receiver):
    """Each kind of change emits one event with its resource, and nothing else does."""
    sandbox = await subscribed()
    conversation = await sandbox.open(pair()[0], name="n")
    path = f"/v2/Conversations/{conversation['id']}"
    agent = (await sandbox.post(f"{path}/Participants", make_participant("AGENT", OURS))).body
    await sandbox.put(f"{path}/Participants/{agent['id']}", make_participant("AI_AGENT", OURS))
    captured = await sandbox.capture(resourceId="SM1")
    await sandbox.capture(resourceId="SM1")
    await sandbox.post(f"/sandbox/participants/{conversation['id']}/{agent['id']}/remove")
    await sandbox.patch(path, {"metadata": {"a": "b"}})
    await sandbox.patch(path, {"status": "CLOSED"})
    await receiver.wait_for(8)
    await sandbox.settled()
    assert receiver.kinds == [
        "CONVERSATION_CREATED",
        "PARTICIPANT_ADDED",
        "PARTICIPANT_ADDED",
        "PARTICIPANT_UPDATED",
        "COMMUNICATION_CREATED",
        "COMMUNICATION_UPDATED",
        "PARTICIPANT_REMOVED",
        "CONVERSATION_UPDATED",
    ]
    data = [each.event["data"] for each in receiver.received]
    assert "participants" not in data[0]
    assert data[0]["configuration"]["statusCallbacks"] == receiver.callbacks
    assert data[2] == agent
    assert data[4] == captured["communication"]
    assert (data[7]["id"], data[7]["status"]) == (conversation["id"], "CLOSED")


async def test_signed_as_twilio_signs(subscribed, receiver):
    """Twilio's own validator accepts each callback, and no altered body."""
    receiver.url += "?a=1&b=%2B"
    sandbox = await subscribed()
    await sandbox.open(name="Zoë 陳 👋")
    await receiver.wait_for(3)
    validator = RequestValidator(TOKEN)
    for each in receiver.received:
        signature, body = each.headers["X-Twilio-Signature"], each.raw.decode()
        assert "?a=1&b=%2B&bodySHA256=" in each.url
        assert validator.validate(each.url, body, signature)
        assert not validator.validate(each.url, body.replace("ACTIVE", "CLOSED") + " ", signature)
        assert each.headers["Content-Type"] == "application/json"
        assert set(each.event) == {"eventType", "timestamp", "data"}


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("https://h/p", "https://h/p?"),
        ("https://h/p?a=1", "https://h/p?a=1&"),
        ("https://user:pw@H:8443/p#rc=3", "https://H:8443/p?"),
        ("https://h", "https://h/?"),
    ],
)
def test_the_url_that_is_signed(url, called):
    """bodySHA256 joins the query; user info and fragment are removed; host and port stay as configured."""
    assert signed_url(url, b"").partition("bodySHA256=")[0] == called


async def test_retries_keep_their_token(subscribed, receiver):
    """5xx and 429 are retried with the same token and in order; each event has its own token."""
    receiver.statuses.extend([500, 429, 503, 200])
    sandbox = await subscribed()
    await sandbox.open(pair()[0])
    await receiver.wait_for(5)
    tokens = [each.headers["I-Twilio-Idempotency-Token"] for each in receiver.received]
    assert receiver.kinds == ["CONVERSATION_CREATED"] * 4 + ["PARTICIPANT_ADDED"]
    assert (len(set(tokens[:4])), len(set(tokens))) == (1, 2)


@pytest.mark.parametrize(("answers", "attempts"), [([500] * 9, 4), ([400], 1), ([403], 1), ([302], 1)])
async def test_giving_up(subscribed, receiver, caplog, answers, attempts):
    """An event is given up with a log line after three retries, or at once after another 4xx or a redirect."""
    sandbox = await subscribed()
    receiver.statuses.extend(answers)
    await sandbox.open(configuration=BY_CHANNEL, participants=[])
    await receiver.wait_for(attempts)
    await sandbox.settled()
    assert len(receiver.received) == attempts
    assert (await sandbox.get("/sandbox/callbacks")).body == {
        "delivered": 0,
        "failed": 1,
        "dropped": 0,
        "attempts": attempts,
        "pending": 0,
    }
    assert "callback given up: CONVERSATION_CREATED" in caplog.text


async def test_no_receiver(sandbox, monkeypatch):
    """Without a receiver an event is retried after doubling waits, then given up."""
    waits = []
    monkeypatch.setattr("router.sandbox.v2.callbacks.backoff", lambda *args: waits.append(backoff(*args)) or 0.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        await sandbox.subscribe([{"url": f"http://127.0.0.1:{taken.getsockname()[1]}/hook"}])
        await sandbox.open(participants=[])
        await sandbox.settled()
    counts = (await sandbox.get("/sandbox/callbacks")).body
    assert (counts["attempts"], counts["failed"]) == (4, 1)
    assert waits == [0.001, 0.002, 0.004]


async def test_an_invalid_url(sandbox):
    """A callback with an invalid URL is given up like one without a receiver."""
    await sandbox.subscribe([{"url": "http://127.0.0.1:99999999/hook"}])
    await sandbox.open(participants=[])
    await sandbox.settled()
    assert (await sandbox.get("/sandbox/callbacks")).body["failed"] == 1


async def test_in_order_per_conversation(subscribed, receiver):
    """By default the events of a conversation arrive in the order in which they happened."""
    sandbox = await subscribed()
    conversation = await sandbox.open(pair()[0])
    for number in range(20):
        await sandbox.patch(f"/v2/Conversations/{conversation['id']}", {"name": str(number)})
    await receiver.wait_for(22)
    names = [each.event["data"]["name"] for each in receiver.received[2:]]
    assert names == [str(number) for number in range(20)]


async def test_delivery_goes_on_after_a_pause(subscribed, receiver):
    """After all events of a conversation were delivered, the next one is delivered too."""
    sandbox = await subscribed()
    conversation = await sandbox.open(participants=[])
    for number in range(2):
        await sandbox.settled()
        await sandbox.patch(f"/v2/Conversations/{conversation['id']}", {"name": str(number)})
    await receiver.wait_for(3)


async def test_shuffled(subscribed, receiver):
    """With "shuffled" the same events arrive in another order."""
    sandbox = await subscribed(callback_order="shuffled", entropy=random.Random(7))
    await sandbox.open(*[make_participant("AGENT", str(number)) for number in range(20)])
    await receiver.wait_for(21)
    addresses = [each.event["data"]["addresses"][0]["address"] for each in receiver.received if "ADDED" in each.kind]
    assert sorted(addresses, key=int) == [str(number) for number in range(20)]
    assert addresses != sorted(addresses, key=int)


async def test_duplicated(subscribed, receiver):
    """Duplicates have the token of the event that they repeat."""
    sandbox = await subscribed(callback_duplicates=2)
    await sandbox.open(participants=[])
    await receiver.wait_for(3)
    assert len({each.headers["I-Twilio-Idempotency-Token"] for each in receiver.received}) == 1


async def test_delayed(subscribed, receiver):
    """A delayed event is pending until it is delivered."""
    sandbox = await subscribed(callback_delay_seconds=0.05)
    await sandbox.open(participants=[])
    assert (await sandbox.get("/sandbox/callbacks")).body["pending"] == 1
    await receiver.wait_for(1)


async def test_delay_follows_the_sandboxes_clock(subscribed, receiver):
    """An event with a delay of a minute is delivered once the clock was advanced by a minute."""
    sandbox = await subscribed(callback_delay_seconds=60)
    await sandbox.open(participants=[])
    await sandbox.advance(59)
    assert (await sandbox.get("/sandbox/callbacks")).body["pending"] == 1
    await sandbox.advance(1)
    await receiver.wait_for(1)


async def test_dropped(subscribed, receiver):
    """Dropped events are never delivered, and are counted."""
    sandbox = await subscribed(callback_drop_fraction=1.0)
    await sandbox.open()
    assert (await sandbox.get("/sandbox/callbacks")).body["dropped"] == 3
    await sandbox.switch(callback_drop_fraction=0.0)
    await sandbox.open(*pair("WHATSAPP"))
    await receiver.wait_for(3)
    assert len(receiver.received) == 3


async def test_api_writes_are_silent_by_switch(subscribed, receiver):
    """Without events for API writes there are only those of Twilio's own changes."""
    sandbox = await subscribed(events_for_api_writes=False)
    await sandbox.open()
    captured = await sandbox.capture()
    await sandbox.settled()
    assert receiver.kinds == ["COMMUNICATION_CREATED"]
    assert receiver.received[0].event["data"] == captured["communication"]


async def test_get_callbacks_are_skipped(sandbox, receiver, caplog):
    """A GET callback carries no event: it is skipped with a log line."""
    caplog.set_level(logging.INFO, logger="router.sandbox")
    await sandbox.subscribe([{"url": receiver.url, "method": "GET"}])
    await sandbox.open(participants=[])
    await sandbox.settled()
    assert (receiver.received, "method GET" in caplog.text) == ([], True)


async def test_open_conversations_keep_their_configuration(start, receiver):
    """A changed configuration applies to later conversations or, by switch, to open ones as well."""
    sandbox = await start()
    conversation = await sandbox.open(pair()[0])
    await sandbox.subscribe(receiver.callbacks)
    path = f"/v2/Conversations/{conversation['id']}"
    await sandbox.patch(path, {"name": "pinned"})
    await sandbox.switch(pin_configuration=False)
    await sandbox.patch(path, {"name": "live"})
    await receiver.wait_for(1)
    assert [each.event["data"]["name"] for each in receiver.received] == ["live"]


async def test_inline_callbacks(sandbox, receiver):
    """Callbacks given on creation of a conversation replace those of its configuration."""
    inline = {"statusCallbacks": receiver.callbacks * 2}
    answer = await sandbox.post(
        "/v2/Conversations", opening(make_participant("CUSTOMER", CUSTOMER)) | {"configuration": inline}
    )
    assert answer.status == 201
    await receiver.wait_for(4)
    assert sorted(receiver.kinds) == ["CONVERSATION_CREATED"] * 2 + ["PARTICIPANT_ADDED"] * 2


async def test_the_end_does_not_wait_for_callbacks(subscribed, receiver):
    """A sandbox that ends drops pending events."""
    sandbox = await subscribed(callback_delay_seconds=3600)
    await sandbox.open()
    await sandbox.app.cleanup()
    assert receiver.received == []
