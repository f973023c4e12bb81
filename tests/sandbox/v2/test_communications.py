"""Communications and actions over HTTP: recording, updating, sending, failing."""

from __future__ import annotations

import pytest

from router.sandbox.v2.actions import complete_action
from tests.sandbox.harness import make_communication, make_participant, pair
from tests.support.accounts import CUSTOMER, OURS
from tests.support.waiting import until

AUTHOR = {"address": CUSTOMER, "channel": "SMS"}
RECIPIENT = {"address": OURS, "channel": "SMS"}
TEXT = {"type": "TEXT", "text": "hello"}


@pytest.fixture
async def conversation(sandbox):
    return await sandbox.open()


def sending(sender, *to, **content):
    return {
        "type": "SEND_MESSAGE",
        "payload": {"from": sender, "to": list(to), "content": content or {"text": "hi"}},
    }


async def test_a_communication(sandbox, conversation):
    """A 201 has the communication, with the participants that were found by address."""
    path = f"/v2/Conversations/{conversation['id']}/Communications"
    body = make_communication(channelId="SM1", occurredAt="2026-01-01T00:00:00Z")
    made = (await sandbox.post(path, body)).body
    customer, ours = (each["id"] for each in conversation["participants"])
    assert made["author"] == AUTHOR | {"participantId": customer}
    assert made["recipients"] == [RECIPIENT | {"participantId": ours, "deliveryStatus": "DELIVERED"}]
    assert (made["content"], made["channelId"], made["occurredAt"]) == (TEXT, "SM1", "2026-01-01T00:00:00Z")
    assert (await sandbox.get(f"{path}/{made['id']}")).body == made


async def test_a_transcription(sandbox, conversation):
    """A transcription keeps its details."""
    content = {"type": "TRANSCRIPTION", "text": "x", "transcription": {"channel": 0, "confidence": 0.5}}
    answer = await sandbox.post(
        f"/v2/Conversations/{conversation['id']}/Communications", make_communication(content=content)
    )
    assert answer.body["content"] == content


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (make_communication(recipients=[]), "recipients"),
        (make_communication(content={"type": "FAX", "text": "x"}), "content.type"),
        (make_communication(author={"address": CUSTOMER}), "author.channel"),
        (make_communication(author=AUTHOR | {"participantId": "conv_participant_0"}), "author.participantId"),
        (make_communication(resourceId=""), "resourceId"),
    ],
)
async def test_bad_communications(sandbox, conversation, body, field):
    """A 400 names the wrong field."""
    answer = await sandbox.post(f"/v2/Conversations/{conversation['id']}/Communications", body)
    assert (answer.status, answer.body["message"].partition(":")[0]) == (400, field)


async def test_a_resource_id_updates(sandbox, conversation, receiver):
    """A known resource id updates its communication, with an event of an update."""
    path = f"/v2/Conversations/{conversation['id']}"
    await sandbox.patch(path, {"configuration": {"statusCallbacks": receiver.callbacks}})
    first = (await sandbox.post(f"{path}/Communications", make_communication(resourceId="SM1"))).body
    content = {"type": "TEXT", "text": "corrected"}
    second = (await sandbox.post(f"{path}/Communications", make_communication(resourceId="SM1", content=content))).body
    assert (second["id"], second["content"]) == (first["id"], content)
    assert second["updatedAt"] >= first["updatedAt"]
    await receiver.wait_for(2)
    assert receiver.kinds == ["COMMUNICATION_CREATED", "COMMUNICATION_UPDATED"]


async def test_only_the_newest_communications_are_kept(start):
    """Only the newest communications of a conversation are kept."""
    sandbox = await start(keep_communications=2)
    conversation = (await sandbox.capture(resourceId="SM0", channelId="CA0"))["conversation"]
    for number in range(1, 4):
        await sandbox.capture(resourceId=f"SM{number}")
    path = f"/v2/Conversations/{conversation['id']}/Communications"
    kept = (await sandbox.get(path)).body["communications"]
    assert [each["resourceId"] for each in kept] == ["SM3", "SM2"]
    assert set(sandbox.state.find_conversation(conversation["id"]).resources) == {"SM2", "SM3"}
    assert (await sandbox.get("/v2/Conversations?channelId=CA0")).body["conversations"] == []


async def test_unknown_communications_and_actions(sandbox, conversation):
    """Unknown ids are 404s."""
    path = f"/v2/Conversations/{conversation['id']}"
    for missing in ("Communications/conv_communication_0", "Actions/conv_action_0"):
        assert (await sandbox.get(f"{path}/{missing}")).status == 404


