"""Entries of nonsense on every stream: no command ends because of one, and all show what else there is."""

from __future__ import annotations

import itertools

import pytest

from router.__main__ import COMMANDS
from router.core.keys import RESOLVER, Keys, Target
from router.streams.store.inspect import all_streams
from tests.harness.commands import run_command
from tests.operations.conftest import Deployment, settings  # noqa: F401 - a fixture
from tests.support.accounts import ACCOUNT, BASE_URL, CUSTOMER, TOKEN
from tests.support.source import SHIPPED

pytestmark = [pytest.mark.real, pytest.mark.processes]
KEYS = Keys()

#: Entries that nobody of ours has written.
NONSENSE = (
    {b"x": b""},
    {b"\xff\xfe": b"\x00\xff"},
    {b"event": b"\xff"},
    {b"event": b"{", b"type": b"\xff", b"id": b""},
    {b"event": b"[]"},
    {b"event": b'{"data": {"conversation": [], "cause": 7, "participant": "x"}, "type": {}, "id": 3}'},
    {b"event": b"[" * 5000},
    {b"command": b"nul", b"type": b"\x1b[2J"},
    {b"command": b'{"data": null}'},
    {
        b"source": b"\xff",
        b"account": b"\xff",
        b"key": b"\xff",
        b"subject": b"||||",
        b"received_at": b"x",
        b"body": b"\xff",
    },
    {b"source": b"messaging", b"format": b"99", b"shared": b"none", b"sealed": b"1"},
    {b"dead-stream": b"\xff", b"dead-entry": b"x", b"dead-deliveries": b"-1", b"dead-reason": b"\xff\n"},
    {b"reason": b"\xff", b"headers": b"[[[", b"status": b"x", b"received_at": b"9" * 30, b"path": b"\xff?\xff"},
)
#: The commands that read streams, and the statuses with which each may end.
READING = {
    "status": {2},
    "status --json": {2},
    "waiting": {0},
    "waiting --json": {0},
    "waiting --unmasked --since 1d": {0},
    "dead-letters list": {0},
    "dead-letters list --json": {0},
    "dead-letters list --json --unmasked": {0},
    "dead-letters list --event x --account y": {0},
    "dead-letters replay --all --dry-run": {1},
    "quarantine list": {0},
    "quarantine list --json --unmasked": {0},
    "quarantine replay --all --dry-run": {1},
    "groups list": {0},
    "groups list --json": {0},
    "explain conv_conversation_1": {1},
    "story SM1": {1},
    f"story {CUSTOMER}": {0, 1},
    f"story {CUSTOMER} --json --around 1h": {0, 1},
    "story messaging:AC:SM1": {0, 1},
    f"explain-signature --url {BASE_URL}/webhooks/messaging": {0, 1},
    "check": {0, 1},
    "repartition 2 --dry-run": {0},
    f"erase {CUSTOMER} --dry-run": {0},
    f"erase {CUSTOMER} --yes": {0, 1},
    "dead-letters replay --all": {1},
    "quarantine replay --all": {1},
    "dead-letters drop --all --yes": {0},
    "quarantine drop --all --yes": {0},
}


@pytest.fixture
async def nonsense(redis, settings):  # noqa: F811 - the fixture
    """All of it on every stream, read by groups of strange names, some of it parked, beside what is ours."""
    deployment = Deployment(redis, settings)
    await deployment.bury()
    for stream, fields in itertools.product([*all_streams(KEYS), KEYS.quarantine()], NONSENSE):
        await redis.xadd(stream, fields)
    await redis.expire(KEYS.quarantine(), 600)
    await deployment.park(f"\x1b[2J {CUSTOMER}", reason="\x1b[31m")
    await redis.xgroup_create(KEYS.inbound(0), b"g\xff", id="0")
    await redis.xgroup_createconsumer(KEYS.inbound(0), RESOLVER, b"c\xff\x1b")
    await redis.xgroup_create(KEYS.participants(0, Target.AI_AGENT), "ai-agent", id="0")
    await redis.zadd(KEYS.processes(), {b"\xff": 1, "web/x": 9e15})
    await redis.set(KEYS.process("web/x"), b"\xff", ex=600)
    await redis.expire(KEYS.processes(), 600)


def test_every_command_that_reads_is_tried():
    """A new one that finds a running `dev` belongs here; the console's are about users only."""
    tried = {one.split()[0] for one in READING}
    assert {name for name, command in COMMANDS.items() if command.finds_dev} == {*tried, "console"}


async def test_no_command_ends_because_of_an_entry(nonsense, redis_url):
    """No traceback, no fault, no number of a customer, and no escape that a terminal would obey."""
    environment = {
        "REDIS_URL": redis_url,
        "ROUTER_CONFIG_DIR": str(SHIPPED),
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "PUBLIC_BASE_URL": BASE_URL,
        "TWILIO_CONVERSATIONS_URL": "http://127.0.0.1:1",
    }
    wrong = []
    for command, statuses in READING.items():
        status, output = await run_command(*command.split(), environment=environment)
        is_private = CUSTOMER in output and "--unmasked" not in command
        is_bad = "Traceback" in output or "fault in this program" in output or "\x1b" in output or is_private
        if status not in statuses or is_bad:
            wrong.append((command, status, output[-500:]))
    assert wrong == []
