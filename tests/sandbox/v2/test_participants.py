"""Participants over HTTP: defaults, duplicates, replacement, profiles, removal."""

from __future__ import annotations

import pytest

from tests.sandbox.harness import CUSTOMER, OURS, pair, seat

OTHER = "+15550100002"
PROFILE = "mem_profile_00000000000000000000000001"


@pytest.fixture
async def conversation(sandbox):
    return await sandbox.open()


def path_of(conversation, participant=None):
    path = f"/v2/Conversations/{conversation['id']}/Participants"
    return path if participant is None else f"{path}/{participant['id']}"


async def test_a_new_participant(sandbox, conversation):
    """201 carries the participant as it was asked for, address as written."""
    body = seat("AI_AGENT", "bot", "CHAT", name="Bot", channelId="CH1")
    made = (await sandbox.post(path_of(conversation), body)).body
    assert made["id"].startswith("conv_participant_")
    assert (made["type"], made["name"], made["profileId"]) == ("AI_AGENT", "Bot", None)
    assert made["addresses"] == [{"channel": "CHAT", "address": "bot", "channelId": "CH1"}]
    assert (await sandbox.get(path_of(conversation, made))).body == made


async def test_the_type_defaults_by_switch(start):
    """Without a type a participant is UNKNOWN, or what the switch says."""
    sandbox = await start()
    conversation = await sandbox.open()
    made = (await sandbox.post(path_of(conversation), seat(None, OTHER))).body
    await sandbox.switch(default_participant_type="HUMAN_AGENT")
    other = (await sandbox.post(path_of(conversation), seat(None, "+15550100003"))).body
    assert (made["type"], other["type"]) == ("UNKNOWN", "HUMAN_AGENT")


async def test_addresses_are_required(sandbox, conversation):
    """POST without addresses is a 400 that names them."""
    answer = await sandbox.post(path_of(conversation), {"type": "CUSTOMER"})
    assert (answer.status, answer.body["message"]) == (400, "addresses: Field required")


@pytest.mark.parametrize("spelling", [CUSTOMER, "+1 555-010-0001"])
async def test_a_duplicate_conflicts(sandbox, conversation, spelling):
    """An address that is in the conversation already, however spelled, is a 409 that names its participant."""
    answer = await sandbox.post(path_of(conversation), seat("CUSTOMER", spelling))
    assert (answer.status, answer.body["code"]) == (409, 400)
    assert answer.headers["X-Conflicting-Resource-Id"] == conversation["participants"][0]["id"]


async def test_a_duplicate_merges_by_switch(start):
    """With "merge" a duplicate becomes part of the participant that is there, in one request too."""
    sandbox = await start(duplicate_address="merge")
    conversation = await sandbox.open(*pair(), seat("CUSTOMER", CUSTOMER, name="Ana"))
    first, second = conversation["participants"]
    assert (first["name"], second["type"]) == ("Ana", "AGENT")
    body = seat(None, CUSTOMER) | {"profileId": PROFILE}
    body["addresses"].append({"channel": "CHAT", "address": "ana"})
    merged = (await sandbox.post(path_of(conversation), body)).body
    assert (merged["id"], merged["type"], merged["profileId"]) == (first["id"], "CUSTOMER", PROFILE)
    assert [each["address"] for each in merged["addresses"]] == [CUSTOMER, "ana"]


async def test_a_duplicate_is_added_by_switch(start):
    """With "allow" two participants share an address, also when one moves there."""
    sandbox = await start(duplicate_address="allow")
    conversation = await sandbox.open(*pair(), seat("CUSTOMER", CUSTOMER))
    made = await sandbox.post(path_of(conversation), seat("CUSTOMER", CUSTOMER))
    assert made.status == 201
    assert (await sandbox.put(path_of(conversation, made.body), seat("AGENT", OURS))).status == 200
    assert len((await sandbox.get(path_of(conversation))).body["participants"]) == 4


async def test_put_replaces(sandbox, conversation):
    """PUT clears what it omits: name, profile, addresses and type."""
    participant = conversation["participants"][0]
    path = path_of(conversation, participant)
    full = seat("CUSTOMER", CUSTOMER, name="Ana", profileId=PROFILE)
    changed = (await sandbox.put(path, full)).body
    assert (changed["name"], changed["profileId"], changed["createdAt"]) == ("Ana", PROFILE, participant["createdAt"])
    bare = (await sandbox.put(path, {})).body
    assert (bare["name"], bare["profileId"], bare["addresses"], bare["type"]) == (None, None, [], "UNKNOWN")


