"""The quick path: whole batches in a handful of round trips, order kept, and the slow path behind it."""

import asyncio
import random
from types import SimpleNamespace

import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError

from router.core.ledger.marker import Result
from router.streams.consuming.consumer import StreamConsumer
from router.streams.consuming.pending import PendingEntries
from router.streams.delivery import Done
from router.streams.store.ledgers import Store
from router.worker.app import work
from router.worker.batches import PART, BatchPath, part_works
from router.worker.singles import SinglePath
from tests.support.accounts import ACCOUNT, CUSTOMER
from tests.support.waiting import until
from tests.worker.payloads import at, conversation, person, redelivered

CONVERSATIONS = 100


def story(harness, number):
    """Five events of one conversation, in order."""
    there = f"conv_conversation_{number:026d}"
    someone = {"conversationId": there, "id": f"conv_participant_{number:026d}"}
    address = f"+1555100{number:04d}"
    return [
        harness.callback("CONVERSATION_CREATED", conversation() | {"id": there}),
        harness.callback("PARTICIPANT_ADDED", person(address=address) | someone),
        harness.callback("PARTICIPANT_UPDATED", person(address=address, name="a", updated=1) | someone),
        harness.callback("PARTICIPANT_UPDATED", person(address=address, name="b", updated=2) | someone),
        harness.callback("CONVERSATION_UPDATED", conversation("CLOSED", updated=3) | {"id": there}),
    ]


def shuffled(stories):
    """Mix stories, each kept in its own order."""
    mixed = [number for number, story in enumerate(stories) for _ in story]
    random.Random(7).shuffle(mixed)
    iterators = [iter(story) for story in stories]
    return [next(iterators[number]) for number in mixed]


async def test_five_hundred_events_in_one_batch(harness, monkeypatch):
    """Five hundred events of a hundred conversations: each read and committed once, all its entries in order."""
    trips, seen = {"read_ledgers": [], "commit": []}, {"read_ledgers": [], "commit": []}
    for name in ("read_ledgers", "commit"):
        method = getattr(Store, name)

        async def counted(self, ones, method=method, name=name):
            trips[name].append(len(ones))
            seen[name] += [one.conversation_id for one in ones]
            return await method(self, ones)

        monkeypatch.setattr(Store, name, counted)
    webhooks = shuffled([story(harness, number) for number in range(CONVERSATIONS)])
    results = await harness.settle(*webhooks)
    assert len(trips["read_ledgers"]) == len(trips["commit"]) <= len(webhooks) // PART
    assert len(seen["read_ledgers"]) == len(seen["commit"]) == len(set(seen["commit"])) == CONVERSATIONS
    assert results.count(Result.JOINED) == results.count(Result.CLOSED) == CONVERSATIONS
    by_conversation = {}
    for entry in await harness.entries():
        by_conversation.setdefault(entry.data.conversation.id, []).append(entry.type.partition(".")[2])
    assert list(by_conversation.values()) == [["joined", "updated", "updated", "closed"]] * CONVERSATIONS


def bound(*names):
    """Return works of a subject each, and where they have one of a conversation."""
    works = [SimpleNamespace(entry=SimpleNamespace(subject=subject), account_id="a") for subject, _ in names]
    for one, (_, conversation_id) in zip(works, names, strict=True):
        one.needed = conversation_id and (conversation_id, [])
    return works


def test_parts_of_a_batch_keep_together_what_has_an_order():
    """A subject, and a conversation, are in one part whatever lies between; what has neither fills the parts up."""
    works = bound(("s", None), *((f"s{number}", f"c{number}") for number in range(3 * PART)), ("s", "c0"), ("t", "c9"))
    parts = part_works(works)
    assert [len(part) for part in parts] == [PART + 2, PART, PART, 1]
    assert parts[0] == [*works[:PART], *works[-2:]]
    assert [work for part in parts for work in part if work not in works[-2:]] == works[:-2]


def test_what_binds_two_parts_makes_them_one():
    """An event whose subject is in one part and whose conversation in another leaves all in the order that they had."""
    works = bound(("s", None), *((f"s{number}", f"c{number}") for number in range(PART)), ("s", f"c{PART - 1}"))
    assert part_works(works[:-1]) == [works[:PART], works[PART:-1]]
    assert part_works(works) == [works]


