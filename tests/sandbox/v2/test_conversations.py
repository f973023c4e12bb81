"""Conversations over HTTP: creating, reading, PUT and PATCH, closing, deleting, bounds of memory."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import pytest

from tests.sandbox.harness import BY_CHANNEL, basic, make_communication, make_participant, opening, pair
from tests.support.accounts import CUSTOMER, OTHER_CUSTOMER, OURS

TYPE_ID = re.compile(r"conv_conversation_[0-7][0-9abcdefghjkmnpqrstvwxyz]{25}")
CALLBACK = {"url": "https://example.com/hook", "method": "POST"}


async def test_a_new_conversation(sandbox):
    """A 201 has a typed id, the effective configuration, and the participants in their order."""
    made = await sandbox.open(name="n", metadata={"a.b": "c"})
    assert TYPE_ID.fullmatch(made["id"])
    assert (made["status"], made["name"], made["metadata"]) == ("ACTIVE", "n", {"a.b": "c"})
    assert made["configuration"]["displayName"] == "tests 0"
    assert [each["type"] for each in made["participants"]] == ["CUSTOMER", "AGENT"]
    assert all(each["conversationId"] == made["id"] for each in made["participants"])
    assert (await sandbox.get(f"/v2/Conversations/{made['id']}")).body == made


async def test_ids_sort_by_their_millisecond(start):
    """Ids hold a UUIDv7, so those of different milliseconds sort by time."""
    times = iter(range(10**15, 2 * 10**15, 5000))
    sandbox = await start(clock=lambda: next(times))
    ids = [(await sandbox.open(make_participant("AGENT", OURS)))["id"] for _ in range(5)]
    assert ids == sorted(ids)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (opening(*[make_participant("AGENT", str(number)) for number in range(51)]), "participants"),
        (opening(metadata={str(number): "x" for number in range(9)}), "metadata"),
        (opening(metadata={"a b": "x"}), "metadata.a b"),
        (opening(metadata={"k" * 129: "x"}), "metadata." + "k" * 129),
        (opening(metadata={"a": "x" * 513}), "metadata.a"),
        (opening(metadata={"a": 1}), "metadata.a"),
        (opening(name=7), "name"),
        ({"name": "x"}, "configurationId"),
        (opening(make_participant("CUSTOMER", CUSTOMER, "PIGEON")), "participants[0].addresses[0].channel"),
        (opening(make_participant("BOSS", CUSTOMER)), "participants[0].type"),
        (opening(make_participant("CUSTOMER", "")), "participants[0].addresses[0].address"),
        (opening(configuration=BY_CHANNEL) | {"configuration": {"statusCallbacks": [CALLBACK] * 3}}, "statusCallbacks"),
        (opening(*pair()) | {"configuration": {"statusCallbacks": [{"url": "ftp://x"}]}}, "statusCallbacks[0].url"),
        (
            opening(make_participant("CUSTOMER", CUSTOMER), make_participant("AGENT", CUSTOMER)),
            "participants[1].addresses",
        ),
    ],
)
async def test_invalid_bodies(sandbox, body, field):
    """A 400 names the wrong field, and nothing is created."""
    answer = await sandbox.post("/v2/Conversations", body)
    assert (answer.status, answer.body["code"]) == (400, 20001)
    assert field in answer.body["message"]
    assert (await sandbox.get("/v2/Conversations")).body["conversations"] == []


async def test_limits(sandbox):
    """Fifty participants and eight metadata entries of 512 characters are accepted."""
    made = await sandbox.open(
        *[make_participant("AGENT", str(number)) for number in range(50)],
        metadata={str(number): "x" * 512 for number in range(8)},
    )
    assert len(made["participants"]) == 50


async def test_an_inline_configuration_alone(sandbox, receiver):
    """Without a configurationId the inline configuration applies, and configurationId is null."""
    inline = {"conversationGroupingType": "GROUP_BY_PROFILE", "memoryStoreId": "mem_store_1"}
    inline["statusCallbacks"] = receiver.callbacks
    answer = await sandbox.post("/v2/Conversations", {"configuration": inline, "participants": pair()})
    assert (answer.status, answer.body["configurationId"]) == (201, None)
    assert answer.body["configuration"]["conversationGroupingType"] == "GROUP_BY_PROFILE"
    await receiver.wait_for(3)
    again = await sandbox.post("/v2/Conversations", {"configuration": inline, "participants": pair()})
    assert again.headers["X-Conflicting-Resource-Id"] == answer.body["id"]


async def test_an_unknown_configuration(sandbox):
    """An unknown configuration is a 404."""
    answer = await sandbox.post("/v2/Conversations", opening(configuration="conv_configuration_no"))
    assert (answer.status, answer.body["code"]) == (404, 20404)


@pytest.mark.parametrize(("choice", "kept"), [("replace", (None, {})), ("merge", ("n", {"a": "b"}))])
async def test_put_replaces(start, choice, kept):
    """PUT needs a status, and clears the fields that it omits or, by switch, keeps them."""
    sandbox = await start(put_semantics=choice)
    made = await sandbox.open(name="n", metadata={"a": "b"})
    path = f"/v2/Conversations/{made['id']}"
    assert (await sandbox.put(path, {"name": "x"})).body["message"].startswith("status:")
    changed = (await sandbox.put(path, {"status": "INACTIVE"})).body
    assert (changed["status"], changed["name"], changed["metadata"]) == ("INACTIVE", *kept)


async def test_patch_merges(sandbox):
    """PATCH keeps the fields that it omits and merges metadata; null removes a key or the name."""
    made = await sandbox.open(name="n", metadata={"a": "1", "b": "2"})
    path = f"/v2/Conversations/{made['id']}"
    changed = (await sandbox.patch(path, {"metadata": {"a": None, "c": "3"}})).body
    assert (changed["name"], changed["metadata"]) == ("n", {"b": "2", "c": "3"})
    assert (await sandbox.patch(path, {"name": None})).body["name"] is None
    full = {str(number): "x" for number in range(7)}
    refused = await sandbox.patch(path, {"name": "y", "metadata": full})
    assert (refused.status, "metadata" in refused.body["message"]) == (400, True)
    assert (await sandbox.get(path)).body["metadata"] == {"b": "2", "c": "3"}


async def test_patch_status_callbacks(sandbox, receiver):
    """A conversation's callbacks are set, cleared by [], and replaced by the configuration's by null."""
    made = await sandbox.open()
    path = f"/v2/Conversations/{made['id']}"
    changed = (await sandbox.patch(path, {"configuration": {"statusCallbacks": receiver.callbacks}})).body
    assert changed["configuration"]["statusCallbacks"] == receiver.callbacks
    await sandbox.patch(path, {"name": "subscribed"})
    await receiver.wait_for(1)
    for nothing in ([], None):
        changed = (await sandbox.patch(path, {"configuration": {"statusCallbacks": nothing}})).body
        assert changed["configuration"]["statusCallbacks"] == []
        await sandbox.patch(path, {"name": f"unsubscribed {nothing}"})
    await sandbox.settled()
    assert [each.event["data"]["name"] for each in receiver.received] == ["subscribed"]
    too_many = [CALLBACK] * 21
    assert (await sandbox.patch(path, {"configuration": {"statusCallbacks": too_many}})).status == 400


@pytest.mark.parametrize("status", [409, 400])
async def test_closed_is_final(start, status):
    """Every write to a closed conversation is refused, with the status of a switch; reading is not."""
    sandbox = await start(closed_status=status)
    made = await sandbox.open()
    path = f"/v2/Conversations/{made['id']}"
    participant = f"{path}/Participants/{made['participants'][0]['id']}"
    await sandbox.patch(path, {"status": "CLOSED"})
    action = {
        "type": "SEND_MESSAGE",
        "payload": {
            "from": {"address": OURS, "channel": "SMS"},
            "to": [{"address": CUSTOMER, "channel": "SMS"}],
            "content": {"text": "x"},
        },
    }
    writes = [
        sandbox.patch(path, {"status": "ACTIVE"}),
        sandbox.put(path, {"status": "CLOSED"}),
        sandbox.post(f"{path}/Participants", make_participant("AGENT", "+15550104444")),
        sandbox.put(participant, make_participant("CUSTOMER", CUSTOMER)),
        sandbox.post(f"{path}/Communications", make_communication()),
        sandbox.post(f"{path}/Actions", action),
    ]
    assert {(await write).status for write in writes} == {status}
    assert (await sandbox.get(path)).body["status"] == "CLOSED"
    assert (await sandbox.get(participant)).status == 200


async def test_delete_is_an_operation(start):
    """DELETE answers 202 with the operation in headers and body; the operation completes after its time."""
    sandbox = await start(operation_seconds=30)
    made = await sandbox.open()
    path = f"/v2/Conversations/{made['id']}"
    key = {"Idempotency-Key": "0190b3a0-0000-7000-8000-00000000ABCD"}
    answer = await sandbox.call("DELETE", path, headers=basic() | key)
    operation = answer.headers["Operation-Id"]
    assert (answer.status, answer.headers["Retry-After"]) == (202, "5")
    assert (
        answer.headers["Location"]
        == answer.body["statusUrl"]
        == f"{sandbox.url}/v2/ControlPlane/Operations/{operation}"
    )
    assert answer.body["related"] == {"conversationId": made["id"]}
    assert (answer.body["createdAt"], answer.body["updatedAt"]) == (None, None)
    assert (await sandbox.get(path)).status == 404
    assert len(sandbox.state.keys) == 0
    assert (await sandbox.get(f"/v2/ControlPlane/Operations/{operation}")).body["status"] == "PENDING"
    await sandbox.advance(31)
    assert (await sandbox.get(f"/v2/ControlPlane/Operations/{operation}")).body["status"] == "COMPLETED"
    repeated = await sandbox.call("DELETE", path, headers=basic() | {"Idempotency-Key": key["Idempotency-Key"].lower()})
    assert (repeated.status, repeated.headers["Operation-Id"]) == (202, operation)
    assert (await sandbox.call("DELETE", path)).status == 404
    assert (await sandbox.call("DELETE", path, headers=basic() | {"Idempotency-Key": "7"})).status == 400
    await sandbox.open()


async def test_an_unknown_operation(sandbox):
    """An unknown operation is a 404."""
    assert (await sandbox.get("/v2/ControlPlane/Operations/proc_job_0")).status == 404


async def test_filters(sandbox):
    """`status` may repeat, `channelId` matches participants and communications, an unknown status is a 400."""
    called = await sandbox.open(
        make_participant("CUSTOMER", CUSTOMER, "VOICE", channelId="CA1"), make_participant("AGENT", OURS, "VOICE")
    )
    written = (await sandbox.capture(customer=OTHER_CUSTOMER, channelId="SM1", resourceId="SM2"))["conversation"]
    await sandbox.patch(f"/v2/Conversations/{written['id']}", {"status": "INACTIVE"})

    async def found(query):
        return [each["id"] for each in (await sandbox.get(f"/v2/Conversations?{query}")).body["conversations"]]

    assert await found("channelId=CA1") == [called["id"]]
    assert await found("channelId=SM1") == await found("channelId=SM2") == [written["id"]]
    assert await found("channelId=SM1&status=ACTIVE") == []
    assert await found("channelId=nothing") == []
    assert await found("status=ACTIVE&status=INACTIVE&Whatever=1") == [written["id"], called["id"]]
    assert (await sandbox.get("/v2/Conversations?status=OPEN")).status == 400
    await sandbox.call("DELETE", f"/v2/Conversations/{written['id']}")
    assert await found("channelId=SM1") == []


@pytest.mark.parametrize("is_embedded", [True, False])
async def test_list_items_embed_participants_by_switch(start, is_embedded):
    """List items have their participants or, by switch, do not."""
    sandbox = await start(embed_participants=is_embedded)
    await sandbox.open()
    (item,) = (await sandbox.get("/v2/Conversations")).body["conversations"]
    assert ("participants" in item) == is_embedded


async def test_parallel_creation_makes_one(sandbox):
    """Of 200 requests for the same conversation at once, one is a 201 and 199 are 409s that name it."""
    answers = await asyncio.gather(*(sandbox.post("/v2/Conversations", opening(*pair())) for _ in range(200)))
    (made,) = [answer.body["id"] for answer in answers if answer.status == 201]
    assert Counter(answer.status for answer in answers) == {201: 1, 409: 199}
    assert {answer.headers.get("X-Conflicting-Resource-Id") for answer in answers} == {None, made}


async def test_closed_conversations_are_kept_within_bounds(start):
    """Only the newest closed conversations are kept, and nothing of the others stays in an index."""
    sandbox = await start(keep_closed=2)
    ids = []
    for number in range(4):
        captured = await sandbox.capture(channelId=f"SM{number}")
        ids.append(captured["conversation"]["id"])
        await sandbox.patch(f"/v2/Conversations/{ids[-1]}", {"status": "CLOSED"})
    listed = (await sandbox.get("/v2/Conversations")).body["conversations"]
    assert [each["id"] for each in listed] == [ids[3], ids[2]]
    assert (len(sandbox.state.keys), len(sandbox.state.resource_ids)) == (0, 2)
