"""The commands as real processes beside a running `dev`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import orjson
import pytest

from router.core.keys import Keys
from router.streams.client.connection import connect
from tests.support.waiting import until

pytestmark = pytest.mark.processes


@pytest.fixture
async def run(dev):
    """Return a function that runs a command in dev's environment; it returns (status, standard output and error)."""

    async def run(*arguments, **changes):
        environment = {name: value for name, value in {**os.environ, **dev, **changes}.items() if value is not None}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "router",
            *arguments,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode, output.decode()

    return run


async def test_simulate_prints_the_entries_of_a_message_once(run):
    """The first message makes a participant, the same again is a repeat, --new is a further message."""
    message = ("simulate", "whatsapp", "--from", "+15552220001", "--body", "hola")
    status, output = await run(*message)
    assert status == 0
    assert "participant.joined" in output
    assert "+15552220001" not in output  # masked
    status, output = await run(*message)
    assert (status, "(a duplicate)" in output, "nothing doubled" in output) == (0, True, True)
    status, output = await run(*message, "--new")
    assert (status, "(a duplicate)" in output, "participant.joined" in output) == (0, False, False)
    assert "communication.received" in output


async def test_a_message_by_event_streams_and_by_webhook_is_one(run):
    """The sink's event makes the participant; the form webhook of the same message is a repeat."""
    who = ("--from", "+15552220003", "--body", "told twice")
    status, output = await run("simulate", "event-stream", *who)
    assert (status, "participant.joined" in output) == (0, True), output
    status, output = await run("simulate", "sms", *who)
    assert (status, "(a duplicate)" in output) == (0, True), output


async def test_simulate_sends_mail(run, tmp_path):
    """The same mail parsed and raw is a repeat; --new is another mail of the same participant."""
    (tmp_path / "bill.pdf").write_bytes(b"%PDF")
    letter = ("simulate", "email", "--from", "eva@example.com", "--subject", "S", "--body", "B")
    status, output = await run(*letter, "--attachment", str(tmp_path / "bill.pdf"))
    assert (status, "participant.joined" in output, "EMAIL" in output) == (0, True, True), output
    assert "eva@example.com" not in output  # masked
    status, output = await run(*letter, "--raw")
    assert (status, "(a duplicate)" in output, "nothing doubled" in output) == (0, True, True), output
    status, output = await run(*letter, "--new")
    assert (status, "(a duplicate)" in output, "participant.joined" in output) == (0, False, False), output
    assert "communication.received" in output


async def test_simulate_names_a_missing_mail_key_or_attachment(run, tmp_path):
    """Each error names the setting or the option: status 2."""
    status, output = await run("simulate", "email", ROUTER_EMAIL_PRIVATE_KEY_FILE=None)
    assert (status, "ROUTER_EMAIL_PRIVATE_KEY_FILE is not set: start" in output) == (2, True), output
    status, output = await run("simulate", "email", ROUTER_EMAIL_PRIVATE_KEY_FILE=str(tmp_path))
    assert (status, "no private key can be read" in output) == (2, True), output
    status, output = await run("simulate", "email", "--attachment", str(tmp_path / "missing"))
    assert (status, "--attachment: " in output, "No such file" in output) == (2, True, True), output


@pytest.mark.parametrize("kind", ["sms", "email"])
@pytest.mark.parametrize("fault", ["--tamper", "--wrong-token", "--unsigned"])
async def test_simulated_faults_are_refused(run, fault, kind):
    """A webhook with a wrong signature is answered 403, and the command ends with status 1."""
    status, output = await run("simulate", kind, "--body", f"spoiled by {fault}", fault)
    assert status == 1
    assert ": 403" in output


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
        status, output = await run("simulate", kind, *who)
        assert (status, ": 200" in output) == (0, True), output


async def test_a_scenario_is_repeatable(run):
    """Several webhooks of one customer, repeated and shuffled: one participant per channel and conversation."""
    scenario = ("simulate", "sms", "whatsapp", "event-stream-sms", "participant-added", "--from", "+15552220004")
    faults = ("--times", "3", "--shuffle", "--delay", "0.01", "--parallel", "2")
    status, output = await run(*scenario, *faults, "--seed", "7")
    assert status == 0, output
    assert "--seed 7" in output
    assert "all: 12 x 200" in output
    joined = [line for line in output.splitlines() if "participant.joined" in line]
    assert sum("WHATSAPP" in line for line in joined) == 1
    assert sum(" SMS " in line for line in joined) == 2, output  # one by message, one in the callback's conversation
    status, output = await run(*scenario[:4], *scenario[5:], *faults)  # without --seed one is chosen and printed
    assert (status, "--seed " in output, "nothing doubled" in output) == (0, True, True), output


