"""The reconciler: changes whose callbacks were lost are found by sweeps, once, within a budget, behind real work."""

import asyncio

import pytest

from router import metrics
from router.core.entries import JoinedData
from router.core.ledger.marker import Result
from router.core.timestamps import to_text
from router.process.apis import Apis
from router.tasks import end
from router.worker.app import working
from tests.support.accounts import ACCOUNT, CUSTOMER, DESK, OTHER_ACCOUNT, OTHER_CUSTOMER, OURS
from tests.support.policies import DESK_RULE, PLAIN
from tests.support.waiting import until
from tests.worker.harness import LIST
from tests.worker.payloads import participant_at
from tests.worker.sweeps import WINDOW, Sweeps

FETCH = "GET /v2/Conversations/{conversation}"
FETCH_ONE = "GET /v2/Conversations/{conversation}/Participants/{participant}"


@pytest.fixture
def sweeps(harness):
    return Sweeps(harness)


async def opened(sweeps, **capture):
    """A conversation that Twilio captured, with the callback of its creation only."""
    conversation = (await sweeps.harness.capture(**capture))["conversation"]
    await sweeps.settle(sweeps.harness.callback("CONVERSATION_CREATED", conversation))
    return conversation


async def known(sweeps):
    """A conversation whose customer was announced by callback."""
    conversation = await opened(sweeps)
    customer = participant_at(conversation)
    assert await sweeps.settle(sweeps.harness.callback("PARTICIPANT_ADDED", customer)) == [Result.JOINED]
    return conversation, customer


async def test_a_conversation_of_a_later_release_is_left_to_its_workers(sweeps, lines):
    """It is swept again later, costs no request and is not changed; others are swept."""
    conversation, _ = await known(sweeps)
    redis, key = sweeps.harness.redis, sweeps.harness.keys.conversation(ACCOUNT, conversation["id"])
    await redis.hset(key, "format", "4")
    before, calls = await redis.hgetall(key), await sweeps.harness.total()
    assert await sweeps.sweep() == 1
    assert await sweeps.sweep() == 0
    assert await sweeps.sweep(700) == 1
    assert (await redis.hgetall(key), await sweeps.harness.total()) == (before, calls)
    assert lines("reconciler.failed") == []
    await redis.hset(key, "format", "3")
    assert await sweeps.sweep(700) == 1
    assert await sweeps.harness.total() > calls


async def add(harness, conversation, address=OTHER_CUSTOMER, kind="CUSTOMER"):
    body = {"type": kind, "addresses": [{"channel": "SMS", "address": address}]}
    return await harness.api("POST", f"/v2/Conversations/{conversation['id']}/Participants", body)


async def remove(harness, participant):
    path = f"/sandbox/participants/{participant['conversationId']}/{participant['id']}/remove"
    return await harness.api("POST", path)


async def close(harness, conversation):
    return await harness.api("PATCH", f"/v2/Conversations/{conversation['id']}", {"status": "CLOSED"})


def counted(name, *labels):
    """The value of a counter so far."""
    return metrics._counts[name].get(labels, 0)


async def test_a_lost_addition_is_recovered(harness, sweeps, lines):
    """A minute after its conversation was reported, two requests find a customer whose callback was lost."""
    await opened(sweeps)
    before, calls = counted("router_recovered", "joined"), counted("router_sweep_calls", "GET")
    assert await sweeps.sweep(after=50) == 0
    assert await sweeps.sweep(after=11) == 1
    assert await harness.calls() == {FETCH: 1, LIST: 1}
    (entry,) = await harness.entries()
    data = entry.data
    assert (data.origin, data.address, data.recipient.address) == ("recovered", CUSTOMER, OURS)
    assert (data.cause.source, data.cause.event_type) == ("conversations", "recovered")
    assert (counted("router_recovered", "joined") - before, counted("router_sweep_calls", "GET") - calls) == (1, 2)
    (line,) = lines("reconciler.recovered")
    assert (line["level"], line["joined"], line["conversation"]) == ("warning", 1, data.conversation.id)
    assert CUSTOMER not in str(line)


async def test_a_callback_after_the_sweep_is_stale(harness, sweeps):
    """A callback that arrives after its change was recovered is stale."""
    conversation = await opened(sweeps)
    await sweeps.sweep()
    callback = harness.callback("PARTICIPANT_ADDED", participant_at(conversation))
    assert await sweeps.settle(callback) == [Result.STALE]
    assert await harness.types() == ["joined"]


