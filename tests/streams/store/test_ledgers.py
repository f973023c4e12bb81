"""Commits: all or nothing, one winner per revision, entries on the stream of their target; and the caches."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from router.core.addresses import Address
from router.core.entries import ClosedData, EntryCause, EntryConversation, draft_entry, read_entry
from router.core.judging.routes import Route, pair_of
from router.core.keys import Keys, Target
from router.core.ledger.ledger import Ledger
from router.core.ledger.marker import Claim, Hearing, Result, fields_for
from router.core.values import replace
from router.streams.client.connection import RedisError
from router.streams.store.commits import CLOSED_LIFE, MAX_LEDGERS
from router.streams.store.ledgers import ROUTE_LIFE, LedgerQuery, Store
from tests.core.builders import CONVERSATION, OTHER, TO_AI, TO_PEOPLE, make_fact, make_participant
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT

pytestmark = pytest.mark.real

MARKER_TTL = 5_000


@pytest.fixture
def store(redis, keys):
    return Store(redis, keys, marker_ttl=MARKER_TTL)


def make_ledger(conversation_id=CONVERSATION, revision=None, **changes):
    fields = {} if revision is None else {"rev": str(revision)}
    ledger = Ledger("router", ACCOUNT, conversation_id, fields)
    for name, value in changes.items():
        ledger.put(name, value)
    return ledger


def make_closed(target, conversation_id=CONVERSATION):
    cause = EntryCause(source="test", event_type="t", idempotency_key="k", received_at="2026-01-07T12:00:00Z")
    conversation = EntryConversation(id=conversation_id)
    data = ClosedData(target=target, reason="r", account_id=ACCOUNT, conversation=conversation, cause=cause)
    dumped = data.model_dump(mode="json")
    return draft_entry(
        data.type, dumped, namespace="router", subject=conversation_id, distinction="closed", occurred_at=0
    )


async def read_hash(redis, keys, conversation_id=CONVERSATION):
    return await redis.hgetall(keys.conversation(ACCOUNT, conversation_id))


async def test_a_commit_sets_and_removes_fields_and_renews_the_marker_ttl(store, redis, keys):
    """Changes are applied, the revision is incremented, and the TTL starts anew."""
    assert await store.commit([make_ledger(status="ACTIVE", reason="a")]) == [True]
    key = keys.conversation(ACCOUNT, CONVERSATION)
    await redis.expire(key, 10)
    second = Ledger("router", ACCOUNT, CONVERSATION, {"rev": "1", "reason": "a"})
    second.put("reason", None)
    second.put("target", "ai-agent")
    assert await store.commit([second]) == [True]
    found = await redis.hgetall(key)
    assert found == {b"rev": b"2", b"format": b"3", b"status": b"ACTIVE", b"target": b"ai-agent"}
    assert MARKER_TTL - 5 <= await redis.ttl(key) <= MARKER_TTL


@pytest.mark.parametrize("target", list(Target))
async def test_an_entry_goes_to_the_stream_of_its_target_only(store, redis, keys, target):
    """It has three fields there and reads back as it was made."""
    ledger, entry = make_ledger(status="CLOSED"), make_closed(target)
    ledger.entries.append(entry)
    assert await store.commit([ledger]) == [True]
    for each in Target:
        rows = await redis.xrange(keys.participants(0, each))
        assert len(rows) == (each is target)
    [(_, fields)] = await redis.xrange(keys.participants(0, target))
    assert set(fields) == {b"type", b"id", b"event"}
    assert (fields[b"type"], fields[b"id"]) == (b"conversation.closed", entry.id.encode())
    assert fields[b"event"].decode() == entry.to_fields()["event"]
    assert read_entry(fields[b"event"]).id == entry.id


async def test_entries_of_one_commit_keep_their_order(store, redis, keys):
    """They are on the stream in the order in which they were made."""
    ledger = make_ledger(status="ACTIVE")
    ledger.entries += [make_closed(Target.AI_AGENT, f"c{number}") for number in range(5)]
    await store.commit([ledger])
    rows = await redis.xrange(keys.participants(0, Target.AI_AGENT))
    assert [read_entry(fields[b"event"]).subject for _, fields in rows] == [f"c{number}" for number in range(5)]


async def test_a_commit_of_an_outdated_revision_changes_nothing(store, redis, keys):
    """If another worker committed since the ledger was read, fields, entries and TTL stay as they are."""
    await store.commit([make_ledger(status="ACTIVE")])
    before = await read_hash(redis, keys)
    late = make_ledger(status="CLOSED", reason=None)
    late.entries.append(make_closed(Target.AI_AGENT))
    assert await store.commit([late]) == [False]
    assert await read_hash(redis, keys) == before
    assert not await redis.exists(keys.participants(0, Target.AI_AGENT))


async def test_a_commit_that_cannot_publish_changes_nothing(store, redis, keys):
    """If the stream's key has another type the commit is an error and the conversation stays as it was."""
    await redis.set(keys.participants(0, Target.AI_AGENT), "no stream", px=60_000)
    ledger = make_ledger(status="CLOSED")
    ledger.entries.append(make_closed(Target.AI_AGENT))
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await store.commit([ledger])
    assert await read_hash(redis, keys) == {}


