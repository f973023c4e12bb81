"""The search for a story: every stage end to end, by every key, within bounds of time and number."""

from __future__ import annotations

import time

import orjson
import pytest

from router.core.addresses import Channel, canonicalize
from router.core.errors import QueryError
from router.core.stories import StageName, event_id
from router.process.stories import make_stories
from router.receiver.replay import QuarantineReplay
from router.simulator.messages import message
from router.simulator.voice import call
from router.streams.client.connection import RedisError
from router.streams.store.dead_letters import list_letters, replay_all
from router.streams.store.quarantine import list_kept
from router.streams.store.stories import StoryAbout
from tests.harness.deployment import Deployment, count_parked
from tests.harness.sandbox import running_sandbox
from tests.harness.settings import write_config
from tests.operations.parts import Parts, command, names_of, sid_of, sms
from tests.support.accounts import ACCOUNT, CUSTOMER, OTHER_CUSTOMER, OTHER_TOKEN, OURS, TOKEN
from tests.support.waiting import until

ANSWERED = ["received", "resolved", "published", "published", "consumed", "consumed", "sent"]
KEY = f"{ACCOUNT}:messaging:{sid_of()}"
SECOND = 1_000_000


async def one_conversation(parts):
    """Return the one conversation of the sandbox, and its customer."""
    (conversation,) = await parts.sandbox.conversations()
    people = await parts.sandbox.participants(conversation["id"])
    return conversation["id"], next(one["id"] for one in people if one["type"] == "CUSTOMER")


def details(story, name):
    return [stage.detail for stage in story.stages if stage.stage == name]


async def test_story_of_an_answered_message(parts):
    """A message is received, resolved, published, consumed and answered, with times, process and reasons."""
    async with parts.receiving() as send, parts.working(), parts.handling("ai_agent"):
        assert await send(sms()) == 200
        story = await parts.told_all(sid_of(), ANSWERED)
    assert story.found
    assert [stage.at for stage in story.stages] == sorted(stage.at for stage in story.stages)
    assert {stage.id for stage in story.stages} == {event_id(KEY)}
    processes = {str(stage.stage): stage.process.partition(" ")[0] for stage in story.stages}
    assert (processes["resolved"], processes["sent"]) == ("worker", "ai-agent")
    assert "joined, because default" in details(story, "resolved")[0]
    assert CUSTOMER not in str(story.to_json())


async def test_every_key_finds_it(parts):
    """MessageSid, conversation, participant, idempotency key, event id, and the address in any spelling and channel."""
    async with parts.receiving() as send, parts.working():
        await send(sms())
        await parts.told(sid_of(), "published")
    conversation, participant = await one_conversation(parts)
    spellings = [CUSTOMER, CUSTOMER[1:], "+1 (555) 123-0001", "+1-555-123-0001", f"whatsapp:{CUSTOMER}"]
    for query in [sid_of(), conversation, participant, KEY, event_id(KEY), f" {sid_of()} ", *spellings]:
        story = await parts.story(query)
        assert names_of(story) == ["received", "resolved", "published", "published"], query
        assert story.to_json()["stages"][0]["id"] == event_id(KEY)
    for query in [sid_of(2), OTHER_CUSTOMER, OURS, "conv_conversation_1", "conv_participant_1", "ev_1", "x" * 10_000]:
        assert not (await parts.story(query)).found, query


