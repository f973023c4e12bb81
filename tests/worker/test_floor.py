"""Commands, deadlines and presence against a real server: who holds a conversation, and what consumers are told."""

import asyncio
from datetime import time
from functools import reduce

import pytest

from router.core.events import Version
from router.core.keys import Keys, Target
from router.core.policy import Hours
from router.core.routing.queues import AcceptMode, Fallback, Queue
from router.core.routing.team import Team, TeamMember
from router.core.routing.wishes import cards_to_enroll
from router.streams.delivery import Delivery, Done, Poison, StreamRef
from tests.core.builders import CONVERSATION, make_conversation
from tests.support.accounts import ACCOUNT
from tests.worker.floor_place import PEOPLE, Place, ask, hold

#: What no reader of the answer to a refused command could take.
DEEP = reduce(lambda inner, _: [inner], range(251), 1)

pytestmark = pytest.mark.promise(6)


@pytest.fixture
def place(redis):
    """A worker on an empty server."""
    return Place(redis, Keys())


async def test_there_and_back(place):
    """The AI agent keeps the floor until a person accepts, and gets it back with a note."""
    await place.announce()
    await place.send("agent.available", agent="dana")
    await ask(place, summary="a refund", context={"order": 7}, skills=["german"])
    requested, made = await place.told(Target.HUMAN_AGENT)
    assert (requested.type, requested.data.request.summary, requested.data.epoch) == (
        "handoff.requested",
        "a refund",
        0,
    )
    assert (made.type, made.data.agent.identity, made.data.offer.context) == ("offer.made", "dana", {"order": 7})
    assert made.data.participant.id == "p1"
    assert await place.types(Target.AI_AGENT) == ["participant.joined"]
    await place.send("offer.accept", offer=made.data.offer.id, agent="dana")
    ended, changed = (await place.told(Target.HUMAN_AGENT))[2:]
    assert (ended.data.how, changed.data.to.agent, changed.data.epoch) == ("accepted", "dana", 1)
    (heard,) = await place.told(Target.AI_AGENT, "holder.changed")
    assert (heard.data.from_.target, heard.data.to.target, heard.data.because) == (
        "ai-agent",
        "human-agent",
        "accepted",
    )
    await place.send("conversation.release", conversation=CONVERSATION, agent="dana", epoch=1, note="paid")
    back = await place.last("holder.changed", Target.AI_AGENT)
    assert (back.to.target, back.to.agent, back.note, back.epoch, back.because) == (
        "ai-agent",
        None,
        "paid",
        2,
        "released",
    )


async def test_a_command_counts_once(place):
    """Whoever repeats its id, and whatever has happened since."""
    epoch = await hold(place)
    for _ in range(2):
        await place.send("conversation.release", "again", conversation=CONVERSATION, agent="dana", epoch=epoch)
    assert (await place.types())[-1] == "holder.changed"
    assert "command.refused" not in await place.types()


async def test_a_refusal_tells_the_present_epoch(place):
    """So that the sender knows what it missed."""
    epoch = await hold(place)
    await place.send("conversation.release", "late", conversation=CONVERSATION, agent="dana", epoch=epoch - 1)
    refused = await place.last("command.refused")
    assert (refused.why, refused.epoch, refused.command_id) == ("stale-epoch", epoch, "late")
    assert refused.command.data["agent"] == "dana"


