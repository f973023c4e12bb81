"""Passive capture: what comes of a message or call, with whatever types Twilio may give the sides."""

from __future__ import annotations

import pytest

from tests.sandbox.harness import BY_ADDRESSES, BY_CHANNEL, BY_PROFILE, CUSTOMER, OURS, opening, pair, seat

OTHER = "+15550100002"
GROUPINGS = (BY_CHANNEL, BY_ADDRESSES, BY_PROFILE)
TYPES = ("CUSTOMER", "AGENT", "AI_AGENT", "HUMAN_AGENT", "UNKNOWN", None)


def types_of(conversation):
    return {each["addresses"][0]["address"]: each["type"] for each in conversation["participants"]}


async def test_the_first_message(sandbox, receiver):
    """A first message opens a conversation with both sides and is recorded; everything is told."""
    callbacks = {"statusCallbacks": receiver.callbacks}
    await sandbox.patch(f"/sandbox/configurations/{BY_CHANNEL}", callbacks)
    captured = await sandbox.capture(channelId="SM1")
    conversation, communication = captured["conversation"], captured["communication"]
    assert captured["isNew"]
    assert types_of(conversation) == {CUSTOMER: "CUSTOMER", OURS: "AGENT"}
    assert [each["name"] for each in conversation["participants"]] == [CUSTOMER, OURS]
    assert communication["content"] == {"type": "TEXT", "text": "hello"}
    assert communication["author"]["participantId"] == conversation["participants"][0]["id"]
    assert communication["recipients"][0]["participantId"] == conversation["participants"][1]["id"]
    await receiver.wait_for(4)
    assert receiver.kinds == ["CONVERSATION_CREATED", "PARTICIPANT_ADDED", "PARTICIPANT_ADDED", "COMMUNICATION_CREATED"]


async def test_the_next_message(sandbox):
    """The next message of the same customer comes into the same conversation, and adds nobody."""
    first, second = await sandbox.capture(), await sandbox.capture()
    assert not second["isNew"]
    assert second["conversation"]["id"] == first["conversation"]["id"]
    assert len(second["conversation"]["participants"]) == 2


async def test_a_call(sandbox):
    """A call without words opens the conversation; the call id is on the customer's address and finds it."""
    captured = await sandbox.capture("VOICE", channelId="CA1", body=None)
    assert captured["communication"] is None
    assert captured["conversation"]["participants"][0]["addresses"][0]["channelId"] == "CA1"
    found = (await sandbox.get("/v2/Conversations?channelId=CA1&status=ACTIVE")).body["conversations"]
    assert [each["id"] for each in found] == [captured["conversation"]["id"]]
    spoken = await sandbox.capture("VOICE", channelId="CA1", body="hello?")
    assert spoken["communication"]["content"]["type"] == "TRANSCRIPTION"


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("customer_type", TYPES)
@pytest.mark.parametrize("agent_type", ["AGENT", "AI_AGENT", "HUMAN_AGENT", "UNKNOWN", None])
async def test_any_types_lead_to_one_conversation(sandbox, grouping, customer_type, agent_type):
    """However the sides are typed or missing, the router's POST and the next message meet that conversation."""
    types = {"customerType": customer_type, "agentType": agent_type, "configurationId": grouping}
    first = await sandbox.capture(**types)
    expected = {CUSTOMER: customer_type, OURS: agent_type}
    assert types_of(first["conversation"]) == {side: kind for side, kind in expected.items() if kind}
    answer = await sandbox.post("/v2/Conversations", opening(*pair(), configuration=grouping))
    assert answer.headers.get("X-Conflicting-Resource-Id") == first["conversation"]["id"]
    again = await sandbox.capture(**types)
    assert again["conversation"]["id"] == first["conversation"]["id"]
    other = await sandbox.capture(customer=OTHER, **types)
    assert other["conversation"]["id"] != first["conversation"]["id"]


async def test_a_missing_side_is_added_later(sandbox):
    """A side that was missing becomes a participant once traffic says its type."""
    await sandbox.capture(agentType=None, customerType=None)
    again = await sandbox.capture()
    assert types_of(again["conversation"]) == {CUSTOMER: "CUSTOMER", OURS: "AGENT"}


async def test_an_opened_conversation_is_found(sandbox):
    """Traffic comes into the conversation that a program opened for it."""
    opened = await sandbox.open()
    assert (await sandbox.capture())["conversation"]["id"] == opened["id"]


@pytest.mark.parametrize("kind", ["AI_AGENT", "HUMAN_AGENT", "UNKNOWN", None])
async def test_our_type_by_switch(start, kind):
    """What our own address becomes is a switch, no participant included."""
    sandbox = await start(passive_agent_type=kind)
    assert types_of((await sandbox.capture())["conversation"]).get(OURS) == kind


async def test_by_profile_over_channels(start):
    """Under GROUP_BY_PROFILE one customer's channels share a conversation, others' do not."""
    sandbox = await start(profiles={CUSTOMER: "mem_profile_1", OTHER: "mem_profile_1"})
    first = await sandbox.capture(configurationId=BY_PROFILE)
    second = await sandbox.capture("WHATSAPP", f"whatsapp:{OTHER}", configurationId=BY_PROFILE)
    assert first["conversation"]["id"] == second["conversation"]["id"]
    assert len(second["conversation"]["participants"]) == 4
    third = await sandbox.capture(customer="+15550100003", configurationId=BY_PROFILE)
    assert third["isNew"]


