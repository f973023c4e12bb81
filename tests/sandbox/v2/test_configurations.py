"""Configurations in the control plane: writes with operations, their limits, and inline configurations."""

from __future__ import annotations

import pytest

from tests.sandbox.harness import BY_CHANNEL, BY_PROFILE, CONFIGURATIONS, basic, make_participant, opening, pair
from tests.support.accounts import CUSTOMER, OURS

PATH = "/v2/ControlPlane/Configurations"
RULES = [{"from": "*", "to": OURS}, {"from": OURS, "to": "*", "metadata": {"callType": "PSTN"}}]
SETTINGS = {"SMS": {"statusTimeouts": {"inactive": 10, "closed": 60}, "captureRules": RULES}}
NEW = {
    "displayName": "Support 1",
    "description": "of the tests",
    "conversationGroupingType": "GROUP_BY_PROFILE",
    "memoryStoreId": "mem_store_00000000000000000000000007",
    "channelSettings": SETTINGS,
    "statusCallbacks": [{"url": "https://h/p", "method": "POST"}],
    "memoryExtractionEnabled": True,
    "conversationsV1Bridge": {"serviceId": "IS" + "a" * 32},
}
INLINE = {"conversationGroupingType": "GROUP_BY_PARTICIPANT_ADDRESSES", "memoryStoreId": "mem_store_1"}


async def create(sandbox, **changes):
    answer = await sandbox.post(PATH, NEW | changes)
    assert answer.status == 202, answer.raw
    return answer


async def test_a_configuration_is_created(sandbox):
    """POST answers 202 with the id and an operation; the configuration has all fields, and opens conversations."""
    answer = await create(sandbox)
    configuration_id = answer.body["related"]["configurationId"]
    operation = (await sandbox.get(f"/v2/ControlPlane/Operations/{answer.headers['Operation-Id']}")).body
    assert (operation["status"], operation["related"]) == ("COMPLETED", {"configurationId": configuration_id})
    assert operation["error"] is None
    shown = (await sandbox.get(f"{PATH}/{configuration_id}")).body
    assert {name: shown[name] for name in NEW} == NEW
    assert (shown["version"], shown["redactionConfigurationId"]) == (1, None)
    listed = (await sandbox.get(PATH, params={"memoryStoreId": NEW["memoryStoreId"]})).body["configurations"]
    assert listed == [shown]
    made = await sandbox.open(configuration=configuration_id)
    assert made["configuration"]["channelSettings"] == SETTINGS


async def test_a_configuration_is_replaced(sandbox):
    """PUT replaces everything that can change; what it omits is cleared."""
    configuration_id = (await create(sandbox)).body["related"]["configurationId"]
    path = f"{PATH}/{configuration_id}"
    needed = ("description", "conversationGroupingType", "memoryStoreId", "channelSettings")
    body = {name: NEW[name] for name in needed} | {"channelSettings": {"RCS": {"statusTimeouts": {"closed": 1}}}}
    answer = await sandbox.put(path, body)
    assert (answer.status, answer.body["related"]) == (202, {"configurationId": configuration_id})
    shown = (await sandbox.get(path)).body
    assert {name: shown[name] for name in body} == body
    assert (shown["displayName"], shown["statusCallbacks"], shown["conversationsV1Bridge"]) == (None, [], None)
    assert (shown["version"], shown["memoryExtractionEnabled"]) == (2, False)
    for name in needed:
        assert (await sandbox.put(path, {key: body[key] for key in body if key != name})).status == 400, name
    assert (
        await sandbox.put(path, body | {"conversationGroupingType": "GROUP_BY_PARTICIPANT_ADDRESSES"})
    ).status == 400