async def test_ledgers_of_a_batch_are_committed_independently(store, redis, keys):
    """In one round trip one conversation may conflict while the others are committed."""
    await store.commit([make_ledger(status="ACTIVE")])
    ledgers = [make_ledger(status="CLOSED"), make_ledger(OTHER, status="ACTIVE")]
    assert await store.commit(ledgers) == [False, True]
    assert (await read_hash(redis, keys, OTHER))[b"status"] == b"ACTIVE"
    assert await store.commit([]) == []


async def test_a_batch_of_several_calls_keeps_its_order(store, redis, keys):
    """Results and entries are in the order of the batch, each ledger committed or refused by itself."""
    names = [f"conv_{number}" for number in range(2 * MAX_LEDGERS + 5)]
    for name in names[::10]:
        assert await store.commit([make_ledger(name, status="ACTIVE")]) == [True]
    ledgers = [make_ledger(name, status="CLOSED") for name in names]
    for ledger in ledgers:
        ledger.entries.append(make_closed(Target.AI_AGENT, ledger.conversation_id))
    assert await store.commit(ledgers) == [number % 10 != 0 for number in range(len(names))]
    rows = await redis.xrange(keys.participants(0, Target.AI_AGENT))
    assert [read_entry(fields[b"event"]).subject for _, fields in rows] == [
        name for number, name in enumerate(names) if number % 10
    ]
    queries = [LedgerQuery(ACCOUNT, name, ("rev", "status")) for name in names]
    states = [ledger.fields["status"] for ledger in await store.read_ledgers(queries)]
    assert states == ["CLOSED" if number % 10 else "ACTIVE" for number in range(len(names))]


async def test_after_an_error_the_other_ledgers_of_the_call_can_be_repeated(store, redis, keys):
    """Ledgers that share its call may be committed or not; repeated, they are, and nothing is published twice."""
    await redis.set(keys.conversation(ACCOUNT, OTHER), "no hash", px=60_000)
    claim = Claim(("SM1",), 60)

    def make_claiming(conversation_id):
        ledger = make_ledger(conversation_id, status="ACTIVE")
        entry = make_closed(Target.AI_AGENT, conversation_id)
        ledger.entries.append(entry)
        ledger.claims[entry.id] = claim
        return ledger

    with pytest.raises(RedisError, match="WRONGTYPE"):
        await store.commit([make_claiming(CONVERSATION), make_claiming(OTHER), make_claiming("conv_last")])
    for conversation_id in (CONVERSATION, "conv_last"):
        (ledger,) = await store.read_ledgers([LedgerQuery(ACCOUNT, conversation_id, ("rev", "status"))])
        again = make_claiming(conversation_id)
        again.fields["rev"] = str(ledger.revision)
        assert await store.commit([again]) == [True]
    rows = await redis.xrange(keys.participants(0, Target.AI_AGENT))
    assert [read_entry(fields[b"event"]).subject for _, fields in rows] == [CONVERSATION, "conv_last"]


