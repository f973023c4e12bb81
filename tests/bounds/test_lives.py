"""Every kind of key, made by the product: it expires as the table says, or is permanent and small."""

from __future__ import annotations

from collections import defaultdict

import orjson
import pytest

from router.core.addresses import Address
from router.core.events import share
from router.core.keys import PERMANENT, RESOLVER
from router.core.routing.wishes import AgentCard, Wish
from router.simulator.http import SignatureFault
from router.simulator.messages import Scene, message, scene_callback
from router.streams.consuming.groups import NOTE_LIFE, note_progress
from router.streams.consuming.poison_isolation import CrashCounts
from router.streams.delivery import StreamRef
from router.streams.repartition.mover import Mover
from router.streams.store import trim
from router.streams.store.announcements import NAME_LIFE
from router.streams.store.append import Appender, InboundFields
from router.streams.store.audit import AuditLog
from router.streams.store.commits import CLOSED_LIFE, JOURNAL_LIFE
from router.streams.store.desk import Desk
from router.streams.store.jobs import LIFE as JOB_LIFE
from router.streams.store.jobs import Job, JobState, JobStore
from router.streams.store.ledgers import Store
from router.streams.store.parking import Parking, Waiting
from router.streams.store.person_marks import MARKS_LIFE, PersonMarks
from router.streams.store.recent import LEASE, REST, Pace
from router.streams.store.sign_ins import REMEMBERED, SignIns
from router.streams.store.story_index import PAUSE
from router.streams.store.timers import Timers
from router.streams.store.trim import Trimmer
from tests.bounds.deployment import NUMBER
from tests.support.accounts import ACCOUNT, CONFIGURATION, OURS
from tests.support.keys import KINDS, kind_of
from tests.support.waiting import scaled, until

pytestmark = pytest.mark.real
DAY, HOUR, HEARTBEAT_TTL = 86_400, 3600, 30
#: Kind: seconds that its keys live after they were last written, the usual case first; None: permanent.
LIVES = {
    "inbound": None,
    "participants": None,
    "dead-letters": None,
    "parked": None,
    "shared": None,
    "shared-inbound": None,
    "shared-dead": None,
    "partitions": None,
    "fence": None,
    "moving": None,
    "our-addresses": None,
    "desk": None,
    "timers": None,
    "commands": None,
    "audit": None,
    "console-secret": None,
    "seen": (2 * DAY,),
    "latest": (DAY,),
    "conversation": (180 * DAY, CLOSED_LIFE),
    "communication": (2 * DAY,),
    "journal": (JOURNAL_LIFE,),
    "person": (180 * DAY,),
    "route": (7 * DAY,),
    "creating": (60,),
    "call": (2 * DAY,),
    "callbacks": (7 * DAY,),
    "active": (2 * HOUR + REST + LEASE,),
    "sweeps": (2 * HOUR + REST + LEASE,),
    "pace": (120,),
    "heartbeat": (HEARTBEAT_TTL,),
    "deaths": (DAY,),
    "effect": (7 * DAY,),
    "trim-cursor": (DAY,),
    "job": (JOB_LIFE,),
    "console-session": (HOUR,),
    "console-link": (HOUR,),
    "console-guesses": (REMEMBERED / 1000,),
    "away": (MARKS_LIFE,),
    "read-marks": (MARKS_LIFE,),
    "process": (NAME_LIFE / 1000,),
    "processes": (NAME_LIFE / 1000,),
    "story": (8 * DAY, PAUSE / 1000),
    "refusals": (8 * DAY, PAUSE / 1000),
    "progress": (NOTE_LIFE,),
    "quarantine": (14 * DAY,),
}
#: Seconds that a test may take, scaled.
SLACK = 60


def test_the_table_names_every_kind():
    """A new kind of key has an expiry before it is merged, and a permanent one says what keeps it small."""
    assert LIVES.keys() == KINDS
    assert {kind for kind, life in LIVES.items() if life is None} == PERMANENT.keys()
    assert all(PERMANENT.values())


async def write_usual_keys(deployment):
    """Let everything happen once that leaves a key."""
    await deployment.start_worker()
    await deployment.start_handler("ai_agent")
    await deployment.send(1)
    (conversation,) = {one["data"]["conversation"]["id"] for one in await until(deployment.published)}
    data = {"conversation": conversation, "reason": "wants a person"}
    await deployment.redis.xadd(deployment.keys.commands(0), command_of("handoff.request", **data))
    await until(lambda: deployment.redis.exists(deployment.keys.journal(ACCOUNT, conversation)))
    scene = Scene(
        account_sid=ACCOUNT,
        configuration_id=CONFIGURATION,
        channel="SMS",
        customer=NUMBER.format(2),
        recipient=OURS,
        conversation_id="conv_conversation_00000000000000000000000002",
        participant_id="conv_participant_00000000000000000000000002",
        now=1_767_787_200_000_000,
    )
    for kind in ("participant-added", "conversation-closed"):
        await deployment.post(scene_callback(kind, scene))
        await deployment.until_idle(deployment.keys.inbound(0))
    await deployment.post_unsigned(3)
    forged = message("sms", account_sid=ACCOUNT, sender=NUMBER.format(4), recipient=OURS, body="forged")
    await deployment.post(forged, SignatureFault(has_wrong_token=True))
    await deployment.redis.xadd(deployment.keys.inbound(0), {"source": "nobody"})
    await until(lambda: deployment.redis.xlen(deployment.keys.dead_letters(0)))
    await until(lambda: deployment.redis.exists(deployment.keys.quarantine()))
    await until(lambda: deployment.redis.keys(f"{deployment.keys.refusals(0)}*"))
    await deployment.until_idle(deployment.keys.inbound(0))
    await deployment.until_idle(deployment.keys.participants(0, "ai-agent"))


