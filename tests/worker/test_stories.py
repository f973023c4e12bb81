"""The lines that a worker writes: after its commit, before its XACK, and again after a death in between."""

from __future__ import annotations

import pytest

from router.core.ledger.marker import Result
from router.core.stories import event_id, name_of_event, read_line
from router.streams.store.stories import StoryWriter
from router.streams.store.story_index import StoryBounds, StoryIndex, StoryReader
from router.worker.app import report_all
from router.worker.work import about_inbound, read_inbound
from tests.receiver.samples import mail_received
from tests.support.accounts import ACCOUNT, CUSTOMER
from tests.worker.payloads import redelivered


@pytest.fixture
def stories(harness):
    return StoryWriter(harness.redis, harness.keys, life=86_400, secret=b"s", process="worker", clock=harness.clock)


@pytest.fixture
def resolver(harness, stories):
    return harness.make_resolver(stories=stories)


async def told(harness, delivery):
    """Return the stages of a delivery's event, as they are in Redis."""
    event = event_id(delivery.text("key"))
    bounds, name = StoryBounds(86_400, 100), name_of_event(event)
    reader = StoryReader(harness.redis, StoryIndex(harness.redis, harness.keys, bounds, bounds), life=86_400)
    found = await reader.find(now=harness.clock(), lists=[name], pointers=[name])
    lines = [read_line(body) for one in found for body in one.lines]
    return [str(stage.stage) for line in lines if line.event == event for stage in line.stages]


async def test_death_between_commit_and_story(harness, resolver, stories):
    """The event is delivered again, publishes nothing anew, and its story is whole."""
    (first,) = await harness.receive(harness.sms())
    await harness.finish(first, by=resolver)
    await stories.flush()
    (delivery,) = await harness.receive(harness.sms())
    settled, left = await resolver.batches.settle([delivery], is_busy=lambda _: False)
    assert ([work.outcome.result for work in settled], left) == ([Result.KNOWN], [])
    assert await told(harness, delivery) == []  # the process dies here: committed, neither told nor acknowledged
    before = await harness.published()
    settled, _ = await resolver.batches.settle([redelivered(delivery)], is_busy=lambda _: False)
    report_all(settled, resolver)
    await stories.flush()
    assert await harness.published() == before
    assert await told(harness, delivery) == ["received", "resolved", "published"]


async def test_one_call_for_a_batch_before_the_xack(harness, resolver, monkeypatch):
    """The lines of a batch go out as one element of a list, in the pipeline of the XACK and before it."""
    sent, put = [], StoryWriter.put

    def noted(self, pipeline, batches):
        count = put(self, pipeline, batches)
        sent.extend([str(command[0][0]) for command in pipeline.command_stack] if batches else [])
        return count

    monkeypatch.setattr(StoryWriter, "put", noted)
    await harness.settle(harness.sms(), by=resolver)
    for _ in range(3):
        await harness.append(harness.sms())
    async with harness.consuming(resolver):
        await harness.finished()
    assert sent
    assert set(sent) == {"RPUSH", "EXPIRE"}
    assert len(sent) <= 8


async def test_a_large_batch_is_told_whole(harness, resolver, stories):
    """More lines than a batch of them has go out in several; none is lost."""
    await harness.settle(harness.sms(), by=resolver)
    await stories.flush()
    deliveries = await harness.receive(*[harness.sms() for _ in range(120)])
    settled, left = await resolver.batches.settle(deliveries, is_busy=lambda _: False)
    assert (len(settled), left) == (120, [])
    report_all(settled, resolver)
    assert sum(map(len, stories.lines.values())) == 120
    await stories.flush()
    for delivery in deliveries:
        assert await told(harness, delivery) == ["received", "resolved", "published"]


async def test_an_event_is_settled_though_its_line_cannot_be_made(harness, resolver, lines, monkeypatch):
    """Whatever an event holds: it is settled, and the loss is logged once."""

    def fail(*_):
        raise TypeError("no JSON")

    monkeypatch.setattr("router.worker.work.story_line", fail)
    assert await harness.settle(harness.sms(), by=resolver) != []
    assert await harness.settle(harness.sms(), by=resolver) == [Result.KNOWN]
    assert len(lines("story.failed")) == 1


async def test_a_mail_leaves_no_address(harness, resolver, stories):
    """Its Message-ID and its key, which may hold mailboxes, are masked in what is kept."""
    (delivery,) = await harness.receive(mail_received())
    await harness.finish(delivery, by=resolver)
    await stories.flush()
    assert await told(harness, delivery) != []
    for key in await harness.redis.keys("*:story:*"):
        if await harness.redis.type(key) == b"list":
            assert b"555.1@" not in b"".join(await harness.redis.lrange(key, 0, -1))


async def test_what_is_known_of_an_entry_without_settling_it(harness):
    """Its event, account, resource and customer; of one that cannot be read what its fields say."""
    (delivery,) = await harness.receive(harness.sms())
    about = about_inbound(delivery, read_inbound)
    assert (about.event, about.account) == (event_id(delivery.text("key")), ACCOUNT)
    assert (about.resource[:2], about.addresses) == ("SM", (CUSTOMER,))
    delivery.fields[b"body"] = b"\xff"
    assert about_inbound(delivery, read_inbound).addresses == (CUSTOMER,)
