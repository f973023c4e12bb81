"""A reply of the AI agent that fails for good: silence or a person, with an apology or without."""

from __future__ import annotations

import orjson
import pytest

from handlers.app import consuming, load_settings
from handlers.replies import CommunicationEntry, JoinedEntry, handoff, replies_to
from router.core.entries import CommunicationData, JoinedData
from router.core.keys import Target
from router.streams.store.dead_letters import list_letters, replay_all
from tests.handlers.floor_harness import Floor
from tests.handlers.harness import crashing, delivery_of
from tests.support.entries import fields_of
from tests.support.waiting import until

SORRY = "Sorry, we will be back."


@pytest.fixture
async def floor(harness):
    """A conversation that the AI agent holds."""
    floor = Floor(harness, await harness.open())
    await floor.announce()
    await harness.redis.xtrim(harness.keys.participants(0, Target.AI_AGENT), 0)  # consumers begin with the oldest entry
    return floor


@pytest.fixture
def environment(environment):
    return environment | {
        "ROUTER_MAX_DELIVERIES": "1",
        "ROUTER_RETRY_DELAY": "0.01",
        "ROUTER_GRACE": "1",
        "ROUTER_AI_AGENT_REPLY": f"{__name__}:reply",
        "ROUTER_AI_AGENT_ON_FAILURE": "handoff",
    }


@replies_to(JoinedEntry, CommunicationEntry)
def reply(_):
    """Fail."""
    raise LookupError("no idea")


async def publish(harness, entry):
    await harness.redis.xadd(harness.keys.participants(0, Target.AI_AGENT), fields_of(entry))


async def requests(floor):
    return [orjson.loads(one[b"command"])["data"] for one in await floor.commands()]


async def give_up(harness, environment, lines, entry):
    """Let a consumer take an entry until it is a dead letter; return the line about that."""
    await publish(harness, entry)
    async with consuming("ai_agent", load_settings(environment)):
        await until(lambda: [line for line in lines("consumed") if line["result"] == "given-up"])
    return [line for line in lines("consumed") if line["result"] == "given-up"][-1]


@pytest.mark.parametrize("apology", ["", SORRY], ids=["no apology", "apology"])
@pytest.mark.parametrize("data", [JoinedData, CommunicationData])
async def test_a_person_is_asked_for(harness, environment, lines, floor, apology, data):
    """Once, with the failure as reason; the apology is sent beside it, once."""
    environment |= {"ROUTER_AI_AGENT_APOLOGY": apology}
    line = await give_up(harness, environment, lines, floor.opened.entry(data))
    (request,) = await requests(floor)
    assert request["reason"].startswith("the AI agent's reply failed: LookupError")
    assert request["epoch"] == 0
    assert (line["handoff"].endswith("handoff.request"), line["apology"]) == (True, "sent" if apology else "none")

    async def is_told():
        return await harness.texts(floor.opened.id) == ([apology] if apology else [])

    await until(is_told)
    (asked,) = await floor.place.told(Target.HUMAN_AGENT, "handoff.requested", conversation_id=floor.opened.id)
    assert asked.data.request.reason == request["reason"]


async def test_by_default_nobody_is_asked_for(harness, environment, lines, floor):
    """Silence, as before."""
    environment |= {"ROUTER_AI_AGENT_ON_FAILURE": "silence"}
    line = await give_up(harness, environment, lines, floor.opened.entry(CommunicationData))
    assert await requests(floor) == []
    assert "handoff" not in line


@pytest.mark.parametrize(
    "change", [{"opt_out": "STOP"}, {"channel": "VOICE"}], ids=["an opt-out keyword", "a channel that cannot send"]
)
async def test_nobody_is_asked_for_where_no_answer_is_due(harness, environment, lines, change):
    """Twilio has answered the keyword; and a reply is not called where it cannot be sent."""
    channel = change.pop("channel", "SMS")
    floor = Floor(harness, await harness.open(channel=channel))
    await harness.fault("POST", "/Participants", status=400, times=9)
    entry = floor.opened.entry(**change)
    await give_up(harness, environment | {"ROUTER_AI_AGENT_APOLOGY": SORRY}, lines, entry)
    assert await requests(floor) == []
    assert await harness.texts(floor.opened.id) == []


async def test_what_the_reply_asked_for_is_asked_for_without_its_text(harness, environment, lines, floor, monkeypatch):
    """The text is refused for good, whatever ROUTER_AI_AGENT_ON_FAILURE says: the customer still needs a person."""

    @replies_to(CommunicationEntry)
    def reply(_):
        return handoff("wants a person", text="I'll get somebody.")

    monkeypatch.setitem(globals(), "reply", reply)
    await harness.fault("POST", "/Actions", status=400, times=9)
    environment |= {"ROUTER_AI_AGENT_ON_FAILURE": "silence"}
    await give_up(harness, environment, lines, floor.opened.entry(CommunicationData))
    assert [one["reason"] for one in await requests(floor)] == ["wants a person"]


async def test_an_answer_that_was_sent_is_not_followed_by_a_person(harness, floor):
    """What fails after it is no silence."""
    entry = floor.opened.entry(CommunicationData)
    effect = harness.effects().of(0, entry.id)
    await effect.finish("send", "sent")
    agent = harness.ai_agent(reply=reply, on_failure="handoff")
    await agent.failing(delivery_of(entry), "LookupError: no idea")
    assert await requests(floor) == []


async def test_the_request_is_written_before_the_dead_letter(harness, floor):
    """A process that dies in between leaves the entry to its successor, whose request is the same."""
    entry = floor.opened.entry(CommunicationData)
    for at in range(1, 8):  # what the process dies of is logged, and the next one does it again
        agent = crashing(harness, at, after=True).ai_agent(reply=reply, on_failure="handoff")
        await agent.failing(delivery_of(entry), "LookupError: no idea")
    assert len({command[b"id"] for command in await floor.commands()}) == 1
    asked = await floor.place.told(Target.HUMAN_AGENT, "handoff.requested", conversation_id=floor.opened.id)
    assert len(asked) == 1


async def test_an_entry_that_cannot_be_read_asks_for_nobody(harness, floor):
    """It becomes a dead letter; whose it is is unknown."""
    await harness.ai_agent(reply=reply, on_failure="handoff").failing(delivery_of(b"{"), "not an entry")
    assert await requests(floor) == []


async def test_a_replay_says_nothing_to_the_customer_of_a_person(harness, environment, lines, floor, monkeypatch):
    """The reply was mended meanwhile, and a person holds."""
    await give_up(harness, environment, lines, floor.opened.entry(CommunicationData))
    assert len(await requests(floor)) == 1
    await floor.accept()
    monkeypatch.setitem(globals(), "reply", replies_to(CommunicationEntry)(lambda _: "You said: hi"))
    (letter,) = [one async for one in list_letters(harness.redis, harness.keys)]
    await replay_all(harness.redis, harness.keys, [letter], replayed_at="now")
    async with consuming("ai_agent", load_settings(environment)):
        await until(lambda: [line for line in lines("consumed") if line["result"] == "stale-epoch"])
    assert await harness.texts(floor.opened.id) == []


async def test_a_reply_about_the_floor_that_fails_asks_for_nobody(harness, floor):
    """Else a conversation that a person gave back would be handed over again at once."""
    await floor.send("handoff.request", conversation=floor.opened.id, reason="x")
    await floor.release(await floor.accept())
    agent = harness.ai_agent(reply=reply, on_failure="handoff")
    for entry in await floor.heard():
        await agent.failing(delivery_of(entry), "LookupError: no idea")
    assert await requests(floor) == []
