"""Faults of the Conversations API and of its callbacks, against the worker's real code.

| fault | test here | elsewhere |
|---|---|---|
| latency, hangs | test_latency_..., test_an_answer_... | test_messages: test_a_missing_answer_... |
| resets before and after the effect | test_lost_answers_... | test_messages: test_a_lost_post_... |
| a POST whose answer was lost | test_lost_answers_... | test_messages, core/resolution/test_messages_properties |
| bursts of 429, Retry-After | test_a_burst_of_429_... | conversations/test_limiter, conversations/test_transport |
| 5xx for a long time | test_a_long_outage_... | test_batches: test_an_outage_holds_up_... |
| storms of 409 after parallel creation | test_a_storm_... | test_callbacks: test_one_message_in_four_workers_... |
| a list that changes while it is paged | | test_shifting_lists, core/resolution/test_messages |
| callbacks repeated and in any order | test_a_sweep_restores_... | core/ledger/test_ledger_properties |
| callbacks a minute late | test_late_callbacks_... | test_reconciler: test_a_callback_after_the_sweep_... |
| callbacks lost | test_a_lost_addition_..., test_a_sweep_... | test_reconciler, core/judging/test_recovery_properties |
| stale callbacks | test_repeated_callbacks_... | test_callbacks, core/judging/test_recovery_properties |
| sweeps while the API misbehaves | | test_reconciler: test_an_outage_..., test_all_workers_..., test_a_sweep_... |
"""

import asyncio
import random

import pytest

from router.core.ledger.marker import Result
from router.simulator.mail import mail
from router.simulator.voice import call
from router.streams import delivery as pauses
from router.streams.consuming import lanes
from router.streams.delivery import Done, Later, Poison
from tests.support.accounts import ACCOUNT, CONFIGURATION, CUSTOMER, MAILBOX, OURS
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
    """Each customer has one participant in one conversation and one joined, and there is no dead letter."""
    entries = await harness.entries()
    assert [entry.type for entry in entries] == ["participant.joined"] * len(senders)
    assert {entry.data.address for entry in entries} == set(senders)
    conversations = await harness.conversations()
    created = [one["addresses"][0]["address"] for each in conversations for one in each["participants"]]
    assert sorted(one for one in created if one != OURS) == sorted(senders)
    assert await harness.dead_letters() == []


# --- answers that are late, wrong or none ----------------------------------------------------------


async def test_latency_within_the_timeout_is_awaited(harness):
    """A slow answer within the timeout is used."""
    harness.fault(latencySeconds=0.2, times=1)
    assert await harness.settle(harness.sms()) == [DONE]
    await assert_one_of_each(harness, [CUSTOMER])


async def test_an_answer_after_the_timeout_makes_the_event_wait(make_harness):
    """An answer after the timeout leaves the event unsure, and the next try finds the effect."""
    harness = await make_harness()
    harness.api_timeout = 0.1
    harness.resolver = harness.make_resolver(retries=0)
    harness.fault(latencySeconds=0.3)
    (delivery,) = await harness.receive(harness.sms())
    (verdict,) = await harness.work([delivery])
    assert isinstance(verdict, Later)
    assert verdict.is_unsure
    harness.clear_faults()
    await until(harness.conversations)  # the request took effect although its answer came too late
    harness.api_timeout = 5.0
    assert await harness.work([redelivered(delivery)], by=harness.make_resolver()) == [DONE]
    await assert_one_of_each(harness, [CUSTOMER])


async def test_lost_answers_leave_one_participant_each(harness):
    """If half of all answers to POSTs are lost, two consumers still create one participant per customer."""
    await harness.ensure_group()
    harness.fault(method="POST", when="after", reset=True, probability=0.5)
    senders = [f"+1555000{number:04d}" for number in range(20)]
    for sender in senders:
        await harness.append(harness.sms(sender))
    async with harness.consuming(), harness.consuming(harness.make_resolver()):
        await harness.finished()
    await assert_one_of_each(harness, senders)


async def test_a_burst_of_429_lowers_the_concurrency(harness, lines, monkeypatch):
    """A burst of 429 lowers the concurrency, which recovers, and leads to no dead letter."""
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


@pytest.mark.parametrize("status", [500, 503, 451])
async def test_a_long_outage_makes_no_dead_letter(harness, status, lines, monkeypatch):
    """An outage makes no dead letter, however many attempts it takes."""
    monkeypatch.setattr(pauses, "LONGEST_PAUSE", 0.02)  # so that minutes of tries take a moment
    monkeypatch.setattr(lanes, "PROBE_EVERY", 0)
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


async def test_a_storm_of_conflicts_leaves_one_participant_each(make_harness):
    """Six workers with a message each of the same new customers create one participant per customer."""
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
async def make_hook(make_harness):
    """Return a function that makes a harness whose sandbox sends status callbacks, and the hook that takes them."""
    hooks = []

    async def make(**switches):
        starting = start_status_callbacks(await make_harness(**switches))
        hooks.append(starting)
        return await anext(starting)

    yield make
    for starting in hooks:
        await anext(starting, None)


