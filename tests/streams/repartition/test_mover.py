"""Moving everything to another number of partitions: nothing is lost, doubled or out of order, wherever a run ends."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import orjson
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from router.agents.effects import Effects
from router.core.events import share
from router.core.keys import COMMANDER, RESOLVER, Keys, Target
from router.core.placement import FORMER, PLACES
from router.core.routing.choice import Need
from router.core.routing.commands import read_command
from router.core.routing.wishes import AgentCard, Wish
from router.streams.consuming.groups import Heartbeat, ensure_group
from router.streams.delivery import Delivery, StreamRef
from router.streams.repartition.copies import UnknownKeyError
from router.streams.repartition.mover import Mover, RepartitionError
from router.streams.repartition.streams import MOVER, Division
from router.streams.store.append import Appender, InboundFields
from router.streams.store.dead_letters import give_up, list_letters, replay_all
from router.streams.store.desk import Desk
from router.streams.store.ledgers import Store
from router.streams.store.parking import Parking, Waiting, count_parked
from router.streams.store.partitions import Phase, parse_layout, read_layout
from router.streams.store.recent import Recent
from router.streams.store.shared_bodies import SharedBodies, count_of
from router.streams.store.timers import Timers
from tests.support.accounts import ACCOUNT
from tests.support.keys import KINDS

pytestmark = pytest.mark.real

SUBJECTS = [f"SMS|+1555{number:07}" for number in range(12)]
CONVERSATIONS = [f"conv_conversation_{number}" for number in range(12)]
THEIRS = "reports"


def make_fields(subject, number, **changes):
    fields = {
        "source": "messaging",
        "account_id": ACCOUNT,
        "key": f"{subject}:{number}",
        "subject": subject,
        "received_at": 1_767_787_200_000_000,
        "body": b"Body=hi",
        "ttl": 86_400,
    }
    return InboundFields(**(fields | changes))


def event_of(conversation, number):
    data = {"account_id": ACCOUNT, "conversation": {"id": conversation}}
    return {"type": "x", "id": f"{conversation}.{number}", "event": orjson.dumps({"data": data})}


async def groups(redis, keys, key, names):
    for name in names:
        await ensure_group(redis, key, name)


async def fill(redis, keys):
    """Fill a namespace with what a deployment has: finished, pending, parked and unread entries, and all other keys."""
    appender = Appender(redis, keys)
    streams = [StreamRef(number, keys.inbound(number)) for number in range(keys.partitions)]
    for stream in streams:
        await groups(redis, keys, stream.key, [RESOLVER])
        for target in Target:
            await groups(redis, keys, keys.participants(stream.partition, target), [str(target), THEIRS])
    for number in range(2):
        for subject in SUBJECTS:
            assert await appender.append(make_fields(subject, number))
    for stream in streams:  # of each stream some entries are finished, one is pending, one is parked
        rows = await redis.xreadgroup(RESOLVER, "me", {stream.key: ">"}, count=8)
        ids = [entry_id.decode() for _, entries in rows for entry_id, _ in entries]
        fields = dict(entries for _, rows in rows for entries in rows)
        if len(ids) > 2:
            held = Delivery(stream, ids[-1], fields[ids[-1].encode()])
            await Parking(redis, keys, group=RESOLVER, consumer="me").park(
                stream, [(held.text("subject"), held)], Waiting("lane", "down")
            )
            await redis.xclaim(stream.key, RESOLVER, "me", 0, [ids[-2]], retrycount=3, justid=True)
            await redis.xack(stream.key, RESOLVER, *ids[:-2])
    for number in range(2, 4):
        for subject in SUBJECTS:
            assert await appender.append(make_fields(subject, number))
    await fill_entries(redis, keys)
    await fill_others(redis, keys)


async def fill_entries(redis, keys):
    for number in range(3):
        for conversation in CONVERSATIONS:
            partition = keys.partition_of(conversation)
            key = keys.participants(partition, Target.AI_AGENT)
            await redis.xadd(key, event_of(conversation, number))
            if number == 0:
                [[_, [(entry_id, _)]]] = await redis.xreadgroup(Target.AI_AGENT, "me", {key: ">"}, count=1)
                await redis.xack(key, Target.AI_AGENT, entry_id)
            if number < 2:
                [[_, [(entry_id, _)]]] = await redis.xreadgroup(THEIRS, "them", {key: ">"}, count=1)
            if number == 0:
                await redis.xack(key, THEIRS, entry_id)
            effect = Effects(redis, keys, Target.AI_AGENT).of(partition, f"{conversation}.{number}")
            await effect.end("done")
    conversation = CONVERSATIONS[0]
    key = keys.participants(keys.partition_of(conversation), Target.HUMAN_AGENT)
    await redis.xadd(key, event_of(conversation, 9))
    [[_, [(entry_id, fields)]]] = await redis.xreadgroup(Target.HUMAN_AGENT, "me", {key: ">"})
    delivery = Delivery(StreamRef(keys.partition_of(conversation), key), entry_id.decode(), fields)
    await give_up(redis, keys, delivery, group="human-agent", consumer="me", reason="r", deliveries=5, failed_at="now")


async def fill_others(redis, keys):
    store = Store(redis, keys, marker_ttl=3600, recent=Recent(redis, keys, window=3600))
    ledgers = [store.make_ledger(ACCOUNT, conversation) for conversation in CONVERSATIONS]
    for ledger in ledgers:
        ledger.put("status", "ACTIVE")
    assert all(await store.commit(ledgers))
    for name in CONVERSATIONS:
        await redis.set(keys.communication(ACCOUNT, name, "SM1"), "1", ex=600)
        await redis.set(keys.communication(ACCOUNT, name, "x" * 600), "1", ex=600)
        await redis.set(keys.route(ACCOUNT, f"pair|{name}"), name, ex=600)
        await redis.hset(keys.call(ACCOUNT, f"CA{name}"), "over", "1")
        await redis.expire(keys.call(ACCOUNT, f"CA{name}"), 600)
    for name in FORMER:
        await redis.set(f"{keys.namespace}:{{0}}:{name}:load", "1", ex=600)
    await fill_people(redis, keys)


async def fill_people(redis, keys):
    """A conversation in every state that the desk knows, timers of them, and commands: done, pending, unread."""
    desk = Desk(redis, keys, clock=lambda: 1000)
    await desk.arrive(AgentCard("dana", "Dana", 2), 10**12)
    await desk.settle(f"{ACCOUNT} {CONVERSATIONS[0]}", 1, Wish(holder="dana"))
    for conversation in CONVERSATIONS[1:4]:
        await desk.settle(f"{ACCOUNT} {conversation}", 1, Wish("default", need=Need(channel="SMS")))
    timers = Timers(redis, keys, clock=lambda: 1000)
    for number, conversation in enumerate(CONVERSATIONS):
        await timers.set(ACCOUNT, conversation, 1, 10**12 + number)
    for partition in range(keys.partitions):
        await groups(redis, keys, keys.commands(partition), [COMMANDER])
    for number in range(3):
        for conversation in CONVERSATIONS:
            key = keys.commands(keys.partition_of(conversation))
            await redis.xadd(key, command_of(number, conversation=conversation, reason="r"))
            if number < 2:
                [[_, [(entry_id, _)]]] = await redis.xreadgroup(COMMANDER, "me", {key: ">"}, count=1)
            if number == 0:
                await redis.xack(key, COMMANDER, entry_id)
    await redis.xadd(keys.commands(0), command_of(9, "agent.available", agent="dana"))


def command_of(number, kind="handoff.request", **data):
    command_id = f"{data.get('conversation', 'presence')}.{number}"
    document = {"specversion": "1.0", "id": command_id, "source": "/x", "type": f"command.{kind}", "data": data}
    return {"type": kind, "id": command_id, "command": orjson.dumps(document)}


def make_mover(redis, keys):
    return Mover(redis, keys, patience=0.0, say=lambda *_: None)


async def unfinished(redis, key, group):
    """Return the ids of a stream's entries that a group has not read, and of those that are pending."""
    found = await redis.xinfo_groups(key)
    last = next(row["last-delivered-id"] for row in found if row["name"].decode() == group)
    unread = [fields for _, fields in await redis.xrange(key, min=b"(" + last)]
    rows = await redis.xpending_range(key, group, "-", "+", 1000)
    pending = [(await redis.xrange(key, row["message_id"], row["message_id"]))[0][1] for row in rows]
    return pending, unread


