"""Messages around the closing of their conversation: each is heard once, in a conversation that can be answered."""

import time

import pytest

from router.core.judging.unconfirmed import DELAY
from router.core.ledger.marker import Result
from router.core.resolution.classic import PATIENCE
from router.core.timestamps import to_text
from router.sandbox.clock import system_clock
from router.simulator.event_streams import streamed_message
from router.simulator.mail import mail
from router.simulator.voice import call, call_status
from router.streams.delivery import Done
from router.streams.store.ledgers import Store
from router.worker.closings import Closings
from tests.support.accounts import ACCOUNT, CUSTOMER, MAILBOX, OURS, WRITER
from tests.support.waiting import until
from tests.worker.classic_harness import BRIDGED, POST_EVENTS, Classic, bridge, classic, start_hook
from tests.worker.payloads import participant_of, redelivered, spoken
from tests.worker.sweeps import Sweeps

pytestmark = [pytest.mark.promise(2), pytest.mark.promise(4)]
DONE = Done()
CALL = "CA00000000000000000000000000000001"


def streamed(harness):
    """A message that Event Streams reports."""
    return streamed_message(harness.sms(), event_id="EZ1", now=harness.clock(), is_batch=False)


def letter(harness):
    """A mail, a new one each time."""
    message_id = f"<{harness.clock()}@mail.example.com>"
    return mail(sender=WRITER, recipients=[MAILBOX], subject="a fence", body="hi", message_id=message_id)


SOURCES = {
    "sms": lambda harness: harness.sms(),
    "whatsapp": lambda harness: harness.sms(f"whatsapp:{CUSTOMER}", f"whatsapp:{OURS}", kind="whatsapp"),
    "event-streams": streamed,
    "mail": letter,
}
every_source = pytest.mark.parametrize("source", SOURCES)


async def close(harness, conversation_id):
    """Close a conversation by the API; return the callback about it."""
    await next_millisecond()
    closed = await harness.api("PATCH", f"/v2/Conversations/{conversation_id}", {"status": "CLOSED"})
    await next_millisecond()
    return harness.callback("CONVERSATION_UPDATED", closed)