async def test_a_configuration_is_patched(sandbox):
    """PATCH changes the given fields, channel settings channel by channel; null removes."""
    configuration_id = (await create(sandbox)).body["related"]["configurationId"]
    path = f"{PATH}/{configuration_id}"
    change = {"channelSettings": {"SMS": None, "RCS": {}}, "statusCallbacks": None, "description": "new"}
    assert (await sandbox.patch(path, change)).status == 202
    shown = (await sandbox.get(path)).body
    assert {name: shown[name] for name in NEW} == NEW | {
        "channelSettings": {"RCS": {}},
        "statusCallbacks": [],
        "description": "new",
    }
    assert (await sandbox.patch(path, {"conversationGroupingType": "GROUP_BY_PROFILE"})).status == 202


async def test_a_configuration_is_deleted(sandbox):
    """DELETE answers 202; open conversations live on, and no new one can be opened."""
    configuration_id = (await create(sandbox)).body["related"]["configurationId"]
    made = await sandbox.open(configuration=configuration_id)
    answer = await sandbox.call("DELETE", f"{PATH}/{configuration_id}")
    assert (answer.status, answer.body["related"]) == (202, {"configurationId": configuration_id})
    assert (await sandbox.get(f"{PATH}/{configuration_id}")).status == 404
    assert (await sandbox.get(f"/v2/Conversations/{made['id']}")).body["configurationId"] == configuration_id
    assert (await sandbox.post("/v2/Conversations", opening(configuration=configuration_id))).status == 404
    for method, body in (("PUT", NEW), ("PATCH", {}), ("DELETE", None)):
        assert (await sandbox.call(method, f"{PATH}/{configuration_id}", body)).status == 404


async def test_a_key_makes_a_write_repeatable(start):
    """The same Idempotency-Key gets the same operation, and creates one configuration."""
    sandbox = await start(operation_seconds=30)
    headers = basic() | {"Idempotency-Key": "0190b3a0-0000-7000-8000-00000000ABCD"}
    first = await sandbox.post(PATH, NEW, headers=headers)
    second = await sandbox.post(PATH, NEW, headers=headers)
    assert (second.status, second.headers["Operation-Id"], second.body) == (
        202,
        first.headers["Operation-Id"],
        first.body,
    )
    assert len((await sandbox.get(PATH)).body["configurations"]) == len(CONFIGURATIONS) + 1
    path = f"/v2/ControlPlane/Operations/{first.headers['Operation-Id']}"
    assert (await sandbox.get(path)).body["status"] == "PENDING"
    assert (await sandbox.post(PATH, NEW, headers=headers | {"Idempotency-Key": "7"})).status == 400


@pytest.mark.parametrize("same", ["displayName", "conversationsV1Bridge"])
async def test_what_only_one_configuration_has(sandbox, same):
    """A display name and a bridged service belong to one configuration: 409 names it."""
    first = (await create(sandbox)).body["related"]["configurationId"]
    other = {"displayName": "other", "conversationsV1Bridge": {"serviceId": "IS" + "b" * 32}} | {same: NEW[same]}
    answer = await sandbox.post(PATH, NEW | other)
    assert (answer.status, answer.headers["X-Conflicting-Resource-Id"]) == (409, first)
    assert (await sandbox.patch(f"{PATH}/{BY_PROFILE}", {same: NEW[same]})).status == 409
    assert (await sandbox.patch(f"{PATH}/{first}", {same: NEW[same]})).status == 202


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"displayName": "x" * 33}, "displayName"),
        ({"displayName": "a.b"}, "displayName"),
        ({"displayName": None}, "displayName"),
        ({"description": "x" * 513}, "description"),
        ({"conversationGroupingType": "GROUP"}, "conversationGroupingType"),
        ({"memoryStoreId": ""}, "memoryStoreId"),
        ({"channelSettings": {"FAX": {}}}, "channelSettings.FAX"),
        ({"channelSettings": {"SMS": {"captureRules": [{"from": "*"}]}}}, "channelSettings.SMS.captureRules[0].to"),
        ({"channelSettings": {"SMS": {"statusTimeouts": {"inactive": 5, "closed": 5}}}}, "channelSettings.SMS"),
        ({"statusCallbacks": [{"url": "https://h/p"}] * 3}, "statusCallbacks"),
        ({"intelligenceConfigurationIds": ["x"] * 6}, "intelligenceConfigurationIds"),
        ({"conversationsV1Bridge": {"serviceId": "x"}}, "conversationsV1Bridge.serviceId"),
    ],
)
async def test_limits(sandbox, change, field):
    """A 400 names the field that is over its limit."""
    answer = await sandbox.post(PATH, NEW | change)
    assert (answer.status, answer.body["message"].startswith(field)) == (400, True), answer.raw


