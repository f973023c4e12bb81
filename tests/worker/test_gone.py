"""Conversations that the API does not know any more: whoever learns of it drops the route, and the message moves on."""

from types import SimpleNamespace

from router.agents.effects import Effects
from router.agents.joiners import Joiners
from router.core.entries import CommunicationData, HolderChangedData
from router.core.ledger.marker import Result
from router.core.timestamps import to_text
from router.streams.delivery import Done
from router.streams.store.gone import GoneConversations, UnhandledMessage
from router.streams.store.ledgers import Store
from tests.handlers.harness import HumanAgentProcess, make
from tests.support.accounts import ACCOUNT, CUSTOMER
from tests.worker.payloads import participant_of, spoken
from tests.worker.sweeps import Sweeps
from tests.worker.test_closing import SOURCES as MESSAGES
from tests.worker.test_closing import confirm, every_source, everything, heard_in, kinds, next_millisecond, open_ones

DONE = Done()
MOVED = ["joined", "received", "received", "joined", "received"]


async def delete(harness):
    """Delete the one open conversation, of which no callback tells; return its id."""
    (conversation_id,) = await open_ones(harness)
    await harness.api("DELETE", f"/v2/Conversations/{conversation_id}")
    return conversation_id


async def write_in_a_gone_one(harness, settle, source="sms"):
    """Let a known customer write on trust after the conversation was deleted; return the conversation's id."""
    make = MESSAGES[source]
    assert await settle(harness.sms() if source == "event-streams" else make(harness)) == [DONE]
    old = await delete(harness)
    assert await settle(make(harness)) == [Result.KNOWN]
    return old


@every_source
async def test_a_confirmation_moves_the_message(harness, source):
    """Seconds after a message on trust, the worker finds that its conversation is gone: the message opens the next."""
    sweeps = Sweeps(harness)
    old = await write_in_a_gone_one(harness, sweeps.settle, source)
    assert await confirm(sweeps) == (1, 1)
    await everything(harness)
    (new,) = await open_ones(harness)
    assert await kinds(harness) == MOVED
    assert await heard_in(harness, new) == (await heard_in(harness, old))[1:]


@every_source
async def test_a_handler_that_learns_of_it_moves_the_message(harness, source):
    """The message behind an entry that nobody could handle opens the next conversation, however fresh the route is."""
    old = await write_in_a_gone_one(harness, harness.settle, source)
    joiners = Joiners(harness.make_apis(), Store(harness.redis, harness.keys, marker_ttl=3600))
    entry = (await harness.communications())[-1]
    assert [await joiners.follow_gone(entry.data) for _ in range(3)] == [True] * 3
    await everything(harness)
    (new,) = await open_ones(harness)
    assert await kinds(harness) == MOVED
    assert await heard_in(harness, new) == (await heard_in(harness, old))[1:]


async def test_the_first_message_moves_too(harness):
    """Although the API had confirmed the conversation when its first message was published, nobody could handle it."""
    assert await harness.settle(harness.sms()) == [DONE]
    old = await delete(harness)
    joiners = Joiners(harness.make_apis(), Store(harness.redis, harness.keys, marker_ttl=3600))
    for entry in await harness.published():
        assert await joiners.follow_gone(entry.data)
    await everything(harness)
    (new,) = await open_ones(harness)
    assert await kinds(harness) == ["joined", "received"] * 2
    assert await heard_in(harness, new) == await heard_in(harness, old)


async def test_a_message_that_a_callback_reported_first_is_found_by_its_sid(harness):
    """The entry's cause is then the callback, and the inbound entry of the webhook has another key."""
    await harness.settle(harness.sms())
    customer = participant_of((await harness.conversations())[0], "CUSTOMER")
    webhook = harness.sms(sid=f"SM{77:032x}")
    assert await harness.settle(spoken(harness, customer, number=7, channelId=f"SM{77:032x}")) == [Result.KNOWN]
    old = await delete(harness)
    await harness.settle(webhook)
    joiners = Joiners(harness.make_apis(), Store(harness.redis, harness.keys, marker_ttl=3600))
    entry = (await harness.communications())[-1]
    assert isinstance(entry.data, CommunicationData)
    assert entry.data.cause.source == "conversations"
    assert await joiners.follow_gone(entry.data)
    await everything(harness)
    (new,) = await open_ones(harness)
    assert await heard_in(harness, new) == [f"SM{77:032x}"] == (await heard_in(harness, old))[1:]


async def test_the_next_message_moves_those_before_it(harness):
    """The worker that asks the API about a route finds it gone: messages on trust before it are moved as well."""
    old = await write_in_a_gone_one(harness, harness.settle)
    harness.clock.advance(61)
    assert await harness.settle(harness.sms()) == [DONE]
    await everything(harness)
    (new,) = await open_ones(harness)
    published = await heard_in(harness, new)
    assert len(published) == 2
    assert published[1] == (await heard_in(harness, old))[1]


