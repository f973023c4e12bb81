"""Sealed data in the worker: processed with its key, waiting without, unusable once somebody has changed it."""

from __future__ import annotations

import os
from functools import partial

import orjson
import pytest

from router.core.aes_gcm import make_sealer
from router.core.entries import read_entry
from router.core.errors import RouterError
from router.core.events import SourceName
from router.core.judging.context import AccountRules
from router.core.judging.rules import EventRules
from router.core.keys import Keys, Target
from router.core.ledger.marker import HOLDING_FIELD, TURN_FIELD, Result
from router.core.routing.commands import write_command
from router.core.sealing import MAGIC, NO_KEYS, PREFIX, SealedError, SealedKind
from router.core.values import replace
from router.settings.policy_file import read_policy
from router.streams.delivery import Delivery, Done, Later, Poison, StreamRef
from router.streams.store.ledgers import Store
from router.streams.store.turns import TurnStore
from router.worker.account_cache import AccountCache
from router.worker.work import begin, inbound_reader, require_open
from tests.core.builders import CONVERSATION
from tests.support.accounts import ACCOUNT
from tests.support.policies import PLAIN
from tests.worker.floor_place import Place, ask, hold
from tests.worker.test_account_cache import FakeStore
from tests.worker.test_turns import TurnPlace

OLD_KEY, NEW_KEY = bytes(range(32)), bytes(range(32, 64))
OLD, NEW, BOTH = (make_sealer(keys, partial(os.urandom, 12)) for keys in ([OLD_KEY], [NEW_KEY], [NEW_KEY, OLD_KEY]))
SETTING = "ROUTER_SEAL_KEYS"


def seal(delivery, sealer=OLD):
    """Return a delivery as a receiver with keys has written it."""
    body = sealer.seal_body(delivery.fields[b"body"], SealedKind.INBOUND)
    return replace(delivery, fields=delivery.fields | {b"body": body})


def sealed_resolver(harness, sealer):
    """Return the resolver of a worker with these keys."""
    resolver = harness.make_resolver()
    return type(resolver)(
        store=Store(harness.redis, harness.keys, marker_ttl=3600, sealer=sealer, clock=harness.clock),
        apis=harness.make_apis(),
        policy=read_policy(PLAIN),
        route_ttl=60,
        clock=harness.clock,
    )


@pytest.mark.parametrize("source", list(SourceName))
def test_a_sealed_body_of_any_source_is_known_without_keys(source):
    """It is never taken for an event, nor for one that can never be read."""
    rules = EventRules({}, AccountRules(read_policy(PLAIN)), clock=lambda: 0)
    accounts = AccountCache(FakeStore(), always_own=frozenset(), clock=lambda: 0)
    for size in range(0, 2000, 37):
        body = OLD.seal_body(os.urandom(size), SealedKind.INBOUND)
        fields = {b"source": source.encode(), b"account": ACCOUNT.encode(), b"body": body}
        delivery = Delivery(StreamRef(0, "s"), "1-0", fields)
        with pytest.raises(RouterError):
            begin(rules, accounts, delivery, {}, inbound_reader(NO_KEYS))
        with pytest.raises(SealedError, match=SETTING):
            require_open(delivery, {})


async def test_an_event_waits_for_its_key_and_is_then_processed(harness):
    """A worker without keys, or with others, leaves it; one that has the old key too takes it."""
    (delivery,) = await harness.receive(harness.sms(body="my secret"))
    sealed = seal(delivery)
    for sealer in (NO_KEYS, NEW):
        (verdict,) = await harness.work([sealed], by=sealed_resolver(harness, sealer))
        assert isinstance(verdict, Later)
        assert SETTING in verdict.reason
    resolver = sealed_resolver(harness, BOTH)
    assert await harness.finish(sealed, by=resolver) == Done()
    rows = [row for target in Target for row in await harness.redis.xrange(harness.keys.participants(0, target))]
    assert all(b"my secret" not in fields[b"event"] for _, fields in rows)
    texts = [
        read_entry(fields[b"event"], NEW).data.communication.text
        for _, fields in rows
        if fields[b"type"] == b"communication.received"
    ]
    assert texts == ["my secret"]
    with pytest.raises(SealedError, match=SETTING):
        read_entry(rows[-1][1][b"event"], OLD)
    (known,) = await harness.settle(harness.sms(body="in the clear"), by=resolver)  # of a receiver without keys
    assert known == Result.KNOWN


async def test_an_event_that_was_changed_or_cannot_be_read_is_a_dead_letter(harness):
    """Its key is there and does not open it: no key will. What it opens may be no webhook."""
    (delivery,) = await harness.receive(harness.sms(body="my secret"))
    body = bytearray(OLD.seal_body(delivery.fields[b"body"], SealedKind.INBOUND))
    body[-1] ^= 1
    changed = replace(delivery, fields=delivery.fields | {b"body": bytes(body)})
    (verdict,) = await harness.work([changed], by=sealed_resolver(harness, OLD))
    assert isinstance(verdict, Poison)
    assert "changed" in verdict.reason
    junk = replace(delivery, fields=delivery.fields | {b"body": OLD.seal_body(b"junk", SealedKind.INBOUND)})
    (verdict,) = await harness.work([junk], by=sealed_resolver(harness, OLD))
    assert isinstance(verdict, Poison)
    assert "missing" in verdict.reason


def place_with(redis, sealer):
    place = Place(redis, Keys(), kind=partial(Store, sealer=sealer))
    place.commander._sealer = sealer
    return place


