"""Whole consumers on real streams: settings, the table of handlers, dead letters, and an added handler."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError

import handlers
from handlers.app import HANDLERS, HandlerRow, consume, consuming, load_settings
from handlers.handler import Handler, HandlerResult
from handlers.replies import CommunicationEntry, JoinedEntry, replies_to
from router.conversations.retry import RetryPolicy
from router.core.addresses import mask
from router.core.entries import CommunicationData, EntryCause, JoinedData
from router.core.errors import SettingsError
from router.core.keys import Target
from router.metrics import REGISTRY
from router.streams.consuming.consumer import StreamConsumer
from router.streams.consuming.groups import Start
from router.streams.store.dead_letters import list_letters, replay_all
from tests.handlers.harness import HELLO, Open, number, participant
from tests.support.accounts import ACCOUNT, OURS
from tests.support.entries import fields_of
from tests.support.source import SHIPPED
from tests.support.waiting import until


@pytest.fixture
def environment(environment):
    return environment | {
        "ROUTER_AI_AGENT_GREETING": HELLO,
        "ROUTER_MAX_DELIVERIES": "1",
        "ROUTER_RETRY_DELAY": "0.01",
        "ROUTER_GRACE": "1",
    }


@pytest.fixture
def settings(environment):
    return load_settings(environment)


async def publish(harness, entry, target=Target.AI_AGENT):
    return await harness.redis.xadd(harness.keys.participants(0, target), fields_of(entry))


async def pending(harness, target, group):
    found = await harness.redis.xpending(harness.keys.participants(0, target), group)
    return found["pending"]


async def test_a_consumer_begins_with_the_oldest_entry(harness, settings, lines):
    """Entries from before the first start of the group are consumed and acknowledged."""
    opened = await harness.open()
    await publish(harness, opened.entry())
    async with consuming("ai_agent", settings):
        await until(lambda: lines("consumed"))
        await until(lambda: harness.texts(opened.id))
    assert await harness.texts(opened.id) == [HELLO]
    assert await pending(harness, Target.AI_AGENT, "ai-agent") == 0


async def test_people_join_what_they_hold_and_nothing_else(harness, settings, lines):
    """A customer who waits is joined by nobody; the holder joins once, also of many conversations at once."""
    opened = [await harness.open() for _ in range(7)]
    async with consuming("human_agent", settings):
        for one in opened:
            await publish(harness, one.entry(), Target.HUMAN_AGENT)
        await until(lambda: len(lines("consumed")) == 7)
        assert {line["result"] for line in lines("consumed")} == {"waiting"}
        for one in opened:
            assert await harness.types(one.id) == ["CUSTOMER"]
            for agent in ("dana", "dana", "eli"):
                await publish(harness, one.held_by(agent), Target.HUMAN_AGENT)
        await until(lambda: len(lines("consumed")) == 28)
    for one in opened:
        names = [name for kind, _, name in await harness.participants(one.id) if kind == "HUMAN_AGENT"]
        assert names == ["Dana", "Eli"]


async def test_an_unreadable_entry_becomes_a_dead_letter(harness, settings, lines):
    """It does so at once and with its reason, and the next entry is consumed."""
    stream = harness.keys.participants(0, Target.AI_AGENT)
    await harness.redis.xadd(stream, {"type": "participant.joined", "event": b"\xff\x00"})
    await harness.redis.xadd(stream, {"something": "else"})
    await publish(harness, (await harness.open()).entry())
    async with consuming("ai_agent", settings):
        await until(lambda: lines("consumed") and len(lines("event.dead")) == 2)
    letters = [one async for one in list_letters(harness.redis, harness.keys)]
    assert [one.group for one in letters] == ["ai-agent"] * 2
    assert all(one.reason.startswith("not an entry: ") for one in letters)
    assert {one.fields.get(b"event") for one in letters} == {b"\xff\x00", None}


async def test_a_failing_reply_makes_a_dead_letter_that_can_be_replayed(harness, environment, lines, monkeypatch):
    """After the reply was fixed the replayed entry is answered, without a second join."""
    monkeypatch.setitem(globals(), "reply", _raise)
    opened = await harness.open()
    await publish(harness, opened.entry())
    settings = load_settings(environment | {"ROUTER_AI_AGENT_REPLY": f"{__name__}:reply"})
    async with consuming("ai_agent", settings):
        await until(lambda: lines("event.dead"))
    assert "LookupError" in lines("event.dead")[0]["reason"]
    assert await harness.types(opened.id) == ["AI_AGENT", "CUSTOMER"]
    monkeypatch.setitem(globals(), "reply", lambda joined: f"Hi {joined.data.channel}")
    (letter,) = [one async for one in list_letters(harness.redis, harness.keys)]
    await replay_all(harness.redis, harness.keys, [letter], replayed_at="now")
    async with consuming("ai_agent", settings):
        await until(lambda: harness.texts(opened.id))
    assert await harness.texts(opened.id) == ["Hi SMS"]


def _raise(_):
    raise LookupError("no idea")


@pytest.mark.parametrize("apology", ["", "Sorry, we will be back."], ids=["silent", "apology"])
@pytest.mark.parametrize("data", [JoinedData, CommunicationData])
async def test_a_failing_reply_is_told_to_people(harness, environment, lines, monkeypatch, apology, data):
    """Each failure names conversation, masked customer and message; the end is an error, a metric, and an apology."""

    @replies_to(JoinedEntry, CommunicationEntry)
    def reply(entry):
        _raise(entry)

    monkeypatch.setitem(globals(), "reply", reply)
    opened = await harness.open()
    cause = EntryCause(
        source="messaging", event_type="message", resource_id="SM1", idempotency_key="k", received_at="now"
    )
    await publish(harness, opened.entry(data, cause=cause))
    labels = {"consumer": "ai_agent", "result": "given-up"}
    before = REGISTRY.get_sample_value("router_consumed_total", labels) or 0
    changes = {"ROUTER_AI_AGENT_REPLY": f"{__name__}:reply", "ROUTER_AI_AGENT_APOLOGY": apology}
    settings = load_settings(environment | changes | {"ROUTER_MAX_DELIVERIES": "3"})
    async with consuming("ai_agent", settings):
        await until(lambda: lines("consumed"))
    address = opened.customer.addresses[0].address
    about = {"conversation": opened.id, "customer": opened.customer.id, "message": "SM1", "type": data.type}
    failed, (dead,) = lines("event.failed"), lines("event.dead")
    for line in (*failed, dead):
        assert {name: line[name] for name in about} == about
        assert (line["group"], line["address"]) == ("ai-agent", mask(address))
    assert [line["deliveries"] for line in (*failed, dead)] == [1, 2, 3, 3]
    assert (dead["level"], dead["reason"].partition(" ")[0]) == ("error", "LookupError")
    (told,) = lines("consumed")
    assert (told["result"], told["level"], told["apology"]) == ("given-up", "error", "sent" if apology else "none")
    assert REGISTRY.get_sample_value("router_consumed_total", labels) == before + 1
    await until(lambda: has_texts(harness, opened.id, [apology] if apology else []))
    (letter,) = [one async for one in list_letters(harness.redis, harness.keys)]
    assert letter.deliveries == 3


async def has_texts(harness, conversation_id, texts):
    return await harness.texts(conversation_id) == texts


async def test_an_apology_that_fails_leaves_the_dead_letter(harness, environment, lines, monkeypatch):
    """It is tried once, and the error says what has failed; the consumer goes on."""
    monkeypatch.setitem(globals(), "reply", _raise)
    opened, other = await harness.open(), await harness.open()
    await harness.fault("POST", "/Actions", status=400)
    changes = {"ROUTER_AI_AGENT_REPLY": f"{__name__}:reply", "ROUTER_AI_AGENT_APOLOGY": "Sorry"}
    await publish(harness, opened.entry())
    async with consuming("ai_agent", load_settings(environment | changes)):
        await until(lambda: lines("consumed"))
        assert "RequestError" in lines("consumed")[0]["error"]
        await publish(harness, other.entry())
        await until(lambda: has_texts(harness, other.id, ["Sorry"]))
    assert len([one async for one in list_letters(harness.redis, harness.keys)]) == 2
    assert await harness.texts(opened.id) == []


@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"status": 429}, {"status": 401}, {"reset": True, "when": "before"}], ids=str
)
async def test_an_outage_makes_entries_wait_and_no_dead_letters(harness, settings, lines, fault, monkeypatch):
    """The API fails more often than an entry may; the entry waits and is consumed when the API is back."""
    monkeypatch.setattr(RetryPolicy, "delay", lambda *_, **__: None)  # each failed call fails the attempt
    opened = await harness.open()
    await harness.fault("POST", "/Participants", times=6, **fault)
    await publish(harness, opened.entry())
    async with consuming("ai_agent", settings):
        await until(lambda: lines("consumed"))
    assert lines("event.waiting")
    assert lines("event.dead") == []
    assert await harness.types(opened.id) == ["AI_AGENT", "CUSTOMER"]


@pytest.mark.parametrize(
    ("name", "target", "results"),
    [("ai_agent", Target.AI_AGENT, ["joined"] * 3), ("human_agent", Target.HUMAN_AGENT, ["joined"] * 3)],
)
async def test_a_destroyed_group_of_ours_continues_where_it_stood(harness, settings, lines, name, target, results):
    """What it had finished is not handled again, even once the effects of that are forgotten."""
    stream, group = harness.keys.participants(0, target), HANDLERS[name].group
    opened = [await harness.open() for _ in results]
    make = Open.entry if name == "ai_agent" else partial(Open.held_by, agent="dana")
    async with consuming(name, settings):
        for one in opened[:2]:
            await publish(harness, make(one), target)
        await until(lambda: len(lines("consumed")) == 2)
        await until(lambda: is_finished(harness, target, group))
    forgotten = [key async for key in harness.redis.scan_iter("*:effect:*")]
    assert len(forgotten) == 2
    await harness.redis.delete(*forgotten)
    await harness.redis.xgroup_destroy(stream, group)
    async with consuming(name, settings):
        await publish(harness, make(opened[2]), target)
        await until(lambda: len(lines("consumed")) == 3)
        await until(lambda: is_finished(harness, target, group))
    assert [line["result"] for line in lines("consumed")] == results
    if name == "ai_agent":
        for one in opened:
            await until(lambda one=one: harness.texts(one.id))
            assert await harness.texts(one.id) == [HELLO]


async def is_finished(harness, target, group):
    return await pending(harness, target, group) == 0


async def test_two_processes_share_the_work(harness, settings, lines):
    """Every entry is consumed by one of them, and every customer is greeted once."""
    opened = [await harness.open() for _ in range(40)]
    async with consuming("ai_agent", settings), consuming("ai_agent", settings):
        for one in opened:
            await publish(harness, one.entry())
        await until(lambda: len(lines("consumed")) == 40)
    assert {line["result"] for line in lines("consumed")} == {"joined"}
    for one in opened:
        await until(lambda one=one: harness.texts(one.id))
        assert await harness.texts(one.id) == [HELLO]


def make_archive(ports):
    """Store in Redis who joined."""

    async def joined(entry, effect):
        async def keep(_):
            await ports.redis.set(f"archive:{entry.data.participant.id}", entry.data.channel, ex=60)
            return entry.data.channel

        return HandlerResult("kept", {"channel": await effect.once("keep", keep)})

    return Handler({JoinedData.type: joined})


async def test_a_new_handler_needs_one_function_and_one_row(harness, settings, lines, monkeypatch):
    """With its own group it gets every entry of its target, independently of the other handler."""
    monkeypatch.setitem(HANDLERS, "archive", HandlerRow(Target.AI_AGENT, "archive", make_archive))
    opened = await harness.open()
    await publish(harness, opened.entry())
    async with consuming("ai_agent", settings), consuming("archive", settings):
        await until(lambda: len(lines("consumed")) == 2)
    assert sorted((line["handler"], line["result"]) for line in lines("consumed")) == [
        ("ai_agent", "joined"),
        ("archive", "kept"),
    ]
    assert await harness.redis.get(f"archive:{opened.customer.id}") == b"SMS"
    assert await pending(harness, Target.AI_AGENT, "archive") == 0


async def test_counters_of_failures_begin_with_0(harness, settings):
    """A first failure of a group shows as an increase."""
    row = HandlerRow(Target.AI_AGENT, "counted", make_archive)
    counters = [
        ("router_attempts_total", {"group": "counted", "result": "failed"}),
        ("router_attempts_total", {"group": "counted", "result": "waiting"}),
        ("router_consumed_total", {"consumer": "counted", "result": "given-up"}),
    ]
    async with consuming("counted", settings, row):
        assert [REGISTRY.get_sample_value(*counter) for counter in counters] == [0.0] * 3


async def test_a_handler_added_later_may_begin_with_what_is_new(harness, settings, lines):
    """It does not act on history, and later it misses nothing, also while it is stopped or if the stream is lost."""
    row = HandlerRow(Target.AI_AGENT, "archive", make_archive, start=Start.NEW)
    stream = harness.keys.participants(0, Target.AI_AGENT)
    old, *new = [await harness.open() for _ in range(4)]
    await publish(harness, old.entry())
    async with consuming("archive", settings, row):
        (group,) = await harness.redis.xinfo_groups(stream)
        assert (group["lag"], group["pending"]) == (0, 0)
        await publish(harness, new[0].entry())
        await until(lambda: len(lines("consumed")) == 1)
    await publish(harness, new[1].entry())
    async with consuming("archive", settings, row):
        await until(lambda: len(lines("consumed")) == 2)
        await harness.redis.delete(stream)
        await publish(harness, new[2].entry())
        await until(lambda: len(lines("consumed")) == 3)
    assert [line["conversation"] for line in lines("consumed")] == [one.id for one in new]


async def test_a_background_that_fails_is_started_again(harness, settings, lines):
    """The failure is logged, and the consumer goes on."""
    runs = []

    async def background():
        runs.append(1)
        if len(runs) < 3:
            raise LookupError("gone")
        await asyncio.Event().wait()

    row = HandlerRow(Target.AI_AGENT, "archive", lambda _: Handler({}, background=background))
    async with consuming("archive", settings, row):
        await until(lambda: len(runs) == 3)
    assert [line["error"].split()[0] for line in lines("background.failed")] == ["LookupError"] * 2
    assert await harness.redis.xinfo_consumers(harness.keys.participants(0, Target.AI_AGENT), "archive") == []


async def test_an_outage_of_redis_during_the_start_is_waited_for(settings, lines, monkeypatch):
    """The reason is logged once, and the consumer starts when Redis is back."""
    problems, running = [RedisTimeoutError("Timeout reading")] * 2, StreamConsumer.running

    def stall(consumer):
        if problems:
            raise problems.pop()
        return running(consumer)

    monkeypatch.setattr(StreamConsumer, "running", stall)
    consuming = asyncio.create_task(consume("ai_agent", settings))
    await until(lambda: lines("process.started"))
    os.kill(os.getpid(), signal.SIGTERM)
    assert await consuming == 0
    assert [line["reason"] for line in lines("start.waiting")] == ["TimeoutError: Timeout reading"]


async def test_a_stream_key_of_another_type_ends_the_process(harness, settings, lines):
    """Such a key can never be read, so the process fails; a stream that is gone is created again."""
    stream = harness.keys.participants(0, Target.AI_AGENT)
    running = asyncio.create_task(consume("ai_agent", settings))
    await until(lambda: lines("process.started"))
    await harness.redis.delete(stream)
    await until(lambda: lines("reading.resumed"))
    await harness.redis.delete(stream)
    await harness.redis.set(stream, "no stream", ex=60)
    assert await running == 1
    await harness.redis.delete(stream)
    assert [line["level"] for line in lines("process.failed")] == ["error"]


def test_every_handler_has_a_group_of_its_own():
    """Handlers that shared a group would each get a part of the entries."""
    groups = [row.group for row in HANDLERS.values()]
    assert len(set(groups)) == len(groups)
    assert {row.target for row in HANDLERS.values()} == set(Target)
    assert all(HANDLERS[name].make.__doc__ for name in ("ai_agent", "human_agent"))


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        pytest.param({"REDIS_URL": ""}, ["REDIS_URL is not set"], id="no Redis"),
        pytest.param({"TWILIO_API_SECRET": ""}, ["TWILIO_API_SECRET is not set, but"], id="half a key"),
        pytest.param(
            {"REDIS_URL": "", "TWILIO_ACCOUNT_SID": "", "TWILIO_API_KEY": "", "TWILIO_API_SECRET": ""},
            ["REDIS_URL is not set", "TWILIO_ACCOUNT_SID is not set", "TWILIO_AUTH_TOKEN is not set, nor"],
            id="all at once",
        ),
        pytest.param({"ROUTER_WINDOW": "0", "REDIS_URL": ""}, ["ROUTER_WINDOW: ", "REDIS_URL is"], id="a wrong value"),
        pytest.param(
            {"TWILIO_API_KEY": "", "TWILIO_API_SECRET": "", "TWILIO_AUTH_TOKEN": "token"}, [], id="a token instead"
        ),
    ],
)
def test_required_settings(environment, change, problems):
    """A consumer needs Redis, the account, and a token or a key with its secret; all problems are listed."""
    if not problems:
        assert load_settings(environment | change).api_credentials == (ACCOUNT, "token")
        return
    with pytest.raises(SettingsError) as caught:
        load_settings(environment | change)
    assert len(caught.value.problems) == len(problems)
    for line, expected in zip(caught.value.problems, problems, strict=True):
        assert line.startswith(expected)


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("ai_agent", {"ROUTER_AI_AGENT_REPLY": "tests.nothing:here"}, "ROUTER_AI_AGENT_REPLY: "),
        ("human_agent", {}, "roster.toml:1: unknown table or key 'agents' (known: agent)"),
    ],
)
async def test_a_handlers_own_configuration_stops_the_start(environment, tmp_path, name, change, problem):
    """Nothing is consumed before."""
    shutil.copy(SHIPPED / "routing.toml", tmp_path)
    (tmp_path / "roster.toml").write_text('agents = 1\n[[agent]]\nidentity = "d"\nname = "D"\ncapacity = 1\n')
    settings = load_settings(environment | change | {"ROUTER_CONFIG_DIR": str(tmp_path)})
    with pytest.raises(SettingsError) as caught:
        async with consuming(name, settings):
            pass
    assert problem in caught.value.problems[0]


def test_router_does_not_import_handlers():
    """The consumers can be replaced as a whole."""
    root = Path(handlers.__file__).parent.parent / "router"
    importers = [path for path in root.rglob("*.py") if "import handlers" in path.read_text("utf-8")]
    importers += [path for path in root.rglob("*.py") if "from handlers" in path.read_text("utf-8")]
    assert importers == []


def test_importing_creates_no_client():
    """The package can be imported without a server, settings or an event loop."""
    program = "import socket; socket.socket.connect = None; import handlers.app; print(len(handlers.app.HANDLERS))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={})
    assert done.stdout.strip() == str(len(HANDLERS))


async def test_our_address_is_stored_as_our_own(harness, settings, lines):
    """The worker announces nobody at an own address, so the callback of our join makes no entry."""
    opened = await harness.open(participant("CUSTOMER", number()))
    await publish(harness, opened.entry())
    async with consuming("ai_agent", settings):
        await until(lambda: lines("consumed"))
    own, _ = await harness.store.read_account(ACCOUNT)
    assert own.keys() == {f"SMS|{OURS}"}
