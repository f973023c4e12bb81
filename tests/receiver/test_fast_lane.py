"""The fast lane: the same bytes have the same outcome with it and without it, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
from aiohttp import web
from redis.exceptions import ConnectionError as RedisConnectionError

from router import logs, metrics
from router.core.events import SourceName
from router.receiver import fast_lane
from router.receiver.app import LANE, STOPPING, create_app
from router.receiver.connections import Connection, connection_factory
from router.streams.store.append import Appender
from router.streams.store.quarantine import list_kept
from tests.benchmarks import webhooks
from tests.receiver.conftest import settings_of
from tests.receiver.samples import SAMPLES, incoming_call, signed, sms
from tests.receiver.wire import head, whole
from tests.support.accounts import OTHER_ACCOUNT, OTHER_TOKEN
from tests.support.waiting import until

GOOD = signed(sms())
TWILIO = next(webhooks.requests(7, 1, webhooks.Senders(1)))
PROXIES = (
    b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n"
    b"Forwarded: for=192.0.2.1\r\nVia: 1.1 proxy\r\nConnection: keep-alive\r\n"
)
#: Turns of the event loop within which a connection has processed what it was given, apart from Redis.
TURNS = 12


class Caller(asyncio.Transport):
    """A connection without a socket: what is given is received at once, and in these pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.is_over, self.is_paused = b"", False, False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.is_over = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_over

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    @property
    def answers(self) -> int:
        return self.written.count(b"HTTP/1.1 ") - self.written.count(b"HTTP/1.1 100 ")


@dataclass
class Side:
    """A receiver with or without the lane; `taken` are the webhooks on the lane."""

    runner: web.AppRunner
    make: Any
    redis: Any
    keys: Any
    output: Any
    taken: list[bytes] = field(default_factory=list)

    async def call(self) -> tuple[Connection, Caller]:
        """Connect, and wait until aiohttp waits for a request."""
        connection, caller = self.make(), Caller()
        connection.connection_made(caller)
        await until(lambda: connection._waiter is not None)
        return connection, caller

    async def give(self, pieces: list[bytes], answers: int) -> Caller:
        """Give a connection the pieces, with some turns of the loop between them; returns once it has answered."""
        connection, caller = await self.call()
        for left, piece in reversed(list(enumerate(reversed(pieces)))):
            if caller.is_over:
                break
            connection.data_received(piece)
            for _ in range(TURNS):
                await asyncio.sleep(0)
            await until(lambda left=left: caller.answers >= answers - left or caller.is_over)
        connection.connection_lost(None)
        return caller

    async def outcome(self, pieces: list[bytes], answers: int, refused: int) -> dict[str, Any]:
        """All that giving the pieces to a new connection changes."""
        counts, start = {name: dict(of) for name, of in metrics._counts.items()}, len(self.output.getvalue())
        caller = await self.give(pieces, answers)
        kept = []

        async def are_kept() -> bool:
            kept[:] = [one.refused async for one in list_kept(self.redis, self.keys)]
            return len(kept) >= refused

        await until(are_kept)
        logs.flush()
        lines = [orjson.loads(line) for line in self.output.getvalue()[start:].splitlines()]
        entries = [fields for _, fields in await self.redis.xrange(self.keys.inbound(0))]
        return {
            "answers": without_dates(caller.written),
            "is closed": caller.is_over,
            "entries": [entry | dict.fromkeys({b"received_at", b"after"} & entry.keys()) for entry in entries],
            "quarantine": [replace(one, received_at=0) for one in kept],
            "counts": {
                (name, labels): now - counts[name].get(labels, 0)
                for name in ("router_webhooks", "router_quarantined", "router_shadow", "router_spooled")
                for labels, now in metrics._counts[name].items()
                if now != counts[name].get(labels, 0)
            },
            "lines": [{k: v for k, v in line.items() if k not in {"time", "ms"}} for line in lines],
        }


