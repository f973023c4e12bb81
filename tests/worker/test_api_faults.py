"""Every way in which the Conversations API and its callbacks misbehave, against the worker's real code.

| fault | shown here by | and in |
|---|---|---|
| latency, below and past the deadline; hangs | test_latency_... | test_messages: ..._that_does_not_answer_... |
| resets before and after the effect | test_lost_answers_of_many_... | test_messages: test_lost_answer_... |
| a POST whose answer was lost | test_lost_answers_of_many_... | test_messages, core/test_resolution_properties |
| 429 bursts, Retry-After | test_burst_of_429 | conversations/test_limiter, conversations/test_transport |
| 5xx for a long time | test_long_outage_... | test_batches: test_consumer_waits_out_an_outage |
| 409 storms from parallel creation | test_storm_of_conflicts | test_callbacks: test_same_message_at_once_... |
| a list that changes while it is paged | | test_shifting_lists, core/test_resolution |
| callbacks repeated and in any order | test_callbacks_that_misbehave | core/test_ledger_properties |
| callbacks a minute late | test_callbacks_a_minute_late | test_reconciler: test_callback_that_comes_after_all_... |
| callbacks lost | test_lost_addition_..., test_callbacks_that_misbehave | test_reconciler, test_recovery_properties |
| stale callbacks | test_late_callbacks_change_nothing | test_callbacks, test_recovery_properties |
| sweeps while the API misbehaves | | test_reconciler: test_api_that_..., test_budget_..., test_sweep_waits_... |
"""

import asyncio
import random

import pytest

from router.core.ledger.marker import Result
from router.streams import delivery as pauses
from router.streams.delivery import Done, Later
from tests.support.accounts import CUSTOMER, OURS
from tests.support.waiting import until
from tests.worker.harness import CREATE
from tests.worker.payloads import participant_at, redelivered, spoken
from tests.worker.status_callbacks import start_status_callbacks
from tests.worker.sweeps import Sweeps

pytestmark = [pytest.mark.promise(2), pytest.mark.promise(4)]

DONE = Done()
ADD = "/v2/Conversations/{conversation}/Participants"


def limiter_of(resolver):
    (transport,) = [transport for _, transport in resolver.singles._apis._transports]
    return transport.limiter


async def assert_one_of_each(harness, senders):
    """Each customer has one participant in one conversation and one joined, and nothing was given up."""
    entries = await harness.entries()
    assert [entry.type for entry in entries] == ["participant.joined"] * len(senders)
    assert {entry.data.address for entry in entries} == set(senders)
    conversations = await harness.conversations()
    there = [one["addresses"][0]["address"] for each in conversations for one in each["participants"]]
    assert sorted(one for one in there if one != OURS) == sorted(senders)
    assert await harness.dead_letters() == []


# --- answers that are late, wrong or none ----------------------------------------------------------


async def test_latency_is_waited_for(harness):
    """An answer that takes its time, but less than the deadline, is an answer."""
    harness.fault(latencySeconds=0.2, times=1)
    assert await harness.settle(harness.sms()) == [DONE]
    await assert_one_of_each(harness, [CUSTOMER])


async def test_latency_past_the_deadline_waits(make_harness):
    """An answer that comes too late is none: the event waits, in doubt, and what the call did is found afterwards."""
    harness = await make_harness()
    harness.api_timeout = 0.1
    harness.resolver = harness.make_resolver(retries=0)
    harness.fault(latencySeconds=0.3)
    (delivery,) = await harness.receive(harness.sms())
    (verdict,) = await harness.work([delivery])
    assert isinstance(verdict, Later)
    assert verdict.is_unsure
    harness.clear_faults()
    await until(harness.conversations)  # what was asked too late is done all the same
    harness.api_timeout = 5.0
    assert await harness.work([redelivered(delivery)], by=harness.make_resolver()) == [DONE]
    await assert_one_of_each(harness, [CUSTOMER])


async def test_lost_answers_of_many_leave_one_participant_each(harness):
    """Half of all answers to POSTs get lost after their effect: consumers leave one of each all the same."""
    await harness.ensure_group()
    harness.fault(method="POST", when="after", reset=True, probability=0.5)
    senders = [f"+1555000{number:04d}" for number in range(20)]
    for sender in senders:
        await harness.append(harness.sms(sender))
    async with harness.consuming(), harness.consuming(harness.make_resolver()):
        await harness.finished()
    await assert_one_of_each(harness, senders)


