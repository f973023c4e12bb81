"""Passive capture of messages and calls, with all the types that Twilio may give to the two sides."""

from __future__ import annotations

import pytest

from tests.sandbox.harness import BY_ADDRESSES, BY_PROFILE, GROUPINGS, make_participant, opening, pair
from tests.support.accounts import CUSTOMER, OTHER_CUSTOMER, OURS

TYPES = ("CUSTOMER", "AGENT", "AI_AGENT", "HUMAN_AGENT", "UNKNOWN", None)


def types_of(conversation):
    return {each["addresses"][0]["address"]: each["type"] for each in conversation["participants"]}


async def test_the_first_message(sandbox, receiver):
    """A first message opens a conversation with both sides and is recorded, with an event for each."""
    await sandbox.subscribe(receiver.callbacks)
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
    """The next message of a customer goes to the same conversation, and adds no participant."""
    first, second = await sandbox.capture(), await sandbox.capture()
    assert not second["isNew"]
    assert second["conversation"]["id"] == first["conversation"]["id"]
    assert len(second["conversation"]["participants"]) == 2


async def test_a_call(sandbox):
    """A call without text opens a conversation; the CallSid is on the customer's address and finds it."""
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
    """Whatever the types of the sides, missing ones included, the next POST and the next message match."""
    types = {"customerType": customer_type, "agentType": agent_type, "configurationId": grouping}
    first = await sandbox.capture(**types)
    expected = {CUSTOMER: customer_type, OURS: agent_type}
    assert types_of(first["conversation"]) == {side: kind for side, kind in expected.items() if kind}
    answer = await sandbox.post("/v2/Conversations", opening(*pair(), configuration=grouping))
    assert answer.headers.get("X-Conflicting-Resource-Id") == first["conversation"]["id"]
    again = await sandbox.capture(**types)
    assert again["conversation"]["id"] == first["conversation"]["id"]
    other = await sandbox.capture(customer=OTHER_CUSTOMER, **types)
    assert other["conversation"]["id"] != first["conversation"]["id"]


async def test_a_missing_side_is_added_later(sandbox):
    """A missing side becomes a participant once traffic gives its type."""
    await sandbox.capture(agentType=None, customerType=None)
    again = await sandbox.capture()
    assert types_of(again["conversation"]) == {CUSTOMER: "CUSTOMER", OURS: "AGENT"}


async def test_an_opened_conversation_is_found(sandbox):
    """Traffic goes to the conversation that a client opened for it."""
    opened = await sandbox.open()
    assert (await sandbox.capture())["conversation"]["id"] == opened["id"]


@pytest.mark.parametrize("kind", ["AI_AGENT", "HUMAN_AGENT", "UNKNOWN", None])
async def test_our_type_by_switch(start, kind):
    """By switch our own address gets a type, or is not a participant."""
    sandbox = await start(passive_agent_type=kind)
    assert types_of((await sandbox.capture())["conversation"]).get(OURS) == kind


async def test_by_profile_over_channels(start):
    """Under GROUP_BY_PROFILE the channels of one profile share a conversation; those of others do not."""
    sandbox = await start(profiles={CUSTOMER: "mem_profile_1", OTHER_CUSTOMER: "mem_profile_1"})
    first = await sandbox.capture(configurationId=BY_PROFILE)
    second = await sandbox.capture("WHATSAPP", f"whatsapp:{OTHER_CUSTOMER}", configurationId=BY_PROFILE)
    assert first["conversation"]["id"] == second["conversation"]["id"]
    assert len(second["conversation"]["participants"]) == 4
    third = await sandbox.capture(customer="+15550100003", configurationId=BY_PROFILE)
    assert third["isNew"]


async def test_a_closed_conversation_is_not_found(sandbox):
    """Traffic after closing opens another conversation."""
    first = await sandbox.capture()
    await sandbox.patch(f"/v2/Conversations/{first['conversation']['id']}", {"status": "CLOSED"})
    assert (await sandbox.capture())["isNew"]


