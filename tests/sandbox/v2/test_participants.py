"""Participants over HTTP: defaults, duplicates, replacement, profiles, removal."""

from __future__ import annotations

import pytest

from tests.sandbox.harness import make_participant, pair
from tests.support.accounts import CUSTOMER, OTHER_CUSTOMER, OURS

PROFILE = "mem_profile_00000000000000000000000001"


@pytest.fixture
async def conversation(sandbox):
    return await sandbox.open()


def path_of(conversation, participant=None):
    path = f"/v2/Conversations/{conversation['id']}/Participants"
    return path if participant is None else f"{path}/{participant['id']}"


async def test_a_new_participant(sandbox, conversation):
    """A 201 has the participant as requested, with the address as written."""
    body = make_participant("AI_AGENT", "bot", "CHAT", name="Bot", channelId="CH1")
    made = (await sandbox.post(path_of(conversation), body)).body
    assert made["id"].startswith("conv_participant_")
    assert (made["type"], made["name"], made["profileId"]) == ("AI_AGENT", "Bot", None)
    assert made["addresses"] == [{"channel": "CHAT", "address": "bot", "channelId": "CH1"}]
    assert (await sandbox.get(path_of(conversation, made))).body == made


async def test_the_type_defaults_by_switch(start):
    """A participant without a type is UNKNOWN, or has the type of the switch."""
    sandbox = await start()
    conversation = await sandbox.open()
    made = (await sandbox.post(path_of(conversation), make_participant(None, OTHER_CUSTOMER))).body
    await sandbox.switch(default_participant_type="HUMAN_AGENT")
    other = (await sandbox.post(path_of(conversation), make_participant(None, "+15550100003"))).body
    assert (made["type"], other["type"]) == ("UNKNOWN", "HUMAN_AGENT")


async def test_addresses_are_required(sandbox, conversation):
    """POST without addresses is a 400 that names them."""
    answer = await sandbox.post(path_of(conversation), {"type": "CUSTOMER"})
    assert (answer.status, answer.body["message"]) == (400, "addresses: Field required")


@pytest.mark.parametrize("spelling", [CUSTOMER, "+1 555-123-0001"])
async def test_a_duplicate_conflicts(sandbox, conversation, spelling):
    """An address of another participant, however written, is a 409 that names that participant."""
    answer = await sandbox.post(path_of(conversation), make_participant("CUSTOMER", spelling))
    assert (answer.status, answer.body["code"]) == (409, 400)
    assert answer.headers["X-Conflicting-Resource-Id"] == conversation["participants"][0]["id"]


async def test_a_duplicate_merges_by_switch(start):
    """With "merge" a duplicate is merged into the present participant, within one request too."""
    sandbox = await start(duplicate_address="merge")
    conversation = await sandbox.open(*pair(), make_participant("CUSTOMER", CUSTOMER, name="Ana"))
    first, second = conversation["participants"]
    assert (first["name"], second["type"]) == ("Ana", "AGENT")
    body = make_participant(None, CUSTOMER) | {"profileId": PROFILE}
    body["addresses"].append({"channel": "CHAT", "address": "ana"})
    merged = (await sandbox.post(path_of(conversation), body)).body
    assert (merged["id"], merged["type"], merged["profileId"]) == (first["id"], "CUSTOMER", PROFILE)
    assert [each["address"] for each in merged["addresses"]] == [CUSTOMER, "ana"]


async def test_a_duplicate_is_added_by_switch(start):
    """With "allow" two participants share an address, after POST and after PUT."""
    sandbox = await start(duplicate_address="allow")
    conversation = await sandbox.open(*pair(), make_participant("CUSTOMER", CUSTOMER))
    made = await sandbox.post(path_of(conversation), make_participant("CUSTOMER", CUSTOMER))
    assert made.status == 201
    assert (await sandbox.put(path_of(conversation, made.body), make_participant("AGENT", OURS))).status == 200
    assert len((await sandbox.get(path_of(conversation))).body["participants"]) == 4


async def test_put_replaces(sandbox, conversation):
    """PUT clears the fields that it omits: name, profile, addresses and type."""
    participant = conversation["participants"][0]
    path = path_of(conversation, participant)
    full = make_participant("CUSTOMER", CUSTOMER, name="Ana", profileId=PROFILE)
    changed = (await sandbox.put(path, full)).body
    assert (changed["name"], changed["profileId"], changed["createdAt"]) == ("Ana", PROFILE, participant["createdAt"])
    bare = (await sandbox.put(path, {})).body
    assert (bare["name"], bare["profileId"], bare["addresses"], bare["type"]) == (None, None, [], "UNKNOWN")


async def test_put_releases_the_old_address(sandbox, conversation):
    """An address that a participant gave up by PUT can be added again, and its channelId finds nothing."""
    participant = conversation["participants"][0]
    await sandbox.put(path_of(conversation, participant), make_participant("CUSTOMER", CUSTOMER, channelId="CA1"))
    await sandbox.put(path_of(conversation, participant), make_participant("CUSTOMER", OTHER_CUSTOMER, channelId="CA2"))
    for channel_id, count in (("CA1", 0), ("CA2", 1)):
        found = (await sandbox.get(f"/v2/Conversations?channelId={channel_id}")).body["conversations"]
        assert len(found) == count
    assert (await sandbox.post(path_of(conversation), make_participant("CUSTOMER", CUSTOMER))).status == 201
    assert (await sandbox.post(path_of(conversation), make_participant("CUSTOMER", OTHER_CUSTOMER))).status == 409