async def test_a_commit_of_thousands_of_fields_is_applied_completely(store, redis, keys):
    """A conversation of 3,000 participants can be committed at once: no limit of Lua truncates it."""
    changes = {f"p:{number}": "{}" for number in range(6_000)}
    ledger = make_ledger(**changes)
    ledger.entries.append(make_closed(Target.AI_AGENT))
    assert await store.commit([ledger]) == [True]
    assert len(await read_hash(redis, keys)) == 6_000 + len(("rev", "format"))
    emptied = Ledger("router", ACCOUNT, CONVERSATION, {"rev": "1"} | changes)
    for name in changes:
        emptied.put(name, None)
    emptied.put("r:SMS", "x")
    assert await store.commit([emptied]) == [True]
    assert await read_hash(redis, keys) == {b"rev": b"2", b"format": b"3", b"r:SMS": b"x"}


async def test_ledgers_are_read_with_the_fields_of_their_queries(store):
    """They come in the order of the queries, with fields as text; a missing field is missing, not empty."""
    await store.commit([make_ledger(status="ACTIVE"), make_ledger(OTHER, target="ai-agent")])
    queries = [LedgerQuery(ACCOUNT, one, ("rev", "status", "target")) for one in (OTHER, CONVERSATION, "unknown")]
    other, first, unknown = await store.read_ledgers(queries)
    assert other.fields == {"rev": "1", "target": "ai-agent"}
    assert first.fields == {"rev": "1", "status": "ACTIVE"}
    assert (unknown.fields, unknown.revision) == ({}, 0)
    assert set(first.known) == {"rev", "status", "target"}


async def take_until_committed(store, participant_id, address, decision):
    """Process one participant as the worker does: read, apply, commit, and again after a conflict."""
    names = tuple(fields_for([participant_id], [address]))
    while True:
        [ledger] = await store.read_ledgers([LedgerQuery(ACCOUNT, CONVERSATION, names)])
        outcome = ledger.take_participant(make_fact(make_participant(participant_id, address), decision=decision))
        if not ledger.changes or (await store.commit([ledger]))[0]:
            return outcome.result


async def test_two_workers_racing_announce_each_participant_once(store, clients, redis_url, redis, keys):
    """50 participants of one conversation, each processed by both workers: 50 entries, one target."""
    other = Store(clients(redis_url), keys, marker_ttl=MARKER_TTL)
    addresses = [Address("SMS", f"+1415555{number:04}") for number in range(50)]
    results = await asyncio.gather(
        *[
            take_until_committed(one, f"p{number}", address, decision)
            for number, address in enumerate(addresses)
            for one, decision in ((store, TO_AI), (other, TO_PEOPLE))
        ]
    )
    assert results.count(Result.JOINED) == 50
    rows = [row for target in Target for row in await redis.xrange(keys.participants(0, target))]
    joined = [read_entry(fields[b"event"]) for _, fields in rows]
    assert sorted(entry.subject for entry in joined) == sorted(f"p{number}" for number in range(50))
    assert len({entry.data.target for entry in joined}) == 1
    assert int((await read_hash(redis, keys))[b"rev"]) == 50


def make_claimed(*names, revision=None, life=60, number=1, **changes):
    """Return a ledger with an entry whose claims have these names."""
    ledger = make_ledger(revision=revision, **changes)
    entry = make_closed(Target.AI_AGENT, f"c{number}")
    ledger.entries.append(entry)
    ledger.claims[entry.id] = Claim(names, life)
    return ledger


