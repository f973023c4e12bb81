"""Messages around a closing, with all processes: the customer is answered in the next conversation, once.

The closing's callback is late, or lost while those of other customers go on.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from router.simulator.http import Sender
from router.simulator.messages import message
from router.streams.client.connection import connect
from tests.deployments.traffic import deployment_of
from tests.harness.dev import running_dev
from tests.support.accounts import OURS
from tests.support.waiting import scaled, until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180), pytest.mark.promise(2), pytest.mark.promise(4)]

SETTINGS = {"ROUTER_AI_AGENT_REPLY": "tests.deployments.replies:answer", "ROUTER_PARTITIONS": "4"}


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    """The settings of a running `dev` whose AI agent answers every message."""
    with running_dev(tmp_path_factory.mktemp("state"), **SETTINGS) as dev:
        yield dev


class Customer:
    """A customer who writes by signed webhooks, and what has become of it."""

    def __init__(self, dev, deployment, number, recipient=OURS):
        self.dev, self.deployment, self.address = dev, deployment, f"+1555777{number:04d}"
        self.recipient = recipient
        self.sent = 0

    async def write(self):
        """Send a message; returns its SID."""
        self.sent += 1
        sid = f"SM{self.address[-7:]}{self.sent:025d}"
        webhook = message(
            "sms",
            account_sid=self.dev["TWILIO_ACCOUNT_SID"],
            sender=self.address,
            recipient=self.recipient,
            body=f"message {self.sent}",
            sid=sid,
        )
        receiver, public, token = (self.dev[name] for name in ("ROUTER_URL", "PUBLIC_BASE_URL", "TWILIO_AUTH_TOKEN"))
        async with Sender(receiver_url=receiver, public_base_url=public, auth_token=token) as sender:
            status, *_ = await sender.send(webhook)
        assert status == 200
        return sid

    async def conversations(self):
        """The customer's conversations, the oldest first."""
        found = [
            one
            for one in await self.deployment.sandbox.conversations()
            if any(each["addresses"][0]["address"] == self.address for each in one["participants"])
        ]
        return sorted(found, key=lambda one: one["id"])

    async def entries(self, conversation_id):
        """The types of the entries about a conversation."""
        published = await self.deployment.published()
        return Counter(one["type"] for one in published if one["data"]["conversation"]["id"] == conversation_id)

    async def answers(self, conversation_id):
        """The texts that our side sent in a conversation."""
        return await self.deployment.sandbox.texts(conversation_id)


@pytest.mark.parametrize("callback", ["late", "lost"])
async def test_a_customer_who_writes_right_after_the_closing_is_answered_in_the_next_conversation(dev, callback):
    """Joined there, heard there, answered there, once; other customers' callbacks go on meanwhile."""
    redis = connect(dev["REDIS_URL"], timeout=scaled(20))
    async with deployment_of(dev, redis) as deployment:
        sandbox = deployment.sandbox
        customer = Customer(dev, deployment, 1 if callback == "late" else 2)
        other = Customer(dev, deployment, 3 if callback == "late" else 4)
        await customer.write()
        await until(lambda: is_answered(customer, 1), 60)
        (old,) = await customer.conversations()
        await deployment.until_idle()
        if callback == "late":
            await sandbox.ask("PATCH", "/sandbox/options", {"callbackDelaySeconds": 5})
        else:
            nobody = {"configuration": {"statusCallbacks": []}}
            await sandbox.ask("PATCH", f"/v2/Conversations/{old['id']}", nobody)
        await sandbox.ask("PATCH", f"/v2/Conversations/{old['id']}", {"status": "CLOSED"})
        await asyncio.gather(customer.write(), other.write())
        await until(lambda: is_answered(customer, 2), 90)
        await sandbox.ask("PATCH", "/sandbox/options", {"callbackDelaySeconds": 0})
        await deployment.until_idle()
        _, new = await customer.conversations()
        assert new["status"] == "ACTIVE"
        assert await customer.entries(old["id"]) == {
            "participant.joined": 1,
            "communication.received": 2,
            "conversation.closed": 1,
        }
        assert await customer.entries(new["id"]) == {"participant.joined": 1, "communication.received": 1}
        assert await customer.answers(new["id"]) == ["re: message 2"]
        assert await deployment.count_dead_letters() == 0
    await redis.aclose()


async def is_answered(customer, number):
    """Tell whether the customer is in so many conversations, and was answered in the last one."""
    found = await customer.conversations()
    return len(found) == number and bool(await customer.answers(found[-1]["id"]))