async def test_put_keeps_by_switch(start):
    """With "merge" PUT keeps the fields that it omits."""
    sandbox = await start(put_semantics="merge")
    conversation = await sandbox.open()
    participant = conversation["participants"][0]
    changed = (await sandbox.put(path_of(conversation, participant), {"name": "Ana"})).body
    assert changed | {"updatedAt": None} == participant | {"name": "Ana", "updatedAt": None}


async def test_put_of_a_duplicate_conflicts(sandbox, conversation):
    """PUT with an address of another participant is a 409 that names that participant."""
    first, second = conversation["participants"]
    answer = await sandbox.put(path_of(conversation, first), make_participant("CUSTOMER", OURS))
    assert (answer.status, answer.headers["X-Conflicting-Resource-Id"]) == (409, second["id"])


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_unknown_participants(sandbox, conversation, method):
    """An unknown participant is a 404."""
    body = None if method == "GET" else {}
    answer = await sandbox.call(method, path_of(conversation, {"id": "conv_participant_0"}), body)
    assert (answer.status, answer.body["code"]) == (404, 20404)


@pytest.mark.parametrize(
    ("body", "kind", "profile"),
    [
        (make_participant("CUSTOMER", CUSTOMER), "CUSTOMER", PROFILE),
        (make_participant("CUSTOMER", f"whatsapp:{CUSTOMER}", "WHATSAPP"), "CUSTOMER", PROFILE),
        (make_participant("UNKNOWN", CUSTOMER), "CUSTOMER", PROFILE),
        (make_participant(None, "Ana@Example.com", "EMAIL"), "CUSTOMER", "mem_profile_mail"),
        (make_participant("CUSTOMER", OTHER_CUSTOMER), "CUSTOMER", None),
        (make_participant("UNKNOWN", OTHER_CUSTOMER), "UNKNOWN", None),
        (make_participant("AI_AGENT", CUSTOMER), "AI_AGENT", None),
        (make_participant("CUSTOMER", CUSTOMER, profileId="mem_profile_given"), "CUSTOMER", "mem_profile_given"),
    ],
)
async def test_profiles_are_looked_up(start, body, kind, profile):
    """A CUSTOMER gets its profile from the memory store, and an UNKNOWN with a profile becomes a CUSTOMER."""
    sandbox = await start(profiles={"+1 555 123 0001": PROFILE, "ana@example.com": "mem_profile_mail"})
    (made,) = (await sandbox.open(body))["participants"]
    assert (made["type"], made["profileId"]) == (kind, profile)


async def test_profiles_are_created_by_switch(start):
    """With `create_profiles` a customer gets a new profile, and the same one next time."""
    sandbox = await start(create_profiles=True)
    first, second = [
        (await sandbox.open(make_participant("CUSTOMER", CUSTOMER, channel)))["participants"][0]["profileId"]
        for channel in ("SMS", "VOICE")
    ]
    assert first == second
    assert first.startswith("mem_profile_")


async def test_removal(sandbox, receiver):
    """The admin API removes a participant as Twilio would; the customer's next message still matches."""
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
    """A conversation with 1,500 participants is paged through and closed like any other."""
    for number in range(1500):
        answer = await sandbox.post(path_of(conversation), make_participant("CUSTOMER", f"+1555020{number:04d}"))
        assert answer.status == 201
    page = (await sandbox.get(f"{path_of(conversation)}?pageSize=1000")).body
    assert page["meta"]["pageSize"] == 1000
    assert len(sandbox.state.keys) == 1501
    await sandbox.patch(f"/v2/Conversations/{conversation['id']}", {"status": "CLOSED"})
    assert len(sandbox.state.keys) == 0


@pytest.mark.parametrize("shown", ["address", "null", "absent"])
async def test_a_participant_without_a_name(start, receiver, shown):
    """A name that was not given is the address as written, by switch null or left out: in every answer and event."""
    sandbox = await start(absent_name=shown)
    await sandbox.subscribe(receiver.callbacks)
    expected = {"address": {"name": CUSTOMER}, "null": {"name": None}, "absent": {}}[shown]
    made = await sandbox.open()
    path = f"/v2/Conversations/{made['id']}/Participants"
    agent = (await sandbox.post(path, make_participant("AI_AGENT", "bot", "CHAT"))).body
    customer = (await sandbox.get(f"{path}/{made['participants'][0]['id']}")).body
    changed = (await sandbox.put(f"{path}/{customer['id']}", pair()[0])).body
    (listed,) = (each for each in (await sandbox.get(path)).body["participants"] if each["id"] == customer["id"])
    await receiver.wait_for(5)
    events = [each.event["data"] for each in receiver.received if each.event["data"]["id"] == customer["id"]]
    assert len(events) == 2
    for each in (made["participants"][0], customer, changed, listed, *events):
        assert {name: value for name, value in each.items() if name == "name"} == expected
    assert agent.get("name", "none") == {"address": "bot", "null": None, "absent": "none"}[shown]
    named = (await sandbox.put(f"{path}/{customer['id']}", pair()[0] | {"name": "Ana"})).body
    assert named["name"] == "Ana"
    bare = (await sandbox.put(f"{path}/{customer['id']}", {})).body
    assert bare.get("name") is None