async def test_simultaneous_callbacks_and_sweeps_announce_once(harness):
    """Callbacks and three workers' sweeps at once announce each customer once."""
    workers = [Sweeps(harness) for _ in range(3)]
    for number in range(20):
        conversation = (await harness.capture(f"+1555000{number:04d}"))["conversation"]
        await workers[0].settle(harness.callback("CONVERSATION_CREATED", conversation))
    harness.clock.advance(61)
    callbacks = [
        harness.callback("PARTICIPANT_ADDED", participant_at(one, one["participants"][0]["addresses"][0]["address"]))
        for one in await harness.conversations()
    ]
    await asyncio.gather(*(worker.sweep(after=0) for worker in workers), workers[0].settle(*callbacks))
    entries = await harness.entries()
    assert [entry.type for entry in entries] == [JoinedData.type] * 20
    assert len({entry.id for entry in entries}) == 20


async def test_a_sweep_that_loses_a_race_reads_again(harness, sweeps, monkeypatch):
    """A sweep whose commit comes too late applies its snapshot to what is committed by then."""
    conversation = await opened(sweeps)
    commit, callback = (
        type(sweeps.reconciler._store).commit,
        harness.callback("PARTICIPANT_ADDED", participant_at(conversation)),
    )

    async def overtaken(store, ledgers):
        monkeypatch.setattr(type(store), "commit", commit)
        await sweeps.settle(callback)
        return await commit(store, ledgers)

    monkeypatch.setattr(type(sweeps.reconciler._store), "commit", overtaken)
    assert await sweeps.sweep() == 1
    (entry,) = await harness.entries()
    assert entry.data.origin == "announced"


async def test_a_lost_removal_is_recovered(harness, sweeps):
    """An announced participant that the API no longer knows has left, once, whatever arrives late."""
    _, customer = await known(sweeps)
    removed = await remove(harness, customer)
    assert await sweeps.sweep() == 1
    assert (await harness.calls())[FETCH_ONE] == 1
    joined, left = await harness.entries()
    assert (left.type, left.subject, left.data.address) == ("participant.left", joined.subject, CUSTOMER)
    late = [harness.callback("PARTICIPANT_UPDATED", customer), harness.callback("PARTICIPANT_REMOVED", removed)]
    assert await sweeps.settle(*late) == [Result.STALE, Result.STALE]
    assert await harness.types() == ["joined", "left"]


async def test_a_lost_closing_is_recovered(harness, sweeps):
    """A lost closing is published once, and the conversation is not swept again."""
    conversation, _ = await known(sweeps)
    closed = await close(harness, conversation)
    assert await sweeps.sweep() == 1
    assert await harness.types() == ["joined", "closed"]
    assert await sweeps.settle(harness.callback("CONVERSATION_UPDATED", closed)) == [Result.KNOWN]
    assert await sweeps.sweep(after=WINDOW / 2) == 0


async def test_a_lost_update_is_recovered(harness, sweeps):
    """A new name whose callback was lost is published once."""
    conversation, customer = await known(sweeps)
    path = f"/v2/Conversations/{conversation['id']}/Participants/{customer['id']}"
    await harness.api("PUT", path, {"type": "CUSTOMER", "name": "Ana", "addresses": customer["addresses"]})
    await sweeps.sweep()
    await sweeps.sweep(after=601)
    assert await harness.types() == ["joined", "updated"]


async def test_a_return_reported_before_the_departure_is_recovered(harness, sweeps):
    """If a return is reported before the departure, the next sweep announces the returned customer."""
    conversation, customer = await known(sweeps)
    await sweeps.sweep()
    removed, again = await remove(harness, customer), await add(harness, conversation, CUSTOMER)
    late = [harness.callback("PARTICIPANT_ADDED", again), harness.callback("PARTICIPANT_REMOVED", removed)]
    assert await sweeps.settle(*late) == [Result.IGNORED, Result.LEFT]
    await sweeps.sweep()
    assert await harness.types() == ["joined", "left", "joined"]
    assert (await harness.entries())[2].subject == again["id"]


async def test_a_lost_departure_and_return_are_recovered(harness, sweeps):
    """If both callbacks are lost, the departure and the return are published in that order."""
    conversation, customer = await known(sweeps)
    await remove(harness, customer)
    await add(harness, conversation, CUSTOMER)
    await sweeps.sweep()
    assert await harness.types() == ["joined", "left", "joined"]


async def test_a_sweep_without_changes_writes_nothing(harness, sweeps):
    """A sweep of an unchanged conversation needs two requests and writes nothing."""
    conversation, _ = await known(sweeps)
    ours = participant_at(conversation, OURS)
    await sweeps.settle(harness.callback("PARTICIPANT_ADDED", ours))
    key = harness.keys.conversation(ACCOUNT, conversation["id"])
    before = await harness.redis.hgetall(key)
    assert await sweeps.sweep() == 1
    assert await harness.redis.hgetall(key) == before
    assert await harness.calls() == {FETCH: 1, LIST: 1}


