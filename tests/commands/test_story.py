"""`python -m router story`: its exit statuses, times, and what it prints."""

from __future__ import annotations

import orjson
import pytest

from router.__main__ import main
from router.commands.story import read_around
from router.core.keys import Keys
from router.core.stories import DAY, StageName, event_id
from router.core.timestamps import to_microseconds
from router.settings.load import load
from router.streams.client.connection import connect
from router.streams.store.stories import StoryAbout, StoryWriter
from tests.support.accounts import ACCOUNT, CUSTOMER
from tests.support.source import SHIPPED
from tests.support.waiting import scaled

NOW = to_microseconds("2026-11-30T12:00:00Z")
SID = f"SM{1:032x}"


async def write_story(redis_url):
    """Write the story of one message."""
    redis, settings = connect(redis_url, timeout=scaled(20)), load()
    now = await redis.time()
    writer = StoryWriter(
        redis,
        Keys(),
        life=86_400,
        secret=settings.story_secrets[0],
        process="worker",
        clock=lambda: now[0] * 1_000_000,
    )
    key = f"{ACCOUNT}:messaging:{SID}"
    about = StoryAbout(event_id(key), ACCOUNT, SID, "conv_1", "part_1", (CUSTOMER,))
    writer.add_stage(0, about, StageName.WAITING, f"for resolver: \x1b[31m\u202e says {CUSTOMER}")
    await writer.close()
    await redis.aclose()


@pytest.fixture
async def story(environment, redis, redis_url):
    environment.setenv("ROUTER_CONFIG_DIR", str(SHIPPED))
    await write_story(redis_url)


def run(capsys, *arguments):
    status = main(["story", *arguments])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


class TestFound:
    """A story that is there."""

    pytestmark = pytest.mark.usefixtures("story")

    def test_as_text(self, capsys):
        """One line a stage and one for what to do, masked, nothing that a terminal obeys."""
        status, out, _ = run(capsys, SID)
        assert status == 0
        heading, line, action = out.splitlines()
        assert heading == f"{SID}, stages in order, times in UTC"
        assert "  waiting    worker " in line
        assert "\\x1b[31m\\u202e says +155***01" in line
        assert action.strip().startswith("to do: ")

    def test_as_json(self, capsys):
        """The document of the contract, also by address."""
        status, out, _ = run(capsys, CUSTOMER, "--json")
        document = orjson.loads(out)
        assert (status, document["found"], [one["stage"] for one in document["stages"]]) == (0, True, ["waiting"])
        assert CUSTOMER not in out

    def test_nothing(self, capsys):
        """Status 1, what was asked for and where else to look; JSON says found: false."""
        status, out, _ = run(capsys, "SM2")
        heading, action = out.splitlines()
        assert (status, heading) == (1, "nothing is known of SM2")
        assert "python -m router quarantine list" in action
        status, out, _ = run(capsys, "SM2", "--json", "--around", "2026-01-01T00:00:00Z")
        assert (status, orjson.loads(out)) == (1, {"found": False, "subject": "SM2", "stages": []})

    @pytest.mark.parametrize("arguments", [["*"], [""], [SID, "--around", "25:00"], [SID, "--around", "noon"]])
    def test_nobody_could_look(self, capsys, arguments):
        """Status 2, and one line that says why."""
        status, out, err = run(capsys, *arguments)
        assert (status, out, len(err.splitlines())) == (2, "", 1)

    def test_switched_off(self, capsys, monkeypatch):
        """Where nothing is kept the answer says so."""
        monkeypatch.setenv("ROUTER_STORY_TTL", "0")
        assert "ROUTER_STORY_TTL is 0" in run(capsys, "SM2")[1]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("11:59", "2026-11-30T11:59:00Z"),
        ("12:00", "2026-11-30T12:00:00Z"),
        ("12:01", "2026-11-29T12:01:00Z"),
        ("9:05:07", "2026-11-30T09:05:07Z"),
        ("2026-11-01T10:00:00+02:00", "2026-11-01T08:00:00Z"),
    ],
)
def test_times(text, moment):
    """A clock time is the latest that has been."""
    assert read_around(text, NOW) == to_microseconds(moment)
    assert NOW - read_around(text, NOW) < 31 * DAY


@pytest.mark.parametrize("text", ["", "24:00", "12", "12:60", "now", "2026-13-01T00:00:00Z", "9" * 100])
def test_wrong_times(text):
    """They are refused."""
    with pytest.raises(ValueError, match="--around"):
        read_around(text, NOW)