async def published(redis, keys):
    """Return the subjects of the published entries."""
    rows = await redis.xrange(keys.participants(0, Target.AI_AGENT))
    return [read_entry(fields[b"event"]).subject for _, fields in rows]


async def test_a_commit_of_entries_alone_keeps_the_revision(store, redis, keys):
    """Two workers that read the same revision and only publish do not conflict; one that changes fields does."""
    await store.commit([make_ledger(status="ACTIVE")])
    before = await read_hash(redis, keys)
    for number in (1, 2):
        assert await store.commit([make_claimed(f"SM{number}", revision=1, number=number)]) == [True]
    assert await published(redis, keys) == ["c1", "c2"]
    assert await read_hash(redis, keys) == before
    await store.commit([make_ledger(revision=1, status="CLOSED")])
    late = make_claimed("SM3", revision=1, number=3)
    assert await store.commit([late]) == [False]
    assert not late.is_committed
    assert await published(redis, keys) == ["c1", "c2"]
    assert not await redis.exists(keys.communication(ACCOUNT, CONVERSATION, "SM3"))


async def test_a_certain_report_replaces_a_claim_on_trust(store, redis, keys):
    """A claim on trust becomes certain with the first certain report, and stays so."""
    values = []
    for number, is_certain in enumerate((False, True, False), 1):
        ledger = make_claimed("SM1", revision=0, number=number)
        ledger.claims = {name: replace(claim, is_certain=is_certain) for name, claim in ledger.claims.items()}
        assert await store.commit([ledger]) == [True]
        values += await store.read_claims(ACCOUNT, CONVERSATION, ["SM1"])
    assert values == [Hearing.ON_TRUST, Hearing.CERTAIN, Hearing.CERTAIN]
    assert await published(redis, keys) == ["c1"]
    assert await store.read_claims(ACCOUNT, CONVERSATION, ["SM2"]) == [None]


async def test_a_claimed_entry_is_published_once(store, redis, keys):
    """An entry with a claim that exists is left out and its other claims are made; the rest is committed."""
    first, second = make_claimed("SM1", life=60), make_claimed("SM1", "c1", revision=0, number=2, status="ACTIVE")
    second.entries.append(make_closed(Target.AI_AGENT, "c9"))
    third = make_claimed("c1", revision=1, number=3)
    for ledger in (first, second, third):
        assert await store.commit([ledger]) == [True]
        assert ledger.is_committed
    assert await published(redis, keys) == ["c1", "c9"]
    assert [len(ledger.repeated) for ledger in (first, second, third)] == [0, 1, 1]
    assert second.repeated == {second.entries[0].id}
    assert (await read_hash(redis, keys))[b"status"] == b"ACTIVE"
    assert 55 <= await redis.ttl(keys.communication(ACCOUNT, CONVERSATION, "SM1")) <= 60


async def test_claims_belong_to_one_conversation(store, redis, keys):
    """The same name in another conversation is another communication."""
    other = make_claimed("SM1", number=2)
    other.conversation_id = OTHER
    assert await store.commit([make_claimed("SM1"), other]) == [True, True]
    assert await published(redis, keys) == ["c1", "c2"]


async def test_a_commit_that_cannot_publish_claims_nothing(store, redis, keys):
    """A retry after the failure publishes the entry."""
    await redis.set(keys.participants(0, Target.AI_AGENT), "no stream", px=60_000)
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await store.commit([make_claimed("SM1")])
    await redis.delete(keys.participants(0, Target.AI_AGENT))
    assert await store.commit([make_claimed("SM1")]) == [True]
    assert await published(redis, keys) == ["c1"]


