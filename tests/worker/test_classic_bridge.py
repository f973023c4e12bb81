"""Classic conversations with a bridge: the v2 participant is announced, once."""

import random

import pytest

from router.conversations import Transport
from router.core.accounts import Account
from router.core.ledger.marker import Result
from router.core.resolution import classic as classic_resolution
from router.core.resolution.classic import PATIENCE, Bridge
from router.core.resources import Configuration
from router.process.apis import Apis
from router.streams.delivery import Done, Later
from router.worker.startup import find_bridges, find_configurations, find_own
from tests.support.accounts import ACCOUNT, CONFIGURATION, CUSTOMER, KEY, OURS, SECRET
from tests.support.policies import EVERYBODY
from tests.support.waiting import until
from tests.worker.classic_harness import BRIDGED, POST_EVENTS, SERVICE, Classic, bridge, classic, shuffled, start_hook

DONE = Done()
FIND = "GET /v2/Conversations"
FETCH = "GET /v1/Services/{service}/Conversations/{conversation}"


@pytest.fixture
async def side(make_harness):
    """A harness whose sandbox and worker have a bridge."""
    async for hook in start_hook():
        harness = await make_harness(
            classic_post_webhook_url=hook.url,
            classic_webhook_filters=POST_EVENTS,
            classic_bridge=True,
            configurations=(BRIDGED,),
        )
        harness.resolver = harness.make_resolver(bridges=bridge())
        yield Classic(harness, hook)


async def test_a_bridged_member_is_announced_as_its_v2_participant(side):
    """The entry is about the v2 participant and has the classic SID; later messages need no request."""
    taken = await side.inbound()
    webhooks = await side.hook.take_all("onMessageAdded")
    before = await side.harness.total()
    await side.harness.settle(*webhooks)
    assert await side.harness.total() == before + 2  # for the conversation, and for its participants
    (entry,) = await side.harness.entries()
    assert entry.data.conversation.id == taken["bridged"]["id"]
    assert entry.data.conversation.classic_sid == taken["conversation"]["sid"]
    assert entry.data.participant.id.startswith("conv_participant_")
    assert (entry.data.address, entry.data.recipient.address) == (CUSTOMER, OURS)
    await side.inbound(body="again")
    assert await side.harness.settle(*await side.hook.take_all("onMessageAdded")) == [Result.KNOWN]
    assert await side.harness.total() == before + 2


@pytest.mark.parametrize("seed", range(6))
async def test_classic_and_v2_events_in_any_order_announce_once(side, seed):
    """Classic webhooks and v2 callbacks, three times each in any order, announce the customer once."""
    taken = await side.inbound()
    webhooks = await side.hook.take_all("onMessageAdded")
    participants = await side.harness.participants(taken["bridged"]["id"])
    webhooks += [side.harness.callback("PARTICIPANT_ADDED", one) for one in participants]
    order = shuffled(webhooks, seed)
    random.Random(seed).shuffle(order)
    await side.harness.settle(*order)
    assert await side.harness.types() == ["joined"]


async def test_a_classic_event_waits_for_its_v2_side(make_harness):
    """An event waits, as expected, until v2 has the conversation and the participant."""
    harness = await make_harness(configurations=(BRIDGED,))
    harness.resolver = harness.make_resolver(bridges=bridge())
    side = Classic(harness, None)
    taken = await side.inbound()
    sids = {"conversation_sid": taken["conversation"]["sid"], "participant_sid": taken["participant"]["sid"]}
    (delivery,) = await harness.receive(classic("participant-added", **sids))
    (waiting,) = await harness.work([delivery])
    assert isinstance(waiting, Later)
    assert waiting.is_usual, "no warning: a bridge takes seconds"
    assert await harness.calls() == {FIND: 1, FETCH: 1}
    captured = await harness.capture(channelId=sids["conversation_sid"], customerType=None)
    (waiting,) = await harness.work([delivery])
    assert waiting == Later("the bridge has not added the participant", classic_resolution.BRIDGE_WAIT, is_usual=True)
    await harness.capture(channelId=sids["conversation_sid"])
    assert await harness.work([delivery]) == [DONE]
    (entry,) = await harness.entries()
    assert entry.data.conversation.id == captured["conversation"]["id"]


async def test_a_wait_for_the_bridge_logs_no_warning(make_harness, lines, monkeypatch):
    """A consumer waits for the v2 side of a bridged conversation without a warning, since the wait is expected."""
    monkeypatch.setattr(classic_resolution, "BRIDGE_WAIT", 0.01)
    harness = await make_harness(configurations=(BRIDGED,))
    harness.resolver = harness.make_resolver(bridges=bridge())
    taken = await Classic(harness, None).inbound()
    sids = {"conversation_sid": taken["conversation"]["sid"], "participant_sid": taken["participant"]["sid"]}
    await harness.ensure_group()

    async def has_waited():
        return (await harness.calls()).get(FIND, 0) >= 3

    async with harness.consuming():
        await harness.append(classic("participant-added", **sids))
        await until(has_waited)
        captured = await harness.capture(channelId=sids["conversation_sid"])
        await harness.finished()
    assert lines("event.waiting") == []
    (entry,) = await harness.entries()
    assert entry.data.conversation.id == captured["conversation"]["id"]


