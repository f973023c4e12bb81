"""What became of a webhook, in the worker's words, with commands that work as they stand."""

from __future__ import annotations

import shlex

import pytest

from router.__main__ import make_parser
from router.core.refused import Bounds, Refused
from router.core.stories import StageName, Story, StoryStage, event_id
from router.settings.environment import STATE_DIR
from router.settings.load import load
from router.simulator import fates as module
from router.simulator.fates import FateReader
from router.streams.store.quarantine import keep
from tests.harness.settings import make_environment

KEY = "AC1:messaging:SM1"


def make_settings(**changes):
    """Complete settings of a deployment that nobody runs."""
    return load(environment=make_environment("redis://127.0.0.1:1/0", "http://127.0.0.1:1", **changes))


def stage(name, detail="because", key=KEY):
    return StoryStage(1, name, "worker host:1", event_id(key), detail)


@pytest.fixture
def make_reader(monkeypatch):
    """Return a function that makes a reader of these stages, of which it waits for none."""
    monkeypatch.setattr(module, "PATIENCE", 0.2)

    def make(*stages, state_dir=str(STATE_DIR), **settings):
        reader = FateReader(None, make_settings(**settings), state_dir)

        async def find(event):
            return Story(found=bool(stages), subject=event, stages=stages)

        monkeypatch.setattr(reader._search, "find", find)
        return reader

    return make


def command_of(lines):
    """The suggested command, parsed by the program itself."""
    (line,) = [line for line in lines if line.startswith("more: ")]
    words = shlex.split(line)
    return make_parser().parse_args(words[words.index("router") + 1 :])


@pytest.mark.parametrize(
    ("stages", "lines"),
    [
        ((stage(StageName.RECEIVED), stage(StageName.RESOLVED, "ignored, because quiet")), ["ignored, because quiet"]),
        ((stage(StageName.RESOLVED, "first"), stage(StageName.RESOLVED, "again")), ["again"]),
        ((stage(StageName.RESOLVED, "of another", key="other"),), ["no worker has reported it yet"]),
        ((stage(StageName.SPOOLED, "by web"),), ["spooled: by web"]),
        ((), ["no worker has reported it yet"]),
    ],
)
async def test_the_worker_s_words(make_reader, stages, lines):
    """The last of what is final; without that, where it is now."""
    assert await make_reader(*stages).tell([KEY]) == lines


@pytest.mark.parametrize(
    ("name", "command"), [(StageName.DEAD, "dead-letters"), (StageName.WAITING, "waiting")], ids=str
)
@pytest.mark.parametrize("state_dir", [str(STATE_DIR), "/somewhere else/state"])
async def test_what_is_not_well_names_the_command_that_shows_more(make_reader, name, command, state_dir):
    """The command line is one that the program takes, with the state directory unless that is the usual one."""
    lines = await make_reader(stage(name, "503"), state_dir=state_dir).tell([KEY])
    assert lines[0] == f"{name}: 503"
    parsed = command_of(lines)
    assert parsed.command == command
    assert (str(parsed.state_dir) if parsed.state_dir else str(STATE_DIR)) == state_dir


async def test_without_stories_that_is_said(make_reader):
    """A switch turns them off."""
    (line,) = await make_reader(ROUTER_STORY_TTL="0").tell([KEY])
    assert "ROUTER_STORY_TTL" in line


async def test_a_duplicate_is_found_under_any_of_its_keys(make_reader):
    """Another source may have reported it first."""
    reader = make_reader(stage(StageName.RESOLVED, "joined, because default", key="alias"))
    assert await reader.tell_first([KEY, "alias"]) == ["the first time: joined, because default"]
    assert await reader.tell_first([KEY]) == []


@pytest.mark.real
async def test_a_refused_webhook_is_found_by_its_bytes(redis):
    """Among others, with what was added to it; a signature has a command that explains it."""
    reader = FateReader(redis, make_settings(), "/tmp/x y")
    bounds = Bounds(entries=10, size=100_000, ttl=60)
    for number, (body, reason) in enumerate([(b"a=1&Tampered=1", "signature"), (b"b=2", "unreadable")]):
        refused = Refused(
            "messaging", reason, f"detail {number}", 403, 5_000_000, "POST", b"/x", (), "", body, is_whole=True
        )
        entry_id = await keep(redis, make_settings().keys, refused, bounds)
        lines = await reader.explain_refusal(body.removesuffix(b"&Tampered=1"), 4_000_000)
        assert lines[:2] == [f"refused ({reason}): detail {number}", f"kept in the quarantine as {entry_id}"]
        parsed = command_of(lines)
        assert parsed.command == ("explain-signature" if reason == "signature" else "quarantine")
        assert str(parsed.state_dir) == "/tmp/x y"


@pytest.mark.real
async def test_a_refused_webhook_that_is_not_kept(redis, monkeypatch):
    """The quarantine may be switched off, or have been full."""
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    (line,) = await FateReader(redis, make_settings(), str(STATE_DIR)).explain_refusal(b"x", 0)
    assert "not in the quarantine" in line
