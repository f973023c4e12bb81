"""The batch path: whole batches in a few round trips, in order, with the single path for the rest."""

import asyncio
import random
from types import SimpleNamespace

import pytest
from redis.exceptions import ResponseError
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
    conversation_id = f"conv_conversation_{number:026d}"
    ids = {"conversationId": conversation_id, "id": f"conv_participant_{number:026d}"}
    address = f"+1555100{number:04d}"
    return [
        harness.callback("CONVERSATION_CREATED", conversation() | {"id": conversation_id}),
        harness.callback("PARTICIPANT_ADDED", person(address=address) | ids),
        harness.callback("PARTICIPANT_UPDATED", person(address=address, name="a", updated=1) | ids),
        harness.callback("PARTICIPANT_UPDATED", person(address=address, name="b", updated=2) | ids),
        harness.callback("CONVERSATION_UPDATED", conversation("CLOSED", updated=3) | {"id": conversation_id}),
    ]


def shuffled(stories):
    """Mix stories, each in its own order."""
    mixed = [number for number, story in enumerate(stories) for _ in story]
    random.Random(7).shuffle(mixed)
    iterators = [iter(story) for story in stories]
    return [next(iterators[number]) for number in mixed]


async def test_each_conversation_of_a_batch_is_read_and_committed_once(harness, monkeypatch):
    """Each of a hundred conversations in a batch is read and committed once, its entries in order."""
    trips, seen = {"find_ledgers": [], "commit": []}, {"find_ledgers": [], "commit": []}
    for name in ("find_ledgers", "commit"):
        method = getattr(Store, name)

        async def counted(self, ones, method=method, name=name):
            trips[name].append(len(ones))
            seen[name] += [one.conversation_id for one in ones]
            return await method(self, ones)

        monkeypatch.setattr(Store, name, counted)
    webhooks = shuffled([story(harness, number) for number in range(CONVERSATIONS)])
    results = await harness.settle(*webhooks)
    assert len(trips["find_ledgers"]) == len(trips["commit"]) <= len(webhooks) // PART
    assert len(seen["find_ledgers"]) == len(seen["commit"]) == len(set(seen["commit"])) == CONVERSATIONS
    assert results.count(Result.JOINED) == results.count(Result.CLOSED) == CONVERSATIONS
    by_conversation = {}
    for entry in await harness.entries():
        by_conversation.setdefault(entry.data.conversation.id, []).append(entry.type.partition(".")[2])
    assert list(by_conversation.values()) == [["joined", "updated", "updated", "closed"]] * CONVERSATIONS


def bound(*names):
    """Return works with these subjects and conversations (None: without)."""
    works = [SimpleNamespace(entry=SimpleNamespace(subject=subject), account_id="a") for subject, _ in names]
    for one, (_, conversation_id) in zip(works, names, strict=True):
        one.needed = conversation_id and (conversation_id, [])
    return works


def test_parts_keep_subjects_and_conversations_together():
    """Works of one subject or conversation are in one part; all others fill the parts up."""
    works = bound(("s", None), *((f"s{number}", f"c{number}") for number in range(3 * PART)), ("s", "c0"), ("t", "c9"))
    parts = part_works(works)
    assert [len(part) for part in parts] == [PART + 2, PART, PART, 1]
    assert parts[0] == [*works[:PART], *works[-2:]]
    assert [work for part in parts for work in part if work not in works[-2:]] == works[:-2]


def test_a_work_that_belongs_to_two_parts_makes_them_one():
    """A work whose subject and conversation are in different parts makes them one, in order."""
    works = bound(("s", None), *((f"s{number}", f"c{number}") for number in range(PART)), ("s", f"c{PART - 1}"))
    assert part_works(works[:-1]) == [works[:PART], works[PART:-1]]
    assert part_works(works) == [works]


async def test_a_failed_part_fails_the_batch_after_all_have_ended(harness, monkeypatch):
    """A batch with a failed part fails only when no other part is being committed."""
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