def command_of(kind, **data):
    document = {"specversion": "1.0", "id": "c1", "source": "/test", "type": f"command.{kind}", "data": data}
    return {"type": kind, "id": "c1", "command": orjson.dumps(document)}


async def write_rare_keys(deployment):
    """Leave the keys that exist only in the middle of work, after a crash or with human agents."""
    redis, keys = deployment.redis, deployment.keys
    store = Store(redis, keys, marker_ttl=DAY)
    await store.begin_creating(ACCOUNT, Address("SMS", NUMBER.format(1)))
    await Pace(redis, keys, calls=1).take()
    await store.calls.note_end(ACCOUNT, "CA" + "0" * 32)
    user, phone = (Address("WHATSAPP", f"whatsapp:{one}") for one in ("US.1A", "+15551230004"))
    await Store(redis, keys, marker_ttl=180 * DAY).persons.write(ACCOUNT, phone, user, phone)
    stream = StreamRef(0, keys.inbound(0))
    await redis.xgroup_create(stream.key, "other", id="0")
    await redis.xreadgroup("other", "dead", {stream.key: ">"}, count=1)
    (delivery,) = await CrashCounts(redis, keys, group="other", consumer="me").take_over(
        stream, "dead", 0, [(await redis.xrange(stream.key, count=1))[0][0].decode()]
    )
    assert delivery.crashes == 1
    await Parking(redis, keys, group="other", consumer="me").park(
        stream, [("subject", delivery)], Waiting("lane", "away")
    )
    await Trimmer(redis, keys, retention=0).trim(stream.key)
    for group, leave in (
        ("a", lambda crashes: crashes.begin_isolation(delivery)),
        ("b", lambda crashes: crashes.note_leaving(stream)),
    ):
        await leave(CrashCounts(redis, keys, group=group, consumer="me"))
    desk = Desk(redis, keys, clock=lambda: 1)
    await desk.arrive(AgentCard("dana", "Dana", 3), 10**15)
    await desk.settle(f"{ACCOUNT} one", 1, Wish(holder="dana"))
    await Timers(redis, keys, clock=lambda: 1).set(ACCOUNT, "two", 1, 10**15)
    await write_console_keys(redis, keys)
    await JobStore(redis, keys).begin(Job("1", "dead-letters.drop", "dana", {}, 1, state=JobState.DONE))
    await note_progress(redis, stream.key, RESOLVER, every=0)
    await Mover(redis, keys, patience=0, say=lambda *_: None).move(keys.partitions)
    await redis.xadd(keys.moving(0, "inbound"), {"n": "1"})
    mail = InboundFields("nobody", ACCOUNT, "k", "s", 1, b"x", 2 * DAY, shared=share(b"a mail"))
    assert await Appender(redis, keys).append(mail)
    await until(lambda: redis.exists(keys.shared_dead(0)))


async def write_console_keys(redis, keys):
    """Let a person sign in, act and be away."""
    sign_ins = SignIns(redis, keys)
    await sign_ins.secret()
    await sign_ins.open("session", b"{}", HOUR)
    await sign_ins.add_link("token", "dana", "mark", HOUR)
    await sign_ins.attempt("127.0.0.1", "dana")
    await AuditLog(redis, keys).note("dana", "agent", "sign-in")
    marks = PersonMarks(redis, keys)
    await marks.set_away("dana", is_away=True)
    await marks.mark_read("dana", "conv_conversation_1", 1)


async def test_every_key_lives_as_long_as_its_kind(redis, redis_url, make_deployment, monkeypatch):
    """After all that can happen every kind exists, and each key expires as its kind does."""
    monkeypatch.setattr(trim, "ROUND", 1)  # so that a round ends in the middle
    monkeypatch.setattr(trim, "STEP_BETWEEN", 1)
    deployment = await make_deployment(redis_url, ROUTER_HEARTBEAT_TTL=str(HEARTBEAT_TTL))
    await write_usual_keys(deployment)
    await write_rare_keys(deployment)
    found = defaultdict(list)
    async for key in redis.scan_iter(count=1000):
        if (left := await redis.pttl(key)) != -2:  # a heartbeat may have just ended
            found[kind_of(key.decode())].append((key.decode(), left / 1000))
    assert found.keys() == KINDS
    for kind, keys in found.items():
        lives = LIVES[kind]
        for key, left in keys:
            if lives is None:
                assert left < 0, key
            else:
                assert [life for life in lives if life - scaled(SLACK) < left <= life and left > 0], (key, left)
        if lives is not None:
            assert any(lives[0] - scaled(SLACK) < left for _, left in keys), kind
    assert await redis.exists(deployment.keys.heartbeat(0, RESOLVER, (await _worker(deployment)))) == 1


async def _worker(deployment):
    (row,) = await deployment.redis.xinfo_consumers(deployment.keys.inbound(0), RESOLVER)
    return row["name"].decode()