async def test_part_that_fails_fails_the_batch_once_all_have_ended(harness, monkeypatch):
    """No other part is still being committed when the batch is tried again one by one."""
    commit, ended = Store.commit, []

    async def fail_first(self, ledgers):
        if not ended:
            ended.append("failed")
            raise RedisTimeoutError("too slow")
        results = await commit(self, ledgers)
        ended.append("committed")
        return results

    monkeypatch.setattr(Store, "commit", fail_first)
    deliveries = await harness.receive(*(event for number in range(2 * PART) for event in story(harness, number)[:2]))
    with pytest.raises(RedisTimeoutError):
        await harness.resolver.batches.settle(deliveries, is_busy=lambda _: False)
    assert ended == ["failed", *["committed"] * 3]
    monkeypatch.setattr(Store, "commit", commit)
    await harness.work(deliveries)
    assert (await harness.types()).count("joined") == 2 * PART


async def test_batch_that_comes_twice_is_silent(harness):
    """A crash between commit and acknowledgement repeats the batch: nothing is published again."""
    deliveries = await harness.receive(*(event for number in range(5) for event in story(harness, number)))
    await harness.work(deliveries)
    before = await harness.types()
    results = await harness.work(deliveries)
    assert set(results) <= {Result.KNOWN, Result.STALE}
    assert await harness.types() == before


async def test_what_needs_the_api_is_left_with_all_that_follows_it(harness):
    """A customer who is new is left to the slow path, and so is everything later of the same subject, in order."""
    known, new = harness.sms("+15551110001"), [harness.sms("+15551110002") for _ in range(3)]
    await harness.settle(harness.sms("+15551110001"))
    deliveries = await harness.receive(new[0], known, new[1], new[2])
    settled, left = await harness.resolver.batches.settle(deliveries, is_busy=lambda _: False)
    assert [work.delivery for work in settled] == [deliveries[1]]
    assert left == [deliveries[0], deliveries[2], deliveries[3]]


async def test_a_newcomer_is_read_of_once(harness, monkeypatch):
    """The slow path goes on where the quick one ended, for the first of a subject alone: one API call for all."""
    reads, read = [], Store.read_routes

    async def counted(self, wanted):
        reads.append(len(wanted))
        return await read(self, wanted)

    monkeypatch.setattr(Store, "read_routes", counted)
    deliveries = await harness.receive(*(harness.sms("+15551110002") for _ in range(3)))
    _, left = await harness.resolver.batches.settle(deliveries, is_busy=lambda _: False)
    assert left == deliveries
    before = len(await harness.conversations())
    for delivery in left:
        assert isinstance(await harness.resolver.singles.attempt(delivery), Done)
    assert reads == [3, 1, 1], "the batch, then each that is not the first"
    assert len(await harness.conversations()) == before + 1
    assert await harness.types() == ["joined"]


async def test_a_newcomer_that_is_tried_again_begins_at_the_beginning(harness):
    """What was read for the first try is not used for another, nor for another delivery of the entry."""
    deliveries = await harness.receive(harness.sms("+15551110002"))
    _, (delivery,) = await harness.resolver.batches.settle(deliveries, is_busy=lambda _: False)
    newcomers = harness.resolver.singles._misses
    assert newcomers.take(redelivered(delivery)) is None
    assert newcomers.take(delivery) is None, "it was tried"
    await harness.resolver.batches.settle(deliveries, is_busy=lambda _: False)
    assert newcomers.take(delivery).delivery is delivery
    await harness.resolver.batches.settle([], is_busy=lambda _: False)
    assert newcomers.take(delivery) is None


async def test_what_is_busy_is_left(harness):
    """What the window is working on already is not overtaken by a batch."""
    deliveries = await harness.receive(*story(harness, 1), *story(harness, 2))
    busy = deliveries[0].text("subject")
    settled, left = await harness.resolver.batches.settle(deliveries, is_busy=lambda subject: subject == busy)
    assert (len(settled), left) == (5, deliveries[:5])