async def test_late_callbacks_and_webhooks_announce_once(make_hook):
    """Callbacks that arrive a minute late and a webhook that came at once announce each customer once."""
    hook = await make_hook(callback_delay_seconds=60)
    harness = hook.harness
    await harness.settle(harness.sms())
    await harness.capture("+15551239999")
    await harness.api("POST", "/sandbox/clock", {"advanceSeconds": 59})
    assert hook.caught == []
    await harness.api("POST", "/sandbox/clock", {"advanceSeconds": 1})
    harness.clock.advance(60)
    await harness.settle(*await hook.take_all())
    await assert_one_of_each(harness, [CUSTOMER, "+15551239999"])


async def test_repeated_callbacks_in_reverse_change_nothing(make_hook):
    """Callbacks that are repeated in reverse order after the fact change nothing."""
    hook = await make_hook()
    harness = hook.harness
    conversation = (await harness.capture())["conversation"]
    customer = participant_at(conversation)
    await harness.api("POST", f"/sandbox/participants/{conversation['id']}/{customer['id']}/remove")
    body = {"type": "CUSTOMER", "addresses": customer["addresses"]}
    again = await harness.api("POST", f"/v2/Conversations/{conversation['id']}/Participants", body)
    callbacks = await hook.take_all()
    await harness.settle(*callbacks)
    assert await harness.types() == ["joined", "left", "joined"]
    assert (await harness.entries())[-1].subject == again["id"]
    await harness.settle(*[webhook_again(webhook, number) for number, webhook in enumerate(reversed(callbacks))])
    assert await harness.types() == ["joined", "left", "joined"]
    await harness.api("PATCH", f"/v2/Conversations/{conversation['id']}", {"status": "CLOSED"})
    await harness.settle(*await hook.take_all())
    await harness.settle(*[webhook_again(webhook, 100 + number) for number, webhook in enumerate(reversed(callbacks))])
    assert await harness.types() == ["joined", "left", "joined", "closed"]


def webhook_again(webhook, number):
    """The same callback under another token, so that it is no duplicate."""
    return type(webhook)(webhook.path, "", webhook.content_type, webhook.body, token=f"again-{number}")


@pytest.mark.parametrize("seed", range(3))
async def test_a_sweep_restores_the_truth_after_misbehaving_callbacks(make_hook, seed):
    """After lost, duplicated and shuffled callbacks a sweep restores the truth."""
    hook = await make_hook(
        callback_drop_fraction=0.5, callback_duplicates=1, callback_order="shuffled", entropy=random.Random(seed)
    )
    harness, chance = hook.harness, random.Random(seed)
    sweeps = Sweeps(harness)
    for number in range(8):
        await happen(harness, sweeps, chance, f"+1555000{number:04d}")
        callbacks = await hook.take_all()
        chance.shuffle(callbacks)
        await sweeps.settle(*callbacks)
    assert hook.counts["dropped"] > 0
    assert await sweeps.sweep() > 0
    await check_truth(harness)
    before = len(await harness.entries())
    await sweeps.sweep(after=601)
    assert len(await harness.entries()) == before


async def happen(harness, sweeps, chance, sender):
    """Let a customer write or not, then change the conversation in one of several ways."""
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
    """In every conversation that the worker knows, exactly the present customers are announced and have not left."""
    stays, closed, names = {}, set(), {}
    for entry in await harness.entries():
        if entry.type == "conversation.closed":
            closed.add(entry.subject)
            continue
        kind = entry.type.partition(".")[2]
        stays.setdefault(entry.subject, []).append(kind)
        names[entry.subject] = entry.data.participant.name
    for types in stays.values():
        assert types[0] == "joined"
        assert types.count("joined") == 1
        assert "left" not in types[:-1]
    known = {key.decode().rpartition(":")[2] for key in await harness.redis.keys("*:conversation:*")}
    assert known
    for conversation in await harness.conversations():
        customers = {one["id"]: one for one in conversation["participants"] if one["type"] == "CUSTOMER"}
        if conversation["id"] not in known:
            continue
        if conversation["status"] == "CLOSED":
            assert conversation["id"] in closed or not customers.keys() & stays.keys()
            continue
        assert conversation["id"] not in closed
        assert {one for one in customers if stays.get(one, ["left"])[-1] != "left"} == set(customers)
        assert all(names[one] == person["name"] for one, person in customers.items())


@pytest.mark.parametrize("event", ["message", "communication", "update", "sweep"])
async def test_a_lost_addition_is_recovered_by_the_next_event(harness, event):
    """A customer whose addition was lost is announced once, by the next event or by a sweep."""
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


async def test_a_lost_addition_is_not_recovered_by_our_own_message(harness):
    """A communication of our side does not announce a customer whose addition was lost; the sweep does."""
    sweeps = Sweeps(harness)
    conversation = (await harness.capture())["conversation"]
    ours, customer = participant_at(conversation, OURS), participant_at(conversation)
    await sweeps.settle(harness.callback("PARTICIPANT_ADDED", ours), spoken(harness, ours))
    assert await harness.entries() == []
    await sweeps.sweep()
    assert [entry.subject for entry in await harness.entries()] == [customer["id"]]