async def test_put_frees_the_old_address(sandbox, conversation):
    """What a participant gave up by PUT is free in the conversation and finds it no more."""
    participant = conversation["participants"][0]
    await sandbox.put(path_of(conversation, participant), seat("CUSTOMER", CUSTOMER, channelId="CA1"))
    await sandbox.put(path_of(conversation, participant), seat("CUSTOMER", OTHER, channelId="CA2"))
    for channel_id, count in (("CA1", 0), ("CA2", 1)):
        found = (await sandbox.get(f"/v2/Conversations?channelId={channel_id}")).body["conversations"]
        assert len(found) == count
    assert (await sandbox.post(path_of(conversation), seat("CUSTOMER", CUSTOMER))).status == 201
    assert (await sandbox.post(path_of(conversation), seat("CUSTOMER", OTHER))).status == 409


async def test_put_keeps_by_switch(start):
    """With "merge" PUT keeps what it omits."""
    sandbox = await start(put_semantics="merge")
    conversation = await sandbox.open()
    participant = conversation["participants"][0]
    changed = (await sandbox.put(path_of(conversation, participant), {"name": "Ana"})).body
    assert changed | {"updatedAt": None} == participant | {"name": "Ana", "updatedAt": None}


async def test_put_onto_a_neighbor_conflicts(sandbox, conversation):
    """PUT to an address of another participant of the conversation is a 409 that names that one."""
    first, second = conversation["participants"]
    answer = await sandbox.put(path_of(conversation, first), seat("CUSTOMER", OURS))
    assert (answer.status, answer.headers["X-Conflicting-Resource-Id"]) == (409, second["id"])


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_unknown_participants(sandbox, conversation, method):
    """An id of no participant here is a 404."""
    body = None if method == "GET" else {}
    answer = await sandbox.call(method, path_of(conversation, {"id": "conv_participant_0"}), body)
    assert (answer.status, answer.body["code"]) == (404, 20404)


@pytest.mark.parametrize(
    ("body", "kind", "profile"),
    [
        (seat("CUSTOMER", CUSTOMER), "CUSTOMER", PROFILE),
        (seat("CUSTOMER", f"whatsapp:{CUSTOMER}", "WHATSAPP"), "CUSTOMER", PROFILE),
        (seat("UNKNOWN", CUSTOMER), "CUSTOMER", PROFILE),
        (seat(None, "Ana@Example.com", "EMAIL"), "CUSTOMER", "mem_profile_mail"),
        (seat("CUSTOMER", OTHER), "CUSTOMER", None),
        (seat("UNKNOWN", OTHER), "UNKNOWN", None),
        (seat("AI_AGENT", CUSTOMER), "AI_AGENT", None),
        (seat("CUSTOMER", CUSTOMER, profileId="mem_profile_given"), "CUSTOMER", "mem_profile_given"),
    ],
)
async def test_profiles_are_looked_up(start, body, kind, profile):
    """The memory store gives CUSTOMERs their profile and makes a known UNKNOWN one."""
    sandbox = await start(profiles={"+1 555 010 0001": PROFILE, "ana@example.com": "mem_profile_mail"})
    (made,) = (await sandbox.open(body))["participants"]
    assert (made["type"], made["profileId"]) == (kind, profile)


async def test_profiles_are_created_by_switch(start):
    """With `create_profiles` a customer gets a profile of its own, the same one next time."""
    sandbox = await start(create_profiles=True)
    first, second = [
        (await sandbox.open(seat("CUSTOMER", CUSTOMER, channel)))["participants"][0]["profileId"]
        for channel in ("SMS", "VOICE")
    ]
    assert first == second
    assert first.startswith("mem_profile_")


async def test_removal_is_told_and_frees_the_address(sandbox, receiver):
    """The admin API removes a participant as Twilio would; the customer's next message still comes here."""
    conversation = await sandbox.open()
    await sandbox.patch(
        f"/v2/Conversations/{conversation['id']}", {"configuration": {"statusCallbacks": receiver.callbacks}}
    )
    agent = conversation["participants"][1]
    answer = await sandbox.post(f"/sandbox/participants/{conversation['id']}/{agent['id']}/remove")
    assert answer.status == 200
    await receiver.wait_for(1)
    assert (receiver.kinds, receiver.received[0].event["data"]["id"]) == (["PARTICIPANT_REMOVED"], agent["id"])
    assert (await sandbox.get(path_of(conversation, agent))).status == 404
    assert (await sandbox.capture())["conversation"]["id"] == conversation["id"]


async def test_a_conversation_of_thousands(sandbox, conversation):
    """A conversation with 1,500 participants is found, paged through and closed like any other."""
    for number in range(1500):
        answer = await sandbox.post(path_of(conversation), seat("CUSTOMER", f"+1555020{number:04d}"))
        assert answer.status == 201
    page = (await sandbox.get(f"{path_of(conversation)}?pageSize=1000")).body
    assert page["meta"]["pageSize"] == 1000
    assert len(sandbox.state.keys) == 1501
    await sandbox.patch(f"/v2/Conversations/{conversation['id']}", {"status": "CLOSED"})
    assert len(sandbox.state.keys) == 0