@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        ("handoff.request", {"conversation": "unheard-of", "reason": "x"}, "unknown-conversation"),
        ("handoff.request", {"conversation": CONVERSATION, "reason": "x", "agent": "nobody"}, "unknown-agent"),
        ("handoff.request", {"conversation": CONVERSATION, "reason": "x", "queue": "nowhere"}, "unknown-queue"),
        ("handoff.request", {"conversation": CONVERSATION, "reason": "x", "skills": ["x"]}, "nobody-has-these-skills"),
        ("handoff.request", {"conversation": CONVERSATION, "reason": "x", "epoch": 3}, "stale-epoch"),
        ("conversation.release", {"conversation": CONVERSATION, "agent": "dana", "epoch": 0}, "not-the-holder"),
        (
            "conversation.say",
            {"conversation": CONVERSATION, "agent": "dana", "epoch": 0, "text": "x"},
            "not-the-holder",
        ),
        ("conversation.finish", {"conversation": CONVERSATION, "agent": "dana", "epoch": 0}, "not-the-holder"),
        (
            "conversation.transfer",
            {"conversation": CONVERSATION, "agent": "dana", "epoch": 0, "to": {}},
            "not-the-holder",
        ),
        ("offer.accept", {"offer": f"{ACCOUNT}/{CONVERSATION}/x.1", "agent": "dana"}, "offer-ended"),
    ],
)
async def test_refusals(place, kind, data, why):
    """Each is answered, and changes nothing."""
    await place.announce()
    assert isinstance(await place.send(kind, **data), Done)
    stream = data.get("conversation", CONVERSATION)
    (refused,) = await place.told(Target.HUMAN_AGENT, conversation_id=stream)
    assert (refused.type, refused.data.why) == ("command.refused", why)
    assert place.spoken == []


@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        ("handoff.ask", {}, "is not a command"),
        ("handoff.request", {"reason": "x"}, "conversation"),
        ("handoff.request", {"conversation": CONVERSATION, "reason": "x", "context": {"a": "x" * 8192}}, "8192"),
        ("handoff.request", {"conversation": CONVERSATION, "reason": "x", "account": "AC0"}, "not configured"),
        ("conversation.release", {"conversation": CONVERSATION, "agent": "dana", "epoch": "1"}, "epoch"),
        ("conversation.release", {"conversation": CONVERSATION, "agent": "dana", "epoch": 1, "more": DEEP}, "deeper"),
        ("offer.accept", {"offer": "7", "agent": "dana"}, "no offer's id"),
        ("agent.available", {"agent": "nobody"}, "not in the roster"),
        ("agent.available", {"agent": "dana", "life": 0}, "life"),
    ],
)
async def test_dead_letters(place, kind, data, why):
    """What cannot be read, or is not allowed, becomes a dead letter that says why."""
    verdict = await place.send(kind, **data)
    assert isinstance(verdict, Poison)
    assert why in verdict.reason


async def test_the_next_one_is_asked(place):
    """After a refusal, and after the deadline; who missed it is asked again when nobody else is left."""
    await place.announce()
    await place.send("agent.available", agent="dana", life=600)
    await ask(place)
    first = await place.last("offer.made")
    await place.later(20)
    assert (await place.last("offer.ended")).how == "expired"
    again = await place.last("offer.made")
    assert (again.agent.identity, again.offer.id != first.offer.id) == ("dana", True)
    await place.send("agent.available", agent="eli", life=600)
    await place.send("offer.decline", offer=again.offer.id, agent="dana")
    assert (await place.last("offer.made")).agent.identity == "eli"


async def test_two_customers_take_turns_with_the_only_person(place):
    """Who misses offer after offer is asked for one customer, then for the other, while both have patience."""
    place.team = Team({"dana": TeamMember("dana", "Dana", 1)}, {"default": Queue(ring=20, patience=90)})
    await place.send("agent.available", agent="dana", life=600)
    for name in ("c1", "c2"):
        await place.announce(conversation_id=name)
        await place.send("handoff.request", conversation=name, reason="x")
    for _ in range(3):
        await place.later(20)
        await place.later(0)  # for whoever got the place that became free
    made = [one.data.conversation.id for one in await place.told(Target.HUMAN_AGENT, "offer.made")]
    assert made == ["c1", "c2", "c1", "c2"]
    due = (await place.desk.round(50)).next_at
    assert due is None or due > place.now  # nothing is left to do