async def summary(redis, keys):
    """Return what the streams say, whatever the number of partitions: all inbound entries and those left, by subject.

    Of the participants streams, what each group has not read and what is pending. Parked entries are not included.
    """
    found = defaultdict(list)
    for partition in range(keys.partitions):
        key = keys.inbound(partition)
        for _, fields in await redis.xrange(key):
            assert keys.partition_of(fields[b"subject"].decode()) == partition
            found[f"all {fields[b'subject'].decode()}"].append(fields[b"key"])
        pending, unread = await unfinished(redis, key, RESOLVER)
        for fields in [*pending, *unread]:
            found[f"left {fields[b'subject'].decode()}"].append(fields[b"key"])
        for target, group in (
            (Target.AI_AGENT, Target.AI_AGENT),
            (Target.AI_AGENT, THEIRS),
            (Target.HUMAN_AGENT, THEIRS),
            ("commands", COMMANDER),
        ):
            name = keys.commands(partition) if target == "commands" else keys.participants(partition, target)
            for kind, rows in zip(("pending", "unread"), await unfinished(redis, name, group), strict=True):
                found[f"{target} {group} {kind}"] += [fields[b"id"] for fields in rows]
    return {name: rows if name.startswith(("all", "left")) else sorted(rows) for name, rows in found.items()}


