"""What strangers wrote, as the commands print it: no command obeys it, hides it, or shows a number."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace

import orjson
import pytest

from router.__main__ import make_parser
from router.commands.check.streams import check_streams
from router.commands.dead_letters import list_dead_letters
from router.commands.explain.command import explain_signature
from router.commands.groups import list_groups
from router.commands.quarantine import list_quarantine, show_quarantined
from router.core.entries import JoinedData
from router.core.keys import Keys
from router.core.refused import Bounds
from router.core.resources import Participant, ParticipantAddress
from router.process.terminal import show
from router.settings.load import load
from router.simulator.entry_text import describe
from router.streams.client.connection import connect
from router.streams.store.quarantine import keep
from tests.core.test_refused import REFUSED
from tests.handlers.harness import make
from tests.support.accounts import ACCOUNT, BASE_URL, TOKEN
from tests.support.source import ROOT, SHIPPED
from tests.support.waiting import scaled

pytestmark = pytest.mark.real

BAD = "\x1b[2J\x9b31m\u202e\r\nforged 0-0"
NUMBER, MAILBOX = "+15551230001", "ana@example.com"
PRIVATE = (NUMBER, NUMBER[1:], MAILBOX)
BOUNDS = Bounds(entries=10, size=100_000, ttl=3600)


@pytest.fixture
def keys():
    return Keys()


@pytest.fixture
def printed(capsys):
    """Return a function that checks all that was printed since it was last called, and returns the lines."""

    def check(*, shows=()):
        shown = capsys.readouterr()
        lines = (shown.out + shown.err).split("\n")
        assert all(line.isprintable() for line in lines)
        assert not [line for line in lines if line.startswith("forged")]
        assert [one for one in PRIVATE if one in shown.out + shown.err] == list(shows)
        assert "\\x1b[2J" in shown.out or "\\u001b[2J" in shown.out
        return lines

    return check


async def letters(*arguments):
    return await list_dead_letters(make_parser().parse_args(["dead-letters", "list", *arguments]))


async def show_one(entry_id):
    return await show_quarantined(make_parser().parse_args(["quarantine", "show", entry_id]))


async def add_letter(redis, keys, **fields):
    """Add a dead letter as a stranger's event may have made it."""
    given = {
        "source": "messaging",
        "key": f"k{BAD} {NUMBER}",
        "body": f"Body={BAD}&From={NUMBER}&ProfileName={MAILBOX}".encode(),
        "dead-stream": keys.inbound(0),
        "dead-entry": "1-0",
        "dead-group": f"resolver{BAD}",
        "dead-consumer": f"c{BAD}",
        "dead-reason": f"ValueError: {BAD} {NUMBER} {NUMBER[1:]} {MAILBOX}",
        "dead-deliveries": "5",
        "dead-failed-at": f"now{BAD}",
    }
    letter = {name.encode("utf-8", "surrogateescape"): value for name, value in (given | fields).items()}
    await redis.xadd(keys.dead_letters(0), letter)


async def test_dead_letters_are_listed_safely(environment, redis, keys, printed):
    """Key, group, reason and time may all come from outside; each letter has three lines."""
    await add_letter(redis, keys)
    await letters()
    assert len(printed()) == 5  # with the sum, and the end


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("body", f"Body={BAD}&From={NUMBER}&To=whatsapp:{NUMBER}&ProfileName={MAILBOX}".encode()),
        ("body", orjson.dumps({"data": {"address": NUMBER, "name": MAILBOX, "text": BAD}})),
        ("event", orjson.dumps({"data": {"address": NUMBER, "participant": {"name": BAD}}})),
        ("event", b"\xff\x1b[2J{"),
        ("event", b"[" * 5000),
    ],
)
async def test_dead_letters_as_json_show_no_private_value(environment, redis, keys, printed, field, content):
    """The names of the body and what is not private are enough to see what it was."""
    await add_letter(redis, keys, **{field: content})
    await letters("--json")
    (line, _) = printed()
    letter = orjson.loads(line)
    assert letter["deliveries"] == 5
    assert isinstance(letter["fields"][field], list)


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        (f"SMS|{NUMBER}|+15557650000", "SMS|+155***01|+155***00"),
        (f"WHATSAPP|{NUMBER[1:]}|15557650000", "WHATSAPP|1555***01|1555***00"),
        (f"EMAIL|{MAILBOX}|help@shop.example", "EMAIL|a***@example.com|h***@shop.example"),
        ("CHAT|messenger:ana.customer|shop", "CHAT|messenger:a***|s***"),
        ("conv_conversation_01k1etx3jbfx88476ccja0889c", "conv_conversation_01k1etx3jbfx88476ccja0889c"),
    ],
)
async def test_the_subject_of_a_dead_letter_shows_no_address(environment, redis, keys, capsys, subject, shown):
    """It is a pair of addresses of any form, or an id, which operators need."""
    await add_letter(redis, keys, subject=subject, previous="1767787200000-0", note=f"a\n{NUMBER}\t{NUMBER}")
    await letters("--json")
    line = capsys.readouterr().out
    fields = orjson.loads(line)["fields"]
    assert (fields["subject"], fields["previous"]) == (shown, "1767787200000-0")
    assert not [one for one in PRIVATE if one in line]
    await letters("--json", "--unmasked")
    assert orjson.loads(capsys.readouterr().out)["fields"]["subject"] == subject


