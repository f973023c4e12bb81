"""A call that the AI agent hands over: one request for a person in its conversation, which takes all of one person."""

import asyncio

import orjson
import pytest

from router.core.keys import Target
from router.core.resolution import calls as call_resolution
from router.core.routing.journal import read_line
from router.core.routing.queues import Fallback, Queue
from router.core.routing.team import Team, TeamMember
from router.simulator.voice import call, call_status, session_end
from router.streams.delivery import Done, Later
from tests.support.accounts import ACCOUNT, CUSTOMER, DESK, OURS
from tests.support.policies import DESK_RULE, NOBODY, PLAIN
from tests.worker.floor_place import Place
from tests.worker.payloads import participant_at

SID = "CA00000000000000000000000000000001"
ENDS = {"account_sid": ACCOUNT, "sender": CUSTOMER, "recipient": OURS, "sid": SID}
DONE = Done()
PEOPLE = {
    "dana": TeamMember("dana", "Dana", 3, ("billing",)),
    "eli": TeamMember("eli", "Eli", 3, addresses={"SMS": OURS}),
}
TEAM = Team(PEOPLE, {"default": Queue(ring=20, patience=60, fallback=Fallback.AI_AGENT), "invoices": Queue("invoices")})
BILLING = {"reason": "billing", "summary": "paid twice", "order": 7}


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Wait milliseconds for Twilio instead of seconds."""
    monkeypatch.setattr(call_resolution, "FIRST_WAIT", 0.01)


@pytest.fixture
async def harness(harness):
    """A worker that knows the people."""
    harness.resolver = harness.make_resolver(team=TEAM)
    return harness


def people(harness):
    """The part of the worker that offers conversations, at the present time."""
    return Place(harness.redis, harness.keys, now=harness.clock() // 1000, team=TEAM)


def handoff(data=BILLING, **ends):
    text = data if data is None or isinstance(data, str) else orjson.dumps(data).decode()
    return session_end(**ENDS | ends, handoff_data=text)


async def connect(harness, *, to=OURS, sid=SID, **more):
    """Let a call come in, and Twilio put it into a conversation; return the caller."""
    captured = await harness.capture(CUSTOMER, to, channel="VOICE", body=None, channelId=sid, **more)
    assert await harness.settle(call(**ENDS | {"recipient": to, "sid": sid})) == [DONE]
    return participant_at(captured["conversation"], CUSTOMER)


async def requests(harness):
    entries = await harness.published(Target.HUMAN_AGENT)
    return [entry.data.request for entry in entries if entry.type == "handoff.requested"]


async def test_handoff_data_asks_for_a_person(harness, lines):
    """People are told reason, summary and context, and the AI agent keeps the floor; no API request is needed."""
    caller = await connect(harness)
    before = await harness.total()
    assert await harness.settle(handoff()) == [DONE]
    (entry,) = await harness.published(Target.HUMAN_AGENT)
    assert (entry.type, entry.subject, entry.data.epoch) == ("handoff.requested", caller["id"], 0)
    request = entry.data.request
    assert (request.reason, request.summary, request.context) == ("billing", "paid twice", {"order": 7})
    assert (request.queue, request.agent, request.asked_by) == ("default", None, None)
    assert entry.data.participant.addresses[0].channel_id == SID
    assert (entry.data.cause.event_type, entry.data.cause.resource_id) == ("call.in-progress", SID)
    assert await harness.total() == before
    line = lines("event")[-1]
    assert (line["result"], line["reason"]) == ("noted", "a person is asked for")
    journal = harness.keys.journal(ACCOUNT, entry.data.conversation.id)
    (noted,) = [read_line(row) for row in await harness.redis.lrange(journal, 0, -1)]
    assert (noted.what, noted.happened, noted.target) == ("call.in-progress", ("handoff.requested",), "ai-agent")


async def test_from_the_call_to_the_person(harness):
    """Somebody is offered the call at once, and holds it once they accept; then it can be given back."""
    caller = await connect(harness)
    place = people(harness)
    await place.send("agent.available", agent="dana")
    await harness.settle(handoff({"reason": "billing", "skills": ["billing"], "queue": "invoices", "priority": 5}))
    await place.later(1)
    made = await place.last("offer.made")
    assert (made.agent.identity, made.offer.queue, made.offer.reason) == ("dana", "invoices", "billing")
    assert made.participant.id == caller["id"]
    assert [one.type for one in await place.told(Target.AI_AGENT)] == ["participant.joined"]
    await place.send("offer.accept", offer=made.offer.id, agent="dana")
    changed = await place.last("holder.changed", Target.AI_AGENT)
    assert (changed.to.agent, changed.epoch) == ("dana", 1)
    await place.send("conversation.release", conversation=made.conversation.id, agent="dana", epoch=1)
    assert await harness.settle(handoff("once more")) == [DONE]
    assert [one.reason for one in await requests(harness)] == ["billing", "handed over by the AI agent"]


@pytest.mark.parametrize("meanwhile", ["nothing", "given up", "accepted and released"])
async def test_a_repeated_handoff_asks_once(harness, meanwhile):
    """A worker that dies after its commit makes another one work on the event again, whatever happened since."""
    await connect(harness)
    (delivery,) = await harness.receive(handoff())
    assert await harness.work([delivery]) == [DONE]
    place = people(harness)
    if meanwhile == "given up":
        await place.later(61)
        assert (await place.types())[-1] == "handoff.failed"
    if meanwhile == "accepted and released":
        await place.send("agent.available", agent="dana")
        await place.later(1)
        made = await place.last("offer.made")
        await place.send("offer.accept", offer=made.offer.id, agent="dana")
        await place.send("conversation.release", conversation=made.conversation.id, agent="dana", epoch=1)
    other = harness.make_resolver(team=TEAM)
    assert await harness.work([delivery], by=other) == [DONE]
    assert len(await requests(harness)) == 1


async def test_two_workers_at_once_ask_once(harness):
    """Both may work on the event; one commit is refused."""
    await connect(harness)
    deliveries = await harness.receive(handoff())
    others = [harness.make_resolver(team=TEAM) for _ in range(4)]
    await asyncio.gather(*(harness.work(deliveries, by=one) for one in others))
    assert len(await requests(harness)) == 1


async def test_a_repeated_webhook_asks_once(harness):
    """Twilio repeats what it got no answer to."""
    await connect(harness)
    await harness.settle(handoff(), handoff())
    await harness.settle(handoff())
    assert len(await requests(harness)) == 1


async def test_a_failed_session_asks_for_a_person(harness):
    """The AI agent could not say why."""
    await connect(harness)
    assert await harness.settle(handoff(None)) == [DONE]
    (request,) = await requests(harness)
    assert (request.reason, request.context) == ("the session with the AI agent failed", None)


async def test_the_end_of_a_session_without_a_handoff_asks_nobody(harness):
    """Nor does any other request during the call."""
    await connect(harness)
    for extra in ({"SessionStatus": "ended"}, {"Digits": "1"}, {"DialCallStatus": "completed"}):
        await harness.settle(call(**ENDS, status="in-progress", **extra))
    assert await requests(harness) == []


async def test_a_handoff_before_the_caller_is_announced(harness):
    """It waits for the conversation as the call does, and then announces the caller before it asks."""
    (delivery,) = await harness.receive(handoff())
    (verdict,) = await harness.work([delivery])
    assert isinstance(verdict, Later)
    caller = participant_at(
        (await harness.capture(CUSTOMER, OURS, channel="VOICE", body=None, channelId=SID))["conversation"], CUSTOMER
    )
    assert await harness.work([delivery]) == [DONE]
    joined, requested = await harness.published()
    assert (joined.type, joined.data.target, joined.subject) == ("participant.joined", "ai-agent", caller["id"])
    assert (requested.type, requested.subject) == ("handoff.requested", caller["id"])


async def test_a_call_of_people_that_comes_back_asks_nobody_again(make_harness):
    """A rule gave the call to people, whose request is open."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    harness.resolver = harness.make_resolver(team=TEAM)
    await connect(harness, to=DESK)
    assert await harness.settle(handoff(recipient=DESK)) == [DONE]
    assert [one.reason for one in await requests(harness)] == ["service-desk (recipient)"]