async def next_millisecond():
    """Let the time of stream ids and of the API, which has whole milliseconds, go on."""
    now = time.time_ns() // 1_000_000
    await until(lambda: time.time_ns() // 1_000_000 > now + 1)


async def open_ones(harness):
    return [one["id"] for one in await harness.conversations() if one["status"] != "CLOSED"]


async def kinds(harness):
    """What was published, in order."""
    return [entry.type.partition(".")[2] for entry in await harness.published()]


# --- a worker dies after the commit, then the conversation closes ---------------------------------


@every_source
@pytest.mark.parametrize("is_reported", [True, False], ids=["reported", "not reported"])
async def test_a_redelivered_message_opens_no_second_conversation(harness, source, is_reported):
    """A message whose worker died before the XACK is not heard again once its conversation has closed."""
    deliveries = await harness.receive(SOURCES[source](harness))
    assert await harness.work(deliveries) == [DONE]
    (conversation_id,) = await open_ones(harness)
    callback = await close(harness, conversation_id)
    if is_reported:
        assert await harness.settle(callback) == [Result.CLOSED]
    else:
        harness.clock.advance(61)  # so that the conversation is confirmed, and found to be closed
    assert await harness.work([redelivered(one) for one in deliveries], by=harness.make_resolver()) == [DONE]
    assert await kinds(harness) == ["joined", "received", "closed"]
    assert len(await harness.conversations()) == 1


@every_source
async def test_a_redelivered_message_of_a_known_customer_opens_no_second_conversation(harness, source):
    """The same for a message that was published without an API request, before the closing."""
    make = SOURCES[source]
    await harness.settle(harness.sms() if source == "event-streams" else make(harness))
    deliveries = await harness.receive(make(harness))
    assert await harness.work(deliveries) == [Result.KNOWN]
    (conversation_id,) = await open_ones(harness)
    assert await harness.settle(await close(harness, conversation_id)) == [Result.CLOSED]
    assert await harness.work([redelivered(one) for one in deliveries], by=harness.make_resolver()) == [DONE]
    assert await kinds(harness) == ["joined", "received", "received", "closed"]
    assert len(await harness.conversations()) == 1


@pytest.mark.parametrize("source", [*SOURCES, "call"])
async def test_the_conversation_is_known_before_the_commit(harness, monkeypatch, source):
    """If the worker dies with the answer to its commit, the successor finds the closed conversation all the same."""
    if source == "call":
        await harness.capture(channel="VOICE", body=None, channelId=CALL)
    make = SOURCES.get(source, lambda _: call(account_sid=ACCOUNT, sender=CUSTOMER, recipient=OURS, sid=CALL))
    commit = Store.commit

    async def commit_and_die(self, ledgers, **more):
        await commit(self, ledgers, **more)
        if ledgers:
            raise ConnectionError("the worker died")
        return []

    deliveries = await harness.receive(make(harness))
    monkeypatch.setattr(Store, "commit", commit_and_die)
    with pytest.raises(ConnectionError):
        await harness.work(deliveries)
    monkeypatch.setattr(Store, "commit", commit)
    (conversation_id,) = await open_ones(harness)
    assert await harness.settle(await close(harness, conversation_id)) == [Result.CLOSED]
    assert await harness.work([redelivered(one) for one in deliveries], by=harness.make_resolver()) == [DONE]
    assert [kind for kind in await kinds(harness) if kind != "received"] == ["joined", "closed"]
    assert len(await harness.conversations()) == 1


# --- a message that is received after the closing, and published before the closing is known ------


async def everything(harness):
    """Settle what is in the stream, and what that appends, until nothing is left; like a consumer does."""
    while deliveries := await harness.deliveries():
        for delivery in deliveries:
            await harness.finish(delivery)


async def heard_in(harness, conversation_id):
    """The channelIds of the communications that were published in a conversation."""
    found = [one.data for one in await harness.communications() if one.data.conversation.id == conversation_id]
    return [one.communication.channel_id for one in found]


async def write_after_the_closing(harness, source="sms", number=1):
    """Let a known customer write after the closing, of which nothing is known; return the closed conversation."""
    make = SOURCES[source]
    assert await harness.settle(harness.sms() if source == "event-streams" else make(harness)) == [DONE]
    (conversation_id,) = await open_ones(harness)
    callback = await close(harness, conversation_id)
    for _ in range(number):
        assert await harness.settle(make(harness)) == [Result.KNOWN]
    return conversation_id, callback


@every_source
async def test_a_late_closing_moves_the_message_to_the_next_conversation(harness, source):
    """A message after the closing is heard once more, in the next conversation, once the closing is reported."""
    old, callback = await write_after_the_closing(harness, source)
    assert await harness.settle(callback) == [Result.CLOSED]
    await everything(harness)
    assert await kinds(harness) == ["joined", "received", "received", "closed", "joined", "received"]
    (new,) = await open_ones(harness)
    assert await heard_in(harness, new) == (await heard_in(harness, old))[1:]


async def test_all_late_messages_move_in_order(harness):
    """Of several messages after the closing all move, in their order, and further ones follow them."""
    old, callback = await write_after_the_closing(harness, number=3)
    await harness.settle(callback)
    await everything(harness)
    (new,) = await open_ones(harness)
    assert await heard_in(harness, new) == (await heard_in(harness, old))[1:]
    assert await harness.settle(harness.sms()) == [Result.KNOWN]
    assert len(await heard_in(harness, new)) == 4
    assert await harness.types() == ["joined", "closed", "joined"]


async def test_a_closing_that_is_reported_twice_moves_the_message_once(harness):
    """Repeated reports of the closing, by several workers, append the message again once."""
    old, callback = await write_after_the_closing(harness)
    (closed,) = [one for one in await harness.conversations() if one["id"] == old]
    for _ in range(3):
        again = harness.callback("CONVERSATION_UPDATED", closed)
        await harness.settle(again, by=harness.make_resolver())
    await everything(harness)
    assert await kinds(harness) == ["joined", "received", "received", "closed", "joined", "received"]
    before = await harness.redis.xlen(harness.inbound.key)
    await harness.settle(callback)
    assert await harness.redis.xlen(harness.inbound.key) == before + 1, "only the callback itself"


async def test_a_message_before_the_closing_stays(harness):
    """A message that was received before the closing is not heard again, whenever the closing is reported."""
    await harness.settle(harness.sms())
    await harness.settle(harness.sms())
    (old,) = await open_ones(harness)
    assert await harness.settle(await close(harness, old)) == [Result.CLOSED]
    assert await harness.deliveries() == []
    assert len(await heard_in(harness, old)) == 2


async def test_a_message_that_twilio_recorded_there_stays(harness):
    """A callback about the message itself is proof, whatever the clocks say: it is not heard again."""
    await harness.settle(harness.sms())
    (old,) = await open_ones(harness)
    customer = participant_of((await harness.conversations())[0], "CUSTOMER")
    callback = await close(harness, old)
    assert await harness.settle(harness.sms(sid=f"SM{77:032x}")) == [Result.KNOWN]
    recorded = spoken(harness, customer, channelId=f"SM{77:032x}", number=7)
    assert await harness.settle(recorded) == [Result.KNOWN]
    assert await harness.settle(callback) == [Result.CLOSED]
    assert await harness.deliveries() == []
    assert await kinds(harness) == ["joined", "received", "received", "closed"]


async def test_a_conversation_that_twilio_opened_for_the_message_is_joined(harness):
    """If Twilio has opened the next conversation for the message, it is heard there once, whoever reports it."""
    old, callback = await write_after_the_closing(harness)
    sid = (await heard_in(harness, old))[-1]
    captured = await harness.capture(channelId=sid)
    new, customer = captured["conversation"]["id"], participant_of(captured["conversation"], "CUSTOMER")
    reports = [harness.callback("PARTICIPANT_ADDED", customer), spoken(harness, customer, channelId=sid)]
    await harness.settle(*reports, callback)
    await everything(harness)
    assert await heard_in(harness, new) == [sid]
    assert await harness.types() == ["joined", "joined", "closed"]
    assert await open_ones(harness) == [new]


async def test_a_closing_without_a_callback_moves_the_message(harness):
    """The next message after ROUTER_ROUTE_TTL finds the closing; the one before it moves as well."""
    old, _ = await write_after_the_closing(harness)
    harness.clock.advance(61)
    assert await harness.settle(harness.sms(sid=f"SM{77:032x}")) == [DONE]
    await everything(harness)
    (new,) = await open_ones(harness)
    assert sorted(await heard_in(harness, new)) == [*(await heard_in(harness, old))[1:], f"SM{77:032x}"]
    assert await harness.types() == ["joined", "closed", "joined"]


async def test_a_sweep_that_finds_the_closing_moves_the_message(harness):
    """A sweep of the reconciler finds the closing, and the message moves."""
    sweeps = Sweeps(harness)
    await sweeps.settle(harness.sms())
    (old,) = await open_ones(harness)
    await close(harness, old)
    await sweeps.settle(harness.sms())
    assert await sweeps.sweep(601) == 1
    await everything(harness)
    (new,) = await open_ones(harness)
    assert await heard_in(harness, new) == (await heard_in(harness, old))[1:]


async def test_a_worker_that_dies_before_it_follows_a_closing_has_a_successor(harness, monkeypatch):
    """If the worker dies between the closing's commit and the moving, the redelivered callback moves the message."""
    _, callback = await write_after_the_closing(harness)
    deliveries = await harness.receive(callback)

    async def die(*_):
        raise ConnectionError("the worker died")

    with monkeypatch.context() as patch:
        patch.setattr(Closings, "follow", die)
        with pytest.raises(ConnectionError):
            await harness.work(deliveries)
    assert await harness.work([redelivered(one) for one in deliveries]) == [Result.KNOWN]
    await everything(harness)
    assert await kinds(harness) == ["joined", "received", "received", "closed", "joined", "received"]


async def test_a_redelivered_late_message_moves_once(harness):
    """A message after the closing whose worker died is heard once in the next conversation, also if it moves too."""
    await harness.settle(harness.sms())
    (old,) = await open_ones(harness)
    callback = await close(harness, old)
    deliveries = await harness.receive(harness.sms())
    assert await harness.work(deliveries) == [Result.KNOWN]
    await harness.settle(callback)
    assert await harness.work([redelivered(one) for one in deliveries]) == [DONE]
    await everything(harness)
    assert await kinds(harness) == ["joined", "received", "received", "closed", "joined", "received"]
    (new,) = await open_ones(harness)
    again = [redelivered(one) for one in deliveries]
    await harness.settle(await close(harness, new))
    assert await harness.work(again) == [DONE]
    assert await open_ones(harness) == [], "it was rightly heard in the second one"


@pytest.mark.parametrize("ahead", [61, -61, 3600, -3600])
async def test_the_clock_of_the_api_may_be_wrong(make_harness, ahead):
    """A message before the closing stays and one after it moves, whatever time the API says it is."""
    harness = await make_harness(clock=lambda: system_clock() + ahead * 1_000_000)
    harness.resolver = harness.make_resolver(api_ahead=lambda _: ahead * 1_000_000)
    assert await harness.settle(harness.sms(), harness.sms()) == [DONE, DONE]
    (old,) = await open_ones(harness)
    callback = await close(harness, old)
    assert await harness.settle(harness.sms()) == [Result.KNOWN]
    await harness.settle(callback)
    await everything(harness)
    (new,) = await open_ones(harness)
    assert await heard_in(harness, new) == (await heard_in(harness, old))[2:]


async def test_a_real_worker_moves_the_message(harness):
    """With a real consumer nothing is left over, and the message is heard in an open conversation."""
    await harness.ensure_group()
    async with harness.consuming():
        await harness.append(harness.sms())
        await harness.finished()
        (old,) = await open_ones(harness)
        callback = await close(harness, old)
        await harness.append(harness.sms())
        await harness.finished()
        await harness.append(callback)
        await until(lambda: is_followed(harness))
        await harness.finished()
    assert await kinds(harness) == ["joined", "received", "received", "closed", "joined", "received"]


async def is_followed(harness):
    return await open_ones(harness)


# --- the confirmation of a message on trust ------------------------------------------------------


async def confirm(sweeps, after=DELAY + 1):
    """Let time pass, then confirm what is due; return the number of conversations and of requests."""
    before = await sweeps.harness.total()
    sweeps.harness.clock.advance(after)
    count = 0
    while await sweeps.reconciler.confirm():
        count += 1
    return count, await sweeps.harness.total() - before


async def test_a_lost_closing_is_found_by_a_confirmation(harness):
    """Seconds after a message on trust, one request finds that its conversation had closed, and the message moves."""
    sweeps = Sweeps(harness)
    await sweeps.settle(harness.sms())
    (old,) = await open_ones(harness)
    await close(harness, old)
    await sweeps.settle(harness.sms())
    assert await confirm(sweeps, DELAY - 1) == (0, 0)
    assert await confirm(sweeps, 2) == (1, 1)
    await everything(harness)
    assert await kinds(harness) == ["joined", "received", "received", "closed", "joined", "received"]
    (new,) = await open_ones(harness)
    assert await heard_in(harness, new) == (await heard_in(harness, old))[1:]


async def test_a_confirmation_costs_one_request_and_is_evidence(harness):
    """Messages of one burst are confirmed by one request, which is evidence for the next messages."""
    sweeps = Sweeps(harness)
    await sweeps.settle(harness.sms())
    assert await confirm(sweeps) == (0, 0), "it was created just now"
    await sweeps.settle(harness.sms(), harness.sms(), harness.sms())
    assert await confirm(sweeps, 30) == (1, 1)
    assert await confirm(sweeps, 30) == (0, 0)
    before = await harness.total()
    assert await sweeps.settle(harness.sms()) == [Result.KNOWN], "the creation is too long ago, the confirmation is not"
    assert await harness.total() == before


@pytest.mark.parametrize("evidence", ["about the message", "about a later one"])
async def test_a_callback_spares_the_confirmation(harness, evidence):
    """A callback about the message, or about anything later in the conversation, spares the request."""
    sweeps = Sweeps(harness)
    await sweeps.settle(harness.sms())
    customer = participant_of((await harness.conversations())[0], "CUSTOMER")
    await sweeps.settle(harness.sms(sid=f"SM{77:032x}"))
    await next_millisecond()
    about = (
        {"channelId": f"SM{77:032x}"} if evidence == "about the message" else {"createdAt": to_text(harness.clock())}
    )
    await sweeps.settle(spoken(harness, customer, number=7, **about))
    assert await confirm(sweeps) == (1, 0)


async def test_a_confirmation_waits_while_the_api_is_down(harness):
    """An outage delays the confirmation and pauses the account; then the message moves all the same."""
    sweeps = Sweeps(harness, apis=harness.make_apis(retries=0))
    await sweeps.settle(harness.sms())
    (old,) = await open_ones(harness)
    await close(harness, old)
    await sweeps.settle(harness.sms())
    harness.fault(status=503)
    assert (await confirm(sweeps))[0] == 1
    assert await confirm(sweeps, 1) == (0, 0)
    harness.clear_faults()
    assert await confirm(sweeps, 61) == (1, 1)
    await everything(harness)
    assert await harness.types() == ["joined", "closed", "joined"]


async def test_a_known_closing_needs_no_confirmation(harness):
    """If the callback came meanwhile, nothing is asked and nothing moves twice."""
    sweeps = Sweeps(harness)
    await sweeps.settle(harness.sms())
    (old,) = await open_ones(harness)
    callback = await close(harness, old)
    await sweeps.settle(harness.sms())
    await sweeps.settle(callback)
    await everything(harness)
    assert await confirm(sweeps) == (1, 0)
    await everything(harness)
    assert await kinds(harness) == ["joined", "received", "received", "closed", "joined", "received"]


# --- calls, chats and classic conversations ------------------------------------------------------


async def attach(harness):
    """Let Twilio put the call into an open conversation, the next one if the last has closed; return the caller."""
    captured = await harness.capture(channel="VOICE", body=None, channelId=CALL)
    return participant_of(captured["conversation"], "CUSTOMER")


@pytest.mark.parametrize("is_reported", [True, False], ids=["reported", "callbacks lost"])
async def test_a_call_whose_conversation_closes_goes_on_in_the_next_one(harness, is_reported):
    """The caller is announced in the conversation that the call is in, and leaves that one when it is over."""
    ends = {"account_sid": ACCOUNT, "sender": CUSTOMER, "recipient": OURS, "sid": CALL}
    first = await attach(harness)
    assert await harness.settle(call(**ends)) == [DONE]
    assert await harness.settle(await close(harness, first["conversationId"])) == [Result.CLOSED]
    second = await attach(harness)
    if is_reported:
        assert await harness.settle(harness.callback("PARTICIPANT_ADDED", second)) == [Result.JOINED]
    else:
        assert await harness.settle(call_status("in-progress", **ends)) == [DONE]
    assert await harness.settle(call_status("completed", **ends)) == [DONE]
    entries = await harness.entries()
    assert [entry.type.partition(".")[2] for entry in entries] == ["joined", "closed", "joined", "left"]
    assert entries[-2].subject == entries[-1].subject == second["id"]


async def test_the_end_of_a_call_after_its_conversation_is_stale(harness):
    """A call that ends after its conversation has closed, and is in no other, changes nothing."""
    ends = {"account_sid": ACCOUNT, "sender": CUSTOMER, "recipient": OURS, "sid": CALL}
    caller = await attach(harness)
    await harness.settle(call(**ends))
    await harness.settle(await close(harness, caller["conversationId"]))
    deliveries = await harness.receive(call_status("completed", **ends))
    for _ in range(2):
        assert await harness.work(deliveries) == [DONE]
    assert await harness.types() == ["joined", "closed"]


@pytest.mark.parametrize("kind", ["rcs", "messenger"])
async def test_other_channels_move_alike(harness, kind):
    """RCS and Messenger messages after the closing are heard in the next conversation too."""
    ends = (f"{kind}:{CUSTOMER}", f"{kind}:{OURS}")
    await harness.settle(harness.sms(*ends, kind=kind))
    (old,) = await open_ones(harness)
    callback = await close(harness, old)
    assert await harness.settle(harness.sms(*ends, kind=kind)) == [Result.KNOWN]
    await harness.settle(callback)
    await everything(harness)
    (new,) = await open_ones(harness)
    assert await heard_in(harness, new) == (await heard_in(harness, old))[1:]


async def test_a_classic_conversation_that_closes_late_gives_its_message_to_the_next(harness):
    """A message that the lookup put into a classic conversation moves once that is known to be closed."""
    harness.resolver = harness.make_resolver(classic_lookup=True)
    side = Classic(harness, None)
    sid = (await side.inbound())["conversation"]["sid"]
    assert await harness.settle(harness.sms()) == [DONE]
    await side.call("POST", f"/Conversations/{sid}", State="closed")
    closed = await side.call("GET", f"/Conversations/{sid}")
    await next_millisecond()
    assert await harness.settle(harness.sms()) == [Result.KNOWN]
    date = {"DateUpdated": closed["date_updated"]}
    report = classic("state-updated", conversation_sid=sid, state="closed", extra=date)
    assert await harness.settle(report) == [Result.CLOSED]
    await everything(harness)
    assert await harness.types() == ["joined", "closed", "joined"]
    (new,) = await open_ones(harness)
    assert await heard_in(harness, new) == (await heard_in(harness, sid))[1:]


async def test_a_redelivered_classic_message_announces_nobody_after_the_closing(make_harness):
    """A bridged message whose worker died is not announced again when its conversation closes within the second."""
    async for hook in start_hook():
        harness = await make_harness(
            classic_post_webhook_url=hook.url,
            classic_webhook_filters=POST_EVENTS,
            classic_bridge=True,
            configurations=(BRIDGED,),
        )
        harness.resolver = harness.make_resolver(bridges=bridge())
        side = Classic(harness, hook)
        bridged = (await side.inbound())["bridged"]["id"]
        deliveries = await harness.receive(*await hook.take_all("onMessageAdded"))
        for delivery in deliveries:
            await harness.finish(delivery)
        assert await harness.settle(await close(harness, bridged)) == [Result.CLOSED]
        harness.clock.advance(PATIENCE + 1)
        for delivery in deliveries:
            await harness.finish(redelivered(delivery))
        assert await harness.types() == ["joined", "closed"]