def without_dates(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\r\n") if not line.startswith(b"Date: ")]


@pytest.fixture
async def sides(redis, redis_url, output, tmp_path, monkeypatch):
    """A receiver with the lane and one without, each with a namespace of its own."""
    made = []

    async def begin(name: str, *, has_lane: bool, **environment: str) -> Side:
        environment = {"ROUTER_NAMESPACE": name, "ROUTER_SPOOL_DIR": str(tmp_path / name)} | environment
        settings = settings_of(redis_url, **environment)
        runner = web.AppRunner(create_app(settings), access_log=None, handle_signals=False, shutdown_timeout=5)
        await runner.setup()
        lane = runner.app[LANE] if has_lane else None
        make = connection_factory(runner.server, asyncio.get_running_loop(), 1000, lane)
        made.append(Side(runner, make, redis, settings.keys, output))
        return made[-1]

    async def begin_both(**environment: str) -> tuple[Side, Side]:
        return await begin("fast", has_lane=True, **environment), await begin("slow", has_lane=False, **environment)

    take = fast_lane.FastLane.take

    def note(lane, connection, data, *found):
        taken = take(lane, connection, data, *found)
        for side in made:
            if side.runner.app[LANE] is lane and isinstance(taken, fast_lane.TakenWebhook):
                side.taken.append(data)
        return taken

    monkeypatch.setattr(fast_lane.FastLane, "take", note)
    yield begin_both
    for side in made:
        await side.runner.cleanup()


@pytest.fixture
async def fast(sides):
    """A receiver with the lane."""
    return (await sides())[0]


@pytest.fixture
def gate(monkeypatch):
    """Appends wait until this event is set; then they fail if its `error` is set."""
    event, run = asyncio.Event(), Appender._append_all
    event.error = None

    async def wait(appender, calls):
        await event.wait()
        if event.error is not None:
            raise event.error
        return await run(appender, calls)

    monkeypatch.setattr(Appender, "_append_all", wait)
    return event


def changed(request, old: bytes, new: bytes) -> bytes:
    data = whole(request)
    assert old in data
    return data.replace(old, new)


#: name: (pieces that arrive one after another, answers, quarantined webhooks, webhooks that take the lane)
CASES: dict[str, tuple[list[bytes], int, int, int]] = {
    "as Twilio sends it": ([TWILIO], 1, 0, 1),
    "over proxies": ([TWILIO.replace(b"Accept:", PROXIES + b"Accept:")], 1, 0, 1),
    "lower-case names": ([TWILIO.replace(b"Content-L", b"content-l").replace(b"X-Tw", b"x-tw")], 1, 0, 1),
    "repeated": ([whole(GOOD)] * 3, 3, 0, 3),
    "query": ([whole(signed(sms(), path="/webhooks/messaging?a=b%20c"))], 1, 0, 1),
    "classic": ([whole(signed(SAMPLES[SourceName.CLASSIC]()))], 1, 0, 1),
    "conversations": ([whole(signed(SAMPLES[SourceName.CONVERSATIONS]()))], 1, 0, 1),
    "event streams": ([whole(signed(SAMPLES[SourceName.EVENT_STREAMS]()))], 1, 0, 0),
    "call": ([whole(signed(incoming_call()))], 1, 0, 0),
    "mail": ([whole(signed(SAMPLES[SourceName.EMAIL]()))], 1, 0, 0),
    "pipelined": ([b"".join(whole(signed(sms(number))) for number in range(4))], 4, 0, 0),
    "head, then body": ([head(GOOD, length=len(GOOD.body)), GOOD.body, whole(GOOD)], 2, 0, 1),
    "forged": ([whole(GOOD.but(signature=GOOD.signature.swapcase())), whole(GOOD)], 2, 1, 1),
    "unsigned": ([whole(GOOD.but(signature=None))], 1, 1, 0),
    "short signature": ([whole(GOOD.but(signature="abc"))], 1, 1, 0),
    "wrong type": ([whole(GOOD.but(content_type="text/plain"))], 1, 1, 0),
    "another account": ([whole(signed(sms(account=OTHER_ACCOUNT), token=OTHER_TOKEN))], 1, 1, 0),
    "too many parameters": ([whole(GOOD.but(body=b"a=1&" * 1200))], 1, 1, 0),
    "large": ([whole(signed(sms(Large="x" * 3000)))], 1, 0, 0),
    "shared key": ([whole(GOOD, more="X-Twilio-Webhooks-Signature-Settings: key=a\r\n")], 1, 1, 0),
    "expectation": ([whole(GOOD, more="Expect: 100-continue\r\n")], 1, 0, 0),
    "last": ([whole(GOOD, more="Connection: close\r\n")], 1, 0, 0),
    "HTTP/1.0": ([changed(GOOD, b"HTTP/1.1", b"HTTP/1.0")], 1, 0, 0),
    "two lengths": ([whole(GOOD, more=f"Content-Length: {len(GOOD.body)}\r\n")], 1, 0, 0),
    "chunks": ([head(GOOD, length=None) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD.body), GOOD.body)], 1, 0, 0),
    "no body": ([head(GOOD, length=0)], 1, 1, 0),
    "no HTTP": ([b"\x16\x03\x01\r\n\r\n"], 1, 0, 0),
    "health, then a webhook": ([b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", whole(GOOD)], 2, 0, 1),
}


@pytest.mark.parametrize("case", CASES)
async def test_the_outcome_is_the_same_without_the_lane(sides, case):
    """Answers, entries, quarantine, counts and log lines are equal, up to times; usual webhooks take the lane."""
    pieces, answers, refused, taken = CASES[case]
    fast, slow = await sides()
    outcomes = [await side.outcome(pieces, answers, refused) for side in (fast, slow)]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0]["lines"]
    assert (len(fast.taken), len(slow.taken)) == (taken, 0)