async def test_a_classic_member_is_announced_when_patience_ends(make_harness):
    """After PATIENCE the classic member is announced, and later events of its conversation do not wait."""
    harness = await make_harness(configurations=(BRIDGED,))
    harness.resolver = harness.make_resolver(bridges=bridge())
    side = Classic(harness, None)
    taken = await side.inbound()
    sids = {"conversation_sid": taken["conversation"]["sid"], "participant_sid": taken["participant"]["sid"]}
    (delivery,) = await harness.receive(classic("participant-added", **sids))
    harness.clock.advance(PATIENCE + 1)
    assert await harness.work([delivery]) == [DONE]
    before = await harness.total()
    later = [classic("message-added", **sids), classic("state-updated", at=9e8, state="closed", **sids)]
    assert await harness.settle(*later) == [Result.KNOWN, Result.CLOSED]
    assert await harness.total() == before
    first, last = await harness.entries()
    assert first.data.conversation.id == last.data.conversation.id == sids["conversation_sid"]


@pytest.mark.parametrize("behind", [31, -31, 3600, -3600])
async def test_the_bridge_is_awaited_as_long_whatever_the_receivers_clock(make_harness, behind):
    """Patience is measured by the clock of Redis, so a receiver that is behind does not end it at first look."""
    harness = await make_harness(configurations=(BRIDGED,))
    harness.resolver = harness.make_resolver(bridges=bridge())
    taken = await Classic(harness, None).inbound()
    sids = {"conversation_sid": taken["conversation"]["sid"], "participant_sid": taken["participant"]["sid"]}
    await harness.append(classic("participant-added", **sids), behind=behind)
    (delivery,) = await harness.deliveries()
    assert isinstance((await harness.work([delivery]))[0], Later)
    harness.clock.advance(PATIENCE + 1)
    assert await harness.work([delivery]) == [DONE]
    (entry,) = await harness.entries()
    assert entry.data.participant.id == sids["participant_sid"]


async def test_a_member_without_a_v2_participant_is_announced_in_v2(make_harness):
    """If v2 never adds the member, the classic member is announced in the v2 conversation."""
    harness = await make_harness(configurations=(BRIDGED,))
    harness.resolver = harness.make_resolver(bridges=bridge())
    side = Classic(harness, None)
    taken = await side.inbound()
    sids = {"conversation_sid": taken["conversation"]["sid"], "participant_sid": taken["participant"]["sid"]}
    captured = await harness.capture(channelId=sids["conversation_sid"], customerType=None)
    (delivery,) = await harness.receive(classic("participant-added", **sids))
    harness.clock.advance(PATIENCE + 1)
    assert await harness.work([delivery]) == [DONE]
    gone = classic("participant-removed", at=9e8, **sids)
    assert await harness.settle(classic("message-added", **sids), gone) == [Result.KNOWN, Result.LEFT]
    first, last = await harness.entries()
    assert (first.type, last.type) == ("participant.joined", "participant.left")
    assert first.data.conversation.id == captured["conversation"]["id"]
    assert first.data.participant.id == sids["participant_sid"]


async def test_the_proxy_address_is_our_side_in_v2(make_harness):
    """An UNKNOWN v2 participant at the proxy address is our side."""
    harness = await make_harness(configurations=(BRIDGED,), policy=EVERYBODY)
    harness.resolver = harness.make_resolver(bridges=bridge())
    side = Classic(harness, None)
    taken = await side.inbound()
    sids = {"conversation_sid": taken["conversation"]["sid"], "participant_sid": taken["participant"]["sid"]}
    unknown = {"customerType": "UNKNOWN", "agentType": "UNKNOWN"}
    captured = await harness.capture(channelId=sids["conversation_sid"], **unknown)
    assert await harness.settle(classic("participant-added", **sids)) == [DONE]
    participants = await harness.participants(captured["conversation"]["id"])
    reports = [harness.callback("PARTICIPANT_ADDED", one) for one in participants]
    assert Result.JOINED not in await harness.settle(*reports)
    assert [entry.data.address for entry in await harness.entries()] == [CUSTOMER]