async def test_nobody_takes_it(place):
    """The AI agent is told after the queue's patience, and has kept the floor."""
    await place.announce()
    await ask(place)
    await place.later(59)
    assert await place.types() == ["handoff.requested"]
    await place.later(1)
    failed = await place.last("handoff.failed", Target.AI_AGENT)
    assert (failed.fallback, failed.epoch) == ("ai-agent", 0)
    await place.send("agent.available", agent="dana")
    await place.later(1)
    assert "offer.made" not in await place.types()


async def test_a_conversation_for_people_begins_with_a_request(place):
    """The queue holds it until somebody accepts; its fallback is the AI agent."""
    await place.announce(Target.HUMAN_AGENT)
    await place.loop.round()
    assert await place.types() == ["participant.joined", "handoff.requested"]
    await place.later(60)
    failed, changed = (await place.told(Target.AI_AGENT))[-2:]
    assert (failed.type, changed.data.to.target, changed.data.because) == ("handoff.failed", "ai-agent", "fallback")


async def test_a_queue_that_waits_tells_it_once(place):
    """And whoever comes later is still asked."""
    place.team = Team(PEOPLE, {"default": Queue(patience=60, fallback=Fallback.WAIT)})
    await place.announce(Target.HUMAN_AGENT)
    await place.later(60)
    await place.later(60)
    assert [one.type for one in await place.told(Target.HUMAN_AGENT, "handoff.failed")] == ["handoff.failed"]
    await place.send("agent.available", agent="dana")
    await place.loop.round()
    assert (await place.last("offer.made")).agent.identity == "dana"


@pytest.mark.parametrize("fallback", [Fallback.WAIT, Fallback.MESSAGE])
async def test_who_declined_is_asked_again_once_the_patience_is_over(place, fallback):
    """And after the same time again: nobody waits for ever because each person has said no once."""
    place.team = Team(PEOPLE, {"default": Queue(patience=60, fallback=fallback, fallback_message="Please wait.")})
    await place.announce(Target.HUMAN_AGENT)
    for agent in PEOPLE:
        await place.send("agent.available", agent=agent, life=600)
    await place.later(0)
    for number in range(2):
        for agent in PEOPLE:
            made = await place.last("offer.made")
            assert made.agent.identity == agent
            await place.send("offer.decline", offer=made.offer.id, agent=agent)
        await place.later(59)
        assert (await place.types()).count("offer.made") == 2 * number + 2
        await place.later(1)
    count = (await place.types()).count
    assert (count("offer.made"), count("handoff.failed"), count("handoff.requested")) == (5, 1, 1)
    await place.send("offer.accept", offer=(await place.last("offer.made")).offer.id, agent="dana")
    assert (await place.last("holder.changed")).to.agent == "dana"


async def test_one_who_was_meant_and_declined_is_asked_with_all_others(place):
    """Not at once: the others come first, and the patience passes before the same question."""
    place.team = Team(PEOPLE, {"default": Queue(patience=60, fallback=Fallback.WAIT)})
    await place.announce()
    await place.send("agent.available", agent="dana", life=600)
    await ask(place, agent="dana")
    made = await place.last("offer.made")
    await place.send("offer.decline", offer=made.offer.id, agent="dana")
    await place.later(59)
    assert (await place.types())[-2:] == ["offer.ended", "handoff.failed"]
    await place.later(1)
    assert ((await place.types())[-1], (await place.last("offer.made")).agent.identity) == ("offer.made", "dana")


async def test_overflow(place):
    """After its patience a queue hands over to the next, which begins its own."""
    queues = {"default": Queue(patience=60, overflow="late"), "late": Queue("late", accept=AcceptMode.AUTOMATIC)}
    place.team = Team(PEOPLE, queues)
    await place.announce()
    await ask(place)
    await place.later(60)
    assert "handoff.failed" not in await place.types()
    await place.send("agent.available", agent="dana")
    await place.loop.round()
    changed = await place.last("holder.changed")
    assert (changed.to.agent, changed.because, changed.request.queue) == ("dana", "assigned", "late")


