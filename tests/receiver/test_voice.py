"""Calls in the receiver: the target's TwiML as answer once the event is durable, and Twilio's signing of calls."""

import json
import shutil
from xml.etree import ElementTree as ET

import pytest

from router.core.addresses import Address
from router.core.errors import SettingsError
from router.inbound.sources import EMPTY_TWIML
from router.receiver.app import create_app
from router.receiver.voice import VoiceResponder
from router.simulator.http import Sender
from router.simulator.voice import STATUSES, call, call_status, read_attachment, session_end
from router.streams.store.calls import CallStore
from tests.core.builders import make_participant
from tests.receiver.conftest import settings_of
from tests.receiver.samples import incoming_call, signed, sms
from tests.support.accounts import ACCOUNT, BASE_URL, CONFIGURATION, CUSTOMER, DESK, OURS, TOKEN
from tests.support.source import SHIPPED

SID = "CA00000000000000000000000000000001"
FULL = {
    "ROUTER_VOICE_RELAY_URL": "wss://agent.example.com/relay",
    "ROUTER_VOICE_WORKFLOW_SID": "WW" + "0" * 32,
    "TWILIO_CONVERSATION_CONFIGURATION_ID": CONFIGURATION,
}
ENDS = {"account_sid": ACCOUNT, "sender": CUSTOMER, "recipient": OURS, "sid": SID}


@pytest.fixture
async def receiver(start):
    """A receiver with all voice settings."""
    return await start(**FULL)


def handoff(data):
    """The webhook to the `action` URL of a `<Connect>`: the AI agent ended its session with HandoffData."""
    return session_end(**ENDS, handoff_data=data)


async def ask(receiver, webhook):
    answer = await receiver.send(signed(webhook))
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/xml")
    return ET.fromstring(answer.body)


def verbs(root):
    return [one.tag for one in root]


async def test_a_call_for_the_ai_agent(receiver):
    """By the policy's default a call is connected to the AI agent, in a conversation, and its event is durable."""
    root = await ask(receiver, incoming_call())
    assert verbs(root) == ["Connect"]
    assert root.find("Connect").get("action") == f"{BASE_URL}/webhooks/voice"
    assert root.find("Connect/ConversationRelay").get("conversationConfiguration") == CONFIGURATION
    (entry,) = await receiver.entries()
    assert (entry[b"source"], entry[b"key"]) == (b"voice", f"{ACCOUNT}:voice:{SID}:ringing".encode())


@pytest.mark.parametrize("prefix", ["", "whatsapp:"])
async def test_a_call_for_human_agents(receiver, prefix):
    """A rule on the recipient routes the call to the human agents, also one over WhatsApp."""
    root = await ask(receiver, call(**(ENDS | {"recipient": f"{prefix}{DESK}"})))
    assert verbs(root) == ["Start", "Enqueue"]
    task = json.loads(root.find("Enqueue/Task").text)
    assert (task["from"], task["reason"]) == (CUSTOMER, "service-desk (recipient)")


async def test_a_call_that_the_policy_ignores(start, tmp_path):
    """It is answered with the template `ignore`."""
    (tmp_path / "voice").mkdir()
    (tmp_path / "routing.toml").write_text('[default]\ntarget = "ignore"\n')
    for name in ("ai-agent", "human-agent"):
        (tmp_path / "voice" / f"{name}.xml").write_text("<Response/>")
    (tmp_path / "voice" / "ignore.xml").write_text("<Response><Hangup/></Response>")
    receiver = await start(ROUTER_CONFIG_DIR=str(tmp_path))
    assert verbs(await ask(receiver, incoming_call())) == ["Hangup"]


async def test_duplicates_get_the_same_answer(receiver):
    """Twilio executes whichever answer it gets, so both are the same; one event is appended."""
    answers = [await receiver.send(signed(incoming_call())) for _ in range(2)]
    assert answers[0].body == answers[1].body
    assert [line["result"] for line in receiver.webhooks()] == ["accepted", "duplicate"]
    assert len(await receiver.entries()) == 1


@pytest.mark.parametrize("status", STATUSES)
async def test_every_status_of_a_call_is_accepted(receiver, status):
    """After the end of a call there is nothing to execute, so the answer is empty."""
    answer = await receiver.send(signed(call_status(status, **ENDS)))
    assert answer.status == 200
    is_over = status in {"completed", "busy", "failed", "no-answer", "canceled"}
    assert (answer.body == EMPTY_TWIML) == is_over
    assert len(await receiver.entries()) == 1