async def test_a_young_addition_is_left_to_its_callback(harness, sweeps, lines):
    """An addition younger than a minute is left to its callback, and recovered a minute later."""
    conversation, _ = await known(sweeps)
    await harness.api("POST", "/sandbox/clock", {"advanceSeconds": 50})
    added = await add(harness, conversation)
    assert await sweeps.sweep() == 1
    assert await harness.types() == ["joined"]
    assert await sweeps.sweep(after=59) == 0
    assert await sweeps.sweep(after=2) == 1
    assert (await harness.entries())[1].subject == added["id"]
    assert len(lines("reconciler.recovered")) == 1


async def test_a_young_closing_is_left_to_its_callback(harness, sweeps):
    """A closing younger than a minute is left to its callback, and recovered a minute later."""
    conversation, _ = await known(sweeps)
    await harness.api("POST", "/sandbox/clock", {"advanceSeconds": 50})
    await close(harness, conversation)
    await sweeps.sweep()
    assert await harness.types() == ["joined"]
    await sweeps.sweep()
    assert await harness.types() == ["joined", "closed"]


async def test_a_participant_that_is_being_created_is_left_to_its_creator(harness, sweeps):
    """A sweep leaves a participant that a worker is creating to that worker."""
    conversation, _ = await known(sweeps)
    added = await add(harness, conversation)
    store, address = sweeps.reconciler._store, added["addresses"][0]
    key = f"{address['channel']}|{address['address']}"
    await harness.redis.set(harness.keys.creating(ACCOUNT, key), "1", ex=60)
    await sweeps.sweep()
    assert await harness.types() == ["joined"]
    await harness.redis.delete(harness.keys.creating(ACCOUNT, key))
    assert await store.are_being_created([(ACCOUNT, [key])]) == [False]
    await sweeps.sweep()
    assert await harness.types() == ["joined", "joined"]


async def test_a_lost_agent_is_not_announced(harness, sweeps):
    """An agent whose callback was lost is not announced."""
    conversation, _ = await known(sweeps)
    await add(harness, conversation, "+15557650009", "HUMAN_AGENT")
    await sweeps.resolver.accounts.know([ACCOUNT])
    await sweeps.sweep()
    await sweeps.sweep(after=601)
    assert await harness.types() == ["joined"]


