"""The sample events of `dev`: what customers on several channels do, and what comes of each, line by line."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from router.simulator.command import describe
from router.simulator.http import post_json
from router.simulator.options import parse_simulate
from router.simulator.scenario import make_steps, send_steps
from router.streams.client.connection import RedisError
from router.streams.store.watch import last_ids, watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from router.core.entries import Entry
    from router.core.keys import Keys
    from router.streams.client.connection import Redis

OUR_NUMBER: Final = "+15557650000"
OUR_MAILBOX: Final = "support@inbound.example.com"
SERVICE_DESK: Final = "+15557650002"
#: Seconds before Redis is asked again that did not answer.
PAUSE: Final = 0.5
#: Seconds within which every sample event must have arrived.
PATIENCE: Final = 30.0


def _phone() -> str:
    return f"+1555{secrets.randbelow(10**7):07d}"


def _page_id() -> str:
    return f"7{secrets.randbelow(10**15):015d}"


def _mailbox() -> str:
    return f"customer-{secrets.token_hex(4)}@example.com"


class Sample(NamedTuple):
    """What a new customer (by an address of its own) does, as a command line of `simulate`, and whether once again."""

    line: tuple[str, ...]
    customer: Callable[[], str] = _phone
    does_it_again: bool = True


_SAMPLES: Final = (
    Sample(("sms", "--body", "Where is my order?", "--times", "3")),
    Sample(("sms", "--to", SERVICE_DESK, "--body", "I want to talk to a person.")),
    Sample(("mms", "--body", "")),
    Sample(("whatsapp", "--body", "Hola, una pregunta", "--times", "2")),
    Sample(("rcs", "--body", "Can I change my booking?")),
    Sample(("messenger", "--to", "100200300", "--body", "Are you open today?"), _page_id),
    Sample(("voice",), does_it_again=False),
    Sample(("email", "--to", OUR_MAILBOX, "--subject", "Order 4711", "--body", "Where is it?"), _mailbox),
)


class Demo:
    """Plays the sample events and prints what arrives; customers are new ones in every run."""

    def __init__(self, environment: dict[str, str], redis: Redis, keys: Keys, *, log_dir: Path) -> None:
        self._environment = environment
        self._redis = redis
        self._keys = keys
        self._log_dir = log_dir
        self._position: dict[str, str] = {}
        self._joined: dict[str, int] = {}
        self._seen = asyncio.Event()
        self._sent = 0
        self._participants = 0

    async def prepare(self) -> None:
        """Remember where the streams end now."""
        self._position = await last_ids(self._redis, self._keys)

    async def follow(self) -> None:
        """Print every entry that arrives, for ever; what Redis does not tell just now it tells later."""
        tails = [_Tail(self._log_dir / f"{name}.log") for name in ("ai-agent", "human-agent")]
        while True:
            try:
                await self._follow(tails)
            except (RedisError, OSError):  # stalled or away: people try that too
                await asyncio.sleep(PAUSE)

    async def _follow(self, tails: list[_Tail]) -> None:
        async with aclosing(watch(self._redis, self._position)) as entries:
            async for entry in entries:
                if entry is not None:
                    self._note(entry)
                    print(describe(entry), flush=True)
                for tail in tails:
                    for line in await asyncio.to_thread(tail.read):
                        print(line, flush=True)

    def _note(self, entry: Entry) -> None:
        if entry.type == "participant.joined":
            address: str = getattr(entry.data, "address", "")
            self._joined[address] = self._joined.get(address, 0) + 1
            self._seen.set()

    async def play(self) -> bool:
        """Send the sample events; True once each customer has been announced exactly once."""
        wanted = {await self._act(sample) for sample in _SAMPLES}
        wanted.add(await self._capture("/sandbox/capture", channel="SMS"))
        wanted.add(await self._capture("/sandbox/classic/inbound"))
        self._participants = len(wanted)
        return await self._all_arrived(wanted)

    async def _act(self, sample: Sample) -> str:
        """Let a customer do what a sample says, and once again: another message, the same participant."""
        kind, *rest = sample.line
        line = (kind, "--from", sample.customer(), "--to", OUR_NUMBER, *rest)
        address = await self._send(*line)
        if sample.does_it_again:
            await self._send(*line, "--times", "1", "--new")
        return address

    async def _send(self, *line: str) -> str:
        arguments = parse_simulate(line)
        steps = make_steps(arguments, self._environment)
        await send_steps(steps, arguments, self._environment)
        self._sent += sum(step.statuses.total() for step in steps)
        return steps[0].customer.value

    async def _capture(self, path: str, **more: str) -> str:
        """Let the sandbox take a message in by itself, into a conversation of v2 or a classic one: webhooks tell of it.

        The API does so with capture rules, and the classic API with auto-creation.
        """
        customer = _phone()
        await post_json(
            f"{self._environment['TWILIO_CONVERSATIONS_URL']}{path}",
            {"from": customer, "to": OUR_NUMBER, "body": "Hello?", **more},
            user=self._environment["TWILIO_API_KEY"],
            password=self._environment["TWILIO_API_SECRET"],
        )
        return customer

    async def _all_arrived(self, wanted: set[str]) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                while not wanted <= self._joined.keys():
                    self._seen.clear()
                    await self._seen.wait()
        except TimeoutError:
            return False
        await asyncio.sleep(1.0)  # for the consumers' lines, and for what must not come a second time
        return all(self._joined[address] == 1 for address in wanted)

    def summary(self, python: str) -> str:
        """Return what was shown, and what to try next."""
        joined = sum(self._joined.values())
        return (
            f"\n{self._sent} webhooks, repeats among them, and two messages that the sandbox took in by itself: "
            f"{self._participants} customers, {joined} participant.joined\n\n"
            "send one more, and send it again to see that nothing doubles:\n"
            f'  {python} -m router simulate sms --from +15551230001 --to {OUR_NUMBER} --body "hi"\n'
        )


class _Tail:
    """Follows the log of a consumer, and says in words what it did."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def read(self) -> list[str]:
        """Return what has come since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        whole, _, _ = data.rpartition(b"\n")
        self._offset += len(whole) + 1 if whole else 0
        return [words for line in whole.splitlines() if (words := _in_words(line))]


def _in_words(line: bytes) -> str | None:
    try:
        fields: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if fields.get("event") != "consumed" or fields.get("result") == "ignored":
        return None
    shown = {name: fields[name] for name in ("result", "reply", "agent", "conversation") if fields.get(name)}
    return f"  {fields.get('handler', fields.get('process')):<17}  " + "  ".join(
        f"{name} {value}" for name, value in shown.items()
    )
