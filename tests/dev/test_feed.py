"""The feed of `dev`: lines in the order in which things happened, each once."""

from __future__ import annotations

import asyncio

import pytest

from router.dev.feed import QUIET, SETTLING, Feed
from router.dev.happening import Happening, LineKind
from router.dev.known import Known
from router.dev.layout import LineLayout
from router.tasks import end
from tests.support.waiting import until


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def feed(clock):
    return Feed(LineLayout(columns=lambda: 100), Known(), clock=clock)


@pytest.fixture
def texts(capsys):
    """Return the texts that were printed since the last call."""

    def texts():
        return [line[40:] for line in capsys.readouterr().out.splitlines()]

    return texts


def heard(at, text="", **more):
    return Happening(at, LineKind.HEARD, "SMS", text, **more)


def test_what_comes_late_is_printed_where_it_belongs(feed, clock, texts):
    """A log line is read after the entry that followed it: the times decide, not the reading."""
    feed.add(heard(2, "second"))
    clock.now += SETTLING / 2
    feed.add(heard(1, "first"))
    feed.add(heard(3, "third"))
    feed.flush(clock.now - SETTLING)
    assert texts() == []
    clock.now += SETTLING / 2
    feed.flush(clock.now - SETTLING)
    assert texts() == ["first", "second"]
    clock.now += SETTLING
    feed.flush(clock.now - SETTLING)
    assert texts() == ["third"]


def test_what_happened_at_the_same_time_keeps_the_order_of_its_reading(feed, texts):
    """An answer is read after its question."""
    for text in ("question", "answer"):
        feed.add(heard(7, text))
    feed.flush()
    assert texts() == ["question", "answer"]


def test_two_about_one_event_are_one_line(feed, texts):
    """A first message and the decision about its customer come as two entries; repeats are counted."""
    feed.add(heard(1, "", remark="ai-agent: default", same="one"))
    feed.add(heard(1, "Where is my order?", same="one"))
    for _ in range(3):
        feed.add(Happening(2, LineKind.REPEAT, "message", "again", same="again k"))
    feed.flush()
    assert texts() == ["Where is my order?  [ai-agent: default]", "again  [3 times]"]
    feed.add(heard(3, "later", same="one"))
    feed.flush()
    assert texts() == ["later"]


def test_a_trouble_that_is_reported_all_the_time_is_printed_once_in_a_while(feed, clock, texts):
    """An outage makes a line per event and process: one is printed, and later how many there were."""

    def report(times):
        for _ in range(times):
            feed.add(Happening(1, LineKind.TROUBLE, "worker", "Redis: away"))
            feed.flush()

    report(5)
    assert texts() == ["Redis: away"]
    clock.now += QUIET
    report(1)
    assert texts() == ["Redis: away  [5 times]"]
    feed.add(Happening(1, LineKind.TROUBLE, "web", "Redis: away"))
    feed.flush()
    assert texts() == ["Redis: away"]


async def test_the_feed_prints_by_itself(clock, texts):
    """Whatever has settled is printed soon."""
    feed = Feed(LineLayout(columns=lambda: 100), Known(), clock=clock)
    printing = asyncio.create_task(feed.run())
    feed.add(heard(1, "settled"))
    clock.now += SETTLING
    shown = []
    await until(lambda: shown.extend(texts()) or shown == ["settled"])
    await end(printing)
