"""The sample events of `dev`: customers on several channels, and what must become of them."""

from __future__ import annotations

import asyncio
import secrets
import shlex
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from router.core.entries import JoinedData
from router.core.sealing import NO_KEYS
from router.dev.happening import Happening, LineKind
from router.dev.people import DemoPeople
from router.logs import describe_fully
from router.settings.environment import STATE_DIR
from router.simulator.http import HTTP_ERRORS, post_json
from router.simulator.options import parse_simulate
from router.simulator.scenario import make_steps, send_steps
from router.streams.client.connection import RedisError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from router.core.entries import Entry
    from router.core.keys import Keys
    from router.core.routing.team import Team
    from router.core.sealing import Sealer
    from router.streams.client.connection import Redis

OUR_NUMBER: Final = "+15557650000"
OUR_MAILBOX: Final = "support@inbound.example.com"
SERVICE_DESK: Final = "+15557650002"
#: Seconds in which all sample events must arrive.
TIMEOUT: Final = 30.0
#: Seconds for the people to leave if it ends early.
_FAREWELL: Final = 2.0


def _phone() -> str:
    return f"+1555{secrets.randbelow(10**7):07d}"


def _page_id() -> str:
    return f"7{secrets.randbelow(10**15):015d}"


def _mailbox() -> str:
    return f"customer-{secrets.token_hex(4)}@example.com"


class Sample(NamedTuple):
    """A webhook of a new customer: `line` is a command line of `simulate`, `address` makes the customer's address.

    With `has_second` the customer then sends another message.
    """

    line: tuple[str, ...]
    address: Callable[[], str] = _phone
    has_second: bool = True


_SAMPLES: Final = (
    Sample(("sms", "--body", "Where is my order?", "--times", "3")),
    Sample(("sms", "--to", SERVICE_DESK, "--body", "I want to talk to a person.")),
    Sample(("mms", "--body", "")),
    Sample(("whatsapp", "--body", "Hola, una pregunta", "--times", "2")),
    Sample(("rcs", "--body", "Can I change my booking?")),
    Sample(("messenger", "--to", "100200300", "--body", "Are you open today?"), _page_id),
    Sample(("voice",), has_second=False),
    Sample(("email", "--to", OUR_MAILBOX, "--subject", "Order 4711", "--body", "Where is it?"), _mailbox),
)
#: The customer whom the AI agent passes on to a person, and who then writes again.
_PASSED_ON: Final = ("sms", "--to", OUR_NUMBER, "--body", "My order has arrived broken, I want a refund.")
_AGAIN: Final = ("--body", "When does the refund arrive?", "--new")


class Demo:
    """Plays the sample events; every run has new customers. `say` shows what people do who are simulated."""

    def __init__(
        self,
        environment: dict[str, str],
        redis: Redis,
        keys: Keys,
        *,
        team: Team,
        say: Callable[[Happening], None],
        sealer: Sealer = NO_KEYS,
    ) -> None:
        self._environment = environment
        self._people = DemoPeople(redis, keys, team, say, sealer)
        self._say = say
        self._is_playing = False
        self._joined: dict[str, list[JoinedData]] = {}
        self._has_joined = asyncio.Event()
        self._sent = 0
        self._participants = 0

    async def take(self, entry: Entry) -> None:
        """Note an entry that is published while the demo plays, and let the people react to it. Raises RedisError."""
        if not self._is_playing:  # `dev` may run for weeks
            return
        if isinstance(entry.data, JoinedData):
            self._joined.setdefault(entry.data.address, []).append(entry.data)
            self._has_joined.set()
        await self._people.take(entry)

    async def play(self) -> bool:
        """Send the sample events and play a handoff there and back.

        True once every customer has exactly one participant.joined and the handoff is back. False after TIMEOUT, or if
        a process or Redis does not answer; `say` shows why.
        """
        self._is_playing = True
        try:
            return await self._play()
        except (*HTTP_ERRORS, RedisError) as error:
            why = describe_fully(error) if str(error) else f"not everything has come within {TIMEOUT:g} s"
            self._say(Happening(time.time_ns() // 1000, LineKind.TROUBLE, "demo", f"ends early: {why}"))
            with suppress(RedisError, OSError):
                async with asyncio.timeout(_FAREWELL):
                    await self._people.leave()
            return False
        finally:
            self._is_playing = False

    async def _play(self) -> bool:
        await self._people.arrive()
        wanted = {await self._act(sample) for sample in _SAMPLES}
        wanted.add(await self._capture("/sandbox/capture", channel="SMS"))
        wanted.add(await self._capture("/sandbox/classic/inbound"))
        customer = await self._act(Sample(_PASSED_ON, has_second=False))
        wanted.add(customer)
        self._participants = len(wanted)
        async with asyncio.timeout(TIMEOUT):
            await self._all_joined(wanted)
            (joined, *_) = self._joined[customer]
            is_back = await self._people.show_handoff(
                joined, lambda: self._send("sms", "--from", customer, "--to", OUR_NUMBER, *_AGAIN)
            )
            await asyncio.sleep(1.0)  # for the consumers' log lines, and for duplicates, which must not appear
            await self._people.leave()
        return is_back and all(len(self._joined[address]) == 1 for address in wanted)

    async def _act(self, sample: Sample) -> str:
        """Send a sample, and with `has_second` another message of the same customer; returns the customer's address."""
        kind, *rest = sample.line
        line = (kind, "--from", sample.address(), "--to", OUR_NUMBER, *rest)
        address = await self._send(*line)
        if sample.has_second:
            await self._send(*line, "--times", "1", "--new")
        return address

    async def _send(self, *line: str) -> str:
        arguments = parse_simulate(line)
        steps = make_steps(arguments, self._environment)
        await send_steps(steps, arguments, self._environment)
        self._sent += sum(step.statuses.total() for step in steps)
        return steps[0].customer.value

    async def _capture(self, path: str, **more: str) -> str:
        """Let the sandbox capture a message, into a v2 or a classic conversation; returns the customer's number.

        The API does so by capture rules, the classic API by auto-creation; the router hears of it by webhooks.
        """
        customer = _phone()
        await post_json(
            f"{self._environment['TWILIO_CONVERSATIONS_URL']}{path}",
            {"from": customer, "to": OUR_NUMBER, "body": "Hello?", **more},
            user=self._environment["TWILIO_API_KEY"],
            password=self._environment["TWILIO_API_SECRET"],
        )
        return customer

    async def _all_joined(self, wanted: set[str]) -> None:
        while not wanted <= self._joined.keys():
            self._has_joined.clear()
            await self._has_joined.wait()

    def summary(self, program: str, state_dir: Path) -> list[str]:
        """Return the numbers of the demo, and a command to try next, which finds this `dev`."""
        joined = sum(map(len, self._joined.values()))
        sent = f"{self._sent} webhooks, duplicates among them, and two messages captured by the sandbox"
        where = "" if state_dir == STATE_DIR else f" --state-dir {shlex.quote(str(state_dir))}"
        return [
            "",
            f"{sent}: {self._participants} customers, {joined} participant.joined",
            "",
            "send one message, then the same again to see that nothing is published twice:",
            f'  {program} simulate sms{where} --from +15551230001 --to {OUR_NUMBER} --body "hi"',
            "",
        ]