async def test_burst_of_429(harness, lines, monkeypatch):
    """Refused again and again, with Retry-After: fewer calls at once, no dead letter, and more again afterwards."""
    limiter, caps = limiter_of(harness.resolver), []
    cap, throttle = limiter.window.cap, limiter.throttle

    def watch(*, started):
        throttle(started=started)
        caps.append(limiter.window.cap)

    monkeypatch.setattr(limiter, "throttle", watch)
    await harness.ensure_group()
    harness.fault(status=429, retryAfter=1, times=3)
    senders = [f"+1555000{number:04d}" for number in range(80)]
    for sender in senders:
        await harness.append(harness.sms(sender))
    async with harness.consuming():
        await harness.finished()
    assert len(caps) == 3
    assert caps[-1] < cap
    assert limiter.window.cap > caps[-1]
    await assert_one_of_each(harness, senders)
    assert not lines("event.dead")


@pytest.mark.parametrize("status", [500, 503])
async def test_long_outage_is_no_dead_letter(harness, status, lines, monkeypatch):
    """However many tries an outage costs, far more than would make a dead letter, all goes on when it ends."""
    monkeypatch.setattr(pauses, "LONGEST_PAUSE", 0.02)  # so that minutes of tries take a moment
    harness.resolver = harness.make_resolver(retries=0)
    harness.fault(status=status)
    await harness.ensure_group()
    senders = [f"+1555000{number:04d}" for number in range(5)]
    for sender in senders:
        await harness.append(harness.sms(sender))
    tries = 20 * len(senders)

    async def has_tried():
        return await harness.total() >= tries

    async with harness.consuming(ROUTER_MAX_DELIVERIES="2", ROUTER_DEAD_LETTER_BUDGET="1"):
        await until(has_tried, 20)
        assert len(lines("event.waiting")) == len(senders)
        assert await harness.dead_letters() == []
        harness.clear_faults()
        await harness.finished()
    await assert_one_of_each(harness, senders)


async def test_storm_of_conflicts(make_harness):
    """Six workers, six different messages of each of five new customers at once: 409s, and one participant each."""
    harness = await make_harness()
    workers = [harness.make_resolver() for _ in range(6)]
    senders = [f"+1555000{number:04d}" for number in range(5)]
    harness.fault(method="POST", route=CREATE.removeprefix("POST "), latencySeconds=0.05)
    jobs = []
    for sender in senders:
        deliveries = await harness.receive(*(harness.sms(sender) for _ in workers))
        jobs += [harness.finish(delivery, by=worker) for delivery, worker in zip(deliveries, workers, strict=True)]
    await asyncio.gather(*jobs)
    assert (await harness.calls())[CREATE] > len(senders)
    await assert_one_of_each(harness, senders)
    assert len(await harness.communications()) == len(senders) * len(workers)


# --- callbacks that are late, repeated, in another order or lost ------------------------------------


@pytest.fixture
async def make_told(make_harness):
    """Return a function that makes a harness whose sandbox tells of its conversations, and the hook that it tells."""
    hooks = []

    async def make(**switches):
        starting = start_status_callbacks(await make_harness(**switches))
        hooks.append(starting)
        return await anext(starting)

    yield make
    for starting in hooks:
        await anext(starting, None)


async def test_callbacks_a_minute_late(make_told):
    """What is told a minute after it happened is told once, beside the webhook that came at once."""
    hook = await make_told(callback_delay_seconds=60)
    harness = hook.harness
    await harness.settle(harness.sms())
    await harness.capture("+15551239999")
    await harness.api("POST", "/sandbox/clock", {"advanceSeconds": 59})
    assert hook.caught == []
    await harness.api("POST", "/sandbox/clock", {"advanceSeconds": 1})
    harness.clock.advance(60)
    await harness.settle(*await hook.take_all())
    await assert_one_of_each(harness, [CUSTOMER, "+15551239999"])


async def test_late_callbacks_change_nothing(make_told):
    """Added, gone, come again and closed, all told at last in the opposite order: the end is what it was."""
    hook = await make_told()
    harness = hook.harness
    conversation = (await harness.capture())["conversation"]
    customer = participant_at(conversation)
    await harness.api("POST", f"/sandbox/participants/{conversation['id']}/{customer['id']}/remove")
    body = {"type": "CUSTOMER", "addresses": customer["addresses"]}
    again = await harness.api("POST", f"/v2/Conversations/{conversation['id']}/Participants", body)
    told = await hook.take_all()
    await harness.settle(*told)
    assert await harness.types() == ["joined", "left", "joined"]
    assert (await harness.entries())[-1].subject == again["id"]
    await harness.settle(*[webhook_again(webhook, number) for number, webhook in enumerate(reversed(told))])
    assert await harness.types() == ["joined", "left", "joined"]
    await harness.api("PATCH", f"/v2/Conversations/{conversation['id']}", {"status": "CLOSED"})
    await harness.settle(*await hook.take_all())
    await harness.settle(*[webhook_again(webhook, 100 + number) for number, webhook in enumerate(reversed(told))])
    assert await harness.types() == ["joined", "left", "joined", "closed"]


def webhook_again(webhook, number):
    """The same callback under another token, so that no key tells that it is a repetition."""
    return type(webhook)(webhook.path, "", webhook.content_type, webhook.body, token=f"again-{number}")


