"""The lists of stories in Redis: bounded by time and number, apart from what was refused, and lost without harm."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import RedisError

from router.core.keys import Keys
from router.core.stories import DAY, StageName, event_id, name_of, name_of_conversation, name_of_event, read_line
from router.metrics import REGISTRY
from router.streams.store import stories, story_index
from router.streams.store.stories import StoryAbout, StoryWriter
from router.streams.store.story_index import StoryBounds, StoryIndex, StoryReader
from router.tasks import end
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

    def make_writer(**options):
        return StoryWriter(redis, Keys(), life=WEEK, secret=SECRET, process="worker", clock=clock, **options)

    return make_writer


@pytest.fixture
def index(redis):
    """Return a function that makes an index."""

    def make_index(most=100):
        return StoryIndex(redis, Keys(), StoryBounds(WEEK, most), StoryBounds(WEEK, most))

    return make_index


@pytest.fixture
def find(redis, clock, index):
    """Return a function that finds the details of all lines by a list's name or by pointers."""

    async def find_details(*pointers, lists=(), **options):
        found = await StoryReader(redis, index(), life=WEEK).find(
            now=clock(), lists=lists, pointers=pointers, **options
        )
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


async def content(redis):
    """Return the names and values of all lists and sorted sets."""
    values = b""
    for key in await redis.keys():
        kind = await redis.type(key)
        values += key + b"".join(await (redis.lrange(key, 0, -1) if kind == b"list" else redis.zrange(key, 0, -1)))
    return values


async def test_an_address_is_nowhere_to_be_read(make, redis, index):
    """Redis has a keyed digest of it, and none of its digits; not in what waits for the index either."""
    await write(make(), about(1, "conv", addresses=(CUSTOMER,)))
    writer, mail = make(), StoryAbout(event_id("2"), ACCOUNT, f"<{CUSTOMER[1:]}@device.example.com>")
    writer.add_stage(0, mail, StageName.WAITING, "for something")
    await writer.flush()
    waiting = await content(redis)
    await index().drain()
    for values in (waiting, await content(redis)):
        assert CUSTOMER[1:].encode() not in values
    assert StoryWriter(redis, Keys(), life=1, secret=b"o", process="", clock=int).digest(CUSTOMER) != (
        make().digest(CUSTOMER)
    )


async def test_the_oldest_lists_go_first(make, find, redis, clock, index):
    """There are never more than the most, and what is left is the newest."""
    writer = make()
    for number in range(1, 8):
        clock.now += 1000
        await write(writer, about(number, f"conv{number}"))
    await index(most=3).drain()
    kept = [bool(await find(name_of_event(event_id(str(number))))) for number in range(1, 8)]
    assert kept == [False] * 4 + [True] * 3
    assert len([key for key in await redis.keys() if b":l" in key and not key.endswith(b"lists")]) == 3


async def test_a_list_keeps_its_newest_lines(make, find, monkeypatch):
    """A conversation with very many events keeps the newest, and its name."""
    monkeypatch.setattr(story_index, "MOST_LINES", 5)
    writer = make()
    for number in range(9):
        await write(writer, about(number, "conv"))
    found = await find(lists=[name_of_conversation(ACCOUNT, "conv")])
    assert found == [f"SM{number} 0" for number in (5, 6, 7, 8)]


async def test_pointers_are_bounded(make, redis, index, monkeypatch):
    """What points to lists has a bound of its own."""
    monkeypatch.setattr(story_index, "SHORTEST_BUCKET", 4)
    writer = make()
    await write(writer, *(about(1, "conv") for _ in range(20)))
    await index().drain()
    lengths = [await redis.llen(key) for key in await redis.keys() if b":i" in key]
    assert max(lengths) == 4


async def test_pointers_are_bounded_whatever_the_most_lists(make, redis, index, monkeypatch):
    """Redis reads a bucket as a whole for each day and name of a search, and answers nothing else meanwhile."""
    monkeypatch.setattr(story_index, "WIDEST_BUCKET", 4)
    await write(make(), *(about(1, "conv") for _ in range(20)))
    await index(most=10_000_000).drain()
    assert max([await redis.llen(key) for key in await redis.keys() if b":i" in key]) == 4


async def test_everything_expires_with_its_day(make, redis, clock, find, index):
    """Keys live for the time and up to a day longer; a later day has keys of its own, and a search finds both."""
    writer = make()
    for step in (write(writer, about(1, "conv")), index().drain(), write(writer, about(1, "conv"))):
        await step
        for key in await redis.keys():
            assert WEEK < await redis.ttl(key) <= WEEK + 86_400
    clock.now += 2 * DAY
    await write(writer, about(2, "conv"))
    assert await find(lists=[name_of_conversation(ACCOUNT, "conv")]) == ["SM2 0", "SM1 0", "SM1 0"]
    assert await find(name_of("SM1"), around=NOW) == ["SM1 0", "SM1 0"]
    assert await find(name_of("SM1"), around=NOW + 5 * DAY) == []
    clock.now += 8 * DAY
    assert await find(name_of("SM1")) == []