async def test_rules_that_changed_during_the_call(harness):
    """The AI agent has the caller, so people are asked although the rules would ignore the call now."""
    await connect(harness)
    later = harness.make_resolver(policy=NOBODY, team=TEAM)
    assert await harness.settle(handoff(), by=later) == [DONE]
    assert len(await requests(harness)) == 1


async def test_a_handoff_of_a_caller_whom_nobody_took(make_harness, lines):
    """The rules ignore the call: nobody is announced, so there is nothing to hand over."""
    harness = await make_harness(policy=NOBODY)
    await harness.capture(CUSTOMER, OURS, channel="VOICE", body=None, channelId=SID)
    assert await harness.settle(handoff()) == [DONE]
    assert lines("event")[-1]["result"] == "ignored"
    assert await harness.published() == []


async def test_a_handoff_after_the_call(harness):
    """Nobody is asked to take a call that is over."""
    await connect(harness)
    await harness.settle(call_status("completed", **ENDS), handoff())
    assert await requests(harness) == []


async def test_a_handoff_whose_conversation_has_closed(harness):
    """Twilio puts a call that goes on into the next conversation, and people are asked there."""
    caller = await connect(harness)
    (conversation,) = await harness.conversations()
    closed = await harness.api("PATCH", f"/v2/Conversations/{conversation['id']}", {"status": "CLOSED"})
    await harness.settle(harness.callback("CONVERSATION_UPDATED", closed))
    (delivery,) = await harness.receive(handoff())
    assert isinstance((await harness.work([delivery]))[0], Later)
    captured = await harness.capture(CUSTOMER, OURS, channel="VOICE", body=None, channelId=SID)
    following = participant_at(captured["conversation"], CUSTOMER)
    assert following["id"] != caller["id"]
    assert await harness.work([delivery]) == [DONE]
    assert (await harness.published(Target.HUMAN_AGENT))[-1].subject == following["id"]
    assert len(await requests(harness)) == 1