async def test_the_floor_is_sealed_and_waits_for_its_key(redis):
    """A request with its words rests sealed; commands and deadlines wait for the key, and nothing is overwritten."""
    place = place_with(redis, OLD)
    await place.announce()
    assert await ask(place, summary="my summary", context={"my": "context"}) == Done()
    key = place.keys.conversation(ACCOUNT, CONVERSATION)
    before = await redis.hgetall(key)
    assert before[HOLDING_FIELD.encode()].startswith(PREFIX.encode())
    stored = b"".join([row[b"event"] for _, row in await redis.xrange(place.keys.participants(0, Target.HUMAN_AGENT))])
    assert b"my summary" not in stored
    assert PREFIX.encode() in stored
    for sealer in (NO_KEYS, NEW):
        other = place_with(redis, sealer)
        verdict = await ask(other, summary="again")
        assert isinstance(verdict, Later)
        assert SETTING in verdict.reason
        await other.later(3600)
    assert await redis.hgetall(key) == before
    last = place_with(redis, BOTH)
    await last.send("agent.available", agent="dana")
    await last.later(1)
    rows = await redis.xrange(place.keys.participants(0, Target.HUMAN_AGENT))
    made = [read_entry(row[b"event"], BOTH) for _, row in rows if row[b"type"] == b"offer.made"]
    assert [(one.data.offer.summary, one.data.offer.context) for one in made] == [("my summary", {"my": "context"})]


async def test_a_floor_in_the_clear_is_read_and_sealed_at_its_next_change(redis):
    """Keys that are set while conversations are open."""
    plain = place_with(redis, NO_KEYS)
    assert await hold(plain) == 1
    place = place_with(redis, OLD)
    assert await place.send("conversation.release", conversation=CONVERSATION, agent="dana", epoch=1) == Done()
    holding = await redis.hget(place.keys.conversation(ACCOUNT, CONVERSATION), HOLDING_FIELD)
    assert holding.startswith(PREFIX.encode())


async def test_a_floor_that_was_changed_makes_its_conversation_wait(redis):
    """Nobody decides by a state that somebody has tampered with."""
    place = place_with(redis, OLD)
    await hold_sealed(place)
    key = place.keys.conversation(ACCOUNT, CONVERSATION)
    text = await redis.hget(key, HOLDING_FIELD)
    await redis.hset(key, HOLDING_FIELD, text[:-8] + b"AAAAAAA=")
    verdict = await place.send("conversation.release", conversation=CONVERSATION, agent="dana", epoch=1)
    assert isinstance(verdict, Later)
    assert "changed" in verdict.reason


async def hold_sealed(place):
    await place.announce()
    await ask(place, note="ignored")


async def test_a_sealed_command_needs_its_key(redis):
    """It is read as if it were in the clear, and waits without the key: its placeholders reach nobody."""
    place = place_with(redis, OLD)
    await place.announce()
    data = {"conversation": CONVERSATION, "reason": "my reason"}
    command = write_command("handoff.request", "c1", data, source="/test", sealer=OLD)
    fields = {name.encode(): text.encode() for name, text in command.items()}
    assert b"my reason" not in fields[b"command"]
    delivery = Delivery(StreamRef(0, place.keys.commands(0)), f"{place.now}-1", fields)
    verdict = await place_with(redis, NO_KEYS).commander.attempt(delivery)
    assert isinstance(verdict, Later)
    assert SETTING in verdict.reason
    assert await place.commander.attempt(delivery) == Done()
    ((_, row),) = [
        one
        for one in await redis.xrange(place.keys.participants(0, Target.HUMAN_AGENT))
        if b"requested" in one[1][b"type"]
    ]
    assert read_entry(row[b"event"], OLD).data.request.reason == "my reason"
    changed = orjson.loads(fields[b"command"])
    changed["sealed"] = changed["sealed"][:-8] + "AAAAAAA="
    wrong = replace(delivery, fields=fields | {b"id": b"c2", b"command": orjson.dumps(changed)})
    assert isinstance(await place.commander.attempt(wrong), Poison)


class SealedTurns(TurnPlace):
    """A worker whose policy has bursts, with keys."""

    def __init__(self, redis, sealer):
        Place.__init__(self, redis, Keys(), kind=partial(TurnStore, sealer=sealer))


async def test_an_open_turn_is_sealed_and_waits_for_its_key(redis):
    """What was said is published once the key is there, not with placeholders before."""
    place = SealedTurns(redis, OLD)
    await place.announce()
    said = [f"{number}{'.' * 20} secret" for number in range(2)]  # the SIDs are made of the first characters
    await place.say(*said)
    key = place.keys.conversation(ACCOUNT, CONVERSATION)
    turn = await redis.hget(key, TURN_FIELD)
    assert b"secret" not in turn
    assert turn.count(PREFIX.encode()) == 2
    for sealer in (NO_KEYS, NEW):
        other = SealedTurns(redis, sealer)
        await other.later(100)
        assert await redis.hget(key, TURN_FIELD) == turn
    place = SealedTurns(redis, BOTH)
    await place.later(3600)
    rows = await redis.xrange(place.keys.participants(0, Target.AI_AGENT))
    (ready,) = [read_entry(row[b"event"], NEW) for _, row in rows if row[b"type"] == b"turn.ready"]
    assert [one.text for one in ready.data.communications] == said
    assert not await redis.hexists(key, TURN_FIELD)
    assert MAGIC not in turn
