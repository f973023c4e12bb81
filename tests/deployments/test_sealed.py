"""A whole deployment with ROUTER_SEAL_KEYS: nothing that was said rests in the clear, in Redis or on disk.

The server's append-only file has every value that was ever written, so it is searched for the words, with the spool.
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from itertools import count
from pathlib import Path

import aiohttp
import pytest

from router.core.aes_gcm import make_sealer
from router.core.entries import read_entry
from router.core.routing.commands import write_command
from router.core.sealing import MAGIC, NO_KEYS, PREFIX
from router.core.signing.twilio import sign
from router.simulator.http import SignatureFault
from router.simulator.mail import MailSender, mail
from router.simulator.mail_command import load_key
from router.simulator.messages import message
from router.streams.client.connection import connect
from tests.deployments.traffic import deployment_of
from tests.harness.dev import running_dev
from tests.harness.redis_server import RedisServer
from tests.harness.settings import write_config
from tests.support.accounts import OURS
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.processes, pytest.mark.timeout(240)]
KEY = bytes(range(100, 132))
SEALER = make_sealer([KEY], lambda: os.urandom(12))
NUMBERS = count()
CUSTOMERS = [f"+1555777000{number}" for number in range(5)]
BOXES = ("help@inbound.example.com", "sales@inbound.example.com")
#: What must not be found: each is said, or is a name, in one place at least.
WORDS = {
    name: f"zq{name}xw"
    for name in (
        "sms",
        "person",
        "fail",
        "mail",
        "subject",
        "forged",
        "query",
        "spool",
        "profile",
        "say",
        "note",
        "agent",
    )
}


class Town:
    """A running deployment, and customers and people who write there."""

    def __init__(self, dev, sender, deployment, sealer):
        self.dev, self.sender, self.deployment, self.sealer = dev, sender, deployment, sealer
        self.redis, self.keys = deployment.redis, deployment.keys

    async def write(self, customer, text, *, kind="sms", fault=None, **extra):
        """Send a message of a customer; returns the status of the answer."""
        account = self.dev["TWILIO_ACCOUNT_SID"]
        webhook = message(kind, account_sid=account, sender=customer, recipient=OURS, body=text, **extra)
        status, _ = await (self.sender.send(webhook, fault) if fault else self.sender.send(webhook))
        return status

    async def command(self, kind, **data):
        """Write a command, sealed as programs do that have the keys."""
        fields = write_command(kind, str(next(NUMBERS)), data, source="/test", sealer=self.sealer)
        await self.redis.xadd(self.keys.commands(0), fields)

    async def entries(self, kind):
        """Return the entries of a type, opened."""
        rows = [row for stream in self.deployment.participants_streams for row in await self.redis.xrange(stream)]
        return [read_entry(fields[b"event"], self.sealer) for _, fields in rows if fields[b"type"] == kind.encode()]

    async def said(self, conversation_id):
        """Return all texts of a conversation, as the API has them."""
        return await self.deployment.sandbox.texts(conversation_id)


@pytest.fixture
def server(tmp_path):
    """A server of this test's own, whose append-only file can be read."""
    server = RedisServer(tmp_path, "aof-use-rdb-preamble no", "maxmemory 0")
    asyncio.run(server.start())
    yield server
    server.kill()


@pytest.mark.parametrize("sealer", [SEALER, NO_KEYS], ids=["sealed", "in-the-clear"])
def test_nothing_that_was_said_rests_in_the_clear(sealer, server, tmp_path):
    """SMS, a turn, a name, a mail to two, a handoff, a person's words and note, refusals, a dead letter, the spool.

    Without keys the same search finds every word, so it would find them with keys.
    """
    state = tmp_path / "state"
    state.mkdir()
    config = write_config(tmp_path, "dana")
    routing = config / "routing.toml"
    burst = "[default]\nburst = { quiet = 0.2, most = 2 }\n"
    routing.write_text(routing.read_text().replace("[default]\n", burst, 1))
    settings = {
        "ROUTER_SEAL_KEYS": b64encode(KEY).decode() if sealer.has_keys else "",
        "ROUTER_CONFIG_DIR": str(config),
        "ROUTER_MAX_DELIVERIES": "1",
        "ROUTER_DEAD_LETTER_BUDGET": "1",
        "ROUTER_AI_AGENT_REPLY": "tests.deployments.sealed_replies:answer",
    }
    with running_dev(state, "--redis-url", server.url, **settings) as dev:
        spooled = asyncio.run(live(dev, server, state, sealer))
    written = spooled + b"".join(path.read_bytes() for path in Path(server.directory).rglob("*") if path.is_file())
    assert all(number.encode() in written for number in CUSTOMERS[:4]), "addresses stay in the clear"
    found = {name for name, word in WORDS.items() if word.encode() in written}
    assert found == (set() if sealer.has_keys else {*WORDS})
    assert (written.count(MAGIC) > 3) is (written.count(PREFIX.encode()) > 10) is sealer.has_keys
    logs = b"".join(path.read_bytes() for path in (state / "log").iterdir())
    assert [name for name, word in WORDS.items() if word.encode() in logs] == []