async def test_a_field_name_that_is_not_utf_8_hides_no_later_letter(environment, redis, keys, capsys):
    """It is shown with its bytes escaped."""
    await add_letter(redis, keys, **{"n\udcff": "x"})
    await add_letter(redis, keys)
    await letters("--json")
    first, second = map(orjson.loads, capsys.readouterr().out.splitlines())
    assert first["fields"]["n\\xff"] == "x"
    assert "n\\xff" not in second["fields"]


async def test_an_operator_may_see_everything(environment, redis, keys, printed):
    """With --unmasked, and still as text: no control character is obeyed."""
    await add_letter(redis, keys)
    await letters("--unmasked")
    printed(shows=PRIVATE)
    await letters("--json", "--unmasked")
    line, _ = printed(shows=PRIVATE)
    assert orjson.loads(line)["fields"]["body"] == f"Body={BAD}&From={NUMBER}&ProfileName={MAILBOX}"


async def refuse(redis, keys, **changes):
    """Keep a refused webhook that a stranger made; returns its id."""
    refused = replace(
        REFUSED,
        detail=f"no account {BAD} {NUMBER} {MAILBOX}",
        account_id=f"AC{BAD}",
        raw_path=f"/webhooks/messaging?a={NUMBER}&b\x1b[2J=1".encode(),
        headers=(("content-type", "application/x-www-form-urlencoded"), (f"x-{BAD}", f"{BAD} {MAILBOX} {NUMBER}")),
        body=f"From={NUMBER}&ProfileName={MAILBOX}&Type={BAD}".encode(),
        **changes,
    )
    return await keep(redis, keys, refused, BOUNDS)


async def test_the_quarantine_is_shown_safely(environment, redis, keys, printed):
    """As a list, as JSON, and one entry with its headers and body."""
    entry_id = await refuse(redis, keys)
    for arguments in (["list"], ["list", "--json"]):
        await list_quarantine(make_parser().parse_args(["quarantine", *arguments]))
        printed()
    await show_one(entry_id)
    printed()


async def test_the_quarantine_shows_no_number_that_stands_for_an_account(environment, redis, keys, capsys):
    """A stranger may put a number there, also without its plus."""
    detail = f"account {NUMBER[1:]} is not configured"
    entry_id = await keep(redis, keys, replace(REFUSED, account_id=NUMBER[1:], detail=detail), BOUNDS)
    for arguments in (["list"], ["list", "--json"]):
        await list_quarantine(make_parser().parse_args(["quarantine", *arguments]))
    await show_one(entry_id)
    shown = capsys.readouterr().out
    assert NUMBER[1:] not in shown
    assert shown.count("account 1555***01 is not configured") == 3


async def test_a_request_that_matches_nothing_names_the_command_that_shows_it(environment, redis, keys, capsys):
    """Looking at the request is the next step then."""
    signed = (("x-twilio-signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="), ("host", f"h{BAD}"))
    entry_id = await keep(redis, keys, replace(REFUSED, headers=signed, raw_path=b"/\x1b[2J", body=b""), BOUNDS)
    assert await explain_signature(make_parser().parse_args(["explain-signature", "--id", entry_id])) == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"What was sent: python -m router quarantine show {entry_id}"


async def test_groups_and_findings_about_them_are_shown_safely(environment, redis, keys, printed):
    """Anybody with access to Redis names a group."""
    await redis.xadd(keys.inbound(0), {"a": "b"}, id="1-0")
    await redis.xgroup_create(keys.inbound(0), f"x{BAD} {NUMBER}", id="0")
    await list_groups()
    printed()
    for finding in await check_streams(redis, load()):
        show(f"{finding.level} {finding.subject}: {finding.text}")
    printed()


@pytest.mark.parametrize("field", ["reason", "channel"])
def test_an_entry_is_described_safely(printed, field):
    """`simulate` and `dev` print entries, whose channel, name and reason may come from outside."""
    address = ParticipantAddress(channel="SMS", address=NUMBER)
    customer = Participant(id=f"p{BAD}", type="CUSTOMER", addresses=(address,))
    entry = make(JoinedData, f"conv{BAD}", customer, **{field: f"{BAD} {NUMBER}"})
    show(describe(entry))
    assert len(printed()) == 2


@pytest.mark.processes
@pytest.mark.parametrize("command", [["quarantine", "list"], ["dead-letters", "list"], ["groups", "list"]])
async def test_head_ends_a_list_without_a_word(redis, redis_url, keys, command):
    """`quarantine list | head -1` prints one line; the rest has no reader, which is no failure."""
    async with connect(redis_url, timeout=scaled(20)) as client:
        for number in range(30):
            await refuse(client, keys, method=f"POST{number}")
            await add_letter(client, keys)
        await client.xgroup_create(keys.inbound(0), "mine", id="0", mkstream=True)
    reader, writer = os.pipe()
    os.close(reader)
    environment = {"REDIS_URL": redis_url, "TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "router",
        *command,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PUBLIC_BASE_URL": BASE_URL, "ROUTER_CONFIG_DIR": str(SHIPPED)} | environment,
        stdout=writer,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writer)
    _, errors = await process.communicate()
    assert (process.returncode, errors) == (141, b"")
