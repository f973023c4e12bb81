"""Status callbacks: what is told, how it is signed, and every way in which delivery goes wrong."""

from __future__ import annotations

import logging
import random
import socket

import pytest
from twilio.request_validator import RequestValidator

from router.core.backoff import backoff
from router.sandbox.v2.callbacks import signed_url
from tests.sandbox.harness import BY_CHANNEL, CUSTOMER, OURS, TOKEN, opening, pair, seat


@pytest.fixture
def told(start, receiver):
    """Start a sandbox whose first configuration calls the receiver."""

    async def start_told(**switches):
        sandbox = await start(**switches)
        await tell(sandbox, receiver.callbacks)
        return sandbox

    return start_told


async def tell(sandbox, callbacks):
    path = f"/sandbox/configurations/{BY_CHANNEL}"
    assert (await sandbox.patch(path, {"statusCallbacks": callbacks})).status == 200


async def test_all_seven_events(told, receiver):
    """Each kind of change is told with its resource, and nothing else is."""
    sandbox = await told()
    conversation = await sandbox.open(pair()[0], name="n")
    path = f"/v2/Conversations/{conversation['id']}"
    agent = (await sandbox.post(f"{path}/Participants", seat("AGENT", OURS))).body
    await sandbox.put(f"{path}/Participants/{agent['id']}", seat("AI_AGENT", OURS))
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


async def test_signed_as_twilio_signs(told, receiver):
    """Twilio's own validator accepts each callback, and no altered body."""
    receiver.url += "?a=1&b=%2B"
    sandbox = await told()
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
    """bodySHA256 joins the query; user info and fragment go; host and port stay as configured."""
    assert signed_url(url, b"").partition("bodySHA256=")[0] == called


async def test_retries_keep_their_token(told, receiver):
    """5xx and 429 are tried again with the same token, each event with a token of its own, in order."""
    receiver.answers.extend([500, 429, 503, 200])
    sandbox = await told()
    await sandbox.open(pair()[0])
    await receiver.wait_for(5)
    tokens = [each.headers["I-Twilio-Idempotency-Token"] for each in receiver.received]
    assert receiver.kinds == ["CONVERSATION_CREATED"] * 4 + ["PARTICIPANT_ADDED"]
    assert (len(set(tokens[:4])), len(set(tokens))) == (1, 2)


@pytest.mark.parametrize(("answers", "attempts"), [([500] * 9, 4), ([400], 1), ([403], 1), ([302], 1)])
async def test_giving_up(told, receiver, caplog, answers, attempts):
    """After three retries, or at once for another 4xx or a redirect, the event is given up with a log line."""
    sandbox = await told()
    receiver.answers.extend(answers)
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


