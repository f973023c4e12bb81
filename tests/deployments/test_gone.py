"""Conversations that are gone, with all processes: the customer is answered in the next one, within seconds."""

from __future__ import annotations

import asyncio
import time

import orjson
import pytest

from router.core.keys import Keys
from router.dev.demo import SERVICE_DESK
from router.streams.client.connection import connect
from tests.deployments.test_closing import Customer
from tests.deployments.traffic import deployment_of
from tests.harness.dev import running_dev
from tests.support.waiting import scaled, until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]
#: Routes are trusted for long, and nobody asks the API but the consumers.
ANSWERING = {
    "ROUTER_AI_AGENT_REPLY": "tests.deployments.replies:answer",
    "ROUTER_ROUTE_TTL": "3600",
    "ROUTER_RECONCILE_CALLS": "0",
}


async def is_answered_last(customer, number):
    """Tell whether the last message was answered in the last of so many conversations that there are, once."""
    found = await customer.conversations()
    return len(found) == number and (await customer.answers(found[-1]["id"]))[-1:] == [f"re: message {customer.sent}"]


def test_a_customer_is_answered_although_the_sandbox_was_started_anew(tmp_path):
    """`dev --keep` without the file of the sandbox: Redis remembers a conversation that the sandbox has forgotten."""

    async def write(dev, number):
        redis = connect(dev["REDIS_URL"], timeout=scaled(20))
        async with deployment_of(dev, redis) as deployment:
            customer = Customer(dev, deployment, 1)
            customer.sent = number
            await customer.write()
            await until(lambda: is_answered_last(customer, 1))
            await deployment.until_idle()
            (conversation,) = await customer.conversations()
            assert await customer.answers(conversation["id"]) == [f"re: message {customer.sent}"]
            assert await deployment.count_dead_letters() == 0
        await redis.aclose()

    for number in (0, 1):
        with running_dev(tmp_path, "--keep", **ANSWERING) as dev:
            asyncio.run(write(dev, number))
        (tmp_path / "redis" / "sandbox-memory").unlink()


def test_a_deleted_conversation_gives_its_customer_the_next_one(tmp_path):
    """For each target, by whoever learns of it first: a consumer that answers or joins, or the worker."""

    async def write(dev):
        redis = connect(dev["REDIS_URL"], timeout=scaled(20))
        async with deployment_of(dev, redis) as deployment:
            robot = Customer(dev, deployment, 2)
            person = Customer(dev, deployment, 3, recipient=SERVICE_DESK)
            await asyncio.gather(robot.write(), person.write())
            await until(lambda: is_answered_last(robot, 1))
            await until(lambda: is_taken(person, 1), pause=0.25)
            await deployment.until_idle()
            for customer in (robot, person):
                (old,) = await customer.conversations()
                await deployment.sandbox.ask("DELETE", f"/v2/Conversations/{old['id']}")
            await asyncio.gather(robot.write(), person.write())
            await until(lambda: is_answered_last(robot, 1), 20)
            await until(lambda: is_taken(person, 1), 60, pause=0.25)
        await redis.aclose()

    with running_dev(tmp_path, ROUTER_AI_AGENT_REPLY=ANSWERING["ROUTER_AI_AGENT_REPLY"]) as dev:
        asyncio.run(write(dev))


async def is_taken(customer, number):
    """Accept what is offered, and tell whether a person has joined the last of so many conversations that there are."""
    redis, commands = customer.deployment.redis, Keys().commands(0)
    await redis.xadd(commands, command_of("agent.available", f"come-{time.monotonic_ns()}", agent="dana"))
    for entry in await customer.deployment.published():
        if entry["type"] == "offer.made":
            offer = entry["data"]["offer"]["id"]
            await redis.xadd(commands, command_of("offer.accept", f"accept-{offer}", offer=offer, agent="dana"))
    found = await customer.conversations()
    return len(found) == number and any(one["type"] == "HUMAN_AGENT" for one in found[-1]["participants"])


def command_of(kind, command_id, **data):
    document = {"specversion": "1.0", "id": command_id, "source": "/test", "type": f"command.{kind}", "data": data}
    return {"type": kind, "id": command_id, "command": orjson.dumps(document)}
