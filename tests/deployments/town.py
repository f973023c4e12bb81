"""A running deployment in which customers write, are refused, are handed over to a person, and die as dead letters.

Each of WORDS is said, or is a name, in one place at least.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import count
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from router.core.entries import read_entry
from router.core.routing.commands import write_command
from router.core.signing.twilio import sign
from router.simulator.http import SignatureFault
from router.simulator.mail import MailSender, mail
from router.simulator.mail_command import load_key
from router.simulator.messages import message
from router.streams.client.connection import connect
from tests.deployments.traffic import deployment_of
from tests.harness.settings import write_config
from tests.support.accounts import OURS
from tests.support.waiting import scaled, until

NUMBERS = count()
CUSTOMERS = [f"+1555777000{number}" for number in range(5)]
BOXES = ("help@inbound.example.com", "sales@inbound.example.com")
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

    def __init__(self, dev, sender, deployment, sealer, customers=CUSTOMERS):
        self.dev, self.sender, self.deployment, self.sealer = dev, sender, deployment, sealer
        self.customers = customers
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


@asynccontextmanager
async def open_town(dev, sealer, customers=CUSTOMERS):
    """Give the town of a running `dev`, in which the numbers of its customers may be the same."""
    redis = connect(dev["REDIS_URL"], timeout=scaled(20))
    sender = MailSender(
        receiver_url=dev["ROUTER_URL"],
        public_base_url=dev["PUBLIC_BASE_URL"],
        auth_token=dev["TWILIO_AUTH_TOKEN"],
        private_key=load_key(dev["ROUTER_EMAIL_PRIVATE_KEY_FILE"]),
    )
    try:
        async with deployment_of(dev, redis) as deployment, sender:
            yield Town(dev, sender, deployment, sealer, customers)
    finally:
        await redis.aclose()


def settings_of(folder):
    """Write a configuration with bursts and one person; returns the settings of the deployment."""
    config = write_config(folder, "dana")
    routing = config / "routing.toml"
    burst = "[default]\nburst = { quiet = 0.2, most = 2 }\n"
    routing.write_text(routing.read_text().replace("[default]\n", burst, 1))
    return {
        "ROUTER_CONFIG_DIR": str(config),
        "ROUTER_MAX_DELIVERIES": "1",
        "ROUTER_DEAD_LETTER_BUDGET": "1",
        "ROUTER_AI_AGENT_REPLY": "tests.deployments.sealed_replies:answer",
    }


async def say_it_all(town):
    """Messages and mails are published, and answered."""
    assert await town.write(town.customers[0], WORDS["sms"]) == 200
    assert await town.write(town.customers[1], "hello", kind="whatsapp", ProfileName=WORDS["profile"]) == 200
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
    assert await town.write(town.customers[2], WORDS["forged"], fault=SignatureFault(has_wrong_token=True)) == 403
    query = {"Body": WORDS["query"], "From": town.customers[2], "AccountSid": town.dev["TWILIO_ACCOUNT_SID"]}
    path = f"/webhooks/messaging/?{urlencode(query)}"
    signature = sign(town.dev["TWILIO_AUTH_TOKEN"], (town.dev["PUBLIC_BASE_URL"] + path).encode())
    headers = {"X-Twilio-Signature": signature}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(URL(town.dev["ROUTER_URL"] + path, encoded=True)) as answer,
    ):
        assert answer.status in {404, 405}
    assert await town.write(town.customers[2], f"fail {WORDS['fail']}") == 200
    await until(lambda: has_kept(town), timeout=60)


async def has_kept(town):
    kept = await town.redis.xlen(town.keys.quarantine())
    return kept >= 2 and await town.deployment.count_dead_letters() >= 1


async def hand_over(town):
    """A person is asked with summary and context, writes, transfers nothing and gives back with a note."""
    await town.command("agent.available", agent="dana", life=600)
    assert await town.write(town.customers[3], f"person {WORDS['person']}") == 200
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