async def test_two_workers_racing_publish_each_communication_once(store, clients, redis_url, redis, keys):
    """Fifty messages of one conversation, each given to two workers: fifty entries, and no conflict."""
    other = Store(clients(redis_url), keys, marker_ttl=MARKER_TTL)
    jobs = [one.commit([make_claimed(f"SM{number}", number=number)]) for number in range(50) for one in (store, other)]
    assert await asyncio.gather(*jobs) == [[True]] * 100
    assert sorted(await published(redis, keys)) == sorted(f"c{number}" for number in range(50))


async def test_a_commit_repeated_after_a_lost_answer_publishes_nothing(store, redis, keys):
    """A worker that got no answer reads again and finds the participant committed."""
    address = Address("SMS", "+14155550101")
    assert await take_until_committed(store, "p1", address, TO_AI) is Result.JOINED
    assert await take_until_committed(store, "p1", address, TO_AI) is Result.KNOWN
    assert await redis.xlen(keys.participants(0, Target.AI_AGENT)) == 1


async def test_a_commit_stays_in_the_partition_of_its_conversation(redis):
    """Hash and stream of one conversation share a hash slot."""
    keys = Keys(partitions=3)
    store = Store(redis, keys, marker_ttl=MARKER_TTL)
    names = [f"conversation-{number}" for number in range(12)]
    ledgers = [make_ledger(name, status="CLOSED") for name in names]
    for ledger in ledgers:
        ledger.entries.append(make_closed(Target.HUMAN_AGENT, ledger.conversation_id))
    await store.commit(ledgers)
    for partition in range(3):
        rows = await redis.xrange(keys.participants(partition, Target.HUMAN_AGENT))
        assert [read_entry(fields[b"event"]).subject for _, fields in rows] == [
            name for name in names if keys.partition_of(name) == partition
        ]


async def test_a_closed_conversation_expires_sooner(redis, keys):
    """No event of it can arrive any more; a shorter marker TTL applies too."""
    for marker_ttl, life in ((180 * 86_400, CLOSED_LIFE), (MARKER_TTL, MARKER_TTL)):
        store = Store(redis, keys, marker_ttl=marker_ttl)
        conversation_id = f"conv_{marker_ttl}"
        await store.commit([make_ledger(conversation_id, status="ACTIVE")])
        key = keys.conversation(ACCOUNT, conversation_id)
        assert marker_ttl - 5 <= await redis.ttl(key) <= marker_ttl
        (ledger,) = await store.read_ledgers([LedgerQuery(ACCOUNT, conversation_id, tuple(fields_for((), ())))])
        ledger.put("status", "CLOSED")
        await store.commit([ledger])
        assert life - 5 <= await redis.ttl(key) <= life


async def test_routes_are_read_as_written_and_expire(store, redis, keys):
    """A route reads back as written, an unknown or deleted one is None, and each has a TTL."""
    route = Route("c1", "p1", "CUSTOMER", 123)
    pair = pair_of("conf", Address("SMS", "+14155550101"), Address("SMS", "+15557650001"))
    await store.write_routes([(ACCOUNT, pair, route), (ACCOUNT, "other", route)])
    assert await store.read_routes([(ACCOUNT, "unknown"), (ACCOUNT, pair)]) == [None, route]
    assert ROUTE_LIFE - 5 <= await redis.ttl(keys.route(ACCOUNT, pair)) <= ROUTE_LIFE
    assert orjson.loads(await redis.get(keys.route(ACCOUNT, pair)))["participant_type"] == "CUSTOMER"
    await store.write_routes([(ACCOUNT, pair, None)])
    assert await store.read_routes([(ACCOUNT, pair), (ACCOUNT, "other")]) == [None, route]
    await store.write_routes([])
    assert await store.read_routes([]) == []