@pytest.mark.parametrize("blocks", [True, False])
async def test_traffic_activates_an_inactive_conversation(start, blocks):
    """Traffic makes an INACTIVE conversation ACTIVE, whether or not it blocks others; an ACTIVE one is preferred."""
    sandbox = await start(inactive_blocks=blocks)
    opened = await sandbox.open()
    await sandbox.patch(f"/v2/Conversations/{opened['id']}", {"status": "INACTIVE"})
    activated = (await sandbox.capture())["conversation"]
    assert (activated["id"], activated["status"]) == (opened["id"], "ACTIVE")
    if not blocks:
        await sandbox.patch(f"/v2/Conversations/{opened['id']}", {"status": "INACTIVE"})
        newer = await sandbox.open()
        assert (await sandbox.capture())["conversation"]["id"] == newer["id"]


async def test_the_key_moves_with_our_number(sandbox):
    """After our side got another number by PUT, the old pair is released and the new one is held."""
    opened = await sandbox.open()
    ours = opened["participants"][1]
    path = f"/v2/Conversations/{opened['id']}/Participants/{ours['id']}"
    assert (await sandbox.put(path, make_participant("AGENT", "+15550108888"))).status == 200
    assert (await sandbox.capture())["isNew"]
    assert (await sandbox.capture(to="+15550108888"))["conversation"]["id"] == opened["id"]


async def test_replacing_a_captured_participant_never_conflicts(sandbox):
    """A participant that traffic added in spite of a collision can be replaced by an equal one."""
    first = (await sandbox.capture(configurationId=BY_PROFILE))["conversation"]
    await sandbox.switch(profiles={CUSTOMER: "mem_profile_1", OTHER_CUSTOMER: "mem_profile_1"})
    second = (await sandbox.capture(customer=OTHER_CUSTOMER, configurationId=BY_PROFILE))["conversation"]
    await sandbox.patch(f"/v2/Conversations/{first['id']}", {"status": "INACTIVE"})
    merged = (await sandbox.capture(configurationId=BY_PROFILE))["conversation"]
    assert merged["id"] == second["id"] != first["id"]
    (customer,) = (each for each in merged["participants"] if each["name"] == CUSTOMER)
    path = f"/v2/Conversations/{merged['id']}/Participants/{customer['id']}"
    assert (await sandbox.put(path, make_participant("CUSTOMER", CUSTOMER, name="Ana"))).status == 200


async def test_the_key_of_an_absent_customer_moves_too(sandbox):
    """The pair moves with our number even if the customer is not a participant."""
    captured = (await sandbox.capture(customerType=None))["conversation"]
    path = f"/v2/Conversations/{captured['id']}/Participants/{captured['participants'][0]['id']}"
    assert (await sandbox.put(path, make_participant("AGENT", "+15550108888"))).status == 200
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
async def test_invalid_captures(sandbox, body, status):
    """An invalid capture is refused."""
    assert (await sandbox.post("/sandbox/capture", body)).status == status


async def test_a_configuration_by_its_name(sandbox):
    """A capture can name its configuration by id or by unique name, as the TwiML of a call can."""
    names = ("tests 1", BY_ADDRESSES)
    made = [await sandbox.capture("VOICE", channelId="CA1", body=None, configurationId=name) for name in names]
    assert [each["conversation"]["configurationId"] for each in made] == [BY_ADDRESSES] * 2
    assert made[0]["conversation"]["id"] == made[1]["conversation"]["id"]


async def test_no_configuration_at_all(start):
    """Without a configuration a capture is refused."""
    sandbox = await start(configurations=())
    answer = await sandbox.post("/sandbox/capture", {"channel": "SMS", "from": CUSTOMER, "to": OURS})
    assert answer.status == 404


async def test_the_next_call_reuses_the_participant(sandbox):
    """The customer's address gets the new CallSid, which finds the conversation."""
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
    """By switch each call has its own participant at the same address."""
    sandbox = await start(call_participant="new")
    for sid in ("CA1", "CA2", "CA1", "CA2"):
        captured = await sandbox.capture("VOICE", channelId=sid, body=None)
    calls = [each["addresses"][0]["channelId"] for each in captured["conversation"]["participants"]]
    assert calls == ["CA1", None, "CA2"]


async def test_a_call_into_a_conversation(sandbox):
    """A call can name its conversation, as TwiML can, whatever the grouping."""
    first = await sandbox.capture("SMS")
    call = {"channelId": "CA1", "body": None, "conversationId": first["conversation"]["id"]}
    second = await sandbox.capture("VOICE", **call)
    assert second["conversation"]["id"] == first["conversation"]["id"]
    assert not second["isNew"]
