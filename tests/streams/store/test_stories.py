"""The lists of stories in Redis: bounded by time and number, apart from what was refused, and lost without harm."""

from __future__ import annotations

import pytest

from router.core.keys import Keys
from router.core.stories import DAY, StageName, event_id, name_of, name_of_conversation, name_of_event, read_line
from router.streams.store import stories
from router.streams.store.stories import StoryAbout, StoryBounds, StoryReader, StoryWriter
from tests.support.accounts import ACCOUNT, CUSTOMER, OTHER_CUSTOMER
from tests.support.waiting import until

NOW = 20_000 * DAY + 12 * 3_600_000_000
WEEK = 7 * 86_400
SECRET = b"s" * 32


class Clock:
    """A clock in µs that a test sets."""

    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(redis, clock):
    """Return a function that makes a writer."""

    def make_writer(most=100, life=WEEK, **options):
        return StoryWriter(
            redis, Keys(), StoryBounds(life, most), secret=SECRET, process="worker", clock=clock, **options
        )

    return make_writer


@pytest.fixture
def find(redis, clock):
    """Return a function that finds the details of all lines by a list's name or by pointers."""

    async def find_details(*pointers, lists=(), **options):
        found = await StoryReader(redis, Keys(), life=WEEK).find(now=clock(), lists=lists, pointers=pointers, **options)
        return [read_line(body).stages[0].detail for one in found for body in one.lines]

    return find_details


def about(number, conversation=None, **more):
    return StoryAbout(event_id(str(number)), ACCOUNT, f"SM{number}", conversation, **more)


async def write(writer, *abouts, stage=StageName.WAITING):
    for number, one in enumerate(abouts):
        writer.add_stage(0, one, stage, f"{one.resource} {number}")
    await writer.flush()


async def test_every_name_leads_to_a_line(make, find):
    """Event, resource, participant, address and conversation find it; others do not."""
    writer = make()
    await write(writer, about(1, "conv", participant="part", addresses=(CUSTOMER,)))
    names = [name_of_event(event_id("1")), name_of("SM1"), name_of("part"), writer.digest(CUSTOMER)]
    for name in names:
        assert await find(name) == ["SM1 0"]
    assert await find(lists=[name_of_conversation(ACCOUNT, "conv")]) == ["SM1 0"]
    assert await find(name_of("SM2"), writer.digest(OTHER_CUSTOMER), lists=[name_of_event(event_id("1"))]) == []


async def test_an_address_is_nowhere_to_be_read(make, redis):
    """Redis has a keyed digest of it, and none of its digits."""
    await write(make(), about(1, "conv", addresses=(CUSTOMER,)))
    values = b""
    for key in await redis.keys():
        kind = await redis.type(key)
        values += key + b"".join(await (redis.lrange(key, 0, -1) if kind == b"list" else redis.zrange(key, 0, -1)))
    assert CUSTOMER[1:].encode() not in values
    assert StoryWriter(redis, Keys(), StoryBounds(1, 1), secret=b"o", process="", clock=int).digest(CUSTOMER) != (
        make().digest(CUSTOMER)
    )


async def test_the_oldest_lists_go_first(make, find, redis, clock):
    """There are never more than the most, and what is left is the newest."""
    writer = make(most=3)
    for number in range(1, 8):
        clock.now += 1000
        await write(writer, about(number, f"conv{number}"))
    kept = [bool(await find(name_of_event(event_id(str(number))))) for number in range(1, 8)]
    assert kept == [False] * 4 + [True] * 3
    assert len([key for key in await redis.keys() if b":l" in key and not key.endswith(b"lists")]) == 3


async def test_a_list_keeps_its_newest_lines(make, find, monkeypatch):
    """A conversation with very many events keeps the newest, and its name."""
    monkeypatch.setattr(stories, "MOST_LINES", 5)
    writer = make()
    for number in range(9):
        await write(writer, about(number, "conv"))
    found = await find(lists=[name_of_conversation(ACCOUNT, "conv")])
    assert found == [f"SM{number} 0" for number in (5, 6, 7, 8)]


async def test_pointers_are_bounded(make, redis, monkeypatch):
    """What points to lists has a bound of its own."""
    monkeypatch.setattr(stories, "SHORTEST_BUCKET", 4)
    writer = make()
    await write(writer, *(about(1, "conv") for _ in range(20)))
    lengths = [await redis.llen(key) for key in await redis.keys() if b":i" in key]
    assert max(lengths) == 4


async def test_everything_expires_with_its_day(make, redis, clock, find):
    """Keys live for the time and up to a day longer; a later day has keys of its own, and a search finds both."""
    writer = make()
    await write(writer, about(1, "conv"))
    for key in await redis.keys():
        assert WEEK < await redis.ttl(key) <= WEEK + 86_400
    clock.now += 2 * DAY
    await write(writer, about(2, "conv"))
    assert await find(lists=[name_of_conversation(ACCOUNT, "conv")]) == ["SM2 0", "SM1 0"]
    assert await find(name_of("SM1"), around=NOW) == ["SM1 0"]
    assert await find(name_of("SM1"), around=NOW + 5 * DAY) == []
    clock.now += 8 * DAY
    assert await find(name_of("SM1")) == []


async def test_what_was_refused_is_apart(make, find, clock):
    """It has keys of its own; one search finds both."""
    await write(make(most=1, is_refused=True), about(1), stage=StageName.REFUSED)
    clock.now += 1000
    await write(make(most=1, is_refused=True), about(2), stage=StageName.REFUSED)
    await write(make(), about(3))
    found = [await find(lists=[name_of_event(event_id(str(number)))]) for number in (1, 2, 3)]
    assert found == [[], ["SM2 0"], ["SM3 0"]]


async def test_lines_in_the_background_are_bounded(make, find, monkeypatch):
    """Beyond the bound they are dropped and counted; the caller never waits."""
    monkeypatch.setattr(stories, "MOST_WAITING", 3)
    writer = make()
    for number in range(1, 6):
        writer.tell(0, about(number), StageName.DUPLICATE, "again")
    await writer.close()
    found = [bool(await find(lists=[name_of_event(event_id(str(number)))])) for number in range(1, 6)]
    assert found == [True, True, True, False, False]


async def test_no_redis(clients, clock, lines):
    """Nothing is raised; the loss is logged once."""
    writer = StoryWriter(
        clients("redis://127.0.0.1:1/0"), Keys(), StoryBounds(WEEK, 9), secret=SECRET, process="worker", clock=clock
    )
    for number in (1, 2):
        writer.tell(0, about(number), StageName.DUPLICATE, "again")
        await until(lambda: writer._writer is None)
    await writer.close()
    assert len(lines("story.failed")) == 1


async def test_what_cannot_be_read_is_left_out(make, find, redis):
    """A line that another release or somebody by hand has written hides no other."""
    await write(make(), about(1, "conv"))
    (key,) = [key for key in await redis.keys() if b":l" in key and not key.endswith(b"lists")]
    for text in (b"x", b"[]", b"{}", b'["stage"]', b'["event",1]', b'["later",2]', b"\xff"):
        assert read_line(text) is None
        await redis.rpush(key, text)
    found = await StoryReader(redis, Keys(), life=WEEK).find(now=NOW, lists=[name_of_conversation(ACCOUNT, "conv")])
    assert [line.stages[0].detail for one in found for body in one.lines if (line := read_line(body))] == ["SM1 0"]