@pytest.mark.parametrize(
    "webhook",
    [
        call(**ENDS, Direction="outbound-dial"),
        call(**ENDS, ParentCallSid="CA" + "2" * 32),
        call(**ENDS, status="in-progress", DialCallStatus="completed"),
        call(**ENDS, status="in-progress", SessionStatus="ended"),
    ],
    ids=["outgoing", "leg", "after a dial", "after a session"],
)
async def test_nothing_to_execute(receiver, webhook):
    """A call that is not a customer's, or that has been executed already, gets an empty document."""
    assert verbs(await ask(receiver, webhook)) == []


@pytest.mark.parametrize("sender", ["anonymous", "+266696687", "", "client:ana", "sip:ana@example.com"])
async def test_callers_of_every_kind_are_answered(receiver, sender):
    """Withheld numbers, identities and SIP URIs get the same answer as phone numbers."""
    assert verbs(await ask(receiver, call(**(ENDS | {"sender": sender})))) == ["Connect"]


async def test_the_ai_agent_hands_over(receiver):
    """The human agents get the call with the AI agent's handoff data, in the same conversation."""
    calls = CallStore(receiver.redis, receiver.keys)
    participant = make_participant("p1", Address("VOICE", CUSTOMER))
    await calls.note_participant(ACCOUNT, SID, "conv_conversation_1", participant)
    root = await ask(receiver, handoff('{"reason":"billing"}'))
    assert verbs(root) == ["Start", "Enqueue"]
    assert root.find("Start/Transcription").attrib == {"conversationId": "conv_conversation_1"}
    task = json.loads(root.find("Enqueue/Task").text)
    assert task["handoff_data"] == '{"reason":"billing"}'
    assert task["reason"] == "handed over by the AI agent"


QUEUES = """
[default]
target = "ai-agent"
[[rule]]
name = "invoices"
recipient = "+15557650009"
target = "human-agent"
queue = "invoices"
skills = ["billing"]
priority = 3
[[queue]]
name = "invoices"
"""
ROSTER = '[[agent]]\nidentity = "dana"\nname = "Dana"\ncapacity = 3\nskills = ["billing"]\n'


@pytest.fixture
def queues(tmp_path):
    """A configuration with a queue that has a template of its own."""
    shutil.copytree(SHIPPED / "voice", tmp_path / "voice")
    text = (tmp_path / "voice" / "human-agent.xml").read_text()
    (tmp_path / "voice" / "human-agent.invoices.xml").write_text(text.replace("{{workflow_sid}}", "WW" + "9" * 32))
    (tmp_path / "routing.toml").write_text(QUEUES)
    (tmp_path / "roster.toml").write_text(ROSTER)
    return tmp_path


def asked(root):
    """The workflow of an answer, and what its task asks for."""
    task = json.loads(root.find("Enqueue/Task").text)
    return root.find("Enqueue").get("workflowSid")[2], task["queue"], task["skills"], task["priority"], task["summary"]


async def test_a_call_follows_the_queue_of_its_rule(start, queues):
    """The rule's queue chooses the template, which shows what the rule asks for."""
    receiver = await start(ROUTER_CONFIG_DIR=str(queues), **FULL)
    root = await ask(receiver, call(**(ENDS | {"recipient": "+15557650009"})))
    assert asked(root) == ("9", "invoices", "billing", "3", "")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ('{"queue": "invoices", "skills": ["billing"], "priority": 7}', ("9", "invoices", "billing", "7", "")),
        ('{"reason": "x", "callSummary": "paid twice"}', ("0", "default", "", "0", "paid twice")),
        ('{"queue": "nowhere", "skills": "chess"}', ("0", "default", "", "0", "")),
        ("please", ("0", "default", "", "0", "")),
    ],
)
async def test_a_call_that_is_handed_over_follows_the_queue_of_its_data(start, queues, data, expected):
    """As the request for a person does: what does not exist here is the default."""
    receiver = await start(ROUTER_CONFIG_DIR=str(queues), **FULL)
    assert asked(await ask(receiver, handoff(data))) == expected
    root = await ask(receiver, call(**ENDS, status="in-progress", SessionStatus="failed"))
    assert asked(root) == ("0", "default", "", "0", "")


async def test_a_receiver_without_a_roster_takes_the_names_as_they_are(start, queues):
    """It needs none; a template of the queue is enough."""
    (queues / "roster.toml").unlink()
    receiver = await start(ROUTER_CONFIG_DIR=str(queues), **FULL)
    unknown = '{"queue": "invoices", "skills": "chess"}'
    assert asked(await ask(receiver, handoff(unknown)))[:3] == ("9", "invoices", "chess")
    assert asked(await ask(receiver, handoff('{"queue": "nowhere"}')))[:2] == ("0", "nowhere")


