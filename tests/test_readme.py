"""What the README says is so: its tables are compared with the code, its examples are run."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from router.__main__ import make_parser
from router.core.entries import ClosedData, Entry, JoinedData, make_entry
from router.core.keys import Keys, Target
from router.inbound.table import to_markdown
from router.settings.model import Settings, variable_of
from tests.support.waiting import until

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def example(name):
    """Return the code block that follows `<!-- example: name -->`."""
    match = re.search(rf"<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert match, f"README has no example {name}"
    return match.group(1)


def an_entry() -> Entry:
    data = JoinedData.model_validate_json(example("entry"))
    return make_entry(data, namespace="router", subject=data.participant.id, distinction="1", occurred_at=0)


def a_closing() -> Entry:
    """An entry that is about no participant."""
    joined = JoinedData.model_validate_json(example("entry"))
    data = ClosedData.model_validate(joined.model_dump())
    subject = data.conversation.id
    return make_entry(data, namespace="router", subject=subject, distinction="closed", occurred_at=0)


def test_settings_table_names_every_setting_and_no_other():
    """Each setting has its row in the README, and each row is a setting."""
    table = README.split("<!-- table: settings -->")[1].split("\n\n")[0]
    named = set(re.findall(r"`([A-Z_]+)`", table))
    assert named == {variable_of(name) for name in Settings.model_fields}


@pytest.mark.parametrize(
    "row", re.findall(r"^\| (`.+?) \|(.*?)\|", README.split("<!-- table: settings -->")[1], re.MULTILINE)
)
def test_settings_table_tells_the_defaults(row):
    """A default in the table is the default of the setting."""
    variables, defaults = re.findall(r"`([A-Z_]+)`", row[0]), [part.strip(" `") for part in row[1].split(",")]
    names = {variable_of(name): name for name in Settings.model_fields}
    for variable, default in zip(variables, defaults, strict=False):
        if default:
            assert str(Settings.model_fields[names[variable]].default) == default, variable


def test_sources_table_is_the_one_of_the_code():
    """What becomes of each event type stands in the README as the parsers say it."""
    assert README.split("<!-- table: sources -->\n")[1].split("\n\n")[0] == to_markdown()


def test_entry_example_has_every_field_of_the_model():
    """The example shows participant.joined as it is: all fields, none that is not there."""
    shown = orjson.loads(example("entry"))
    assert orjson.loads(JoinedData.model_validate(shown).model_dump_json()) == shown


PROMISES = {
    int(number): set(re.findall(r"`(tests/[^`]+)`", row))
    for number, row in re.findall(r"^\| (\d) \|(.*)$", README.split("<!-- table: promises -->")[1], re.MULTILINE)
}


def test_every_promise_is_shown_by_the_tests_that_are_marked_with_it():
    """The README names the modules that prove a promise, and these say so themselves (`pytest.mark.promise`)."""
    marked = {number: set() for number in range(1, 6)}
    for path in (ROOT / "tests").rglob("test_*.py"):
        marks = re.search(r"^pytestmark = .*?(?=^\S|\Z)", path.read_text(), re.MULTILINE | re.DOTALL)
        for number in re.findall(r"\.promise\((\d)\)", marks[0] if marks else ""):
            marked[int(number)].add(path.relative_to(ROOT).as_posix())
    assert marked == PROMISES


def test_procfile_is_the_one_in_the_readme():
    """The deployment chapter shows the Procfile."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    assert lines
    for line in lines:
        assert f"    {line}\n" in README


@pytest.mark.parametrize("command", sorted(set(re.findall(r"python -m router ([a-z-]+)", README))))
def test_every_command_in_the_readme_exists(command):
    """Each `python -m router ...` of the README is a command."""
    (choices,) = [action.choices for action in make_parser()._actions if hasattr(action, "choices") and action.choices]
    assert command in choices


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([a-z][\w/.-]+)\)", README))))
def test_every_link_into_the_project_leads_somewhere(path):
    """Relative links name files that exist."""
    assert (ROOT / path).exists()


@pytest.mark.processes
async def test_python_consumer_prints_entries_and_acknowledges_them(redis, redis_url, tmp_path):
    """The ten-line consumer of the README reads what was there before its start, whatever type it is of."""
    script = tmp_path / "consumer.py"
    script.write_text(example("consumer.py"), encoding="utf-8")
    stream, entries = Keys().participants(0, Target.AI_AGENT), (an_entry(), a_closing())
    for entry in entries:
        await redis.xadd(stream, entry.to_fields())
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), env={**os.environ, "REDIS_URL": redis_url}, stdout=subprocess.PIPE
    )
    try:
        for entry in entries:
            line = await asyncio.wait_for(process.stdout.readline(), 20)
            assert line.decode().split() == [entry.type, entry.id, entry.subject]

        async def is_acknowledged():
            return (await redis.xpending(stream, "my-agent"))["pending"] == 0

        await until(is_acknowledged)
    finally:
        process.kill()
        await process.wait()