async def test_lost_race_falls_to_the_slow_path(harness, monkeypatch):
    """A conversation that somebody else changed meanwhile is taken back as a whole and settled one by one."""
    read = Store.read_ledgers
    spoiled = []

    async def read_then_change(self, queries):
        ledgers = await read(self, queries)
        if not spoiled:
            spoiled.append(queries[0].conversation_id)
            await harness.redis.hincrby(harness.keys.conversation(ACCOUNT, spoiled[0]), "rev", 1)
            await harness.redis.expire(harness.keys.conversation(ACCOUNT, spoiled[0]), 60)
        return ledgers

    monkeypatch.setattr(Store, "read_ledgers", read_then_change)
    deliveries = await harness.receive(*story(harness, 1), *story(harness, 2))
    settled, left = await harness.resolver.batches.settle(deliveries, is_busy=lambda _: False)
    assert [work.delivery for work in settled] == deliveries[5:]
    assert left == deliveries[:5]
    for delivery in left:
        await harness.resolver.singles.attempt(delivery)
    assert (await harness.types()).count("joined") == 2
    assert (await harness.types()).count("closed") == 2


async def test_field_that_was_not_read_falls_to_the_slow_path(harness):
    """A removal that needs an address the event does not carry is read again with it; its neighbors are settled."""
    await harness.settle(harness.callback("PARTICIPANT_ADDED", person()))
    moved = person(updated=1, address="+15559990000")
    other = story(harness, 2)
    results = await harness.settle(harness.callback("PARTICIPANT_UPDATED", moved), *other)
    assert results[1:] == [Result.NOTED, Result.JOINED, Result.UPDATED, Result.UPDATED, Result.CLOSED]
    assert "updated" in await harness.types()
    again = person(2, address=CUSTOMER, updated=2)
    await harness.settle(harness.callback("PARTICIPANT_ADDED", again))
    assert (await harness.entries())[-1].data.participant.id == again["id"], "the address that was left is free"


async def test_unreadable_entries_pass_their_neighbors(harness):
    """Entries that nobody can read become dead letters; those around them are settled."""
    await harness.ensure_group()
    junk = [
        {"x": "y"},
        {"source": "fax", "account": ACCOUNT, "body": "hi"},
        {"source": "conversations", "body": b"\xff\xfe"},
    ]
    for number, fields in enumerate(junk):
        await harness.redis.xadd(harness.inbound.key, fields)
        await harness.receive(harness.sms(f"+1555200000{number}"))
    async with harness.consuming():
        await harness.finished()
    letters = await harness.dead_letters()
    assert len(letters) == 3
    assert all(b"UnreadableError" in letter[b"dead-reason"] for letter in letters)
    assert len(await harness.entries()) == 3


async def test_consumer_makes_a_dead_letter_of_a_refusal(harness, lines):
    """400 through the real consumer: a dead letter with where it came from and why, without the address in it."""
    await harness.ensure_group()
    harness.fault(status=400)
    await harness.receive(harness.sms())
    async with harness.consuming():
        await harness.finished()
    (letter,) = await harness.dead_letters()
    assert b"HTTP 400" in letter[b"dead-reason"]
    assert CUSTOMER.encode() not in letter[b"dead-reason"]
    assert letter[b"source"] == b"messaging"
    assert len(lines("event.dead")) == 1


@pytest.mark.parametrize("status", [401, 429, 500, 503])
async def test_consumer_waits_out_an_outage(harness, status, lines):
    """However long it lasts, an outage makes no dead letter: events wait, others go on, and then all arrive."""
    await harness.ensure_group()
    await harness.settle(harness.sms("+15551110000"))
    harness.resolver = harness.make_resolver(retries=0)
    harness.fault(status=status)
    await harness.receive(*(harness.sms(f"+1555111{number:04d}") for number in range(5)))
    async with harness.consuming(ROUTER_MAX_DELIVERIES="1"):
        await until(lambda: len(lines("event.waiting")) >= 4)
        await harness.receive(harness.callback("PARTICIPANT_ADDED", person()))
        await until(lambda: has_entry(harness, person()["id"]))
        harness.clear_faults()
        await harness.finished()
    assert await harness.dead_letters() == []
    assert len(await harness.entries()) == 6


async def has_entry(harness, participant_id):
    return any(entry.subject == participant_id for entry in await harness.entries())