@pytest.mark.parametrize("naming", ["participant", "participant-and-channel", "address"])
async def test_sending(sandbox, receiver, naming):
    """All three ways to name the ends of a message lead to the same communication and its delivery."""
    conversation = await sandbox.open(configuration="conv_configuration_0000000000000000000000000a")
    customer, ours = conversation["participants"]
    ends = {
        "participant": ({"participantId": ours["id"]}, {"participantId": customer["id"]}),
        "participant-and-channel": (
            {"participantId": ours["id"], "channel": "SMS"},
            {"participantId": customer["id"], "channel": "SMS"},
        ),
        "address": (RECIPIENT, AUTHOR),
    }[naming]
    path = f"/v2/Conversations/{conversation['id']}"
    await sandbox.patch(path, {"configuration": {"statusCallbacks": receiver.callbacks}})
    answer = await sandbox.post(f"{path}/Actions", sending(*ends))
    assert (answer.status, answer.body["status"], answer.body["type"]) == (202, "PENDING", "action-send-message")
    await receiver.wait_for(2)
    assert receiver.kinds == ["COMMUNICATION_CREATED", "COMMUNICATION_UPDATED"]
    states = [each.event["data"]["recipients"][0]["deliveryStatus"] for each in receiver.received]
    assert states == ["INITIATED", "DELIVERED"]
    done = (await sandbox.get(f"{path}/Actions/{answer.body['id']}")).body
    assert (done["status"], done["related"]["messageSid"]) == ("COMPLETED", answer.body["related"]["messageSid"])
    made = (await sandbox.get(f"{path}/Communications/{done['related']['communicationId']}")).body
    assert made["author"] == RECIPIENT | {"participantId": ours["id"]}


@pytest.mark.parametrize(
    ("sender", "to", "field"),
    [
        ({}, AUTHOR, "payload.from"),
        ({"channel": "SMS"}, AUTHOR, "payload.from"),
        ({"participantId": "conv_participant_0"}, AUTHOR, "payload.from.participantId"),
        (RECIPIENT, AUTHOR | {"channel": "VOICE"}, "payload.to[0].channel"),
    ],
)
async def test_invalid_ends(sandbox, conversation, sender, to, field):
    """A 400 names the end that does not name an address."""
    answer = await sandbox.post(f"/v2/Conversations/{conversation['id']}/Actions", sending(sender, to))
    assert (answer.status, answer.body["message"].partition(":")[0]) == (400, field)


async def test_a_participant_with_two_addresses_needs_the_channel(sandbox):
    """A participant without a channel names an end only if it has one address."""
    both = make_participant("AGENT", OURS)
    both["addresses"].append({"channel": "WHATSAPP", "address": f"whatsapp:{OURS}"})
    conversation = await sandbox.open(pair()[0], both)
    sender = {"participantId": conversation["participants"][1]["id"]}
    path = f"/v2/Conversations/{conversation['id']}/Actions"
    assert (await sandbox.post(path, sending(sender, AUTHOR))).status == 400
    assert (await sandbox.post(path, sending(sender | {"channel": "SMS"}, AUTHOR))).status == 202


async def test_a_pending_action_has_no_time_of_completion(start):
    """What an action does not have yet is null, never left out: npm's client makes "now" of a time that is missing."""
    sandbox = await start(action_delay_seconds=3600)
    path = f"/v2/Conversations/{(await sandbox.open())['id']}/Actions"
    action = (await sandbox.post(path, sending(RECIPIENT, AUTHOR))).body
    shown = (await sandbox.get(f"{path}/{action['id']}")).body
    for each in (action, shown):
        assert (each["status"], each["completedAt"], each["failureReason"]) == ("PENDING", None, None)
        assert each["createdAt"] == each["updatedAt"]


async def test_other_content_is_refused(sandbox, conversation):
    """An action's content has four keys, and others are refused; so is another type of action."""
    path = f"/v2/Conversations/{conversation['id']}/Actions"
    answer = await sandbox.post(path, sending(RECIPIENT, AUTHOR, text="x", html="<b>"))
    assert (answer.status, "html" in answer.body["message"]) == (400, True)
    answer = await sandbox.post(path, sending(RECIPIENT, AUTHOR) | {"type": "START_FLOW"})
    assert answer.status == 400


async def test_actions_fail_by_switch(start):
    """With the outcome FAILED nothing is recorded, and the action has the reason."""
    sandbox = await start(action_outcome="FAILED", action_type="SEND_MESSAGE")
    conversation = await sandbox.open()
    path = f"/v2/Conversations/{conversation['id']}"
    action = (await sandbox.post(f"{path}/Actions", sending(RECIPIENT, AUTHOR))).body
    done = (await sandbox.get(f"{path}/Actions/{action['id']}")).body
    assert (done["status"], done["type"], bool(done["failureReason"])) == ("FAILED", "SEND_MESSAGE", True)
    assert (await sandbox.get(f"{path}/Communications")).body["communications"] == []


async def test_an_action_of_a_conversation_that_closed_meanwhile(sandbox, monkeypatch):
    """An action that completes after the closing fails, and one of a deleted conversation is gone with it."""
    accepted = []
    monkeypatch.setattr("router.sandbox.v2.routes.complete_action", lambda *action: accepted.append(action))
    closing, gone = await sandbox.open(), await sandbox.open(*pair("WHATSAPP"))
    path = f"/v2/Conversations/{closing['id']}"
    action = (await sandbox.post(f"{path}/Actions", sending(RECIPIENT, AUTHOR))).body
    await sandbox.post(f"/v2/Conversations/{gone['id']}/Actions", sending(RECIPIENT, AUTHOR))
    await sandbox.patch(path, {"status": "CLOSED"})
    await sandbox.call("DELETE", f"/v2/Conversations/{gone['id']}")
    await until(lambda: len(accepted) == 2)
    for each in accepted:
        complete_action(*each)
    done = (await sandbox.get(f"{path}/Actions/{action['id']}")).body
    assert (done["status"], done["failureReason"]) == ("FAILED", "Conversation is closed")