async def test_a_sweep_forgets_the_route(harness):
    """The reconciler finds the conversation gone: the next message opens another, also while the route is trusted."""
    sweeps = Sweeps(harness)
    sweeps.resolver = harness.make_resolver(recent=sweeps.recent, apis=sweeps.apis)
    await sweeps.settle(harness.sms())
    old = await delete(harness)
    assert await sweeps.sweep() == 1
    assert not [key async for key in harness.redis.scan_iter("*:route:*")]
    assert await sweeps.settle(harness.sms()) == [DONE]
    assert len(await heard_in(harness, old)) == 1
    assert await harness.types() == ["joined", "joined"]


async def test_a_person_who_finds_it_gone_forgets_the_route(harness):
    """Whoever accepts it cannot join it: the next message opens another, also while the route is trusted."""
    apis = harness.make_apis()
    shared = SimpleNamespace(
        redis=harness.redis,
        keys=harness.keys,
        apis=apis,
        effects=lambda group: Effects(harness.redis, harness.keys, group),
    )
    joiners = Joiners(apis, Store(harness.redis, harness.keys, marker_ttl=3600))
    await harness.settle(harness.sms())
    old = await delete(harness)
    held = make(HolderChangedData, old, to={"target": "human-agent", "agent": "dana"})
    await HumanAgentProcess(shared, joiners=joiners).handle(held)
    assert not [key async for key in harness.redis.scan_iter("*:route:*")]
    assert await harness.settle(harness.sms()) == [DONE]
    assert await harness.types() == ["joined", "joined"]


async def test_what_was_shown_as_open_stays(harness):
    """Messages before the newest evidence that the conversation was open are not published again."""
    sweeps = Sweeps(harness)
    await sweeps.settle(harness.sms())
    customer = participant_of((await harness.conversations())[0], "CUSTOMER")
    await sweeps.settle(harness.sms())
    await next_millisecond()
    await sweeps.settle(spoken(harness, customer, number=7, createdAt=to_text(harness.clock())))
    await next_millisecond()
    old = await delete(harness)
    await sweeps.settle(harness.sms())
    assert await confirm(sweeps) == (1, 1)
    await everything(harness)
    (new,) = await open_ones(harness)
    assert await heard_in(harness, new) == (await heard_in(harness, old))[3:]
    assert len(await heard_in(harness, new)) == 1


async def test_a_conversation_that_is_there_after_all_gets_the_message_again(harness):
    """A 404 may come from wrong settings: the message is published once more, as another entry, in the same one."""
    await harness.settle(harness.sms())
    (conversation_id,) = await open_ones(harness)
    await harness.settle(harness.sms())
    entry = (await harness.communications())[-1]
    gone = GoneConversations(Store(harness.redis, harness.keys, marker_ttl=3600))
    message = UnhandledMessage(entry.data.cause.idempotency_key)
    assert await gone.repeat(ACCOUNT, conversation_id, message)
    deliveries = await harness.deliveries()
    assert [await harness.finish(one) for one in deliveries * 2] == [DONE] * 2
    first, second, again = await harness.communications()
    assert (again.data.communication, again.data.conversation.id) == (second.data.communication, conversation_id)
    assert len({first.id, second.id, again.id}) == 3


async def test_a_message_that_is_not_there_is_not_repeated(harness):
    """Its inbound entry has been trimmed, or there was none: the caller is told so."""
    old = await write_in_a_gone_one(harness, harness.settle)
    gone = GoneConversations(Store(harness.redis, harness.keys, marker_ttl=3600))
    before = await harness.redis.xlen(harness.inbound.key)
    assert not await gone.repeat(ACCOUNT, old, UnhandledMessage("k"))
    await harness.redis.xtrim(harness.inbound.key, maxlen=0)
    assert not await gone.repeat(
        ACCOUNT, old, UnhandledMessage((await harness.communications())[-1].data.cause.idempotency_key)
    )
    assert await harness.redis.xlen(harness.inbound.key) == 0 < before


async def test_a_late_callback_about_a_gone_conversation_forgets_the_route(harness):
    """A communication whose author is unknown makes the worker ask: the API does not know the conversation."""
    await harness.settle(harness.sms())
    customer = participant_of((await harness.conversations())[0], "CUSTOMER")
    other = customer | {"id": "conv_participant_unknown", "addresses": [{"channel": "SMS", "address": "+15551239999"}]}
    await delete(harness)
    assert await harness.settle(spoken(harness, other, number=8)) == [DONE]
    assert not [key async for key in harness.redis.scan_iter("*:route:*")]
    assert await harness.settle(harness.sms(CUSTOMER)) == [DONE]
    assert await harness.types() == ["joined", "joined"]