async def check(redis, keys, before):
    """Compare the moved data with what it was, through the parts of the project that use it."""
    after = await summary(redis, keys)
    assert {*after} == {*before}
    for name, rows in after.items():
        if name.startswith("left "):  # what was parked is pending now, in its place
            assert rows == sorted(rows)
            assert {*before[name]} <= {*rows}
        else:
            assert rows == before[name], name
    appender = Appender(redis, keys)
    for subject in SUBJECTS:
        for number in range(4):
            assert await appender.append(make_fields(subject, number)) is False, "a claim is lost"
    store = Store(redis, keys, marker_ttl=3600)
    for name in CONVERSATIONS:
        assert (await store.read_whole(ACCOUNT, name)).fields["status"] == "ACTIVE"
        assert 0 < await redis.ttl(keys.conversation(ACCOUNT, name)) <= 3600
        for key in (
            keys.communication(ACCOUNT, name, "SM1"),
            keys.communication(ACCOUNT, name, "x" * 600),
            keys.route(ACCOUNT, f"pair|{name}"),
            keys.call(ACCOUNT, f"CA{name}"),
        ):
            assert 0 < await redis.ttl(key) <= 600
        partition = keys.partition_of(name)
        assert await redis.zscore(keys.active(partition), f"{ACCOUNT} {name}")
        assert await redis.zscore(keys.sweeps(partition), f"{ACCOUNT} {name}")
        assert await Effects(redis, keys, Target.AI_AGENT).of(partition, f"{name}.1").outcome() == "done"
    assert await redis.exists(*[f"{keys.namespace}:{{0}}:{name}:load" for name in FORMER]) == len(FORMER)
    await check_people(redis, keys)
    await check_order(redis, keys)
    await check_letters(redis, keys)
    left = [key async for key in redis.scan_iter() if int(key.split(b"{")[1].split(b"}")[0]) >= keys.partitions]
    assert all(key.endswith(b":fence") for key in left)
    assert not [key async for key in redis.scan_iter("*:moving:*")]