async def test_what_was_refused_is_apart(make, find, clock, redis):
    """It has keys and bounds of its own; one search finds both."""
    await write(make(is_refused=True), about(1), stage=StageName.REFUSED)
    clock.now += 1000
    await write(make(is_refused=True), about(2), stage=StageName.REFUSED)
    await write(make(), about(3))
    await StoryIndex(redis, Keys(), StoryBounds(WEEK, 100), StoryBounds(WEEK, 1)).drain()
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
    away = clients("redis://127.0.0.1:1/0")
    writer = StoryWriter(away, Keys(), life=WEEK, secret=SECRET, process="worker", clock=clock)
    for number in (1, 2):
        writer.tell(0, about(number), StageName.DUPLICATE, "again")
        await until(lambda: writer._writer is None)
    await writer.close()
    assert len(lines("story.failed")) == 1


async def test_what_cannot_be_read_is_left_out(make, index, redis):
    """A line that another release or somebody by hand has written hides no other."""
    await write(make(), about(1, "conv"))
    await index().drain()
    (key,) = [key for key in await redis.keys() if b":l" in key and not key.endswith(b"lists")]
    for text in (b"x", b"[]", b"{}", b'["stage"]', b'["event",1]', b'["later",2]', b"\xff"):
        assert read_line(text) is None
        await redis.rpush(key, text)
    reader = StoryReader(redis, index(), life=WEEK)
    found = await reader.find(now=NOW, lists=[name_of_conversation(ACCOUNT, "conv")])
    assert [line.stages[0].detail for one in found for body in one.lines if (line := read_line(body))] == ["SM1 0"]


def lost():
    """Return the number of lines that were lost so far."""
    return REGISTRY.get_sample_value("router_story_lines_total", {"result": "failed"}) or 0


@asynccontextmanager
async def running(*indexes):
    """Index beside the block, as workers do."""
    tasks = [asyncio.create_task(index.run()) for index in indexes]
    try:
        yield
    finally:
        await end(*tasks)


async def lines_that_wait(redis):
    """Return the number of lines that wait for the index."""
    return sum(batch.count(b"\n") for batch in await redis.lrange(f"{Keys().stories(0)}new", 0, -1))


async def lines_wait(redis, number):
    """Return whether so many lines wait."""
    return await lines_that_wait(redis) == number


async def test_nonsense_among_what_waits(make, find, index, redis, lines):
    """It is skipped, counted and logged once; what waits behind it is found."""
    await redis.rpush(f"{Keys().stories(0)}new", b"x", b"\xff\n[]", b"5 1\n{}\n[1]\nx", b"9" * 400 + b" 1\n[]", b"")
    await write(make(), about(1, "conv"))
    before = lost()
    await index().drain()
    assert await find(name_of("SM1")) == ["SM1 0"]
    assert lost() - before == 4
    assert len(lines("story.failed")) == 1


async def test_a_run_takes_little_and_the_next_waits(make, index, redis, monkeypatch):
    """A run ends after so many lines, and none follows within the pause, whatever the number of workers."""
    monkeypatch.setattr(stories, "MOST_IN_BATCH", 10)
    monkeypatch.setattr(story_index, "MOST_IN_BATCH", 20)
    monkeypatch.setattr(story_index, "PAUSE", 3_600_000)
    await write(make(), *(about(number, "conv") for number in range(50)))
    async with running(index(), index(), index()):
        await until(lambda: lines_wait(redis, 30))
        await index().drain()
    assert await lines_that_wait(redis) == 0


async def test_without_pauses_where_much_waits(make, index, redis, monkeypatch):
    """From a number of batches on a worker indexes one run after another, until fewer wait."""
    monkeypatch.setattr(stories, "MOST_IN_BATCH", 10)
    monkeypatch.setattr(story_index, "MOST_IN_BATCH", 10)
    monkeypatch.setattr(story_index, "PAUSE", 3_600_000)
    monkeypatch.setattr(story_index, "URGENT", 3)
    await write(make(), *(about(number, "conv") for number in range(80)))
    async with running(index()):
        await until(lambda: lines_wait(redis, 20))


async def test_what_no_worker_indexes_is_bounded(make, redis, monkeypatch, lines):
    """The oldest batches go, are counted, and it is logged once."""
    monkeypatch.setattr(stories, "MOST_BATCHES", 3)
    before, writer = lost(), make()
    for number in range(6):
        await write(writer, about(number), about(number))
    assert await lines_that_wait(redis) == 6
    assert lost() - before == 6
    assert len(lines("story.failed")) == 1