@pytest.mark.parametrize("name", list(SAMPLES))
async def test_the_outcome_is_the_same_in_shadow_mode(sides, name):
    """A wrong signature is noted once, whichever way its webhook takes."""
    request = signed(SAMPLES[name]())
    shadow = {"ROUTER_SHADOW": "messaging,voice,conversations,classic,event-streams"}
    pieces = [whole(request.but(signature=request.signature.swapcase()))]
    refused = 1 if name == SourceName.EMAIL else 0
    fast, slow = await sides(**shadow)
    assert await fast.outcome(pieces, 1, refused) == await slow.outcome(pieces, 1, refused)


async def test_a_webhook_in_two_pieces_is_accepted_wherever_it_is_cut(fast):
    """The next one on the same connection takes the lane again, unless the cut was in the middle of nothing plain."""
    data, next_one = whole(GOOD), whole(signed(sms(2)))
    cuts = range(1, len(data))
    callers = await asyncio.gather(*[fast.give([data[:cut], data[cut:], next_one], 2) for cut in cuts])
    assert {caller.written.count(b"HTTP/1.1 200 ") for caller in callers} == {2}
    assert len(fast.taken) == len(cuts)
    assert await fast.redis.xlen(fast.keys.inbound(0)) == 2


async def test_a_request_that_arrives_meanwhile_waits(fast, gate):
    """Nothing more is read until the webhook on the lane is answered; then the next one is, in order."""
    connection, caller = await fast.call()
    connection.data_received(whole(GOOD))
    assert len(fast.taken) == 1
    connection.data_received(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + whole(signed(sms(2))))
    assert caller.is_paused
    gate.set()
    await until(lambda: caller.answers == 3)
    assert not caller.is_paused
    assert [b"text/xml" in part for part in caller.written.split(b"HTTP/1.1 200 ")[1:]] == [True, False, True]
    connection.connection_lost(None)


async def test_a_connection_with_a_webhook_on_the_lane_is_not_idle(fast, gate):
    """Neither the timer of idle connections nor that of silent ones closes it."""
    connection, caller = await fast.call()
    connection.data_received(whole(GOOD))
    connection._next_keepalive_close_time = 0.0
    connection._process_keepalive()
    connection._drop_if_silent()
    assert not caller.is_over
    gate.set()
    await until(lambda: caller.answers)
    connection._next_keepalive_close_time = 0.0
    connection._process_keepalive()
    assert caller.is_over
    connection.connection_lost(None)