# --- an id that the API does not know --------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 410])
async def test_an_unknown_configuration_makes_events_wait_and_then_dead_letters_that_name_it(harness, status):
    """A 404 of POST /Conversations is not the event's fault: it waits for ROUTER_NOT_FOUND_WAIT, then names the id."""
    harness.resolver = harness.make_resolver(not_found_wait=600)
    harness.fault(method="POST", route="/v2/Conversations", status=status)
    deliveries = await harness.receive(harness.sms(), harness.sms("+15550000002"))
    assert all(isinstance(verdict, Later) for verdict in await harness.work(deliveries))
    harness.clock.advance(599)
    assert all(isinstance(verdict, Later) for verdict in await harness.work(deliveries))
    harness.clock.advance(2)
    for verdict in await harness.work(deliveries):
        assert isinstance(verdict, Poison)
        assert CONFIGURATION in verdict.reason
        assert "600 s" in verdict.reason


async def test_an_event_that_is_late_already_waits_for_an_unknown_configuration_too(harness):
    """An event that an outage has delayed for longer is not given up at the first 404."""
    harness.resolver = harness.make_resolver(not_found_wait=600)
    deliveries = await harness.receive(harness.sms())
    harness.clock.advance(3600)
    harness.fault(method="POST", route="/v2/Conversations", status=404)
    (verdict,) = await harness.work(deliveries)
    assert isinstance(verdict, Later)


async def test_once_the_configuration_is_there_the_events_are_resolved(harness):
    """Events that waited for a configuration are resolved once the API knows it, and the wait begins anew."""
    harness.resolver = harness.make_resolver(not_found_wait=600)
    harness.fault(method="POST", route="/v2/Conversations", status=404)
    first = await harness.receive(harness.sms())
    await harness.work(first)
    harness.clock.advance(590)
    harness.clear_faults()
    assert await harness.work(first) == [DONE]
    harness.fault(method="POST", route="/v2/Conversations", status=404)
    second = await harness.receive(harness.sms("+15550000002"))
    harness.clock.advance(20)
    assert all(isinstance(verdict, Later) for verdict in await harness.work(second))


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("kind", ["message", "call"])
async def test_a_list_of_conversations_that_is_not_found_makes_events_wait(harness, kind, status):
    """A 404 or 410 of a list of conversations means that the URL or the account is wrong, not the event."""
    harness.resolver = harness.make_resolver(retries=0)
    harness.fault(method="GET", route="/v2/Conversations", status=status)
    event = (
        harness.sms()
        if kind == "message"
        else call(account_sid=ACCOUNT, sender=CUSTOMER, recipient=OURS, sid=f"CA{1:032x}")
    )
    (verdict,) = await harness.work([redelivered(one) for one in await harness.receive(event)])
    assert isinstance(verdict, Later)
    assert "TWILIO_CONVERSATIONS_URL" in verdict.reason


async def test_an_unknown_classic_service_makes_events_wait_and_then_names_it(harness):
    """A 404 for the configured classic service is bounded in the same way."""
    harness.resolver = harness.make_resolver(not_found_wait=600, classic_lookup=True)
    harness.fault(status=404)
    deliveries = await harness.receive(harness.sms())
    (verdict,) = await harness.work(deliveries)
    assert isinstance(verdict, Later)
    harness.clock.advance(601)
    (verdict,) = await harness.work(deliveries)
    assert isinstance(verdict, Poison)
    assert "classic service" in verdict.reason


# --- what the API may refuse (switches of the sandbox) ---------------------------------------------


@pytest.mark.parametrize("status", [400, 422])
async def test_a_channel_that_the_api_does_not_offer_ends_as_dead_letters_and_stops_nobody(make_harness, status):
    """If the API refuses EMAIL, each mail becomes a dead letter with the reason, and messages go on."""
    harness = await make_harness(refused_channels=["EMAIL"], validation_status=status)
    letters = [
        mail(
            sender=f"ana{n}@example.com", recipients=[MAILBOX], subject="x", body="hi", message_id=f"<{n}@example.com>"
        )
        for n in range(3)
    ]
    *refused, last = await harness.settle(*letters, harness.sms())
    assert last == DONE
    assert all(isinstance(one, Poison) and "EMAIL is not supported" in one.reason for one in refused)
    await assert_one_of_each(harness, [CUSTOMER])


async def test_a_malformed_address_ends_as_a_dead_letter_that_hides_it(make_harness):
    """If the API refuses an address, the message becomes a dead letter with the reason and without the address."""
    harness = await make_harness(strict_addresses=True)
    malformed, usual = await harness.settle(harness.sms("15551239999"), harness.sms())
    assert usual == DONE
    assert isinstance(malformed, Poison)
    assert "is no address of SMS" in malformed.reason
    assert "15551239999" not in malformed.reason
