"""`simulate`: its errors, and its outcome beside a running `dev` (real processes)."""

from __future__ import annotations

import re
import shlex

import aiohttp
import pytest

from router.__main__ import main
from tests.harness.commands import run_command
from tests.harness.sandbox import SandboxClient
from tests.support.accounts import ACCOUNT, BASE_URL, TOKEN

ENVIRONMENT = {
    "ROUTER_URL": "http://127.0.0.1:1",
    "PUBLIC_BASE_URL": BASE_URL,
    "TWILIO_ACCOUNT_SID": ACCOUNT,
    "TWILIO_AUTH_TOKEN": TOKEN,
}
#: Port 1 of this machine serves nothing.
UNREACHABLE = {"ROUTER_URL": {}, "REDIS_URL": {"REDIS_URL": "redis://127.0.0.1:1/0"}}


@pytest.fixture
def fail(monkeypatch, capsys, tmp_path):
    """Run `simulate` in this process, with an environment of its own, to its `expected` status; returns the error."""
    monkeypatch.chdir(tmp_path)
    for name in (*ENVIRONMENT, "REDIS_URL", "ROUTER_EMAIL_PRIVATE_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)

    def fail(*arguments, expected=2, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        try:
            status = main(["simulate", *arguments])
        except SystemExit as end:
            status = end.code
        assert status == expected
        return capsys.readouterr().err

    return fail


@pytest.fixture
def run(dev):
    """Run `simulate` beside a running `dev`; returns status and output."""

    async def run(*arguments):
        return await run_command("simulate", *arguments, environment=dev)

    return run


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("sms", "--times", "0"), "--times"),
        (("sms", "--parallel", "x"), "--parallel"),
        (("sms", "--delay", "-1"), "--delay"),
        (("sms", "--age", "nan"), "--age"),
        (("sms", "--seed", "7"), "--seed"),
        (("sms", "--sid", "SM1", "--new"), "--sid and --new"),
        (("sms", "--rate", "7"), "--rate: needs --customers"),
        (("sms", "--customers", "0"), "--customers"),
        (("sms", "--customers", "3", "--times", "2", "--tamper"), "without --tamper, --times"),
        (("smss",), "KIND"),
    ],
)
def test_a_wrong_argument_is_named(fail, arguments, named):
    """Wrong usage ends with status 2, and the last line names the option."""
    assert named in fail(*arguments, **ENVIRONMENT).splitlines()[-1]


def test_all_missing_settings_are_named(fail):
    """If neither dev.env nor the environment has a setting, the error names it."""
    error = fail("sms")
    assert all(f"{name} is not set: start" in error for name in ENVIRONMENT)


def test_a_missing_mail_key_or_attachment_is_named(fail, tmp_path):
    """The error names the setting or the option."""
    assert "ROUTER_EMAIL_PRIVATE_KEY_FILE is not set: start" in fail("email", **ENVIRONMENT)
    error = fail("email", ROUTER_EMAIL_PRIVATE_KEY_FILE=str(tmp_path))
    assert "ROUTER_EMAIL_PRIVATE_KEY_FILE: no private key can be read" in error
    error = fail("email", "--attachment", str(tmp_path / "missing"))
    assert "--attachment: " in error
    assert "No such file" in error


@pytest.mark.parametrize("server", ["ROUTER_URL", "REDIS_URL"])
def test_a_server_that_is_not_running_is_named_in_one_line(fail, server):
    """After `make run` has stopped its dev.env is still there: one line says so, without a traceback."""
    error = fail("sms", expected=1, **ENVIRONMENT, **UNREACHABLE[server])
    assert error.count("\n") == 1
    assert error.startswith("no response from ")
    assert "is `make run` running?" in error


@pytest.mark.processes
async def test_the_entries_of_a_message_are_printed_once(run):
    """The first message makes a participant, the same again is a duplicate, --new is a further message."""
    message = ("whatsapp", "--from", "+15552220001", "--body", "hola")
    status, output = await run(*message)
    assert status == 0
    assert "participant.joined" in output
    assert "+15552220001" not in output  # masked
    status, output = await run(*message)
    assert (status, "(a duplicate)" in output, "already published" in output) == (0, True, True)
    assert "the first time: joined, because default" in output
    status, output = await run(*message, "--new")
    assert (status, "(a duplicate)" in output, "participant.joined" in output) == (0, False, False)
    assert "communication.received" in output
    assert "  known, because announced in its conversation" in output


async def captured(dev, sender):
    """Return the texts that the sandbox has of a customer, and the number of its participants."""
    async with aiohttp.ClientSession() as session:
        user, password = dev["TWILIO_API_KEY"], dev["TWILIO_API_SECRET"]
        authorization = aiohttp.encode_basic_auth(user, password)
        client = SandboxClient(dev["TWILIO_CONVERSATIONS_URL"], session, authorization=authorization)
        rows = [
            one
            for one in await client.conversations()
            if any(sender in each["address"] for person in one["participants"] for each in person["addresses"])
        ]
        return [(await client.texts(one["id"]), len(one["participants"])) for one in rows]


