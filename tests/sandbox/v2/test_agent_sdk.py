"""What Twilio's agent SDK reads of the API: fields that it needs as text, where the API's description allows null."""

from __future__ import annotations

import pytest

from router.commands.sandbox import make_options as command_options
from router.settings.load import load
from tests.harness.sandbox import make_options
from tests.sandbox.harness import BY_CHANNEL, make_communication, make_participant, opening, pair
from tests.support.accounts import CUSTOMER, OURS

STORE = "mem_store_00000000000000000000000001"


@pytest.mark.parametrize("origin", ["options", "command", "nothing but an id"])
async def test_a_configuration_has_a_memory_store(start, origin):
    """The agent SDK does not start without a memory store and a description."""
    given = {
        "options": make_options().configurations,
        "command": command_options(
            load(environment={}), callback_url=None, grouping="GROUP_BY_PROFILE", switches=[]
        ).configurations,
        "nothing but an id": ({"id": BY_CHANNEL},),
    }[origin]
    sandbox = await start(configurations=given)
    (shown,) = (await sandbox.get("/v2/ControlPlane/Configurations")).body["configurations"]
    assert (shown["memoryStoreId"], type(shown["description"])) == (STORE, str)
    (found,) = (await sandbox.get("/v2/ControlPlane/Configurations", params={"memoryStoreId": STORE})).body[
        "configurations"
    ]
    assert found["id"] == shown["id"]


@pytest.mark.parametrize("missing", ["customerType", "agentType"])
@pytest.mark.parametrize("channel", ["SMS", "WHATSAPP", "VOICE", "CHAT", "EMAIL"])
async def test_ids_of_both_ends(sandbox, channel, missing):
    """Author and recipient of a captured communication have an id each, also one that is no participant (yet)."""
    first = (await sandbox.capture(channel, **{missing: None}))["communication"]
    ids = [each["participantId"] for each in (first["author"], *first["recipients"])]
    assert all(each.startswith("conv_participant_") for each in ids)
    assert ids[0] != ids[1]
    second = (await sandbox.capture(channel, body="more", **{missing: None}))["communication"]
    assert [each["participantId"] for each in (second["author"], *second["recipients"])] == ids


async def test_ids_of_recorded_and_sent_communications(sandbox):
    """The same holds for what an API client records or sends."""
    made = await sandbox.open(make_participant("CUSTOMER", CUSTOMER))
    path = f"/v2/Conversations/{made['id']}"
    recorded = (await sandbox.post(f"{path}/Communications", make_communication())).body
    assert recorded["author"]["participantId"] == made["participants"][0]["id"]
    ours = recorded["recipients"][0]["participantId"]
    assert ours.startswith("conv_participant_")
    ends = {"from": {"address": OURS, "channel": "SMS"}, "to": [{"address": CUSTOMER, "channel": "SMS"}]}
    body = {"type": "SEND_MESSAGE", "payload": ends | {"content": {"text": "x"}}}
    action = (await sandbox.post(f"{path}/Actions", body)).body
    done = (await sandbox.get(f"{path}/Actions/{action['id']}")).body
    sent = (await sandbox.get(f"{path}/Communications/{done['related']['communicationId']}")).body
    assert sent["author"]["participantId"] == ours


async def test_ids_may_be_null_by_switch(start):
    """By switch the id of an end that is no participant is null."""
    sandbox = await start(absent_party_id="null")
    made = (await sandbox.capture(agentType=None))["communication"]
    assert made["author"]["participantId"] is not None
    assert made["recipients"][0]["participantId"] is None


@pytest.mark.parametrize(
    "spelling", ["status=ACTIVE,INACTIVE", "status=ACTIVE&status=INACTIVE", "status=ACTIVE%2CINACTIVE"]
)
async def test_a_list_of_statuses(sandbox, spelling):
    """`status` takes a list with commas as well as several parameters; an unknown one among them is a 400."""
    active, inactive, closed = [
        (await sandbox.open(*pair(customer=f"+1555000100{number}")))["id"] for number in range(3)
    ]
    await sandbox.patch(f"/v2/Conversations/{inactive}", {"status": "INACTIVE"})
    await sandbox.patch(f"/v2/Conversations/{closed}", {"status": "CLOSED"})
    found = (await sandbox.get(f"/v2/Conversations?{spelling}")).body["conversations"]
    assert {each["id"] for each in found} == {active, inactive}
    assert (await sandbox.get(f"/v2/Conversations?{spelling},OPEN")).status == 400


async def test_the_configuration_id_of_an_inline_configuration(sandbox, receiver):
    """`configurationId` is null where the configuration is inline only, in answers, lists and events."""
    inline = {"conversationGroupingType": "GROUP_BY_PARTICIPANT_ADDRESSES", "memoryStoreId": STORE}
    body = {"participants": pair(), "configuration": inline | {"statusCallbacks": receiver.callbacks}}
    made = (await sandbox.post("/v2/Conversations", body)).body
    shown = (await sandbox.get(f"/v2/Conversations/{made['id']}")).body
    (listed,) = (await sandbox.get("/v2/Conversations")).body["conversations"]
    await receiver.wait_for(3)
    for each in (made, shown, listed, receiver.received[0].event["data"]):
        assert each["configurationId"] is None
        assert (each["configuration"]["memoryStoreId"], each["configuration"]["description"]) == (STORE, "")
    both = await sandbox.post(
        "/v2/Conversations",
        opening(*pair("RCS"), configuration=BY_CHANNEL, name="x") | {"configuration": {"memoryStoreId": STORE}},
    )
    assert both.body["configurationId"] == BY_CHANNEL