async def test_queue_and_skills_that_do_not_exist(harness):
    """The default queue takes the call, without the skills, and people see what was meant."""
    await connect(harness)
    await harness.settle(handoff({"queue": "nowhere", "skills": ["chess"]}))
    (request,) = await requests(harness)
    assert (request.queue, request.skills) == ("default", ())
    assert request.context == {"unknown_queue": "nowhere", "unknown_skills": ["chess"]}


# --- what a call takes of a person ----------------------------------------------------------------


async def accept(place, agent="dana"):
    made = (await place.told(Target.HUMAN_AGENT, "offer.made"))[-1].data
    assert made.agent.identity == agent
    await place.send("offer.accept", offer=made.offer.id, agent=agent)


async def test_who_is_in_a_call_is_asked_about_nothing_else(harness):
    """A call takes all of a person, whatever their capacity, until it is given back."""
    await connect(harness)
    place = people(harness)
    await place.send("agent.available", agent="dana")
    await harness.settle(handoff())
    await place.later(1)
    await accept(place)
    await place.announce(conversation_id="conv_conversation_2")
    await place.send("handoff.request", conversation="conv_conversation_2", reason="a message")
    assert len(await place.told(Target.HUMAN_AGENT, "offer.made")) == 1
    conversation = (await place.last("holder.changed")).conversation.id
    await place.send("conversation.release", conversation=conversation, agent="dana", epoch=1)
    await place.later(1)
    assert (await place.last("offer.made")).conversation.id == "conv_conversation_2"


async def test_who_has_other_conversations_is_asked_about_no_call(harness):
    """A call needs all of a person: who writes with somebody else has no room for it."""
    place = people(harness)
    await place.send("agent.available", agent="dana")
    await place.announce(conversation_id="conv_conversation_2")
    await place.send("handoff.request", conversation="conv_conversation_2", reason="a message")
    await accept(place)
    await connect(harness)
    await harness.settle(handoff())
    await place.later(1)
    assert len(await place.told(Target.HUMAN_AGENT, "offer.made")) == 1
    await place.send("agent.available", agent="eli")
    await place.later(1)
    assert (await place.last("offer.made")).agent.identity == "eli"


@pytest.mark.parametrize("to", [OURS, DESK], ids=["handed over by the AI agent", "for people by a rule"])
async def test_a_caller_whose_first_address_is_for_messages(make_harness, to):
    """The call takes all of a person also if the participant has another address before the telephone's."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    harness.resolver = harness.make_resolver(team=TEAM)
    captured = await harness.capture(CUSTOMER, to, channel="VOICE", body=None, channelId=SID)
    found = participant_at(captured["conversation"], CUSTOMER)
    sms = {"channel": "SMS", "address": CUSTOMER, "channelId": None}
    path = f"/v2/Conversations/{captured['conversation']['id']}/Participants/{found['id']}"
    whole = {"name": found["name"], "type": "CUSTOMER", "profileId": None, "addresses": [sms, *found["addresses"]]}
    await harness.api("PUT", path, whole)
    assert await harness.settle(call(**ENDS | {"recipient": to})) == [DONE]
    if to == OURS:
        assert await harness.settle(handoff()) == [DONE]
    (requested,) = [one for one in await harness.published(Target.HUMAN_AGENT) if one.type == "handoff.requested"]
    assert [one.channel for one in requested.data.participant.addresses] == ["VOICE", "SMS"]
    place = people(harness)
    await place.send("agent.available", agent="dana")
    await place.later(1)
    await accept(place)
    await place.announce(conversation_id="conv_conversation_2")
    await place.send("handoff.request", conversation="conv_conversation_2", reason="a message")
    assert len(await place.told(Target.HUMAN_AGENT, "offer.made")) == 1


async def test_commands_during_a_call_and_after_it(harness):
    """A request is about the call while it lasts, and about the messages of the same customer after it."""
    caller = await connect(harness)
    sms = {"channel": "SMS", "address": CUSTOMER, "channelId": None}
    both = caller | {"addresses": [sms, *caller["addresses"]], "updatedAt": "2099-01-01T00:00:00Z"}
    await harness.settle(harness.callback("PARTICIPANT_UPDATED", both | {"accountId": ACCOUNT}))
    place = people(harness)
    (joined, _) = await harness.published()
    conversation = joined.data.conversation.id
    await place.send("agent.available", agent="dana")
    await place.send("handoff.request", conversation=conversation, reason="in the call")
    await accept(place)
    await place.announce(conversation_id="conv_conversation_2")
    await place.send("handoff.request", conversation="conv_conversation_2", reason="a message")
    made = await place.told(Target.HUMAN_AGENT, "offer.made")
    assert [one.data.participant.addresses[0].channel for one in made] == ["VOICE"]
    await place.send("conversation.release", conversation=conversation, agent="dana", epoch=1)
    await harness.settle(call_status("completed", **ENDS))
    await place.later(1)
    await accept(place)
    await place.send("handoff.request", conversation=conversation, reason="by messages")
    last = await place.last("offer.made")
    assert (last.conversation.id, last.participant.addresses[0].channel) == (conversation, "SMS")