@pytest.mark.processes
@pytest.mark.parametrize(
    ("kind", "number"),
    [(kind, f"+1555226000{place}") for place, kind in enumerate(("sms", "mms", "whatsapp", "rcs", "event-stream-sms"))],
)
async def test_a_message_is_captured_once(run, dev, kind, number):
    """The sandbox records the message, once however often it is sent; the router publishes it once all the same."""
    for _ in range(2):
        status, output = await run(kind, "--from", number)
        assert (status, output.count("communication.received") <= 1) == (0, True), output
    status, output = await run(kind, "--from", number, "--body", "more")
    assert (status, output.count("communication.received"), "participant.joined" in output) == (0, 1, False), output
    assert await captured(dev, number) == [(["more", "hi"], 2)]


@pytest.mark.processes
@pytest.mark.parametrize("how", [("--capture", "router"), ("--tamper",)])
async def test_a_message_that_is_not_captured(run, dev, how):
    """By switch the router alone takes a message, and a refused one is not captured."""
    await run("sms", "--from", "+15552270001", *how)
    assert all(texts == [] for texts, _ in await captured(dev, "+15552270001"))


@pytest.mark.processes
async def test_a_message_by_event_streams_and_by_webhook_is_one(run):
    """The sink's event makes the participant; the form webhook of the same message is a duplicate."""
    who = ("--from", "+15552220003", "--body", "sent twice")
    status, output = await run("event-stream", *who)
    assert (status, "participant.joined" in output) == (0, True), output
    status, output = await run("sms", *who)
    assert (status, "(a duplicate)" in output) == (0, True), output


@pytest.mark.processes
async def test_a_mail_parsed_or_raw_is_the_same(run, tmp_path):
    """The same mail parsed and raw is a duplicate; --new is another mail of the same participant."""
    (tmp_path / "bill.pdf").write_bytes(b"%PDF")
    letter = ("email", "--from", "eva@example.com", "--subject", "S", "--body", "B")
    letter += ("--attachment", str(tmp_path / "bill.pdf"))
    status, output = await run(*letter)
    assert (status, "participant.joined" in output, "EMAIL" in output) == (0, True, True), output
    assert "eva@example.com" not in output  # masked
    status, output = await run(*letter, "--raw")
    assert (status, "(a duplicate)" in output, "already published" in output) == (0, True, True), output
    status, output = await run(*letter, "--new")
    assert (status, "(a duplicate)" in output, "participant.joined" in output) == (0, False, False), output
    assert "communication.received" in output


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["sms", "email"])
@pytest.mark.parametrize("fault", ["--tamper", "--wrong-token", "--unsigned"])
async def test_signature_faults_are_refused(run, dev, fault, kind):
    """A webhook with a wrong signature is answered 403, status 1; where it is and how to find out why is said."""
    status, output = await run(kind, "--body", f"refused for {fault}", fault)
    assert status == 1
    assert ": 403" in output
    (entry,) = re.findall("kept in the quarantine as ([0-9]+-[0-9]+)", output)
    assert re.search(rf"more: .* (explain-signature --id|quarantine show) {entry}", output), output
    command = shlex.split(output[output.index("more: ") :].splitlines()[0])
    status, explained = await run_command(*command[command.index("router") + 1 :], environment=dev)
    assert entry in explained or status == 1, explained
    assert "Wrong or missing settings" not in explained


@pytest.mark.processes
async def test_a_refused_webhook_of_before_is_found_again(run):
    """A repeat has no entry of its own: the one that counts it is named, with how often it came."""
    for times in ("", ", 2 times"):
        _, output = await run("sms", "--body", "refused again", "--tamper")
        assert re.search(rf"kept in the quarantine as [0-9]+-[0-9]+{times}\n", output), output


@pytest.mark.processes
async def test_every_kind_of_status_callback_is_accepted(run):
    """The seven status callbacks of a conversation, in their order."""
    who = ("--from", "+15552220002", "--no-wait")
    for kind in (
        "conversation-created",
        "participant-added",
        "communication-created",
        "communication-updated",
        "participant-updated",
        "participant-removed",
        "conversation-closed",
    ):
        status, output = await run(kind, *who)
        assert (status, ": 200" in output) == (0, True), output