@pytest.mark.parametrize(
    ("inline", "status"),
    [
        (INLINE, 201),
        ({"memoryStoreId": "mem_store_1"}, 400),
        ({"conversationGroupingType": "GROUP_BY_PROFILE"}, 400),
        ({}, 400),
        (INLINE | {"channelSettings": {"SMS": {"statusTimeouts": {"inactive": 1}}}}, 400),
        (INLINE | {"channelSettings": {"SMS": {"statusTimeouts": {"inactive": 2, "closed": 2}}}}, 400),
        (INLINE | {"channelSettings": {"SMS": {"statusTimeouts": {"inactive": 3, "closed": 2}}}}, 400),
        (INLINE | {"channelSettings": {"SMS": {"statusTimeouts": {"inactive": 1, "closed": 2}}}}, 201),
        (INLINE | {"channelSettings": {"SMS": {"statusTimeouts": {"closed": 1}}}}, 201),
    ],
)
async def test_rules_of_an_inline_configuration(sandbox, inline, status):
    """Without a configurationId grouping type and memory store are required; `closed` is, and is over `inactive`."""
    alone = await sandbox.post("/v2/Conversations", {"configuration": inline, "participants": pair()})
    assert alone.status == status, alone.raw
    both = await sandbox.post("/v2/Conversations", opening(*pair()) | {"configuration": inline})
    is_partial = "channelSettings" not in inline
    assert both.status == (201 if is_partial else status), both.raw


@pytest.mark.parametrize("body", [{}, {"configurationId": BY_CHANNEL}], ids=["alone", "both"])
async def test_an_empty_memory_store_is_none(sandbox, body):
    """An inline configuration with an empty memory store is refused, with and without a Configuration."""
    answer = await sandbox.post("/v2/Conversations", body | {"configuration": INLINE | {"memoryStoreId": ""}})
    assert (answer.status, "configuration.memoryStoreId" in answer.body["message"]) == (400, True)


@pytest.mark.parametrize(
    ("end", "wrong"),
    [
        ({"address": OURS, "channel": "SMS"}, None),
        ({"address": OURS}, None),
        ({"address": "+15550009999", "channel": "SMS"}, "address"),
        ({"address": "+15550009999"}, "address"),
        ({"address": CUSTOMER}, "address"),
        ({"address": ""}, "address"),
        ({"address": OURS, "channel": "RCS"}, "channel"),
    ],
)
async def test_a_participant_with_its_address(sandbox, end, wrong):
    """An end of an action may name a participant together with its address, but not with one of somebody else."""
    made = await sandbox.open(make_participant("CUSTOMER", CUSTOMER), make_participant("AGENT", OURS))
    customer, agent = made["participants"]
    payload = {
        "from": {"participantId": agent["id"]} | end,
        "to": [{"participantId": customer["id"], "address": CUSTOMER, "channel": "SMS"}],
        "content": {"text": "x"},
    }
    path = f"/v2/Conversations/{made['id']}/Actions"
    answer = await sandbox.post(path, {"type": "SEND_MESSAGE", "payload": payload})
    assert answer.status == (400 if wrong else 202), answer.raw
    if wrong:
        assert answer.body["message"].startswith(f"payload.from.{wrong}:")
