"""Events per second of one worker with very many known customers, beside one with few.

Each worker has a server of its own. One customer writes through the real path; all others get copies of that
customer's ledger and route, written by the store itself. Every turn has messages of other customers, so that nothing
about them is warm, and all of them must be published without a request of the API.
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp
import orjson

from router.core.addresses import Address, Channel
from router.core.formats import FORMAT
from router.core.judging.routes import Route, pair_of
from router.core.keys import Keys, Target
from router.settings.load import load
from router.streams.client.gathering import make_gathering_client
from router.streams.store.ledgers import Store
from tests.benchmarks import webhooks
from tests.benchmarks.customers import start_api
from tests.benchmarks.filled_stream import Stream
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Sample, Scale
from tests.benchmarks.lean_api import COUNTS
from tests.benchmarks.processes import cpu_seconds, running_processes, settings_of
from tests.benchmarks.worker import announce
from tests.support.accounts import ACCOUNT, CONFIGURATION, OURS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from router.core.ledger.ledger import Ledger
    from tests.benchmarks.processes import Child

#: Known customers where there are few, and at most half of those where there are many. They are more than the worker's
#: caches of addresses hold, so that both workers compute the same.
FEW: Final = 10_000
#: Entries in the stream for each second of a turn.
PACE: Final = 8_000
#: The number of the customer who is copied.
TEMPLATE: Final = 9_000_000
#: Customers that are written at once, and between two lines of progress.
_CHUNK: Final = 500
_PROGRESS: Final = 25_000
_KEYS: Final = Keys()


def digits_of(number: int) -> str:
    """Return the phone number of a customer, without the plus."""
    return f"1555{number:07d}"


class Copies:
    """Copies of what the store knows of one customer."""

    def __init__(self, store: Store, ledger: Ledger, route: Route) -> None:
        self._store = store
        fields = {name: value for name, value in ledger.fields.items() if name not in {"rev", FORMAT}}
        found = (route.conversation_id, route.participant_id, route.participant_type, route.confirmed_at)
        self._text = orjson.dumps({"route": found, "fields": fields})

    @classmethod
    async def of(cls, store: Store) -> Copies:
        """Read the template; raises BenchmarkError if its customer is not known."""
        (route,) = await store.read_routes([(ACCOUNT, _pair(TEMPLATE))])
        if route is None:
            raise BenchmarkError("the customer who is to be copied has no route")
        return cls(store, await store.read_whole(ACCOUNT, route.conversation_id), route)

    async def write(self, first: int, count: int) -> None:
        """Write so many customers; raises BenchmarkError if one of them exists."""
        ledgers, routes = [], []
        for number in range(first, first + count):
            copy = orjson.loads(self._text.replace(digits_of(TEMPLATE).encode(), digits_of(number).encode()))
            route = Route(*copy["route"])
            ledger = self._store.make_ledger(ACCOUNT, route.conversation_id)
            ledger.changes |= copy["fields"]
            ledgers.append(ledger)
            routes.append((ACCOUNT, _pair(number), route))
        committed = await self._store.commit(ledgers, routes=routes)
        if not all(committed):
            raise BenchmarkError("customers that were to be written are known")


def _pair(number: int) -> str:
    return pair_of(CONFIGURATION, Address(Channel.SMS, f"+{digits_of(number)}"), Address(Channel.SMS, OURS))


class KnownBench:
    """One worker and its known customers; `api` counts requests."""

    def __init__(self, stream: Stream, worker: Child, api: str, session: aiohttp.ClientSession, known: int) -> None:
        self._stream = stream
        self._worker = worker
        self._api = api
        self._session = session
        self._known = known
        self._next = 0

    async def fill(self, environment: dict[str, str]) -> None:
        """Make all customers known."""
        await announce(self._stream, _KEYS, [self._worker], webhooks.Senders(1, TEMPLATE))
        settings = load(environment=environment)
        store = Store(make_gathering_client(self._stream.redis), _KEYS, marker_ttl=settings.marker_ttl)
        copies = await Copies.of(store)
        for first in range(0, self._known, _CHUNK):
            await copies.write(first, min(_CHUNK, self._known - first))
            if first % _PROGRESS == 0 and first:
                sys.stderr.write(f"          {first:,} of {self._known:,} customers written\n")
        await self._empty()

    async def take_turn(self, seconds: float) -> Sample:
        """Let the worker settle messages of the next customers; raises BenchmarkError unless it knows all of them."""
        count = max(200, int(PACE * seconds))
        some = min(count, self._known)
        if self._next + some > self._known:
            self._next = 0
        await self._stream.prepare(webhooks.Senders(some, self._next), count)
        self._next += some
        calls, used = await self._calls(), cpu_seconds(self._worker.pid)
        await self._stream.release()
        rate = await self._stream.until_acknowledged([self._worker], count)
        now, calls = cpu_seconds(self._worker.pid), await self._calls() - calls
        published = await self._empty()
        if calls or published != count:
            raise BenchmarkError(f"{count} messages of known customers: {calls} API calls, {published} entries")
        sample = {"events": float(count), "per_second": rate, "known": float(self._known)}
        if used is not None and now is not None:
            sample["cpu_us"] = (now - used) / count * 1_000_000
            sample["busy"] = sample["cpu_us"] * rate / 10_000
        return sample

    async def _calls(self) -> int:
        async with self._session.get(self._api + COUNTS) as response:
            return int(orjson.loads(await response.read())["total"])

    async def _empty(self) -> int:
        """Delete all entries of the participants stream; returns their number."""
        participants = _KEYS.participants(0, Target.AI_AGENT)
        return int(await self._stream.redis.xtrim(participants, maxlen=0, approximate=False))


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[Sequence[Contender]]:
    """Start a worker, its API and its Redis for each number of customers, and write the customers."""
    many = scale.of_million()
    numbers = {"few": min(FEW, many // 2), "many": many}
    async with AsyncExitStack() as stack, aiohttp.ClientSession() as session:
        contenders = []
        for name, known in numbers.items():
            server, redis, processes = await stack.enter_async_context(running_processes())
            api = await start_api(processes, "api", 0.0)
            environment = settings_of(server.url, api)
            stream = Stream.inbound(redis, _KEYS)
            await stream.create()
            worker = await processes.start("worker", "-m", "router", "work", environment=environment)
            bench = KnownBench(stream, worker, api, session, known)
            await bench.fill(environment)
            contenders.append(Contender(name, f"{known:,} known customers", bench.take_turn))
        yield contenders


KNOWN: Final = Measurement(
    name="known",
    title="Worker: messages of known customers, of whom there are many or few, a Redis for each",
    columns=(
        Column("per_second", "events/s"),
        Column("cpu_us", "CPU us/event", 1),
        Column("busy", "busy %"),
        Column("events", "events a turn"),
        Column("known", "customers"),
    ),
    figures=(
        Figure("many_over_few", "events/s, many / few", "per_second", "many", "few", at_least=0.9),
        Figure("cpu_many_over_few", "CPU per event, many / few", "cpu_us", "many", "few"),
    ),
    opened=opened,
)