@pytest.mark.processes
async def test_a_scenario_is_repeatable(run):
    """Several webhooks of one customer, repeated and shuffled: one participant per channel, whatever reports it."""
    scenario = ("sms", "whatsapp", "event-stream-sms", "participant-added", "--from", "+15552220004")
    faults = ("--times", "3", "--shuffle", "--delay", "0.01", "--parallel", "2")
    status, output = await run(*scenario, *faults, "--seed", "7")
    assert status == 0, output
    assert "--seed 7" in output
    assert "all: 12 x 200" in output
    joined = [line for line in output.splitlines() if "participant.joined" in line]
    assert sum("WHATSAPP" in line for line in joined) == 1
    assert sum(" SMS " in line for line in joined) == 1, output  # the callback is about the message's conversation
    status, output = await run(*scenario[:3], *scenario[4:], *faults)  # without --seed one is chosen and printed
    assert (status, "--seed " in output, "already published" in output) == (0, True, True), output


@pytest.mark.processes
async def test_a_stale_callback_changes_nothing(run):
    """A removal of an hour ago is older than the joining that is committed."""
    who = ("--from", "+15552220005")
    status, output = await run("participant-added", *who)
    assert (status, "participant.joined" in output) == (0, True), output
    status, output = await run("participant-removed", *who, "--age", "3600")
    assert (status, "participant.left" in output, "  stale, because older than" in output) == (0, False, True), output


@pytest.mark.processes
async def test_a_call_joins_and_leaves(run):
    """`simulate voice` prints the TwiML and does Twilio's part, so the caller joins; `--status completed` ends it."""
    who = ("voice", "--from", "+15552220005")
    status, output = await run(*who)
    assert (status, "<ConversationRelay" in output or "<Enqueue" in output) == (0, True), output
    assert "the call is in conv_conversation_" in output
    assert "participant.joined" in output
    status, output = await run(*who, "--status", "completed")
    assert (status, "participant.left" in output) == (0, True), output


@pytest.mark.processes
async def test_a_call_is_handed_over(run):
    """`--handoff-data` asks for a person for the same call, once; the TwiML shows the task what the data says."""
    who = ("voice", "--from", "+15552220006")
    status, output = await run(*who)
    assert (status, "participant.joined" in output) == (0, True), output
    data = ("--handoff-data", '{"reason": "billing", "summary": "paid twice"}')
    status, output = await run(*who, *data)
    assert (status, "<Enqueue" in output) == (0, True), output
    assert "a person is asked for in queue default, because: billing" in output
    status, output = await run(*who, *data)
    assert (status, "(a duplicate)" in output, "handoff.requested" in output) == (0, True, False), output


@pytest.mark.processes
async def test_a_classic_member_is_announced_once(run):
    """The receiver takes the webhook of a member, the worker announces it; the same webhook again is a duplicate."""
    member = ("classic-participant-added", "--from", "+15552220007")
    status, output = await run(*member)
    assert (status, "participant.joined" in output) == (0, True), output
    status, output = await run(*member)
    assert (status, "already published" in output) == (0, True), output


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["classic-conversation-add", "classic-user-updated"])
async def test_pre_action_and_disregarded_webhooks_are_answered(run, kind):
    """A pre-action webhook and an event that is disregarded are answered 200 like the others."""
    status, output = await run(kind, "--from", "+15552220007")
    assert (status, ": 200" in output) == (0, True), output
    assert ("no event follows" if kind.endswith("add") else "  ignored, because ") in output


@pytest.mark.processes
async def test_callbacks_are_about_the_conversation_that_the_message_opened(run, dev):
    """Their ids are those of the router and the sandbox; the conversation is closed at the end, for both sides."""
    scenario = ("sms", "participant-added", "communication-created", "conversation-closed")
    status, output = await run(*scenario, "--from", "+15552220008")
    assert status == 0, output
    assert len(set(re.findall("conv_conversation_[0-9a-z]+", output))) == 1, output
    assert output.count("participant.joined") == 1, output
    assert "known, because already announced" in output
    assert re.search("conversation-closed .*: closed, because", output), output


@pytest.mark.processes
async def test_a_load_is_counted(run):
    """Each customer has an own address; what was sent, accepted and published is said, and that nothing waits."""
    status, output = await run("sms", "--customers", "20", "--rate", "200", "--from", "+15552230000")
    assert status == 0, output
    rows = dict(line.split(maxsplit=1) for line in output.splitlines() if line.split()[0].isalpha())
    assert rows["sent"].startswith("20 in ")
    assert (rows["accepted"], rows["refused"]) == ("20", "0")
    assert rows["answers"].startswith("p50 ")
    assert rows["published"] == "20 communication.received, 20 participant.joined"
    assert rows["waiting"].startswith("0 ")


def test_a_load_without_a_receiver_ends_with_status_1(fail):
    """Nothing listens: each request counts as one without an answer, and none is a traceback."""
    assert fail("sms", "--customers", "3", expected=1, **ENVIRONMENT) == ""