async def test_a_closed_conversation_is_not_found(sandbox):
    """Traffic after the closing opens another conversation."""
    first = await sandbox.capture()
    await sandbox.patch(f"/v2/Conversations/{first['conversation']['id']}", {"status": "CLOSED"})
    assert (await sandbox.capture())["isNew"]


@pytest.mark.parametrize("blocks", [True, False])
async def test_traffic_wakes_an_inactive_conversation(start, blocks):
    """Traffic wakes an INACTIVE conversation, whether or not that one blocks new ones; an ACTIVE one comes first."""
    sandbox = await start(inactive_blocks=blocks)
    opened = await sandbox.open()
    await sandbox.patch(f"/v2/Conversations/{opened['id']}", {"status": "INACTIVE"})
    woken = (await sandbox.capture())["conversation"]
    assert (woken["id"], woken["status"]) == (opened["id"], "ACTIVE")
    if not blocks:
        await sandbox.patch(f"/v2/Conversations/{opened['id']}", {"status": "INACTIVE"})
        newer = await sandbox.open()
        assert (await sandbox.capture())["conversation"]["id"] == newer["id"]


async def test_the_key_moves_with_our_number(sandbox):
    """After our side got another number by PUT, the old pair is free and the new one is held."""
    opened = await sandbox.open()
    ours = opened["participants"][1]
    path = f"/v2/Conversations/{opened['id']}/Participants/{ours['id']}"
    assert (await sandbox.put(path, seat("AGENT", "+15550108888"))).status == 200
    assert (await sandbox.capture())["isNew"]
    assert (await sandbox.capture(to="+15550108888"))["conversation"]["id"] == opened["id"]


async def test_rewriting_what_traffic_brought_never_conflicts(sandbox):
    """A participant that traffic put beside another conversation's customer can be replaced by the same."""
    first = (await sandbox.capture(configurationId=BY_PROFILE))["conversation"]
    await sandbox.switch(profiles={CUSTOMER: "mem_profile_1", OTHER: "mem_profile_1"})
    second = (await sandbox.capture(customer=OTHER, configurationId=BY_PROFILE))["conversation"]
    await sandbox.patch(f"/v2/Conversations/{first['id']}", {"status": "INACTIVE"})
    crowded = (await sandbox.capture(configurationId=BY_PROFILE))["conversation"]
    assert crowded["id"] == second["id"] != first["id"]
    (customer,) = (each for each in crowded["participants"] if each["name"] == CUSTOMER)
    path = f"/v2/Conversations/{crowded['id']}/Participants/{customer['id']}"
    assert (await sandbox.put(path, seat("CUSTOMER", CUSTOMER, name="Ana"))).status == 200


async def test_the_key_of_a_missing_customer_moves_too(sandbox):
    """The same holds where the customer is no participant."""
    captured = (await sandbox.capture(customerType=None))["conversation"]
    path = f"/v2/Conversations/{captured['id']}/Participants/{captured['participants'][0]['id']}"
    assert (await sandbox.put(path, seat("AGENT", "+15550108888"))).status == 200
    moved = await sandbox.capture(to="+15550108888", customerType=None)
    assert moved["conversation"]["id"] == captured["id"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"channel": "SMS", "from": CUSTOMER}, 400),
        ({"channel": "PIGEON", "from": CUSTOMER, "to": OURS}, 400),
        ({"channel": "SMS", "from": CUSTOMER, "to": OURS, "configurationId": "x"}, 404),
    ],
)
async def test_what_cannot_be_captured(sandbox, body, status):
    """A capture that cannot be meant is refused."""
    assert (await sandbox.post("/sandbox/capture", body)).status == status


async def test_no_configuration_at_all(start):
    """A sandbox without a configuration captures nothing."""
    sandbox = await start(configurations=())
    answer = await sandbox.post("/sandbox/capture", {"channel": "SMS", "from": CUSTOMER, "to": OURS})
    assert answer.status == 404


async def test_the_next_call_reuses_the_participant(sandbox):
    """The customer's address gets the new CallSid, and both the address and the filter know the new call only."""
    first = await sandbox.capture("VOICE", channelId="CA1", body=None)
    second = await sandbox.capture("VOICE", channelId="CA2", body=None)
    assert second["conversation"]["id"] == first["conversation"]["id"]
    customer, _ = second["conversation"]["participants"]
    assert customer["id"] == first["conversation"]["participants"][0]["id"]
    assert customer["addresses"][0]["channelId"] == "CA2"
    again = await sandbox.capture("VOICE", channelId="CA2", body="hello?")
    assert len(again["conversation"]["participants"]) == 2
    assert (await sandbox.get("/v2/Conversations?channelId=CA2")).body["conversations"]


async def test_the_next_call_makes_a_new_participant(start):
    """By a switch each call has a participant of its own, at the same address."""
    sandbox = await start(call_participant="new")
    for sid in ("CA1", "CA2", "CA1", "CA2"):
        captured = await sandbox.capture("VOICE", channelId=sid, body=None)
    calls = [each["addresses"][0]["channelId"] for each in captured["conversation"]["participants"]]
    assert calls == ["CA1", None, "CA2"]


async def test_a_call_into_a_conversation(sandbox):
    """As TwiML can name a conversation, so can a call here, whatever the grouping would say."""
    first = await sandbox.capture("SMS")
    call = {"channelId": "CA1", "body": None, "conversationId": first["conversation"]["id"]}
    second = await sandbox.capture("VOICE", **call)
    assert second["conversation"]["id"] == first["conversation"]["id"]
    assert not second["isNew"]