@pytest.mark.parametrize("seed", range(3))
async def test_callbacks_that_misbehave(make_told, seed):
    """Half of them lost, the others twice and shuffled, while people come, go and write: a sweep ends in the truth."""
    hook = await make_told(
        callback_drop_fraction=0.5, callback_duplicates=1, callback_order="shuffled", entropy=random.Random(seed)
    )
    harness, chance = hook.harness, random.Random(seed)
    sweeps = Sweeps(harness)
    for number in range(8):
        await happen(harness, sweeps, chance, f"+1555000{number:04d}")
        told = await hook.take_all()
        chance.shuffle(told)
        await sweeps.settle(*told)
    assert hook.counts["dropped"] > 0
    assert await sweeps.sweep() > 0
    await check_truth(harness)
    before = len(await harness.entries())
    await sweeps.sweep(after=601)
    assert len(await harness.entries()) == before


async def happen(harness, sweeps, chance, sender):
    """A customer writes, and then something happens to the conversation."""
    conversation = (await harness.capture(sender))["conversation"]
    customer, path = participant_at(conversation, sender), f"/v2/Conversations/{conversation['id']}"
    if chance.random() < 0.5:
        await sweeps.settle(harness.sms(sender))
    kind = chance.choice(["stay", "go", "close", "second", "name"])
    if kind == "go":
        await harness.api("POST", f"/sandbox/participants/{conversation['id']}/{customer['id']}/remove")
    elif kind == "close":
        await harness.api("PATCH", path, {"status": "CLOSED"})
    elif kind == "second":
        address = {"channel": "CHAT", "address": f"friend of {sender}"}
        await harness.api("POST", f"{path}/Participants", {"type": "CUSTOMER", "addresses": [address]})
    elif kind == "name":
        body = {"type": "CUSTOMER", "name": "Ana", "addresses": customer["addresses"]}
        await harness.api("PUT", f"{path}/Participants/{customer['id']}", body)


async def check_truth(harness):
    """Of every conversation that the worker heard of: who is announced and has not left is there, and the reverse."""
    stays, closed, names = {}, set(), {}
    for entry in await harness.entries():
        if entry.type == "conversation.closed":
            closed.add(entry.subject)
            continue
        kind = entry.type.partition(".")[2]
        stays.setdefault(entry.subject, []).append(kind)
        names[entry.subject] = entry.data.participant.name
    for told in stays.values():
        assert told[0] == "joined"
        assert told.count("joined") == 1
        assert "left" not in told[:-1]
    heard_of = {key.decode().rpartition(":")[2] for key in await harness.redis.keys("*:conversation:*")}
    assert heard_of
    for conversation in await harness.conversations():
        people = {one["id"]: one for one in conversation["participants"] if one["type"] == "CUSTOMER"}
        if conversation["id"] not in heard_of:
            continue
        if conversation["status"] == "CLOSED":
            assert conversation["id"] in closed or not people.keys() & stays.keys()
            continue
        assert conversation["id"] not in closed
        assert {one for one in people if stays.get(one, ["left"])[-1] != "left"} == set(people)
        assert all(names[one] == person["name"] for one, person in people.items())


@pytest.mark.parametrize("event", ["message", "communication", "update", "sweep"])
async def test_lost_addition_is_made_good_by_the_next_event(harness, event):
    """The callback about a customer is lost: whatever comes next from or about it announces it, else the sweep does."""
    sweeps = Sweeps(harness)
    conversation = (await harness.capture())["conversation"]
    customer = participant_at(conversation)
    await sweeps.settle(harness.callback("CONVERSATION_CREATED", conversation))
    if event == "message":
        await sweeps.settle(harness.sms())
    elif event == "communication":
        await sweeps.settle(spoken(harness, customer))
    elif event == "update":
        await sweeps.settle(harness.callback("PARTICIPANT_UPDATED", customer))
    else:
        await sweeps.sweep()
    (entry,) = await harness.entries()
    assert entry.subject == customer["id"]
    await sweeps.sweep()
    late = await sweeps.settle(harness.callback("PARTICIPANT_ADDED", customer))
    assert late[0] in {Result.KNOWN, Result.STALE}
    assert len(await harness.entries()) == 1


async def test_lost_addition_of_somebody_who_is_written_to(harness):
    """What our own side says is no event of the customer's: the sweep announces who is not known there."""
    sweeps = Sweeps(harness)
    conversation = (await harness.capture())["conversation"]
    ours, customer = participant_at(conversation, OURS), participant_at(conversation)
    await sweeps.settle(harness.callback("PARTICIPANT_ADDED", ours), spoken(harness, ours))
    assert await harness.entries() == []
    await sweeps.sweep()
    assert [entry.subject for entry in await harness.entries()] == [customer["id"]]