async def test_presence_ends(place):
    """The conversation of one who is gone is offered to the next, and belongs to the queue meanwhile."""
    await hold(place)
    await place.send("agent.available", agent="eli", life=600)
    await place.later(61)
    lapsed = (await place.told(Target.HUMAN_AGENT, "holder.changed"))[-1].data
    assert (lapsed.to.target, lapsed.to.agent, lapsed.because, lapsed.epoch) == (
        "human-agent",
        None,
        "presence-lapsed",
        2,
    )
    assert (await place.last("offer.made")).agent.identity == "eli"


async def test_an_offer_ends_with_the_presence(place):
    """Whoever is next is asked, before the deadline."""
    await place.announce()
    await place.send("agent.available", agent="dana", life=5)
    await ask(place)
    await place.send("agent.available", agent="eli")
    await place.later(5)
    assert (await place.last("offer.ended")).how == "withdrawn"
    assert (await place.last("offer.made")).agent.identity == "eli"


async def test_a_transfer(place):
    """The giver keeps the conversation until it is taken, and rests then."""
    epoch = await hold(place)
    await place.send("agent.available", agent="eli")
    data = {"conversation": CONVERSATION, "agent": "dana", "epoch": epoch, "to": {"agent": "eli"}, "note": "yours"}
    await place.send("conversation.transfer", **data)
    made = await place.last("offer.made")
    assert (made.agent.identity, made.offer.note, made.epoch) == ("eli", "yours", epoch)
    await place.send("offer.accept", offer=made.offer.id, agent="eli")
    assert (await place.last("holder.changed")).to.agent == "eli"
    states = {one.identity: (one.load, one.free_at) for one in (await place.desk.look())[0]}
    assert states == {"dana": (0, place.now + 5000), "eli": (1, 0)}


async def test_a_transfer_takes_along_what_the_first_person_was_told(place):
    """Summary and context of the request by which they got the conversation, also when it is passed on once more."""
    told = {"summary": "Order 4711 has arrived broken.", "context": {"order": "4711"}}
    await place.announce()
    for agent in ("dana", "eli"):
        await place.send("agent.available", agent=agent)
    await ask(place, agent="dana", **told)
    for epoch, giver, taker in ((1, "dana", "eli"), (2, "eli", "dana")):
        offer = (await place.last("offer.made")).offer
        assert (offer.summary, offer.context) == (told["summary"], told["context"])
        await place.send("offer.accept", offer=offer.id, agent=giver)
        data = {"conversation": CONVERSATION, "agent": giver, "epoch": epoch, "to": {"agent": taker}}
        await place.send("conversation.transfer", **data)
    offer = (await place.last("offer.made")).offer
    assert (offer.summary, offer.context) == (told["summary"], told["context"])


async def test_the_closing_frees_the_agent(place):
    """And ends the offer of what nobody has taken yet."""
    await hold(place)
    ledger = await place.store.read_whole(ACCOUNT, CONVERSATION)
    ledger.take_conversation(make_conversation(status="CLOSED"), Version(5, 5), place.cause())
    assert await place.store.commit([ledger]) == [True]
    await place.loop.round()
    (agent,), _ = await place.desk.look()
    assert (agent.load, agent.free_at) == (0, place.now + 5000)
    await place.send("conversation.say", "said", conversation=CONVERSATION, agent="dana", epoch=1, text="x")
    assert (await place.last("command.refused")).why == "conversation-closed"