async def live(dev, server, state, sealer):
    """Let it all happen; returns what the spool had while Redis was away."""
    redis = connect(dev["REDIS_URL"])
    key = load_key(dev["ROUTER_EMAIL_PRIVATE_KEY_FILE"])
    sender = MailSender(
        receiver_url=dev["ROUTER_URL"],
        public_base_url=dev["PUBLIC_BASE_URL"],
        auth_token=dev["TWILIO_AUTH_TOKEN"],
        private_key=key,
    )
    try:
        async with deployment_of(dev, redis) as deployment, sender:
            town = Town(dev, sender, deployment, sealer)
            await say_it_all(town)
            await be_refused(town)
            await hand_over(town)
            return await go_through_the_spool(town, server, state)
    finally:
        await redis.aclose()


async def say_it_all(town):
    """Messages and mails are published, and answered."""
    assert await town.write(CUSTOMERS[0], WORDS["sms"]) == 200
    assert await town.write(CUSTOMERS[1], "hello", kind="whatsapp", ProfileName=WORDS["profile"]) == 200
    webhook = mail(sender="eve@example.com", recipients=BOXES, subject=WORDS["subject"], body=WORDS["mail"])
    assert (await town.sender.send(webhook))[0] == 200

    async def is_said():
        texts = [one.data.communication.text for one in await town.entries("communication.received")]
        turns = [said.text for one in await town.entries("turn.ready") for said in one.data.communications]
        return {WORDS["sms"], WORDS["mail"]} <= {*texts} and WORDS["sms"] in turns

    await until(is_said, timeout=60)
    (entry,) = [
        one for one in await town.entries("communication.received") if one.data.communication.text == WORDS["sms"]
    ]
    names = [one.data.profile_name for one in await town.entries("communication.received")]
    assert WORDS["profile"] in names
    await until(lambda: is_answered(town, entry.data.conversation.id, f"answer: {WORDS['sms']}"), timeout=60)


async def is_answered(town, conversation_id, text):
    return text in await town.said(conversation_id)


async def be_refused(town):
    """A forged webhook, and one with its words in the query, are kept; a message whose reply fails is a dead letter."""
    assert await town.write(CUSTOMERS[2], WORDS["forged"], fault=SignatureFault(has_wrong_token=True)) == 403
    path = f"/webhooks/messaging/?Body={WORDS['query']}&AccountSid={town.dev['TWILIO_ACCOUNT_SID']}"
    signature = sign(town.dev["TWILIO_AUTH_TOKEN"], (town.dev["PUBLIC_BASE_URL"] + path).encode())
    headers = {"X-Twilio-Signature": signature}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(town.dev["ROUTER_URL"] + path) as answer:
        assert answer.status in {404, 405}
    assert await town.write(CUSTOMERS[2], f"fail {WORDS['fail']}") == 200
    await until(lambda: has_kept(town), timeout=60)


async def has_kept(town):
    kept = await town.redis.xlen(town.keys.quarantine())
    return kept >= 2 and await town.deployment.count_dead_letters() >= 1


async def hand_over(town):
    """A person is asked with summary and context, writes, transfers nothing and gives back with a note."""
    await town.command("agent.available", agent="dana", life=600)
    assert await town.write(CUSTOMERS[3], f"person {WORDS['person']}") == 200
    await until(lambda: town.entries("offer.made"), timeout=60)
    (offer,) = await town.entries("offer.made")
    said = f"person {WORDS['person']}"
    assert (offer.data.offer.summary, offer.data.offer.context) == (f"summary: {said}", {"said": [said]})
    await town.command("offer.accept", offer=offer.data.offer.id, agent="dana")
    await until(lambda: town.entries("holder.changed"), timeout=60)
    home = {"conversation": offer.data.conversation.id, "agent": "dana"}
    await town.command("conversation.say", **home, epoch=1, text=WORDS["say"])
    await until(lambda: is_answered(town, home["conversation"], WORDS["say"]), timeout=60)
    await town.command("conversation.release", **home, epoch=1, note=WORDS["note"])

    async def is_back():
        return WORDS["note"] in [one.data.note for one in await town.entries("holder.changed")]

    await until(is_back, timeout=60)
    await town.command("conversation.say", **home, epoch=7, text=WORDS["agent"])

    async def is_refused():
        refused = await town.entries("command.refused")
        return any(one.data.command.data.get("text") == WORDS["agent"] for one in refused)

    await until(is_refused, timeout=60)


async def go_through_the_spool(town, server, state):
    """While Redis is away a webhook rests on disk; it is published once Redis is back."""
    await town.deployment.until_idle(*town.deployment.inbound_streams)
    server.kill()
    assert await town.write(CUSTOMERS[4], WORDS["spool"]) == 200
    spooled = b"".join(path.read_bytes() for path in (state / "spool").rglob("*") if path.is_file())
    assert CUSTOMERS[4].encode() in spooled
    await server.start()

    async def is_published():
        said = await town.entries("communication.received")
        return WORDS["spool"] in [one.data.communication.text for one in said]

    await until(is_published, timeout=60)
    return spooled