async def test_a_template_of_a_queue_that_does_not_exist_is_noted(start, queues):
    """No call would ever get it; without the people's files nobody knows."""
    (queues / "voice" / "human-agent.invoice.xml").write_text("<Response/>")
    receiver = await start(ROUTER_CONFIG_DIR=str(queues), **FULL)
    notes = [line["note"] for line in receiver.lines if line["event"] == "voice.note"]
    assert notes == ["there is no queue 'invoice' in routing.toml, so no call gets human-agent.invoice.xml"]
    (queues / "roster.toml").unlink()
    other = await start(ROUTER_CONFIG_DIR=str(queues), **FULL)
    assert len([line for line in other.lines if line["event"] == "voice.note"]) == len(notes)


async def test_a_failed_ai_agent_is_replaced_by_human_agents(receiver):
    """A caller whose session failed is queued for a human agent."""
    assert verbs(await ask(receiver, call(**ENDS, status="in-progress", SessionStatus="failed"))) == [
        "Start",
        "Enqueue",
    ]


async def test_a_slow_redis_does_not_delay_the_call(receiver, monkeypatch):
    """The lookup has a timeout; without its result the configuration's grouping finds the conversation."""

    async def refuse(*_):
        raise TimeoutError

    monkeypatch.setattr(CallStore, "read", refuse)
    root = await ask(receiver, handoff("x"))
    assert root.find("Start/Transcription").attrib == {"conversationConfiguration": CONFIGURATION}


async def test_without_voice_settings_calls_are_queued_for_human_agents(start):
    """The receiver starts, and logs which settings are missing."""
    receiver = await start()
    notes = [line["note"] for line in receiver.lines if line["event"] == "voice.note"]
    assert any("ROUTER_VOICE_RELAY_URL" in note for note in notes)
    assert any("has no configuration id" in note for note in notes)
    assert verbs(await ask(receiver, incoming_call())) == ["Start", "Enqueue"]


def test_a_wrong_template_stops_the_start(redis_url, tmp_path):
    """The error names the file and the problem."""
    (tmp_path / "voice").mkdir()
    settings = settings_of(redis_url, ROUTER_CONFIG_DIR=str(tmp_path))
    with pytest.raises(SettingsError, match=r"ignore\.xml: is missing"):
        create_app(settings)


# --- signatures -----------------------------------------------------------------------------------


async def test_twilio_drops_the_port_for_calls_only(start):
    """With a port in PUBLIC_BASE_URL Twilio signs calls without it and messages with it; both are accepted."""
    receiver = await start(PUBLIC_BASE_URL="https://hooks.example.com:8443")
    for webhook, base in (
        (incoming_call(), "https://hooks.example.com"),
        (sms(), "https://hooks.example.com:8443"),
    ):
        assert (await receiver.send(signed(webhook, base=base))).status == 200
    assert (await receiver.send(signed(incoming_call(), base="https://hooks.example.com:9999"))).status == 403


async def test_http_keeps_the_port(start):
    """Without TLS, calls are signed with the port as configured."""
    receiver = await start(PUBLIC_BASE_URL="http://hooks.example.com:8080")
    assert (await receiver.send(signed(incoming_call(), base="http://hooks.example.com:8080"))).status == 200


@pytest.mark.parametrize(
    ("base", "voice"),
    [
        ("https://hooks.example.com:8443", "https://hooks.example.com"),
        ("https://hooks.example.com:8443/in", "https://hooks.example.com/in"),
        ("https://hooks.example.com", "https://hooks.example.com"),
        ("http://hooks.example.com:8080", "http://hooks.example.com:8080"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]"),
    ],
)
def test_the_simulator_signs_as_twilio_does(base, voice):
    """The simulator signs calls by the rule for calls, and other webhooks by the general rule."""
    sender = Sender(receiver_url="http://127.0.0.1:1", public_base_url=base, auth_token=TOKEN)
    for webhook, signed_for in ((incoming_call(), voice), (sms(), base)):
        _, headers, _ = sender.sign(webhook)
        assert headers["X-Twilio-Signature"] == signed(webhook, base=signed_for).signature


async def test_the_simulator_reads_the_conversation_from_the_answer(receiver):
    """It finds the attributes that put a call into a conversation, or None."""
    answer = await receiver.send(signed(incoming_call()))
    assert read_attachment(answer.body) == {"conversationConfiguration": CONFIGURATION}
    assert read_attachment(EMPTY_TWIML) is None
    assert read_attachment(b"busy") is None


async def test_an_answer_that_cannot_be_made_is_a_500(receiver, monkeypatch):
    """The event is durable by then; the line names the failure without its text."""

    async def fail(*_):
        raise RuntimeError(CUSTOMER)

    monkeypatch.setattr(VoiceResponder, "__call__", fail)
    answer = await receiver.send(signed(incoming_call()))
    assert (answer.status, answer.body) == (500, b"")
    (line,) = receiver.webhooks()
    assert (line["status"], line["result"], line["level"]) == (500, "failed", "error")
    assert len(await receiver.entries()) == 1