async def check_people(redis, keys):
    """Deadlines and commands are where their conversations are, and never expire; the desk is as it was."""
    found = {}
    for partition in range(keys.partitions):
        for name, due in await redis.zrange(keys.timers(partition), 0, -1, withscores=True):
            conversation = name.decode().removeprefix(f"{ACCOUNT} ")
            assert keys.partition_of(conversation) == partition
            found[conversation] = due
        assert await redis.ttl(keys.timers(partition)) in {-1, -2}
        for row in await redis.xrange(keys.commands(partition)):
            subject = read_command(row[1]).subject
            assert partition == (keys.partition_of(subject) if subject else 0)
    assert found == {conversation: 10**12 + number for number, conversation in enumerate(CONVERSATIONS)}
    ((agent,), waiting) = await Desk(redis, keys, clock=lambda: 1000).look()
    assert (agent.identity, agent.load, set(waiting)) == ("dana", 2, {f"{ACCOUNT} {one}" for one in CONVERSATIONS[2:4]})


async def check_order(redis, keys):
    """Each unfinished entry names the one before it, and the next one appended will name the last."""
    for partition in range(keys.partitions):
        pending, unread = await unfinished(redis, keys.inbound(partition), RESOLVER)
        ids = {fields[b"key"]: entry_id for entry_id, fields in await redis.xrange(keys.inbound(partition))}
        last = {}
        for fields in [*pending, *unread]:
            if fields[b"subject"] in last:
                assert fields[b"after"] == ids[last[fields[b"subject"]]]
            last[fields[b"subject"]] = fields[b"key"]
        for subject, key in last.items():
            assert await redis.get(keys.latest(partition, ACCOUNT, subject.decode())) == ids[key]


async def check_letters(redis, keys):
    (letter,) = [one async for one in list_letters(redis, keys)]
    assert letter.stream == keys.participants(keys.partition_of(CONVERSATIONS[0]), Target.HUMAN_AGENT)
    [entry_id] = await replay_all(redis, keys, [letter], replayed_at="now")
    assert isinstance(entry_id, str)


@pytest.mark.parametrize(("old", "new"), [(1, 4), (4, 1), (3, 5), (5, 2)])
async def test_everything_is_moved(redis, old, new):
    """Entries keep their order and state, claims and ledgers are found, and nothing is left at the old places."""
    old, new = Keys(partitions=old), Keys(partitions=new)
    await fill(redis, old)
    before = await summary(redis, old)
    await make_mover(redis, old).move(new.partitions)
    assert (await read_layout(redis, new)).text == str(new.partitions)
    await check(redis, new, before)


class Interruption:
    """Stops a client's `at`-th round trip, before it is sent or after it is done; `count` counts them."""

    def __init__(self, client, at, act, *, is_after=False):
        self.at, self.act, self.is_after, self.count = at, act, is_after, 0
        self._execute, self._pipeline = client.execute_command, client.pipeline
        client.execute_command, client.pipeline = self.execute, self.pipeline

    async def call(self, run):
        self.count += 1
        if self.count == self.at and not self.is_after:
            await self.act()
        result = await run()
        if self.count == self.at and self.is_after:
            await self.act()
        return result

    async def execute(self, *args, **options):
        return await self.call(lambda: self._execute(*args, **options))

    def pipeline(self, *args, **options):
        pipeline = self._pipeline(*args, **options)
        run = pipeline.execute
        pipeline.execute = lambda **more: self.call(lambda: run(**more))
        return pipeline


async def crash():
    raise RedisConnectionError("killed here")