async def test_whoever_waits_is_asked_as_soon_as_a_closing_makes_room(place):
    """Two people have room for four conversations; the fifth waits in line until one of the four closes."""
    names = [f"conv_{number}" for number in range(5)]
    for agent in PEOPLE:
        await place.send("agent.available", agent=agent, life=600)
    for name in names:
        await place.announce(Target.HUMAN_AGENT, name)
        await place.loop.round()
    made = await place.told(Target.HUMAN_AGENT, "offer.made")
    assert [one.data.conversation.id for one in made] == names[:4]
    assert list((await place.desk.look())[1]) == [f"{ACCOUNT} {names[4]}"]
    ledger = await place.store.read_whole(ACCOUNT, names[0])
    ledger.take_conversation(make_conversation(names[0], status="CLOSED"), Version(5, 5), place.cause())
    assert await place.store.commit([ledger]) == [True]
    for _ in range(2):  # the first round makes the room
        await place.later(1)
    *_, fifth = await place.told(Target.HUMAN_AGENT, "offer.made")
    assert (fifth.data.conversation.id, fifth.data.agent) == (names[4], made[0].data.agent)


async def test_two_accept_at_once(place):
    """One of them has it; the other is told."""
    await place.announce()
    await place.send("agent.available", agent="dana")
    await ask(place)
    offer = (await place.last("offer.made")).offer.id
    await asyncio.gather(*(place.send("offer.accept", offer=offer, agent="dana") for _ in range(2)))
    assert len(await place.told(Target.HUMAN_AGENT, "holder.changed")) == 1
    assert (await place.last("command.refused")).why == "offer-ended"


async def test_ten_thousand_requests(place):
    """One is open, the others are refused."""
    await place.announce()
    for _ in range(200):
        await ask(place)
    assert len(await place.told(Target.HUMAN_AGENT, "handoff.requested")) == 1


async def test_commands_find_their_partition(redis):
    """Wherever they are written."""
    place = Place(redis, Keys(partitions=3))
    home = place.keys.partition_of(CONVERSATION)
    await place.announce()
    other = (home + 1) % 3
    await place.send("handoff.request", "there", other, conversation=CONVERSATION, reason="x")
    assert await place.types() == []
    ((_, fields),) = await redis.xrange(place.keys.commands(home))
    assert await place.commander.attempt(Delivery(StreamRef(home, ""), "1-1", fields)) == Done()
    assert await place.types() == ["handoff.requested"]


async def test_a_death_after_the_commit(place):
    """Whoever takes the timer makes the offer, though the desk was never asked."""
    await place.announce(Target.HUMAN_AGENT)
    await place.send("agent.available", agent="dana")
    await place.later(3)
    assert (await place.types())[-1] == "offer.made"


async def test_who_waits_is_told_the_place_in_line(place):
    """And the new one when somebody before has been served; the expected wait follows the queue's pace."""
    place.team = Team(PEOPLE, {"default": Queue(patience=600, wait_message="{place}, {minutes} min")})
    for number in range(3):
        await place.announce(conversation_id=f"c{number}")
        await place.send("handoff.request", conversation=f"c{number}", reason="x")
        place.now += 1
    assert list(place.notices.values()) == ["1, 1 min", "2, 1 min", "3, 1 min"]
    place.team = Team(PEOPLE | {"dana": TeamMember("dana", "Dana", 1)}, place.team.queues)
    await place.send("agent.available", agent="dana", life=600)
    await place.later(5)
    assert sorted(name.rpartition(" ")[2] for name in [*place.notices][3:]) == ["1", "2"]  # both are told at once


async def test_the_message_of_a_queue_whose_patience_is_over(place):
    """The customer hears it, and goes on waiting."""
    queue = Queue(patience=60, fallback=Fallback.MESSAGE, fallback_message="Tomorrow from nine.")
    place.team = Team(PEOPLE, {"default": queue})
    await place.announce(Target.HUMAN_AGENT)
    await place.later(60)
    assert list(place.notices.values()) == ["Tomorrow from nine."]
    assert (await place.last("handoff.failed")).fallback == "message"