async def test_a_repeated_batch_publishes_nothing(harness):
    """A batch that is repeated after a crash publishes nothing."""
    deliveries = await harness.receive(*(event for number in range(5) for event in story(harness, number)))
    await harness.work(deliveries)
    before = await harness.types()
    results = await harness.work(deliveries)
    assert set(results) <= {Result.KNOWN, Result.STALE}
    assert await harness.types() == before


async def test_an_event_that_needs_the_api_is_left_with_its_successors(harness):
    """A message of a new customer is left to the single path, with all later events of its subject."""
    known, new = harness.sms("+15551110001"), [harness.sms("+15551110002") for _ in range(3)]
    await harness.settle(harness.sms("+15551110001"))
    deliveries = await harness.receive(new[0], known, new[1], new[2])
    settled, left = await harness.resolver.batches.settle(deliveries, is_busy=lambda _: False)
    assert [work.delivery for work in settled] == [deliveries[1]]
    assert left == [deliveries[0], deliveries[2], deliveries[3]]


async def test_a_miss_is_not_read_again(harness, monkeypatch):
    """The single path reads no route for the first message of a new customer, only for the later ones."""
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


async def test_a_miss_is_used_for_its_first_attempt_only(harness):
    """A miss serves the first attempt of the same delivery after its batch, and no other."""
    deliveries = await harness.receive(harness.sms("+15551110002"))
    _, (delivery,) = await harness.resolver.batches.settle(deliveries, is_busy=lambda _: False)
    misses = harness.resolver.singles._misses
    assert misses.take(redelivered(delivery)) is None
    assert misses.take(delivery) is None, "its first attempt has been made"
    await harness.resolver.batches.settle(deliveries, is_busy=lambda _: False)
    assert misses.take(delivery).delivery is delivery
    await harness.resolver.batches.settle([], is_busy=lambda _: False)
    assert misses.take(delivery) is None


async def test_an_event_of_a_busy_subject_is_left(harness):
    """An event whose subject is in the window already is left to the single path."""
    deliveries = await harness.receive(*story(harness, 1), *story(harness, 2))
    busy = deliveries[0].text("subject")
    settled, left = await harness.resolver.batches.settle(deliveries, is_busy=lambda one: one.text("subject") == busy)
    assert (len(settled), left) == (5, deliveries[:5])


async def test_a_lost_race_is_left_to_the_single_path(harness, monkeypatch):
    """The events of a conversation that another worker changed meanwhile are left to the single path."""
    read = Store.find_ledgers
    changed = []

    async def read_then_change(self, queries):
        ledgers = await read(self, queries)
        if not changed:
            changed.append(queries[0].conversation_id)
            await harness.redis.hincrby(harness.keys.conversation(ACCOUNT, changed[0]), "rev", 1)
            await harness.redis.expire(harness.keys.conversation(ACCOUNT, changed[0]), 60)
        return ledgers

    monkeypatch.setattr(Store, "find_ledgers", read_then_change)
    deliveries = await harness.receive(*story(harness, 1), *story(harness, 2))
    settled, left = await harness.resolver.batches.settle(deliveries, is_busy=lambda _: False)
    assert [work.delivery for work in settled] == deliveries[5:]
    assert left == deliveries[:5]
    for delivery in left:
        await harness.resolver.singles.attempt(delivery)
    assert (await harness.types()).count("joined") == 2
    assert (await harness.types()).count("closed") == 2


async def test_a_missing_field_is_left_to_the_single_path(harness):
    """An event that needs a field that was not read is left to the single path; its neighbors are settled."""
    await harness.settle(harness.callback("PARTICIPANT_ADDED", person()))
    moved = person(updated=1, address="+15559990000")
    other = story(harness, 2)
    results = await harness.settle(harness.callback("PARTICIPANT_UPDATED", moved), *other)
    assert results[1:] == [Result.NOTED, Result.JOINED, Result.UPDATED, Result.UPDATED, Result.CLOSED]
    assert "updated" in await harness.types()
    again = person(2, address=CUSTOMER, updated=2)
    await harness.settle(harness.callback("PARTICIPANT_ADDED", again))
    assert (await harness.entries())[-1].data.participant.id == again["id"], "the address that was left is free"


