"""What the API may refuse: each switch refuses it with a 400 or 422 that names the field; without it all is taken."""

import pytest

from tests.sandbox.harness import make_communication, make_participant, opening, pair
from tests.support.accounts import CUSTOMER, OURS

MAILS = [
    make_participant("CUSTOMER", "ana@example.com", "EMAIL"),
    make_participant("AGENT", "desk@example.com", "EMAIL"),
]
CHAT = [make_participant("CUSTOMER", "ana", "CHAT"), make_participant("AGENT", "desk", "CHAT")]
NAMED_CHAT = [make_participant("CUSTOMER", "ana", "CHAT", channelId="CH1"), make_participant("AGENT", OURS)]


def sending(content=None, channel="SMS", **payload):
    ends = {"from": {"address": OURS, "channel": channel}, "to": [{"address": CUSTOMER, "channel": channel}]}
    return {"type": "SEND_MESSAGE", "payload": ends | {"content": content or {}} | payload}


def bad_number(address, channel="SMS"):
    return [make_participant("CUSTOMER", address, channel), make_participant("AGENT", OURS)]


REFUSED = [
    pytest.param({"refused_channels": ["EMAIL"]}, MAILS, "addresses[0].channel", id="channel"),
    pytest.param({"chat_needs_channel_id": True}, CHAT, "addresses[0].channelId", id="chat"),
    *(
        pytest.param({"strict_addresses": True}, bad_number(*address), "addresses[0].address", id=address[0][:20])
        for address in [
            ("15551230001",),
            ("+0155",),
            ("+1555123000123456789",),
            ("ana",),
            ("whatsapp:1555", "WHATSAPP"),
            ("ana@", "EMAIL"),
            ("a b@example.com", "EMAIL"),
            (f"{'a' * 250}@example.com", "EMAIL"),
            ("ana", "VOICE"),
        ]
    ),
]


@pytest.mark.parametrize(("switches", "participants", "field"), REFUSED)
async def test_addresses_are_refused_by_switch(start, switches, participants, field):
    """With the switch nothing is created and the 400 names the field; without it the same body is taken."""
    strict, lenient = await start(**switches), await start()
    answer = await strict.post("/v2/Conversations", opening(*participants))
    assert (answer.status, f"participants[0].{field}" in answer.body["message"]) == (400, True)
    assert (await strict.get("/v2/Conversations")).body["conversations"] == []
    assert (await lenient.post("/v2/Conversations", opening(*participants))).status == 201


@pytest.mark.parametrize(
    ("address", "channel"),
    [
        (CUSTOMER, "SMS"),
        ("12345", "SMS"),
        (f"whatsapp:{CUSTOMER}", "WHATSAPP"),
        ("whatsapp:US.ENT.aB12", "WHATSAPP"),
        ("rcs:brand_agent", "RCS"),
        ("client:ana", "VOICE"),
        ("sip:ana@example.com", "VOICE"),
        ("ana@example.com", "EMAIL"),
        ("anything at all", "CHAT"),
    ],
)
async def test_well_formed_addresses_are_taken(start, address, channel):
    """Strict addresses refuse no address that Twilio itself writes."""
    sandbox = await start(strict_addresses=True)
    answer = await sandbox.post("/v2/Conversations", opening(*bad_number(address, channel)))
    assert answer.status == 201


async def test_every_write_is_checked(start):
    """Adding and replacing a participant and recording a communication are refused like opening a conversation."""
    sandbox = await start(refused_channels=["EMAIL"], validation_status=422)
    conversation = await sandbox.open()
    path = f"/v2/Conversations/{conversation['id']}"
    mail = MAILS[0]
    customer = conversation["participants"][0]["id"]
    answers = [
        await sandbox.post(f"{path}/Participants", mail),
        await sandbox.put(f"{path}/Participants/{customer}", mail),
        await sandbox.post(f"{path}/Communications", make_communication("EMAIL")),
        await sandbox.post(f"{path}/Actions", sending({"text": "hi"}, "EMAIL")),
    ]
    assert [answer.status for answer in answers] == [422] * 4
    assert len((await sandbox.get(f"{path}/Participants")).body["participants"]) == 2


@pytest.mark.parametrize(
    ("content", "status"),
    [({}, 400), ({"text": ""}, 400), ({"text": "hi"}, 202), ({"contentId": "HX1"}, 202), ({"mediaUrls": ["u"]}, 202)],
)
async def test_a_message_without_content_is_refused_by_switch(start, content, status):
    """SEND_MESSAGE needs a text, a contentId or media if the switch says so."""
    for sandbox, expected in ((await start(action_needs_content=True), status), (await start(), 202)):
        conversation = await sandbox.open(*pair())
        answer = await sandbox.post(f"/v2/Conversations/{conversation['id']}/Actions", sending(content))
        assert answer.status == expected


@pytest.mark.parametrize(("settings", "status"), [({}, 400), ({"channelSettings": {"channelId": "CH1"}}, 202)])
async def test_a_chat_message_needs_a_channel_id_by_switch(start, settings, status):
    """A message on CHAT needs a channelId among its channel settings if the switch says so."""
    sandbox = await start(chat_needs_channel_id=True)
    conversation = await sandbox.open(*NAMED_CHAT)
    answer = await sandbox.post(
        f"/v2/Conversations/{conversation['id']}/Actions", sending({"text": "hi"}, "CHAT", **settings)
    )
    assert answer.status == status


async def test_captured_traffic_is_not_checked(start):
    """Twilio's own capture is what it is."""
    sandbox = await start(strict_addresses=True, refused_channels=["EMAIL"])
    body = {"channel": "EMAIL", "from": "ana", "to": "desk@example.com", "body": "hi"}
    assert (await sandbox.post("/sandbox/capture", body)).status == 201
