"""What `dev` reads: streams and logs, from where they end when it begins."""

from __future__ import annotations

import asyncio

import pytest

from router.core.keys import Keys, Target
from router.dev import follow as module
from router.dev.answers import AnswerReader
from router.dev.feed import Feed
from router.dev.follow import Follower, LogTails, OwnLog
from router.dev.known import Known
from router.dev.layout import LineLayout
from router.streams.client.connection import RedisError
from router.streams.store.watch import StreamRow
from router.tasks import end
from tests.support.entries import NONSENSE, fields_of
from tests.support.waiting import until
from tests.test_docs import an_entry

DUPLICATE = (
    b'{"event":"webhook","source":"messaging","status":200,"result":"duplicate","time":"2026-11-30T10:00:00Z"}\n'
)


class Watched:
    """A follower, what it prints, and the entries that it hands on."""

    def __init__(self, redis, folder, capsys):
        self.entries, self.text, self._capsys = [], "", capsys
        known = Known()
        self.feed = Feed(LineLayout(columns=lambda: 120), known)
        self.follower = Follower(
            redis,
            Keys(),
            self.feed,
            known=known,
            answers=AnswerReader(known, {}),
            tails=LogTails(folder),
            on_entry=self._take,
        )

    async def _take(self, entry):
        self.entries.append(entry)
        if len(self.entries) == 1:
            raise RedisError("of the people of the demo")

    async def until_shown(self, text):
        def is_shown():
            self.text += self._capsys.readouterr().out
            return text in self.text

        await until(is_shown)


@pytest.fixture
async def watch(tmp_path, capsys, monkeypatch):
    """Return a function that begins to follow; it ends with the test."""
    monkeypatch.setattr(module, "RETRY_DELAY", 0.0)
    tasks = []

    async def begin(redis):
        watched = Watched(redis, tmp_path, capsys)
        if redis is not None:
            await watched.follower.prepare()
        tasks.append(asyncio.create_task(watched.follower.run()))
        return watched

    yield begin
    await end(*tasks)


@pytest.mark.real
async def test_nonsense_on_every_stream_ends_nothing(watch, redis):
    """What cannot be read is shown as that, and the entries behind it are shown and handed on."""
    keys = Keys()
    watched = await watch(redis)
    for stream in (keys.inbound(0), keys.dead_letters(0), *(keys.participants(0, target) for target in Target)):
        for fields in NONSENSE:
            await redis.xadd(stream, fields)
        await redis.xadd(stream, fields_of(an_entry()))
    await watched.until_shown("ai-agent: default")
    await until(lambda: watched.text.count("no entry: ") == len(NONSENSE) * len(Target))
    await until(lambda: watched.text.count("dead letter: no reason is given") == len(NONSENSE) + 1)
    await until(lambda: len(watched.entries) == len(Target))


@pytest.mark.real
async def test_a_key_of_another_type_is_named_and_the_others_are_read(watch, redis):
    """Somebody's SET under the name of a stream hides no other stream."""
    keys = Keys()
    await redis.set(keys.dead_letters(0), "text")
    watched = await watch(redis)
    await redis.xadd(keys.participants(0, Target.AI_AGENT), fields_of(an_entry()))
    await watched.until_shown("ai-agent: default")
    await watched.until_shown(f"{keys.dead_letters(0)} cannot be read: WRONGTYPE")


@pytest.mark.parametrize("problem", [RedisError("away"), TimeoutError(), ConnectionRefusedError()])
async def test_an_outage_of_redis_is_shown_with_its_end(watch, monkeypatch, problem):
    """An error while reading ends nothing; the entry that arrives next is shown."""
    fields = {name.encode(): text.encode() for name, text in fields_of(an_entry()).items()}
    answers = [problem, problem, [StreamRow(Keys().participants(0, Target.AI_AGENT), "1-0", fields)]]

    async def read(*_):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        yield answer
        await asyncio.Event().wait()

    monkeypatch.setattr(module, "watch", read)
    watched = await watch(None)
    await watched.until_shown("Redis answers again")
    await watched.until_shown("ai-agent: default")
    assert watched.text.count("Redis does not answer") == 1


def test_logs_are_read_from_where_this_run_begins(tmp_path):
    """Lines of earlier runs are not shown, a line that is not whole yet comes later, a new log from its beginning."""
    log = tmp_path / "web.log"
    log.write_bytes(b"earlier\n")
    tails = LogTails(tmp_path)
    assert tails.read() == []
    with log.open("ab") as file:
        file.write(b"one\ntw")
    (tmp_path / "new.log").write_bytes(b"of a new process\n")
    assert tails.read() == [b"of a new process", b"one"]
    with log.open("ab") as file:
        file.write(b"o\n")
    assert tails.read() == [b"two"]
    log.write_bytes(b"anew\n")
    assert tails.read() == [b"anew"]
    log.unlink()
    assert tails.read() == []


def test_an_endless_line_stops_no_log(tmp_path, monkeypatch):
    """What is longer than any log line is passed over."""
    monkeypatch.setattr(module, "_MOST_BYTES", 10)
    tails = LogTails(tmp_path)
    (tmp_path / "web.log").write_bytes(b"x" * 25 + b"\nok\n")
    found = [line for _ in range(4) for line in tails.read()]
    assert found[-1] == b"ok"


def test_the_last_output_is_that_of_this_run(tmp_path):
    """A process that does not start says why; what it said last week is not its reason."""
    log = tmp_path / "web.log"
    log.write_text("an old traceback\n")
    tails = LogTails(tmp_path)
    assert tails.last_lines(2) == {"web": []}
    with log.open("a") as file:
        file.write('{"event": "x"}\none\ntwo\nthree\n')
    assert tails.last_lines(2) == {"web": ["two", "three"]}


async def test_a_log_that_grows_is_shown(watch, tmp_path, monkeypatch):
    """So is what this process logs itself."""

    async def read(*_):
        await asyncio.Event().wait()
        yield []

    monkeypatch.setattr(module, "watch", read)
    watched = await watch(None)
    (tmp_path / "web.log").write_bytes(DUPLICATE * 3)
    await watched.until_shown("again: nothing is published twice  [3 times]")
    own = OwnLog(watched.feed)
    own.write('{"event":"process.restarted","level":"warning","name":"worker","status":-9}\n')
    own.flush()
    await watched.until_shown("worker")