async def test_an_index_without_redis(clients, lines):
    """It goes on, and logs it once."""
    away = clients("redis://127.0.0.1:1/0")
    index = StoryIndex(away, Keys(), StoryBounds(WEEK, 9), StoryBounds(WEEK, 9))
    async with running(index):
        await until(lambda: lines("story.failed"))
    with pytest.raises(RedisError):
        await index.drain()
    assert len(lines("story.failed")) == 1


async def test_customers_are_found_whichever_line_names_them_first(make, find):
    """A day that begins with a line of an agent's, which names no address, hides no customer; nor does another one."""
    writer = make()
    await write(writer, about(1, "conv"), stage=StageName.SENT)
    await write(writer, about(2, "conv", participant="p1", addresses=(CUSTOMER,)), stage=StageName.CONSUMED)
    await write(writer, about(3, "conv", participant="p2", addresses=(OTHER_CUSTOMER,)), stage=StageName.CONSUMED)
    for name in (writer.digest(CUSTOMER), writer.digest(OTHER_CUSTOMER), name_of("p1"), name_of("p2")):
        assert await find(name) == ["SM1 0", "SM2 0", "SM3 0"]


async def test_a_customer_points_to_a_list_once(make, index, redis):
    """However often they write; of very many in one list each line makes a pointer of its own."""
    writer, one = make(), about(1, "conv", participant="part", addresses=(CUSTOMER,))
    await write(writer, *[one] * 5)
    await index().drain()
    digest = writer.digest(CUSTOMER)
    pointers = await redis.lrange(f"{Keys().stories(0)}{NOW // DAY}:i{digest[:3]}", 0, -1)
    assert [one.startswith(digest[3:].encode()) for one in pointers].count(True) == 1
    await write(writer, *(about(number, "conv", addresses=(f"+1555{number:07d}",)) for number in range(100)))
    await index().drain()
    assert len(await redis.lindex(f"{Keys().stories(0)}{NOW // DAY}:l{name_of_conversation(ACCOUNT, 'conv')}", 0)) < 900


async def test_after_erasing_a_customer_is_found_again_by_what_follows(make, index, redis, clock, find):
    """Erasing takes the pointers, and later lines of the same day make one again."""
    writer, one = make(), about(1, "conv", addresses=(CUSTOMER,))
    await write(writer, one)
    reader = StoryReader(redis, index(), life=WEEK)
    erased = await reader.erase(now=clock(), lists=[], digests=[writer.digest(CUSTOMER)], is_dry_run=False)
    assert erased == (0, 1, {(ACCOUNT, "conv")})
    assert await find(writer.digest(CUSTOMER)) == []
    await write(writer, one)
    assert await find(writer.digest(CUSTOMER)) == ["SM1 0", "SM1 0"]


async def test_one_partition_that_fails_holds_up_no_other(redis, clock, lines):
    """The others are indexed, an erasure says so, and a search finds what there is."""
    keys, bounds = Keys(partitions=2), StoryBounds(WEEK, 100)
    await redis.set(f"{keys.stories(0)}new", "of another type", ex=60)
    writer = StoryWriter(redis, keys, life=WEEK, secret=SECRET, process="worker", clock=clock)
    writer.add_stage(1, about(1, "conv"), StageName.WAITING, "for something")
    await writer.flush()
    index = StoryIndex(redis, keys, bounds, bounds)
    async with running(index):
        await until(lambda: lines("story.failed"))
        await until(lambda: redis.exists(f"{keys.stories(1)}lists"))
    reader = StoryReader(redis, index, life=WEEK)
    assert len(await reader.find(now=NOW, lists=[name_of_conversation(ACCOUNT, "conv")])) == 1
    with pytest.raises(RedisError):
        await reader.erase(now=NOW, lists=[], digests=[], is_dry_run=True)


async def test_a_search_in_a_server_that_takes_no_writes(own_server, clients, clock):
    """What is indexed is found, though a batch waits that cannot be."""
    redis = clients(own_server.url)
    bounds = StoryBounds(WEEK, 100)
    reader = StoryReader(redis, StoryIndex(redis, Keys(), bounds, bounds), life=WEEK)
    writer = StoryWriter(redis, Keys(), life=WEEK, secret=SECRET, process="worker", clock=clock)
    await write(writer, about(1, "conv"))
    found = {"now": NOW, "lists": [name_of_conversation(ACCOUNT, "conv")]}
    assert len((await reader.find(**found))[0].lines) == 1
    await write(writer, about(2, "conv"))
    await redis.config_set("min-replicas-to-write", 1)
    assert len((await reader.find(**found))[0].lines) == 1
    await redis.config_set("min-replicas-to-write", 0)
    assert len((await reader.find(**found))[0].lines) == 2
