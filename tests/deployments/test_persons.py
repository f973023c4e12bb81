"""WhatsApp users without a phone in a whole deployment: three partitions, receiver, two workers and the consumers."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import count

import pytest

from router.core.keys import Keys
from router.simulator.http import Sender
from router.simulator.messages import message
from tests.deployments.test_whole import deployed
from tests.harness.dev import running_dev
from tests.harness.processes import start_process
from tests.support.accounts import OURS

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]
PARTITIONS = 3
#: Users of each order: enough for each of their addresses to be in every partition.
USERS = 8


def phone_of(number: int) -> str:
    return f"whatsapp:+1559{number:07d}"


def id_of(number: int) -> str:
    return f"US.77{number:012d}"


def by_phone(number):
    """What a message tells of a user as it was before there were ids."""
    return {"sender": phone_of(number)}


def both(number):
    return {"sender": phone_of(number), "ExternalUserId": id_of(number)}


def by_id(number):
    return {"sender": f"whatsapp:{id_of(number)}", "ExternalUserId": id_of(number)}


def other_phone(number):
    """What a message tells of a user who has another phone now."""
    return {"sender": phone_of(number + 5000), "ExternalUserId": id_of(number)}


def new_id(number):
    """What a message tells of a phone whose user has got another id."""
    return {"sender": phone_of(number), "ExternalUserId": id_of(number + 5000)}


def by_other_phone(number):
    return {"sender": phone_of(number + 5000)}


def by_new_id(number):
    return {"sender": f"whatsapp:{id_of(number + 5000)}"}


#: The messages of a user, in order.
ORDERS = {
    "phone first": (by_phone, both, by_id, by_phone),
    "id first": (by_id, both, by_phone, by_id),
    "another phone": (both, by_id, other_phone, by_id),
    "id first, then another phone alone": (by_id, both, other_phone, by_other_phone),
    "another id": (both, new_id, by_phone, by_new_id),
}


#: Those that users send without waiting until the message before has been processed.
AT_ONCE = {"phone first, at once": (both, by_id), "id first, at once": (by_id, both)}


def test_the_addresses_of_users_are_in_all_partitions():
    """Messages of one user are in partitions that different workers may take, unless they tell the id."""
    keys = Keys(partitions=PARTITIONS)
    subjects = [(f"WHATSAPP|{phone_of(one)[9:]}|{OURS}", f"WHATSAPP|{id_of(one)}|{OURS}") for one in range(USERS)]
    places = [tuple(map(keys.partition_of, pair)) for pair in subjects]
    assert {place for pair in places for place in pair} == set(range(PARTITIONS))
    assert any(phone != user for phone, user in places)


def test_a_user_is_one_customer(tmp_path):
    """Seen by phone and by id, in any order, a user is one participant of one conversation with one stay."""
    (tmp_path / "state").mkdir()
    with running_dev(tmp_path / "state", ROUTER_PARTITIONS=str(PARTITIONS), ROUTER_RETRY_DELAY="0.2") as dev:
        asyncio.run(converse(dev, tmp_path))


async def converse(dev, folder):
    """Let users write in each order, with a second worker beside the one of `dev`."""
    second = await start_process(folder, "router", "work", **dev)
    try:
        async with deployed(dev) as deployment:
            await second.started()
            numbers = count(0, 100)
            for name, order in (ORDERS | AT_ONCE).items():
                users = range(first := next(numbers), first + USERS)
                sent = await write_all(dev, deployment, order, users, waits=name in ORDERS)
                await expect_one_customer_each(deployment, sent, users, name)
            assert await deployment.count_dead_letters() == 0
    finally:
        await second.stop()
    assert second.find("event"), "the second worker had nothing to do"


async def write_all(dev, deployment, order, users, *, waits):
    """Let all users write at the same time, message by message; returns the user of each MessageSid."""
    sent = {}
    credentials = {"public_base_url": dev["PUBLIC_BASE_URL"], "auth_token": dev["TWILIO_AUTH_TOKEN"]}
    async with Sender(receiver_url=dev["ROUTER_URL"], **credentials) as sender:
        for place, make in enumerate(order):
            sids = await asyncio.gather(*[write(sender, dev, make(one), f"{place} {one}") for one in users])
            sent |= dict(zip(sids, users, strict=True))
            if waits:
                await deployment.until_idle()
    await deployment.until_idle()
    return sent


async def write(sender, dev, told, text):
    """Send a message to us, and return its MessageSid."""
    webhook = message("whatsapp", account_sid=dev["TWILIO_ACCOUNT_SID"], recipient=OURS, body=text, **told)
    assert (await sender.send(webhook))[0] == 200
    return dict(webhook.pairs)["MessageSid"]


async def expect_one_customer_each(deployment, sent, users, order):
    """Assert that all messages of a user are published once, of one participant, who joined once."""
    entries = await deployment.published()
    said = [entry for entry in entries if entry["type"] == "communication.received"]
    told = [(entry["data"]["communication"]["channel_id"], entry) for entry in said]
    published = [(sid, entry["subject"], entry["data"]["conversation"]["id"]) for sid, entry in told if sid in sent]
    assert sorted(sid for sid, _, _ in published) == sorted(sent), order
    found = {user: {tuple(ends) for sid, *ends in published if sent[sid] == user} for user in users}
    assert {len(each) for each in found.values()} == {1}, order
    participants = [participant for ((participant, _),) in found.values()]
    conversations = {conversation for ((_, conversation),) in found.values()}
    assert (len(set(participants)), len(conversations)) == (USERS, USERS), order
    joined = Counter(entry["subject"] for entry in entries if entry["type"] == "participant.joined")
    assert {joined[one] for one in participants} == {1}, order
    in_the_api = [one for one in await deployment.sandbox.conversations() if one["id"] in conversations]
    customers = [one["id"] for each in in_the_api for one in each["participants"] if one["type"] == "CUSTOMER"]
    assert sorted(customers) == sorted(participants), order
    left = [entry["subject"] for entry in entries if entry["type"] == "participant.left"]
    assert not set(participants).intersection(left), order
