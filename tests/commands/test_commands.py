"""The tools, as a person uses them: real processes beside a running `dev`."""

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
    """Run a command with dev's environment; returns (status, standard output and error)."""

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


async def test_simulate_shows_what_comes_of_a_message_and_that_nothing_doubles(run):
    """The first time a participant joins; the same command again is a repeat; --new is heard and nobody new."""
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


async def test_a_message_told_by_event_streams_and_by_webhook_is_one(run):
    """The sink's event announces the customer; the form webhook of the same message is a repeat."""
    who = ("--from", "+15552220003", "--body", "told twice")
    status, output = await run("simulate", "event-stream", *who)
    assert (status, "participant.joined" in output) == (0, True), output
    status, output = await run("simulate", "sms", *who)
    assert (status, "(a duplicate)" in output) == (0, True), output


async def test_simulated_mail_works_beside_a_running_dev(run, tmp_path):
    """Parsed or raw it is the same mail, which the second time is a repeat; --new is another mail of nobody new."""
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


async def test_simulated_mail_without_what_it_needs(run, tmp_path):
    """A key or an attachment that is not there is named, with what to do about it."""
    status, output = await run("simulate", "email", ROUTER_EMAIL_PRIVATE_KEY_FILE=None)
    assert (status, "ROUTER_EMAIL_PRIVATE_KEY_FILE is not set: start" in output) == (2, True), output
    status, output = await run("simulate", "email", ROUTER_EMAIL_PRIVATE_KEY_FILE=str(tmp_path))
    assert (status, "no private key can be read" in output) == (2, True), output
    status, output = await run("simulate", "email", "--attachment", str(tmp_path / "missing"))
    assert (status, "--attachment: " in output, "No such file" in output) == (2, True, True), output


@pytest.mark.parametrize("kind", ["sms", "email"])
@pytest.mark.parametrize("fault", ["--tamper", "--wrong-token", "--unsigned"])
async def test_simulated_faults_are_refused(run, fault, kind):
    """A webhook that is spoiled on purpose is answered 403, and the command fails."""
    status, output = await run("simulate", kind, "--body", f"spoiled by {fault}", fault)
    assert status == 1
    assert ": 403" in output


async def test_every_callback_kind_is_taken(run):
    """The seven status callbacks in their order: a participant comes, changes, writes and goes, a conversation ends."""
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


async def test_a_scenario_is_about_one_customer_and_can_be_had_again(run):
    """Several webhooks, repeated and shuffled: counts by status, one participant each; nothing doubles."""
    scenario = ("simulate", "sms", "whatsapp", "event-stream-sms", "participant-added", "--from", "+15552220004")
    faults = ("--times", "3", "--shuffle", "--delay", "0.01", "--parallel", "2")
    status, output = await run(*scenario, *faults, "--seed", "7")
    assert status == 0, output
    assert "--seed 7" in output
    assert "all: 12 x 200" in output
    joined = [line for line in output.splitlines() if "participant.joined" in line]
    assert sum("WHATSAPP" in line for line in joined) == 1
    assert sum(" SMS " in line for line in joined) == 2, output  # by message, and in the conversation of the callback
    status, output = await run(*scenario[:4], *scenario[5:], *faults)  # no seed is given: one is made up and shown
    assert (status, "--seed " in output, "nothing doubled" in output) == (0, True, True), output


async def test_a_stale_callback_changes_nothing(run):
    """What happened an hour ago is older than what is committed: nobody leaves."""
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
    """Wrong usage ends with status 2 before anything is sent, and says which option it is about."""
    status, output = await run("simulate", *arguments)
    assert status == 2
    assert named in output.splitlines()[-1]


async def test_simulate_without_a_receiver_says_what_is_missing(run, tmp_path):
    """Without dev.env and variables all missing ones are named, with what to do."""
    nothing = dict.fromkeys(("ROUTER_URL", "PUBLIC_BASE_URL", "TWILIO_AUTH_TOKEN", "TWILIO_ACCOUNT_SID"))
    status, output = await run("simulate", "sms", "--state-dir", str(tmp_path), **nothing)
    assert status == 2
    assert all(name in output for name in nothing)


async def test_check_is_content_with_dev(run):
    """Everything is reachable; the only warnings are those that a loopback set-up deserves."""
    status, output = await run("check")
    assert status == 0, output
    assert "0 failed" in output
    assert "ok    Conversations API" in output
    assert "warn  PUBLIC_BASE_URL" in output


async def test_check_names_what_is_wrong_and_shows_no_secret(run, dev):
    """Wrong credentials and an unreachable Redis are failures; secrets are dots."""
    status, output = await run("check", TWILIO_API_SECRET="wrong", REDIS_URL="redis://:hush@127.0.0.1:1/0")
    assert status == 1
    assert "FAIL  REDIS_URL" in output
    assert "FAIL  Conversations API" in output
    assert "hush" not in output
    assert dev["TWILIO_AUTH_TOKEN"] not in output


async def test_check_warns_of_shadow_mode(run):
    """What lets in webhooks that nobody signed is a warning, with the sources."""
    status, output = await run("check", "--offline", ROUTER_SHADOW="messaging,event-streams")
    assert status == 0, output
    assert "warn  ROUTER_SHADOW: lets in webhooks of messaging, event-streams that nobody signed" in output


async def test_dead_letters_are_listed_and_replayed(run, dev):
    """What cannot be read becomes a dead letter with its reason, and goes back on its stream when told to."""
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
    await until(lambda: redis.xlen(keys.dead_letters(0)))  # it comes back: nothing has been mended
    status, output = await run("dead-letters", "replay", "0:1-1")
    assert (status, "no such dead letter" in output) == (1, True)
    await redis.delete(keys.dead_letters(0))
    await redis.aclose()


async def test_help_lists_every_command(run):
    """`--help` of the whole and of each command works."""
    status, output = await run("--help")
    assert status == 0
    for command in (
        "dev",
        "receive",
        "work",
        "sandbox",
        "simulate",
        "check",
        "dead-letters",
        "quarantine",
        "explain-signature",
        "schemas",
    ):
        assert command in output
        assert (await run(command, "--help"))[0] == 0


async def test_a_call_joins_and_leaves(run):
    """`simulate voice` shows the TwiML, plays Twilio's part, and the caller joins; `--status completed` ends it."""
    who = ("simulate", "voice", "--from", "+15552220005")
    status, output = await run(*who)
    assert (status, "<ConversationRelay" in output or "<Enqueue" in output) == (0, True), output
    assert "the call is in conv_conversation_" in output
    assert "participant.joined" in output
    status, output = await run(*who, "--status", "completed")
    assert (status, "participant.left" in output) == (0, True), output