async def test_routes_are_written_with_a_commit_and_also_if_it_is_lost(store):
    """The next event must find the conversation even if another worker has committed it meanwhile."""
    route = Route("c1", "p1", "CUSTOMER", 123)
    assert await store.commit([make_ledger("c1", status="ACTIVE")], routes=[(ACCOUNT, "one", route)]) == [True]
    assert await store.commit([make_ledger("c1", status="ACTIVE")], routes=[(ACCOUNT, "other", route)]) == [False]
    assert await store.read_routes([(ACCOUNT, "one"), (ACCOUNT, "other")]) == [route, route]


async def test_a_pair_has_one_name_in_every_notation():
    """The name differs by configuration, channel and side, not by how the addresses are written."""
    one = pair_of("conf", Address("SMS", "+14155550101"), Address("SMS", "+15557650001"))
    assert one == pair_of("conf", Address("SMS", "+1 (415) 555-0101"), Address("SMS", "+1 555 765 0001"))
    others = [
        pair_of("other", Address("SMS", "+14155550101"), Address("SMS", "+15557650001")),
        pair_of("conf", Address("WHATSAPP", "whatsapp:+14155550101"), Address("WHATSAPP", "whatsapp:+15557650001")),
        pair_of("conf", Address("SMS", "+15557650001"), Address("SMS", "+14155550101")),
    ]
    assert len({one, *others}) == 4


async def test_own_addresses_and_callback_time_belong_to_one_account(store, redis, keys):
    """Own addresses stay, the time of the last callback expires, and other accounts have neither."""
    assert await store.read_account(ACCOUNT) == ({}, 0)
    desk, inbox = Address("SMS", "+15557650001"), Address("EMAIL", "Desk@Example.com")
    await store.add_own_addresses(ACCOUNT, [desk, inbox])
    await store.add_own_addresses(ACCOUNT, [desk])
    await store.add_own_addresses(ACCOUNT, [])
    await store.write_callback_time(ACCOUNT, 42)
    own, callbacks_seen_at = await store.read_account(ACCOUNT)
    assert (own.keys(), callbacks_seen_at) == ({desk.key, inbox.key}, 42)
    assert own[desk.key] >= own[inbox.key] > 1_700_000_000_000
    assert await store.read_account(OTHER_ACCOUNT) == ({}, 0)
    assert await redis.ttl(keys.callbacks(ACCOUNT)) > 0


async def test_of_too_many_own_addresses_the_latest_stay(store, redis, keys, monkeypatch):
    """An account that receives mail for a whole domain has many; one that is in use is not dropped."""
    monkeypatch.setattr("router.streams.store.ledgers.MAX_OWN_ADDRESSES", 3)
    used = Address("EMAIL", "desk@example.com")
    for number in range(10):
        await store.add_own_addresses(ACCOUNT, [Address("EMAIL", f"x{number}@example.com")])
        await redis.zadd(keys.own_addresses(ACCOUNT), {used.key: 2e12})  # it is used again
    own, _ = await store.read_account(ACCOUNT)
    assert own.keys() == {used.key, "EMAIL|x8@example.com", "EMAIL|x9@example.com"}


async def test_a_creation_is_visible_to_other_workers_until_it_ends(store, redis, keys):
    """Its note is for one account and address, is removed when the creation ends, and expires if it never does."""
    one, other = Address("SMS", "+14155550101"), Address("SMS", "+14155550102")
    wanted = [(ACCOUNT, [other.key]), (ACCOUNT, []), (ACCOUNT, [other.key, one.key]), (OTHER_ACCOUNT, [one.key])]
    assert await store.are_being_created(wanted) == [False] * 4
    assert await store.are_being_created([]) == []
    await store.begin_creating(ACCOUNT, one)
    assert await store.are_being_created(wanted) == [False, False, True, False]
    assert 0 < await redis.ttl(keys.creating(ACCOUNT, one.key)) <= 60
    await store.end_creating(ACCOUNT, [one])
    assert await store.are_being_created(wanted) == [False] * 4
    assert store.ending_creating(ACCOUNT, [one]) == (("DEL", keys.creating(ACCOUNT, one.key)),)