async def test_the_message_of_a_queue_while_somebody_is_asked(place):
    """The customer is told once, though the only person present lets one offer after the other expire."""
    queue = Queue(ring=20, patience=30, fallback=Fallback.MESSAGE, fallback_message="Tomorrow from nine.")
    place.team = Team(PEOPLE, {"default": queue})
    await place.send("agent.available", agent="dana", life=600)
    await place.announce(Target.HUMAN_AGENT)
    for _ in range(4):
        await place.later(20)
    assert len(await place.told(Target.HUMAN_AGENT, "offer.made")) > 2
    assert list(place.notices.values()) == ["Tomorrow from nine."]


async def test_two_workers_refuse_a_command_at_once(place, monkeypatch):
    """It was passed on twice: each target hears the refusal once."""
    await place.announce()
    both, read = asyncio.Barrier(2), place.store.read_claims

    async def read_at_once(*args):
        claims = await read(*args)
        await both.wait()
        return claims

    monkeypatch.setattr(place.store, "read_claims", read_at_once)
    data = {"conversation": CONVERSATION, "reason": "x", "epoch": 9}
    await asyncio.gather(*(place.send("handoff.request", "twice", **data) for _ in range(2)))
    heard = [await place.types(one) for one in Target]
    assert heard == [["participant.joined", "command.refused"], ["command.refused"]]


async def test_a_queue_that_assigns_needs_no_presence(place):
    """It keeps the ways of earlier releases: whoever is in the roster and has room gets the conversation."""
    place.team = Team(PEOPLE, {"default": Queue(accept=AcceptMode.AUTOMATIC)})
    await place.desk.enroll(cards_to_enroll(place.team))
    await place.announce(Target.HUMAN_AGENT)
    await place.loop.round()
    changed = await place.last("holder.changed")
    assert (changed.to.agent, changed.because, changed.epoch) == ("dana", "assigned", 1)
    await place.later(100_000)
    assert (await place.last("holder.changed")).epoch == 1


async def test_nobody_is_asked_at_night(place):
    """A request that waits is offered when its queue opens."""
    day = (Hours("UTC", start=time(9), end=time(17)),)
    place.team = Team(PEOPLE, {"default": Queue(hours=day, fallback=Fallback.WAIT)})
    await place.announce(Target.HUMAN_AGENT)
    await place.send("agent.available", agent="dana", life=7200)
    await place.later(1)  # it is eight in the morning
    assert await place.types() == ["participant.joined", "handoff.requested", "handoff.failed"]
    await place.later(3599)
    assert (await place.types())[-1] == "offer.made"


async def test_a_message_while_an_agent_is_looked_for(place, monkeypatch):
    """It changes the ledger and not the floor: the offer is made at once."""
    await place.announce()
    await place.send("agent.available", agent="dana")
    settle = place.desk.settle

    async def interrupted(*args):
        answer = await settle(*args)
        monkeypatch.setattr(place.desk, "settle", settle)
        ledger = await place.store.read_whole(ACCOUNT, CONVERSATION)
        ledger.put("day", "1")
        assert await place.store.commit([ledger]) == [True]
        return answer

    monkeypatch.setattr(place.desk, "settle", interrupted)
    await ask(place)
    assert (await place.types())[-1] == "offer.made"


async def test_an_older_presence_that_comes_again(place):
    """The process that had it died before XACK; who has gone home since stays away."""
    await place.announce()
    place.now += 1
    await place.send("agent.offline", agent="dana")
    place.now -= 1
    await place.send("agent.available", agent="dana", life=86_400)
    place.now += 2
    await ask(place)
    assert "offer.made" not in await place.types()
    await place.send("agent.available", agent="dana")
    await place.loop.round()
    assert (await place.types())[-1] == "offer.made"


async def test_an_offer_of_another_account(place):
    """The offer's id says which it is; a command that contradicts it is wrong."""
    verdict = await place.send("offer.accept", offer=f"{ACCOUNT}/{CONVERSATION}/x.1", agent="dana", account="AC0")
    assert isinstance(verdict, Poison)
    assert "account" in verdict.reason
