"""The sample events of `dev`: what customers on several channels do, and what comes of each, line by line."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.commands.simulate import describe
from router.sandbox.http import post_json
from router.sandbox.simulated_voice import call, place_call, take_answer
from router.sandbox.simulator import Sender, SimulatedWebhook, as_new, message
from router.streams.watch import last_ids, watch

if TYPE_CHECKING:
    from pathlib import Path

    from router.core.entries import Entry
    from router.core.keys import Keys
    from router.streams.connection import Redis

OUR_NUMBER: Final = "+15557650000"
SERVICE_DESK: Final = "+15557650002"
#: Seconds within which every sample event must have arrived.
PATIENCE: Final = 30.0
#: Of each sample message: kind, our number, text, and how often Twilio sends the webhook.
_MESSAGES: Final = (
    ("sms", OUR_NUMBER, "Where is my order?", 3),
    ("sms", SERVICE_DESK, "I want to talk to a person.", 1),
    ("mms", OUR_NUMBER, "", 1),
    ("whatsapp", OUR_NUMBER, "Hola, una pregunta", 2),
    ("rcs", OUR_NUMBER, "Can I change my booking?", 1),
    ("messenger", "100200300", "Are you open today?", 1),
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
        """Print every entry that arrives, for ever."""
        tails = [_Tail(self._log_dir / f"{name}.log") for name in ("ai-agent", "human-agent")]
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
        wanted = set()
        sender = Sender(
            receiver_url=self._environment["ROUTER_URL"],
            public_base_url=self._environment["PUBLIC_BASE_URL"],
            auth_token=self._environment["TWILIO_AUTH_TOKEN"],
        )
        async with sender:
            for kind, recipient, body, times in _MESSAGES:
                webhook = self._message(kind, recipient, body)
                wanted.add(dict(webhook.pairs)["From"])
                for _ in range(times):
                    await sender.send(webhook)
                self._sent += times
                # the same customer writes again: another message, the same participant
                again = as_new(webhook, f"{webhook.resource_id[:2]}{secrets.token_hex(16)}")
                await sender.send(again)
                self._sent += 1
            wanted.add(await self._call(sender))
        wanted.add(await self._capture())
        self._participants = len(wanted)
        return await self._all_arrived(wanted)

    def _message(self, kind: str, recipient: str, body: str) -> SimulatedWebhook:
        number = secrets.randbelow(10**4)
        customer = f"7{number:015d}" if kind == "messenger" else f"+1555{secrets.randbelow(10**3):03d}{number:04d}"
        account_sid = self._environment["TWILIO_ACCOUNT_SID"]
        return message(kind, account_sid=account_sid, sender=customer, recipient=recipient, body=body)

    async def _call(self, sender: Sender) -> str:
        """Let a customer call: the answer is TwiML, and the sandbox does with it what Twilio does."""
        customer = f"+1555{secrets.randbelow(10**7):07d}"
        account_sid, sid = self._environment["TWILIO_ACCOUNT_SID"], f"CA{secrets.token_hex(16)}"
        webhook = call(account_sid=account_sid, sender=customer, recipient=OUR_NUMBER, sid=sid)
        _, answer = await sender.send(webhook)
        self._sent += 1
        attached = take_answer(answer)
        if attached is not None:
            url, user = self._environment["TWILIO_CONVERSATIONS_URL"], self._environment["TWILIO_API_KEY"]
            await place_call(url, webhook, attached, user=user, password=self._environment["TWILIO_API_SECRET"])
        return customer

    async def _capture(self) -> str:
        """Let the sandbox capture a message by itself, as the API does with capture rules: it tells us by callback."""
        customer = f"+1555{secrets.randbelow(10**7):07d}"
        body = {"channel": "SMS", "from": customer, "to": OUR_NUMBER, "body": "Hello?"}
        await post_json(
            f"{self._environment['TWILIO_CONVERSATIONS_URL']}/sandbox/capture",
            body,
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
            f"\n{self._sent} webhooks, repeats among them, and one message that the sandbox captured by itself: "
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
    if fields.get("event") != "consumed":
        return None
    shown = {name: fields[name] for name in ("result", "reply", "agent", "conversation") if fields.get(name)}
    return f"  {fields.get('handler', fields.get('process')):<17}  " + "  ".join(
        f"{name} {value}" for name, value in shown.items()
    )