async def test_nobody_listens(sandbox, monkeypatch):
    """A receiver that is not there is tried again after a doubling wait, then the event is given up."""
    waits = []
    monkeypatch.setattr("router.sandbox.v2.callbacks.backoff", lambda *args: waits.append(backoff(*args)) or 0.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        await tell(sandbox, [{"url": f"http://127.0.0.1:{taken.getsockname()[1]}/hook"}])
        await sandbox.open(participants=[])
        await sandbox.settled()
    counts = (await sandbox.get("/sandbox/callbacks")).body
    assert (counts["attempts"], counts["failed"]) == (4, 1)
    assert waits == [0.001, 0.002, 0.004]


async def test_a_url_that_is_none(sandbox):
    """A callback that cannot be called is given up like one that nobody answers."""
    await tell(sandbox, [{"url": "http://127.0.0.1:99999999/hook"}])
    await sandbox.open(participants=[])
    await sandbox.settled()
    assert (await sandbox.get("/sandbox/callbacks")).body["failed"] == 1


async def test_in_order_per_conversation(told, receiver):
    """By default the events of a conversation come in the order in which they happened."""
    sandbox = await told()
    conversation = await sandbox.open(pair()[0])
    for number in range(20):
        await sandbox.patch(f"/v2/Conversations/{conversation['id']}", {"name": str(number)})
    await receiver.wait_for(22)
    names = [each.event["data"]["name"] for each in receiver.received[2:]]
    assert names == [str(number) for number in range(20)]


async def test_delivery_goes_on_after_a_pause(told, receiver):
    """A conversation whose events were all delivered is told of the next one."""
    sandbox = await told()
    conversation = await sandbox.open(participants=[])
    for number in range(2):
        await sandbox.settled()
        await sandbox.patch(f"/v2/Conversations/{conversation['id']}", {"name": str(number)})
    await receiver.wait_for(3)


async def test_shuffled(told, receiver):
    """With "shuffled" the same events come in another order."""
    sandbox = await told(callback_order="shuffled", entropy=random.Random(7))
    await sandbox.open(*[seat("AGENT", str(number)) for number in range(20)])
    await receiver.wait_for(21)
    addresses = [each.event["data"]["addresses"][0]["address"] for each in receiver.received if "ADDED" in each.kind]
    assert sorted(addresses, key=int) == [str(number) for number in range(20)]
    assert addresses != sorted(addresses, key=int)


async def test_duplicated(told, receiver):
    """Duplicates carry the token of the event that they repeat."""
    sandbox = await told(callback_duplicates=2)
    await sandbox.open(participants=[])
    await receiver.wait_for(3)
    assert len({each.headers["I-Twilio-Idempotency-Token"] for each in receiver.received}) == 1


async def test_delayed(told, receiver):
    """A delayed event is pending, and comes."""
    sandbox = await told(callback_delay_seconds=0.05)
    await sandbox.open(participants=[])
    assert (await sandbox.get("/sandbox/callbacks")).body["pending"] == 1
    await receiver.wait_for(1)


async def test_delay_goes_by_the_sandboxes_clock(told, receiver):
    """What comes a minute late comes when a minute has been let pass."""
    sandbox = await told(callback_delay_seconds=60)
    await sandbox.open(participants=[])
    await sandbox.post("/sandbox/clock", {"advanceSeconds": 59})
    assert (await sandbox.get("/sandbox/callbacks")).body["pending"] == 1
    await sandbox.post("/sandbox/clock", {"advanceSeconds": 1})
    await receiver.wait_for(1)


async def test_dropped(told, receiver):
    """Dropped events never come, and are counted."""
    sandbox = await told(callback_drop_fraction=1.0)
    await sandbox.open()
    assert (await sandbox.get("/sandbox/callbacks")).body["dropped"] == 3
    await sandbox.switch(callback_drop_fraction=0.0)
    await sandbox.open(*pair("WHATSAPP"))
    await receiver.wait_for(3)
    assert len(receiver.received) == 3


async def test_api_writes_are_silent_by_switch(told, receiver):
    """Without events for API writes only what Twilio itself does is told."""
    sandbox = await told(events_for_api_writes=False)
    await sandbox.open()
    captured = await sandbox.capture()
    await sandbox.settled()
    assert receiver.kinds == ["COMMUNICATION_CREATED"]
    assert receiver.received[0].event["data"] == captured["communication"]


async def test_get_callbacks_are_skipped(sandbox, receiver, caplog):
    """A GET callback cannot carry the event: it is skipped with a log line."""
    caplog.set_level(logging.INFO, logger="router.sandbox")
    await tell(sandbox, [{"url": receiver.url, "method": "GET"}])
    await sandbox.open(participants=[])
    await sandbox.settled()
    assert (receiver.received, "method GET" in caplog.text) == ([], True)


async def test_open_conversations_keep_their_configuration(start, receiver):
    """What a configuration becomes later is for later conversations, or (switch) for open ones as well."""
    sandbox = await start()
    conversation = await sandbox.open(pair()[0])
    await tell(sandbox, receiver.callbacks)
    path = f"/v2/Conversations/{conversation['id']}"
    await sandbox.patch(path, {"name": "pinned"})
    await sandbox.switch(pin_configuration=False)
    await sandbox.patch(path, {"name": "live"})
    await receiver.wait_for(1)
    assert [each.event["data"]["name"] for each in receiver.received] == ["live"]


async def test_a_conversation_of_its_own_callbacks(sandbox, receiver):
    """Callbacks given when a conversation is created go before the configuration's."""
    inline = {"statusCallbacks": receiver.callbacks * 2}
    answer = await sandbox.post("/v2/Conversations", opening(seat("CUSTOMER", CUSTOMER)) | {"configuration": inline})
    assert answer.status == 201
    await receiver.wait_for(4)
    assert sorted(receiver.kinds) == ["CONVERSATION_CREATED"] * 2 + ["PARTICIPANT_ADDED"] * 2


async def test_the_end_does_not_wait_for_callbacks(told, receiver):
    """A sandbox that ends forgets what is pending."""
    sandbox = await told(callback_delay_seconds=3600)
    await sandbox.open()
    await sandbox.app.cleanup()
    assert receiver.received == []