async def test_unreadable_entries_do_not_hold_up_others(harness):
    """Unreadable entries become dead letters, and the entries around them are settled."""
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


async def test_a_refusal_becomes_a_dead_letter(harness, lines):
    """A message that the API refuses becomes a dead letter with the reason and without its address."""
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
async def test_an_outage_holds_up_only_events_that_need_the_api(harness, status, lines):
    """During an outage events wait, others go on, and none becomes a dead letter."""
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


async def test_a_failed_batch_is_settled_one_by_one(harness, monkeypatch, lines):
    """If the batch path fails as a whole, each of its events is settled by the single path."""
    await harness.ensure_group()

    async def fail(*_, **__):
        raise RuntimeError("made up")

    monkeypatch.setattr(BatchPath, "settle", fail)
    await harness.receive(*story(harness, 1))
    async with harness.consuming():
        await harness.finished()
    assert await harness.types() == ["joined", "updated", "updated", "closed"]
    assert lines("batch.failed")


async def test_log_lines_are_written_before_the_acknowledgement(harness, monkeypatch, lines):
    """The log lines of a batch are written before its XACK, so that none is lost in a crash."""
    await harness.ensure_group()
    acknowledge, written = PendingEntries.acknowledge, []

    async def count_lines(self, deliveries):
        written.append(len(lines("event")))
        await acknowledge(self, deliveries)

    monkeypatch.setattr(PendingEntries, "acknowledge", count_lines)
    await harness.receive(*story(harness, 1))
    async with harness.consuming():
        await harness.finished()
    assert written == [5]


async def test_a_redis_that_refuses_at_the_start_ends_the_worker(harness, monkeypatch, lines):
    """A worker that Redis refuses during its start ends with status 1 and the reason, without a traceback.

    An outage is waited for instead (tests/process/test_runner.py).
    """

    def refuse(*_):
        raise ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")

    monkeypatch.setattr(StreamConsumer, "running", refuse)
    assert await work(harness.settings()) == 1
    (line,) = lines("process.failed")
    assert line["reason"].startswith("Redis: ResponseError: WRONGTYPE")


async def test_an_event_that_keeps_failing_becomes_a_dead_letter(harness, monkeypatch):
    """An event that raises at every attempt becomes a dead letter; the others are settled."""
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


async def test_two_consumers_announce_each_customer_once(harness):
    """Two consumers of one stream announce each customer once."""
    await harness.ensure_group()
    await harness.receive(*(harness.sms(f"+1555444{number % 50:04d}") for number in range(200)))
    async with harness.consuming(ROUTER_BATCH="10"), harness.consuming(harness.make_resolver(), ROUTER_BATCH="10"):
        await harness.finished()
    entries = await harness.entries()
    assert [entry.type for entry in entries] == ["participant.joined"] * 50
    assert len(await harness.conversations()) == 50


async def test_callbacks_during_resolution_announce_once(make_harness):
    """Duplicated callbacks that arrive while their messages are resolved announce nobody again."""
    harness = await make_harness()
    await harness.ensure_group()
    resolvers = [harness.make_resolver(), harness.make_resolver()]
    async with harness.consuming(resolvers[0]), harness.consuming(resolvers[1]):
        await harness.receive(*(harness.sms(f"+1555777{number:04d}") for number in range(20)))
        await until(lambda: count_conversations(harness, 20))
        reports = [
            harness.callback("PARTICIPANT_ADDED", one)
            for each in await harness.conversations()
            for one in each["participants"]
            for _ in range(2)
        ]
        random.Random(3).shuffle(reports)
        await asyncio.gather(*(harness.receive(report) for report in reports))
        await harness.finished()
    assert await harness.types() == ["joined"] * 20


async def count_conversations(harness, number):
    return len(await harness.conversations()) == number


def test_mixing_keeps_the_order_of_each_story():
    """The mixing helper of this file keeps the order of each story."""
    assert [one for one in shuffled([[1, 2, 3], ["a", "b"]]) if isinstance(one, int)] == [1, 2, 3]
    assert at(1) > at(0)