async def test_failure_of_a_batch_is_each_entrys_own(harness, monkeypatch, lines):
    """If the quick path breaks as a whole, every entry of the batch is settled one by one."""
    await harness.ensure_group()

    async def fail(*_, **__):
        raise RuntimeError("made up")

    monkeypatch.setattr(BatchPath, "settle", fail)
    await harness.receive(*story(harness, 1))
    async with harness.consuming():
        await harness.finished()
    assert await harness.types() == ["joined", "updated", "updated", "closed"]
    assert lines("batch.failed")


async def test_a_batch_is_told_of_before_it_is_acknowledged(harness, monkeypatch, lines):
    """Whoever dies in between tells of it again: no event, ignored ones least of all, ends without its log line."""
    await harness.ensure_group()
    acknowledge, told = PendingEntries.acknowledge, []

    async def look(self, deliveries):
        told.append(len(lines("event")))
        await acknowledge(self, deliveries)

    monkeypatch.setattr(PendingEntries, "acknowledge", look)
    await harness.receive(*story(harness, 1))
    async with harness.consuming():
        await harness.finished()
    assert told == [5]


async def test_redis_that_goes_away_during_the_start_ends_the_worker_with_a_line(harness, monkeypatch, lines):
    """It had answered, and then did not: status 1 and the reason, for a supervisor and a person, and no traceback."""

    def stall(_):
        raise RedisTimeoutError("Timeout reading")

    monkeypatch.setattr(StreamConsumer, "running", stall)
    assert await work(harness.settings()) == 1
    assert [line["reason"] for line in lines("process.failed")] == ["Redis: TimeoutError: Timeout reading"]


async def test_event_that_fails_again_and_again_becomes_a_dead_letter(harness, monkeypatch):
    """A fault of ours that one event brings out costs that event only, after the tries that are allowed."""
    await harness.ensure_group()
    attempt = SinglePath.attempt

    async def fail(self, delivery):
        if b"poison" in delivery.fields[b"body"]:
            raise RuntimeError("made up")
        return await attempt(self, delivery)

    monkeypatch.setattr(SinglePath, "attempt", fail)
    await harness.receive(harness.sms("+15553330001"), harness.sms("poison"), harness.sms("+15553330002"))
    async with harness.consuming(ROUTER_MAX_DELIVERIES="2"):
        await harness.finished()
    (letter,) = await harness.dead_letters()
    assert letter[b"dead-reason"] == b"RuntimeError: made up"
    assert len(await harness.entries()) == 2


async def test_two_consumers_share_the_work(harness):
    """Two workers on one stream: every customer is announced once."""
    await harness.ensure_group()
    await harness.receive(*(harness.sms(f"+1555444{number % 50:04d}") for number in range(200)))
    async with harness.consuming(ROUTER_BATCH="10"), harness.consuming(harness.make_resolver(), ROUTER_BATCH="10"):
        await harness.finished()
    entries = await harness.entries()
    assert [entry.type for entry in entries] == ["participant.joined"] * 50
    assert len(await harness.conversations()) == 50


async def test_callbacks_that_come_while_messages_are_resolved(make_harness):
    """The sandbox tells of everything that the workers do, twice and out of order: still one joined a customer."""
    harness = await make_harness()
    await harness.ensure_group()
    resolvers = [harness.make_resolver(), harness.make_resolver()]
    async with harness.consuming(resolvers[0]), harness.consuming(resolvers[1]):
        await harness.receive(*(harness.sms(f"+1555777{number:04d}") for number in range(20)))
        await until(lambda: count_conversations(harness, 20))
        reports = [
            harness.callback("PARTICIPANT_ADDED", one)
            for there in await harness.conversations()
            for one in there["participants"]
            for _ in range(2)
        ]
        random.Random(3).shuffle(reports)
        await asyncio.gather(*(harness.receive(report) for report in reports))
        await harness.finished()
    assert await harness.types() == ["joined"] * 20


async def count_conversations(harness, number):
    return len(await harness.conversations()) == number


def test_stories_are_told_in_order():
    """The helper of this file keeps each story's order."""
    assert [one for one in shuffled([[1, 2, 3], ["a", "b"]]) if isinstance(one, int)] == [1, 2, 3]
    assert at(1) > at(0)
