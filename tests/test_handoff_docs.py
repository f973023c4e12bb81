"""docs/handoff.md is compared with the code: commands, refusals, entries, reasons, and examples that send commands."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys

import orjson
import pytest

from router.core.entries import (
    DATA_TYPES,
    CommandRefusedData,
    HandoffData,
    HolderChangedData,
    OfferMadeData,
)
from router.core.keys import Keys
from router.core.routing.commands import COMMANDS, CommandData, read_command
from router.core.routing.holding import Because, OfferEnd, Why
from router.core.routing.inputs import (
    OWN_EVENTS,
    AcceptOffer,
    AddForeign,
    CloseFloor,
    DeclineOffer,
    ReleaseFloor,
    RemoveForeign,
)
from router.core.routing.transitions import TABLE
from tests.test_consumers import node_modules
from tests.test_docs import PAGES, example, table, words

PAGE = "docs/handoff.md"


def test_every_command_is_described_with_its_data():
    """Required data, then what may be omitted; `account`, which all have, is described once."""
    shown = {}
    for command, data, _ in table("commands", PAGE):
        required, _, optional = data.partition(";")
        shown[command] = (words(required), words(optional))
    expected = {
        name: tuple(
            {one for one, field in model.model_fields.items() if field.is_required() is is_required}
            - set(CommandData.model_fields)
            for is_required in (True, False)
        )
        for name, model in COMMANDS.items()
    }
    assert shown == expected


def test_every_field_of_a_command_is_explained():
    """Its unit and its limit."""
    rows = PAGES[PAGE].split("| field | value |")[1].split("\n\n")[0]
    explained = {word for row in rows.splitlines()[2:] for word in words(row.strip("|").split(" | ")[0])}
    assert explained == {name for model in COMMANDS.values() for name in model.model_fields} - {"account"}


def test_every_refusal_is_explained():
    """In the words of `command.refused`."""
    assert [row[0] for row in table("refusals", PAGE)] == list(Why)


def test_every_reason_of_a_change_is_explained():
    """In the words of `holder.changed`."""
    assert [row[0] for row in table("because", PAGE)] == list(Because)


def test_every_input_has_a_name():
    """What no command and no report of Twilio causes, the router does on its own."""
    from_outside = {AcceptOffer, DeclineOffer, ReleaseFloor, AddForeign, RemoveForeign, CloseFloor}
    assert set(OWN_EVENTS) == set(TABLE) - from_outside


def test_everything_that_the_router_does_on_its_own_is_explained():
    """In the words of `cause.event_type` and of `explain`."""
    assert [row[0] for row in table("own events", "docs/entries.md")] == list(OWN_EVENTS.values())


def test_entries_about_handoffs_are_all_there():
    """Those of the models, and the words of `offer.ended`."""
    rows = {row[0]: row[2] for row in table("entries about handoffs", PAGE)}
    models = [one for one, model in DATA_TYPES.items() if issubclass(model, HandoffData | CommandRefusedData)]
    assert list(rows) == models
    assert words(rows["offer.ended"].partition(":")[2]) == set(OfferEnd)


@pytest.mark.parametrize("model", [OfferMadeData, HolderChangedData])
def test_examples_of_entries_have_every_field_of_the_model(model):
    """All fields, and none that is not there."""
    shown = orjson.loads(example(model.type, PAGE))
    assert orjson.loads(model.model_validate(shown).model_dump_json(by_alias=True)) == shown


async def the_command(redis):
    ((_, fields),) = await redis.xrange(Keys().commands(0))
    return read_command(fields)


async def run(redis_url, *command, cwd=None):
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, "REDIS_URL": redis_url, "CONVERSATION": "conv_conversation_1"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


async def test_command_from_the_shell(redis):
    """The arguments of redis-cli, as the shell passes them on, are a command that is read."""
    arguments = shlex.split(example("available.sh", PAGE).replace("\\\n", " "))
    at = arguments.index("XADD")
    assert arguments[:at] == ["redis-cli", "-u", "$REDIS_URL"]
    await redis.execute_command(*arguments[at:])
    command = await the_command(redis)
    assert (command.type, command.data.agent, command.data.life) == ("agent.available", "dana", 600)


@pytest.mark.processes
async def test_command_from_python(redis, redis_url, tmp_path):
    """The program writes a request with summary and context."""
    script = tmp_path / "command.py"
    script.write_text(example("command.py", PAGE), encoding="utf-8")
    await run(redis_url, sys.executable, str(script))
    command = await the_command(redis)
    assert (command.type, command.subject) == ("handoff.request", "conv_conversation_1")
    assert command.data.context == {"order": "4711"}


@pytest.mark.processes
async def test_command_from_node(redis, redis_url, tmp_path):
    """The program writes a request."""
    if (packages := node_modules()) is None:
        pytest.skip("node with its package redis is not installed")
    (tmp_path / "node_modules").symlink_to(packages)
    script = tmp_path / "command.mjs"
    script.write_text(example("command.mjs", PAGE), encoding="utf-8")
    await run(redis_url, "node", str(script))
    assert (await the_command(redis)).data.reason == "wants a person"