async def test_a_rule_on_the_recipient_decides_a_recovery(make_harness):
    """A rule on the recipient decides by our side in the snapshot."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    sweeps = Sweeps(harness)
    await opened(sweeps, to=DESK)
    await sweeps.sweep()
    (entry,) = await harness.entries()
    assert (entry.data.target, entry.data.recipient.address) == ("human-agent", DESK)


async def test_a_deleted_conversation_is_forgotten(harness, sweeps):
    """Nothing is published about a deleted conversation, and it is not swept again."""
    conversation, _ = await known(sweeps)
    await harness.api("DELETE", f"/v2/Conversations/{conversation['id']}")
    before = counted("router_sweeps", "gone")
    assert await sweeps.sweep() == 1
    assert await sweeps.sweep(after=601) == 0
    assert counted("router_sweeps", "gone") - before == 1
    assert await harness.types() == ["joined"]


async def test_sweeps_become_rare_and_end_with_the_window(harness, sweeps):
    """After the first minute sweeps follow every ten minutes until the window ends; a new event starts over."""
    conversation, _ = await known(sweeps)
    assert sum([await sweeps.sweep(after=30) for _ in range(2 * 120)]) == 7
    assert await harness.total() == 12
    await sweeps.settle(
        harness.callback("CONVERSATION_UPDATED", conversation | {"name": "x", "updatedAt": to_text(harness.clock())})
    )
    assert await sweeps.sweep() == 1


@pytest.mark.parametrize(
    "fault", [{"status": 429, "retryAfter": 1}, {"status": 503}, {"reset": True}, {"status": 401}], ids=str
)
async def test_an_outage_pauses_the_account(harness, sweeps, fault, lines):
    """One failed request pauses the account for a minute; then the losses are recovered."""
    await opened(sweeps)
    await opened(sweeps, sender=OTHER_CUSTOMER)
    harness.fault(**fault)
    assert await sweeps.sweep() == 1
    assert await sweeps.sweep(after=50) == 0
    assert await harness.total() == 1
    assert len(lines("reconciler.paused")) == 1
    harness.clear_faults()
    assert await sweeps.sweep() == 2
    assert await harness.types() == ["joined", "joined"]


async def test_a_request_that_hangs_pauses_the_account(harness, lines):
    """A request without an answer ends at its timeout and pauses the account."""
    harness.api_timeout = 0.1
    sweeps = Sweeps(harness)
    await opened(sweeps)
    harness.fault(hang=True)
    assert await sweeps.sweep() == 1
    assert lines("reconciler.paused")[0]["reason"] == "TransportError"


async def test_a_refusal_concerns_its_conversation_only(harness, sweeps, lines):
    """A refused request is logged and put off; other conversations are swept."""
    await opened(sweeps)
    await opened(sweeps, sender=OTHER_CUSTOMER)
    harness.fault(status=400, times=1)
    assert await sweeps.sweep() == 2
    assert len(lines("reconciler.failed")) == 1
    assert await harness.types() == ["joined"]
    await sweeps.sweep(after=601)
    assert await harness.types() == ["joined", "joined"]


async def test_a_paused_account_holds_up_no_other(harness, make_harness):
    """The conversations of a paused account need no request, those of another are swept."""
    theirs = await make_harness(account_sid=OTHER_ACCOUNT)
    pairs = [*harness.make_apis()._transports, *theirs.make_apis(account=OTHER_ACCOUNT)._transports]
    sweeps = Sweeps(harness, apis=Apis(pairs))
    for number in range(5):
        captured = (await theirs.capture(f"+1555000{number:04d}"))["conversation"]
        await sweeps.settle(harness.callback("CONVERSATION_CREATED", captured))
    theirs.fault(status=503)
    assert await sweeps.sweep() == 1
    await opened(sweeps)
    assert await sweeps.sweep(after=59) == 0
    assert await sweeps.sweep(after=1.5) == 2
    assert await theirs.total() == 2
    assert [entry.data.account_id for entry in await harness.entries()] == [ACCOUNT]
    theirs.clear_faults()
    assert await sweeps.sweep() == 5
    assert len(await harness.entries()) == 6


async def test_all_workers_share_one_budget(harness):
    """Three workers with a budget of ten requests a minute need two minutes for twenty."""
    workers = [Sweeps(harness, calls=10) for _ in range(3)]
    for number in range(10):
        await opened(workers[0], sender=f"+1555000{number:04d}")
    harness.clock.advance(61)
    begun = harness.clock()
    counts = [0, 0, 0]
    while sum(counts) < 10:
        for index, worker in enumerate(workers):
            counts[index] += await worker.reconciler.step()
    assert await harness.total() == 20
    assert harness.clock() - begun >= 19 * 6_000_000
    assert min(counts) > 0


async def test_a_sweep_waits_for_spare_capacity(harness, sweeps):
    """A sweep makes no request while events use half of the API's slots."""
    await opened(sweeps)
    (transport,) = [transport for _, transport in sweeps.apis._transports]
    transport.limiter.in_flight = transport.limiter.window.cap // 2
    harness.clock.advance(61)
    step = asyncio.create_task(sweeps.reconciler.step())
    await until(lambda: len(sweeps.slept) >= 5)
    assert await harness.total() == 0
    transport.limiter.in_flight = 0
    assert await step
    assert await harness.types() == ["joined"]


async def test_without_a_budget_no_conversation_is_noted(harness):
    """A worker notes its conversations for sweeps, unless ROUTER_RECONCILE_CALLS is 0."""
    await harness.ensure_group()
    for calls, is_noted in (("0", False), ("60", True)):
        async with working(harness.settings(ROUTER_RECONCILE_CALLS=calls)):
            await harness.append(harness.sms(f"+1555123{int(calls):04d}"))
            await harness.finished()
        assert bool(await harness.redis.exists(harness.keys.active(0))) is is_noted


async def test_a_failed_sweep_is_logged_and_tried_again(harness, sweeps, monkeypatch, lines):
    """A sweep that fails is logged; the conversation is due again when its claim ends."""
    await opened(sweeps)
    await opened(sweeps, sender=OTHER_CUSTOMER)
    harness.clock.advance(61)
    read_whole, failed = type(sweeps.reconciler._store).read_whole, []

    async def fail_once(store, *ids):
        if not failed:
            failed.append(ids)
            raise RuntimeError("made up")
        return await read_whole(store, *ids)

    monkeypatch.setattr(type(sweeps.reconciler._store), "read_whole", fail_once)
    running = asyncio.create_task(sweeps.reconciler.run())

    async def has_both():
        return len(await harness.entries()) == 2

    await until(has_both)
    await end(running)
    (line,) = lines("reconciler.failed")
    assert "RuntimeError" in line["error"]
    assert "made up" not in str(line)