@pytest.mark.parametrize("is_told", [True, False], ids=["stopping", "without a word"])
async def test_an_orderly_end_answers_what_is_on_the_lane(fast, gate, is_told):
    """The answer is the last one of its connection, and says so if the process is known to stop."""
    connection, caller = await fast.call()
    connection.data_received(whole(GOOD))
    connection.data_received(whole(signed(sms(2))))
    if is_told:
        fast.runner.app[STOPPING].set()
    fast.runner.server.pre_shutdown()
    ending = asyncio.create_task(fast.runner.server.shutdown(30))
    for _ in range(TURNS):
        await asyncio.sleep(0)
    gate.set()
    await ending
    assert caller.written.startswith(b"HTTP/1.1 200 ")
    assert (b"Connection: close" in caller.written) == is_told
    assert caller.is_over
    assert await fast.redis.xlen(fast.keys.inbound(0)) == 1
    connection.connection_lost(None)


async def test_a_stop_during_the_append_makes_the_answer_the_last_one(fast, gate):
    """As of any request that is answered once the process stops."""
    connection, caller = await fast.call()
    connection.data_received(whole(GOOD))
    fast.runner.app[STOPPING].set()
    gate.set()
    await until(lambda: caller.is_over)
    assert b"Connection: close" in caller.written
    connection.connection_lost(None)


@pytest.mark.parametrize("error", [None, RedisConnectionError("away")], ids=["durable", "outage"])
async def test_a_caller_that_disconnects_changes_nothing_for_its_event(fast, gate, error):
    """The event is stored, in the spool if Redis is away, and its log line is written."""
    connection, caller = await fast.call()
    connection.data_received(whole(GOOD))
    connection.connection_lost(None)
    gate.error = error
    gate.set()

    def results() -> list[str]:
        lines = map(orjson.loads, fast.output.getvalue().splitlines())
        return [line["result"] for line in lines if line["event"] == "webhook"]

    await until(results)
    assert results() == ["spooled" if error else "accepted"]
    assert caller.written == b""
    gate.error = None


async def test_an_outage_during_the_append_ends_as_without_the_lane(sides, gate):
    """Redis fails after the webhook was taken: the event is spooled, and the answer is the usual one."""
    fast, slow = await sides()
    gate.error = RedisConnectionError("away")
    gate.set()
    outcomes = [await side.outcome([whole(GOOD)], 1, 0) for side in (fast, slow)]
    gate.error = None
    assert len(fast.taken) == 1
    assert outcomes[0]["answers"] == outcomes[1]["answers"]
    assert outcomes[0]["counts"] == outcomes[1]["counts"]
    assert [line["result"] for line in outcomes[0]["lines"] if line["event"] == "webhook"] == ["spooled"]


async def test_without_a_spool_an_outage_is_answered_503(sides, gate):
    """The answer and its headers are those of the usual way."""
    fast, slow = await sides(ROUTER_SPOOL_MAX_BYTES="0")
    gate.error = RedisConnectionError("away")
    gate.set()
    outcomes = [await side.outcome([whole(GOOD)], 1, 0) for side in (fast, slow)]
    assert outcomes[0] == outcomes[1]
    assert b"HTTP/1.1 503 Service Unavailable" in outcomes[0]["answers"]


async def test_a_caller_that_does_not_read_gets_its_answer_from_aiohttp(fast, gate):
    """aiohttp waits until the answer can be written."""
    connection, caller = await fast.call()
    connection.data_received(whole(GOOD))
    connection.pause_writing()
    gate.set()
    for _ in range(TURNS):
        await asyncio.sleep(0)
    connection.resume_writing()
    await until(lambda: caller.answers)
    connection.connection_lost(None)


async def test_an_answer_of_the_lane_begins_the_time_of_being_idle(fast):
    """The connection limit closes the other connection first, which has been idle for longer."""
    (first, caller), (second, _) = await fast.call(), await fast.call()
    limit = first._limit
    first.data_received(whole(GOOD))
    await until(lambda: caller.answers)
    assert list(limit._idle) == [second, first]
    for connection in (first, second):
        connection.connection_lost(None)