@pytest.mark.parametrize(("channel", "address"), [(Channel.CHAT, "CHRISTINE"), (Channel.EMAIL, "MBauer@example.com")])
async def test_a_customer_whose_address_begins_like_a_sid(parts, channel, address):
    """CH and MB begin ids of classic conversations and participants, and names of people too."""
    settings = parts.settings()
    writer = make_stories(settings, parts.redis, process="worker", clock=lambda: time.time_ns() // 1000)
    addresses = (canonicalize(channel, address),)
    writer.tell(0, StoryAbout("ev_" + "1" * 24, ACCOUNT, addresses=addresses), StageName.WAITING, "for something")
    await writer.close()
    assert [stage.detail for stage in (await parts.story(address)).stages][:1] == ["for something"]


async def test_the_latest_messages_of_a_customer_over_channels(parts):
    """One address finds what came by SMS and by WhatsApp; a time leaves what was within a quarter of an hour."""
    async with parts.receiving() as send, parts.working():
        await send(sms(1))
        await send(sms(2, kind="whatsapp"))
        await send(sms(3, sender=OTHER_CUSTOMER))
        for number in (1, 2, 3):
            await parts.told(sid_of(number), "published")
    story = await parts.story(CUSTOMER)
    assert {stage.id for stage in story.stages} == {event_id(f"{ACCOUNT}:messaging:{sid_of(one)}") for one in (1, 2)}
    now = time.time_ns() // 1000
    assert (await parts.story(CUSTOMER, around=now - 600 * SECOND)).stages == story.stages
    assert not (await parts.story(CUSTOMER, around=now - 1000 * SECOND)).found
    assert not (await parts.story(CUSTOMER, around=now - 3 * 86_400 * SECOND)).found


async def test_a_call_is_found_by_its_sid(parts):
    """A call that no conversation has been opened for waits, and says so; the caller's number finds it too."""
    sid = f"CA{1:032x}"
    async with parts.receiving() as send, parts.working():
        assert await send(call(account_sid=ACCOUNT, sender=CUSTOMER, recipient=OURS, sid=sid)) == 200
        for query in (sid, CUSTOMER):
            story = await parts.told(query, "received", "waiting")
            assert {stage.id for stage in story.stages} == {event_id(f"{ACCOUNT}:voice:{sid}:ringing")}


async def test_a_duplicate(parts):
    """The repeat of a webhook is told, and does nothing."""
    async with parts.receiving() as send, parts.working():
        await send(sms())
        await parts.told(sid_of(), "published")
        assert await send(sms()) == 200
        await parts.told_all(sid_of(), ["duplicate", "published", "published", "received", "resolved"])


async def test_a_refused_message_that_is_replayed(parts):
    """A wrong token refuses it, a replay with the right one takes it in; the record has the event's id."""
    async with parts.receiving() as send, parts.working():
        assert await send(sms(), token=OTHER_TOKEN) == 403
        story = await parts.told(sid_of(), "refused")
        assert "answered 403 (signature)" in details(story, "refused")[0]
        assert names_of(await parts.story(CUSTOMER)) == ["refused"]
        settings = parts.settings(TWILIO_AUTH_TOKEN=f"{TOKEN},{OTHER_TOKEN}")
        (kept,) = [one async for one in list_kept(parts.redis, settings.keys)]
        assert kept.refused.event_id == event_id(KEY)
        assert (await QuarantineReplay(settings, parts.redis).replay(kept)).is_accepted
        story = await parts.told(sid_of(), "published")
    assert names_of(story) == ["received", "refused", "replayed", "resolved", "published", "published"]
    assert names_of(await parts.story(event_id(KEY))) == names_of(story)


async def test_strangers_push_nothing_out(parts):
    """What is refused has a bound of its own, and is kept apart."""
    parts.changes["ROUTER_QUARANTINE_MAX"] = "5"
    async with parts.receiving() as send, parts.working():
        await send(sms(1))
        await parts.told(sid_of(1), "published")
        for number in range(2, 12):
            assert await send(sms(number), token=OTHER_TOKEN) == 403
        await parts.told(sid_of(11), "refused")
        assert not (await parts.story(sid_of(2))).found
        assert (await parts.story(sid_of(1))).found


async def test_a_spooled_message(own_server, clients, output, tmp_path):
    """While Redis is away it goes to disk; later the story says so, from its receipt on."""
    redis = clients(own_server.url)
    async with running_sandbox() as sandbox:
        parts = Parts(redis, own_server.url, sandbox, tmp_path)
        async with parts.receiving() as send:
            own_server.kill()
            assert await send(sms()) == 200
            await own_server.start()
            async with parts.working():
                story = await parts.told(sid_of(), "spooled", "published")
    assert names_of(story) == ["received", "spooled", "resolved", "published", "published"]
    assert "Redis was away: on disk" in details(story, "spooled")[0]


async def test_an_event_that_waits(parts):
    """While the API is down the story says why, since when and when it is tried again; then how it went on."""
    async with parts.receiving() as send, parts.working():
        parts.sandbox.fault(status=503)
        assert await send(sms()) == 200
        await until(lambda: count_parked(parts.redis, parts.settings().keys.inbound(0)))
        for query in (sid_of(), CUSTOMER, event_id(KEY)):
            story = await parts.told(query, "received", "waiting")
            assert any("waits now for resolver" in one and "503" in one for one in details(story, "waiting")), query
            assert "resolved" not in names_of(story)
        parts.sandbox.clear_faults()
        story = await parts.told(sid_of(), "published")
    assert [one for one in details(story, "waiting") if "waits now for resolver" in one] == []
    assert details(story, "waiting")[0].startswith("for resolver: ")


async def test_an_event_that_nobody_has_looked_at(parts):
    """It is durable, and the story says that no worker lives."""
    async with parts.receiving() as send:
        await send(sms())
    for query in (sid_of(), KEY, CUSTOMER, event_id(KEY)):
        story = await parts.story(query)
        assert names_of(story) == ["received"], query
        assert "not processed yet, no worker is alive" in details(story, "received")[0]


async def test_a_dead_letter_of_the_worker_and_its_replay(parts):
    """What the API refuses for good is dead, with its reason; a replay is told as such."""
    parts.sandbox.fault(status=400, method="POST", route="/v2/Conversations")
    async with parts.receiving() as send, parts.working():
        await send(sms())
        story = await parts.told(sid_of(), "dead")
        assert "given up by resolver after" in details(story, "dead")[0]
        assert names_of(await parts.story(CUSTOMER))[-1] == "dead"
        (letter,) = [one async for one in list_letters(parts.redis, parts.settings().keys)]
        assert letter.event_id == event_id(KEY)
        parts.sandbox.clear_faults()
        await replay_all(parts.redis, parts.settings().keys, [letter], replayed_at="2026-11-30T12:00:00.000Z")
        story = await parts.told(sid_of(), "published")
    assert {"dead", "replayed", "resolved"} <= set(names_of(story))


async def test_a_dead_letter_of_a_consumer(parts):
    """A reply that raises ends as a dead letter of its group, beside what the worker did."""
    parts.changes |= {"ROUTER_AI_AGENT_REPLY": "tests.operations.parts:fail", "ROUTER_MAX_DELIVERIES": "1"}
    async with parts.receiving() as send, parts.working(), parts.handling("ai_agent", ROUTER_DEAD_LETTER_BUDGET="1"):
        await send(sms())
        story = await parts.told(sid_of(), "published", "dead")
    assert "given up by ai-agent after 1" in details(story, "dead")[0]
    (letter,) = [one async for one in list_letters(parts.redis, parts.settings().keys)]
    assert letter.event_id == event_id(KEY)


async def test_a_handoff_to_a_person(parts, tmp_path):
    """An offer, its acceptance and the person's text are in the story of the message that led to them."""
    config = write_config(tmp_path, "dana")
    parts.changes["ROUTER_CONFIG_DIR"] = str(config)
    async with parts.receiving() as send, parts.working(), parts.handling("human_agent"):
        await send(sms())
        await parts.told(sid_of(), "published")
        conversation, _ = await one_conversation(parts)
        await command(parts, "agent.available", "c1", agent="dana")
        await command(parts, "handoff.request", "c2", conversation=conversation, reason="asked for a person")
        await parts.told(conversation, "offered")
        offer = (await parts.redis.xrevrange(parts.settings().keys.participants(0, "human-agent"), count=1))[0]
        assert offer[1][b"type"] == b"offer.made"
        await command(parts, "offer.accept", "c3", offer=offer_id(offer), agent="dana")
        await parts.told(conversation, "accepted")
        await until(lambda: joined(parts, conversation))
        said = {"conversation": conversation, "agent": "dana", "epoch": 1, "text": "Dana here"}
        await command(parts, "conversation.say", "c4", **said)
        for query in (conversation, sid_of()):
            story = await parts.told(query, "offered", "accepted", "sent")
    assert "offered to dana" in details(story, "offered")[0]
    assert "accepted by dana" in details(story, "accepted")[0]
    assert details(story, "sent") == ["conversation.say of dana"]
    order = [name for name in names_of(story) if name in {"received", "offered", "accepted", "sent"}]
    assert order == ["received", "offered", "accepted", "sent"]


def offer_id(row):
    return orjson.loads(row[1][b"event"])["data"]["offer"]["id"]


async def joined(parts, conversation):
    return "HUMAN_AGENT" in {one["type"] for one in await parts.sandbox.participants(conversation)}


async def test_several_partitions(parts):
    """Whatever partition an event and its conversation are in, the story is whole."""
    parts.changes["ROUTER_PARTITIONS"] = "4"
    senders = {number: f"+1555123{number:04d}" for number in range(1, 9)}
    async with parts.receiving() as send, parts.working(), parts.handling("ai_agent"):
        for number, sender in senders.items():
            assert await send(sms(number, sender)) == 200
        for number, sender in senders.items():
            for query in (sid_of(number), sender):
                await parts.told_all(query, ANSWERED)
    used = {key.partition(b"}")[0] for key in await parts.redis.keys("*:story:*")}
    assert len(used) > 1


async def test_switched_off(parts):
    """With a time of 0 nothing is kept, and everything else goes on."""
    parts.changes["ROUTER_STORY_TTL"] = "0"
    async with parts.receiving() as send, parts.working(), parts.handling("ai_agent"):
        await send(sms())
        await send(sms(2), token=OTHER_TOKEN)
        await until(lambda: parts.redis.xlen(parts.settings().keys.participants(0, "ai-agent")))
    assert [key for key in await parts.redis.keys() if b":story:" in key or b":refusals:" in key] == []


@pytest.mark.parametrize("query", ["", "  ", "*", "**", "?", "%", " * ", "_"])
async def test_a_query_for_everything(parts, query):
    """It is a mistake, not a match for everything."""
    with pytest.raises(QueryError):
        await parts.story(query)


@pytest.mark.parametrize("query", ["+155***01", "a***@example.com", "whatsapp:+155***01"])
async def test_a_query_for_a_masked_address(parts, query):
    """It names nobody: the answer says so, not that nothing is known."""
    with pytest.raises(QueryError, match="is masked: name the whole address"):
        await parts.story(query)


@pytest.mark.parametrize("sid", ['SM",{},"x', "SM\\", "SM\u202e<b>&", "SM|a|b", "SM'+", "a" * 600, "*a*", "ev_x"])
async def test_ids_of_strangers(parts, sid):
    """An id may hold anything that a signed webhook can; it finds its own event, and no other."""
    ends = {"account_sid": ACCOUNT, "sender": CUSTOMER, "recipient": OURS}
    async with parts.receiving() as send, parts.working():
        assert await send(message("sms", **ends, body="hello", sid=sid)) == 200
        await send(sms())
        await parts.told(sid_of(), "published")
        story = await parts.told(sid, "received", "resolved")
    assert {stage.id for stage in story.stages} == {event_id(f"{ACCOUNT}:messaging:{sid}")}


async def test_a_story_that_cannot_be_written_fails_nothing(parts, lines):
    """The event is acknowledged, the loss counted, and logged once."""
    keys = parts.settings().keys
    await parts.redis.set(f"{keys.stories(0)}new", "of another type", ex=600)
    async with parts.receiving() as send, parts.working(), parts.handling("ai_agent"):
        for number in (1, 2, 3):
            await send(sms(number))
        deployment = Deployment(parts.redis, parts.sandbox)
        await until(lambda: parts.redis.xlen(keys.inbound(0)))
        await deployment.until_idle(keys.inbound(0), keys.participants(0, "ai-agent"))
    assert await deployment.count_dead_letters() == 0
    assert {"WRONGTYPE" in line["error"] for line in lines("story.failed")} == {True}
    assert len(lines("story.failed")) <= 4  # one for each process, and one for the index


async def test_a_server_that_forgets_its_scripts(parts):
    """The lines are written all the same."""
    async with parts.receiving() as send, parts.working():
        await send(sms(1))
        await parts.told(sid_of(1), "published")
        await parts.redis.script_flush()
        await send(sms(2))
        await parts.told(sid_of(2), "published")


async def test_redis_away_during_a_search(own_server, clients, output, tmp_path):
    """The error is one of Redis, which says that nobody could look."""
    redis = clients(own_server.url)
    async with running_sandbox() as sandbox:
        parts = Parts(redis, own_server.url, sandbox, tmp_path)
        own_server.kill()
        with pytest.raises((RedisError, OSError)):
            await parts.story(sid_of())