async def test_departures_and_closings_come_from_v2(side):
    """Departures and the closing of a bridged conversation are taken from v2 only."""
    taken = await side.inbound()
    sids = {"conversation_sid": taken["conversation"]["sid"], "participant_sid": taken["participant"]["sid"]}
    await side.harness.settle(*await side.hook.take_all("onMessageAdded"))
    ends = [classic("participant-removed", at=9e8, **sids), classic("state-updated", at=9e8, state="closed", **sids)]
    assert await side.harness.settle(*ends) == [Result.IGNORED, Result.IGNORED]
    closed = await side.harness.api("PUT", f"/v2/Conversations/{taken['bridged']['id']}", {"status": "CLOSED"})
    assert await side.harness.settle(side.harness.callback("CONVERSATION_UPDATED", closed)) == [Result.CLOSED]
    assert await side.harness.settle(classic("message-added", index=5, **sids)) == [Result.STALE]
    assert await side.harness.types() == ["joined", "closed"]


async def test_a_classic_conversation_continues_in_another_v2_conversation(side):
    """A message after the closing of the v2 side is announced in the next v2 conversation."""
    taken = await side.inbound()
    await side.harness.settle(*await side.hook.take_all("onMessageAdded"))
    closed = await side.harness.api("PUT", f"/v2/Conversations/{taken['bridged']['id']}", {"status": "CLOSED"})
    await side.harness.settle(side.harness.callback("CONVERSATION_UPDATED", closed))
    again = await side.inbound(body="again")
    assert again["bridged"]["id"] != taken["bridged"]["id"]
    assert await side.harness.settle(*await side.hook.take_all("onMessageAdded")) == [DONE]
    assert await side.harness.types() == ["joined", "closed", "joined"]
    (*_, last) = await side.harness.entries()
    assert last.data.conversation.id == again["bridged"]["id"]
    assert last.data.conversation.classic_sid == taken["conversation"]["sid"]


async def test_our_identity_in_a_bridged_conversation_is_ignored(side):
    """An identity of ours is ignored without a request once the conversation is known."""
    taken = await side.inbound()
    await side.harness.settle(*await side.hook.take_all("onMessageAdded"))
    await side.harness.redis.zadd(side.harness.keys.own_addresses(ACCOUNT), {"CHAT|ai-agent": 1})
    before = await side.harness.total()
    sids = {"conversation_sid": taken["conversation"]["sid"], "participant_sid": "MB" + "7" * 32}
    events = [classic(kind, identity="ai-agent", **sids) for kind in ("participant-added", "message-added")]
    assert await side.harness.settle(*events) == [Result.IGNORED, Result.IGNORED]
    assert await side.harness.total() == before


async def test_a_conversation_of_another_service_does_not_wait(make_harness):
    """A conversation that is not in the bridged service is announced at once."""
    harness = await make_harness(configurations=(BRIDGED,))
    harness.resolver = harness.make_resolver(bridges=bridge())
    elsewhere = {"conversation_sid": "CH" + "e" * 32}
    assert await harness.settle(classic("participant-added", **elsewhere)) == [DONE]
    assert await harness.calls() == {FIND: 1, FETCH: 1}
    assert await harness.settle(classic("message-added", **elsewhere)) == [Result.KNOWN]
    assert await harness.types() == ["joined"]


async def test_an_outage_of_v2_makes_a_classic_event_wait(side):
    """During an outage of v2 the event waits, however old it is."""
    await side.inbound()
    webhooks = await side.hook.take_all("onMessageAdded")
    side.harness.resolver = side.harness.make_resolver(bridges=bridge(), retries=0)
    (_, delivery, *_) = await side.harness.receive(*[one for one in webhooks if dict(one.pairs)["EventType"] != "x"])
    side.harness.fault(route=FIND.partition(" ")[2], status=503)
    side.harness.clock.advance(PATIENCE * 2)
    (result,) = await side.harness.work([delivery])
    assert isinstance(result, Later)
    side.harness.clear_faults()
    assert await side.harness.work([delivery]) == [DONE]


async def test_configurations_are_read_at_the_start(make_harness):
    """Each account's configuration is fetched once; an unknown one is None."""
    harness = await make_harness(configurations=(BRIDGED,))
    async with (
        Transport(harness.url, KEY, SECRET, retries=0) as transport,
        Transport(harness.url, KEY, SECRET) as other,
    ):
        apis = Apis([(Account(ACCOUNT, configuration_id=CONFIGURATION), transport), (Account("AC" + "9" * 32), other)])
        found = await find_configurations(apis)
        assert {account: configuration.id for account, configuration in found.items()} == {ACCOUNT: CONFIGURATION}
        assert find_own(harness.settings(ROUTER_AI_AGENT_ADDRESS=OURS)) == {f"SMS|{OURS}"}
        assert find_bridges(found) == bridge()
        harness.fault(status=503)
        assert await find_configurations(apis) == {ACCOUNT: None}


def test_an_unknown_configuration_is_assumed_to_have_a_bridge():
    """Bridges are read from the configurations; an unknown one is assumed to have a bridge."""
    bridged = Configuration.model_validate(BRIDGED)
    plain = Configuration(id="conv_configuration_2")
    found = find_bridges({"AC1": bridged, "AC2": plain, "AC3": None})
    assert found == {"AC1": Bridge(SERVICE), "AC3": Bridge()}