async def test_a_stale_callback_changes_nothing(run):
    """A removal of an hour ago is older than the joining that is committed."""
    who = ("--from", "+15552220005")
    status, output = await run("simulate", "participant-added", *who)
    assert (status, "participant.joined" in output) == (0, True), output
    status, output = await run("simulate", "participant-removed", *who, "--age", "3600")
    assert (status, "participant.left" in output, "nothing doubled" in output) == (0, False, True), output


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("sms", "--times", "0"), "--times"),
        (("sms", "--parallel", "x"), "--parallel"),
        (("sms", "--delay", "-1"), "--delay"),
        (("sms", "--age", "nan"), "--age"),
        (("sms", "--seed", "7"), "--seed"),
        (("sms", "--sid", "SM1", "--new"), "--sid and --new"),
        (("smss",), "KIND"),
    ],
)
async def test_a_wrong_argument_is_named(run, arguments, named):
    """Wrong usage ends with status 2, and the last line names the option."""
    status, output = await run("simulate", *arguments)
    assert status == 2
    assert named in output.splitlines()[-1]


async def test_simulate_without_settings_names_all_that_are_missing(run, tmp_path):
    """Neither dev.env nor the environment has them: status 2."""
    nothing = dict.fromkeys(("ROUTER_URL", "PUBLIC_BASE_URL", "TWILIO_AUTH_TOKEN", "TWILIO_ACCOUNT_SID"))
    status, output = await run("simulate", "sms", "--state-dir", str(tmp_path), **nothing)
    assert status == 2
    assert all(name in output for name in nothing)


async def test_check_passes_beside_dev(run):
    """Everything is reachable; plain http is a warning."""
    status, output = await run("check")
    assert status == 0, output
    assert "0 failed" in output
    assert "ok    Conversations API" in output
    assert "warn  PUBLIC_BASE_URL" in output


async def test_check_names_failures_and_shows_no_secret(run, dev):
    """Wrong credentials and an unreachable Redis are FAIL; secrets are printed as dots."""
    status, output = await run("check", TWILIO_API_SECRET="wrong", REDIS_URL="redis://:hush@127.0.0.1:1/0")
    assert status == 1
    assert "FAIL  REDIS_URL" in output
    assert "FAIL  Conversations API" in output
    assert "hush" not in output
    assert dev["TWILIO_AUTH_TOKEN"] not in output


async def test_check_warns_of_shadow_mode(run):
    """Accepting unsigned webhooks is a warning that names the sources."""
    status, output = await run("check", "--offline", ROUTER_SHADOW="messaging,event-streams")
    assert status == 0, output
    assert "warn  ROUTER_SHADOW: accepts unsigned webhooks of messaging, event-streams" in output


async def test_dead_letters_are_listed_and_replayed(run, dev):
    """An unreadable entry becomes a dead letter with its reason, and a replay puts it back on its stream."""
    redis, keys = connect(dev["REDIS_URL"]), Keys()
    fields = {
        "source": "messaging",
        "account": dev["TWILIO_ACCOUNT_SID"],
        "key": "k1",
        "subject": "s",
        "body": b"Body=x",
    }
    await redis.xadd(keys.inbound(0), fields)
    await until(lambda: redis.xlen(keys.dead_letters(0)))
    status, output = await run("dead-letters", "list", "--json")
    (letter,) = [orjson.loads(line) for line in output.splitlines()]
    assert (status, letter["stream"], letter["group"]) == (0, keys.inbound(0), "resolver")
    assert "missing or blank: From, To, MessageSid" in letter["reason"]
    status, output = await run("dead-letters", "replay", letter["id"])
    assert (status, "1 replayed" in output) == (0, True)
    await until(lambda: redis.xlen(keys.dead_letters(0)))  # it fails again
    status, output = await run("dead-letters", "replay", "0:1-1")
    assert (status, "no such dead letter" in output) == (1, True)
    await redis.delete(keys.dead_letters(0))
    await redis.aclose()


async def test_a_call_joins_and_leaves(run):
    """`simulate voice` prints the TwiML and does Twilio's part, so the caller joins; `--status completed` ends it."""
    who = ("simulate", "voice", "--from", "+15552220005")
    status, output = await run(*who)
    assert (status, "<ConversationRelay" in output or "<Enqueue" in output) == (0, True), output
    assert "the call is in conv_conversation_" in output
    assert "participant.joined" in output
    status, output = await run(*who, "--status", "completed")
    assert (status, "participant.left" in output) == (0, True), output