@pytest.mark.parametrize(("old", "new"), [(1, 4), (4, 1)])
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
async def test_a_run_that_is_killed_anywhere_is_continued(redis, redis_url, clients, old, new, is_after):
    """Whichever command is the last one that reaches Redis: a second run finishes, and the result is the same."""
    old, new = Keys(partitions=old), Keys(partitions=new)
    await fill(redis, old)
    counted = clients(redis_url)
    counting = Interruption(counted, 0, crash)
    await make_mover(counted, old).move(new.partitions)
    places = [*range(1, counting.count, max(1, counting.count // 12)), *range(counting.count - 4, counting.count + 1)]
    killed = 0
    for place in places:
        await redis.flushall()
        await fill(redis, old)
        before = await summary(redis, old)
        client = clients(redis_url)
        Interruption(client, place, crash, is_after=is_after)
        try:
            await make_mover(client, old).move(new.partitions)
        except RedisConnectionError:
            killed += 1
        await make_mover(redis, old).move(new.partitions)
        assert (await read_layout(redis, new)).text == str(new.partitions)
        await check(redis, new, before)
    assert killed > 8


async def test_a_run_that_was_held_up_disturbs_no_later_one(redis, redis_url, clients):
    """Another run takes over and finishes, and the data changes; then the first one goes on, and can write nothing."""
    old, new = Keys(), Keys(partitions=4)
    await fill(redis, old)
    counted = clients(redis_url)
    counting = Interruption(counted, 0, crash)
    await make_mover(counted, old).move(4)
    refused = 0
    for place in range(2, counting.count - 8, max(1, counting.count // 12)):
        await redis.flushall()
        await fill(redis, old)
        before = await summary(redis, old)
        held, reached = asyncio.Event(), asyncio.Event()

        async def hold(held=held, reached=reached):
            reached.set()
            await held.wait()

        client = clients(redis_url)
        Interruption(client, place, hold)
        first = asyncio.create_task(make_mover(client, old).move(4))
        await reached.wait()
        await make_mover(redis, old).move(4)
        held.set()
        (result,) = await asyncio.gather(first, return_exceptions=True)
        refused += isinstance(result, RepartitionError | ResponseError)
        await check(redis, new, before)
    assert refused > 8


async def test_until_the_switch_the_way_back_is_open(redis, redis_url, clients, monkeypatch):
    """The old number gives back what there was, and copies are deleted; another number is refused."""
    old = Keys(partitions=2)
    await fill(redis, old)
    before, keys_before = await summary(redis, old), {key async for key in redis.scan_iter()}
    monkeypatch.setattr(Division, "switch", crash_in_switch)
    monkeypatch.setattr(Mover, "_switch", crash_in_switch)
    with pytest.raises(RedisConnectionError):
        await make_mover(redis, old).move(3)
    monkeypatch.undo()
    layout = parse_layout(await redis.get(old.layout()))
    await redis.set(old.layout(), layout.text.replace("switching", "copying"))
    with pytest.raises(RepartitionError, match="run `repartition 3` to finish it, or `repartition 2` to go back"):
        await make_mover(redis, old).move(5)
    await make_mover(redis, old).move(2)
    assert (await read_layout(redis, old)).text == "2"
    assert await summary(redis, old) == before
    assert await count_parked(redis, old, old.inbound(0), RESOLVER) + await count_parked(
        redis, old, old.inbound(1), RESOLVER
    )
    left = {key async for key in redis.scan_iter()} - keys_before
    spare = (b":effect:", b":~")  # of effects and names that do not tell their owner, copies stay until they expire
    assert all(key.endswith((b":fence", b":partitions")) or any(one in key for one in spare) for key in left), left
    assert await Appender(redis, old).append(make_fields("new", 1))


async def crash_in_switch(*_):
    await crash()


async def test_consumers_that_do_not_stop_leave_everything_as_it_was(redis):
    """The reason names them, and no fence is closed."""
    keys = Keys()
    await fill(redis, keys)
    await redis.xgroup_createconsumer(keys.inbound(0), RESOLVER, "stubborn")
    async with Heartbeat(redis, [keys.heartbeat(0, RESOLVER, "stubborn")], ttl=60):
        with pytest.raises(RepartitionError, match="did not stop: stubborn"):
            await make_mover(redis, keys).move(4)
    assert (await read_layout(redis, keys)).text == "1"
    assert await Appender(redis, keys).append(make_fields("new", 1))


async def test_keys_of_an_unknown_kind_stop_the_move(redis):
    """A later version may have made them; the way back is open."""
    keys = Keys()
    await redis.set("router:{0}:novelty:x", "1", ex=60)
    with pytest.raises(UnknownKeyError, match="'novelty'"):
        await make_mover(redis, keys).move(4)
    await redis.delete("router:{0}:novelty:x")
    assert (await read_layout(redis, keys)).phase is Phase.COPYING
    await make_mover(redis, keys).move(1)
    assert (await read_layout(redis, keys)).text == "1"


async def test_moving_to_the_present_number_opens_closed_fences(redis):
    """That is how an operator repairs what a run left that was held up for very long."""
    keys = Keys(partitions=2)
    await read_layout(redis, keys)
    await redis.set(keys.fence(1), "closed x")
    await make_mover(redis, keys).move(2)
    assert [await redis.get(keys.fence(number)) for number in range(2)] == [b"2", b"2"]


async def test_a_shared_body_goes_with_its_entries(redis):
    """In each partition that has one of them, and for as long."""
    old, new = Keys(), Keys(partitions=4)
    appender, body = Appender(redis, old), share(b"a mail to many")
    for subject in SUBJECTS:
        assert await appender.append(make_fields(subject, 0, shared=body))
    await make_mover(redis, old).move(4)
    found = []
    for partition in range(4):
        rows = await redis.xrange(new.inbound(partition))
        deliveries = [Delivery(StreamRef(partition, "x"), entry_id.decode(), fields) for entry_id, fields in rows]
        found += deliveries
        assert {*(await SharedBodies(redis, new).read(deliveries)).values()} == {b"a mail to many"}
        assert await redis.zcard(new.shared_inbound(partition)) == 1
    assert len(found) == len(SUBJECTS)


async def test_what_another_group_has_parked_is_pending_for_the_mover_too(redis):
    """With its delivery count: a claimer takes it over as from any consumer whose end is no crash."""
    old, new = Keys(), Keys(partitions=2)
    await read_layout(redis, old)
    stream = StreamRef(0, old.participants(0, Target.AI_AGENT))
    await groups(redis, old, stream.key, [THEIRS])
    await redis.xadd(stream.key, event_of(CONVERSATIONS[0], 1))
    [[_, [(entry_id, fields)]]] = await redis.xreadgroup(THEIRS, "them", {stream.key: ">"})
    await redis.xclaim(stream.key, THEIRS, "them", 0, [entry_id], retrycount=3, justid=True)
    held = Delivery(stream, entry_id.decode(), fields)
    await Parking(redis, old, group=THEIRS, consumer="them").park(stream, [("S", held)], Waiting("lane", "down"))
    await make_mover(redis, old).move(2)
    partition = new.partition_of(CONVERSATIONS[0])
    [row] = await redis.xpending_range(new.participants(partition, Target.AI_AGENT), THEIRS, "-", "+", 10)
    assert (row["consumer"], row["times_delivered"]) == (MOVER.encode(), 3)
    assert await redis.hexists(new.deaths(partition, THEIRS), f"left:{MOVER}")


async def test_the_count_of_a_partition_is_not_taken_for_that_of_the_moved_entries(redis):
    """A body that entries of several partitions share is not removed with the last one of those that did not move."""
    old, new = Keys(partitions=4), Keys()
    appender, body = Appender(redis, old), share(b"a mail to many")
    for subject in SUBJECTS:
        assert await appender.append(make_fields(subject, 0, shared=body))
    count = count_of(body.name.encode())
    stayed = int(await redis.hget(old.shared(0), count))
    assert 0 < stayed < len(SUBJECTS)
    await make_mover(redis, old).move(1)
    assert await redis.hgetall(new.shared(0)) == {body.name.encode(): body.data}


def test_every_kind_of_key_has_its_place():
    """A new kind of key must say where it goes."""
    assert {*PLACES} == (KINDS - {"quarantine"}) | {"confirmation"}
