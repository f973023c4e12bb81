"""Bad input and bad luck about who holds a conversation, against a real server."""

import asyncio

import orjson
import pytest

from router.core.entries import read_entry
from router.core.events import Version
from router.core.keys import Keys, Target
from router.core.routing.queues import Fallback, Queue
from router.core.routing.team import Team
from router.streams.delivery import Delivery, Done, Poison, StreamRef
from tests.core.builders import CONVERSATION, make_conversation
from tests.support.accounts import ACCOUNT
from tests.worker.test_floor import PEOPLE, Place, ask, hold

HOUR = 3600


@pytest.fixture
def place(redis):
    """A worker on an empty server."""
    return Place(redis, Keys())


async def offered(place, agent="dana", life=600):
    """Let an agent be asked; return the offer."""
    await place.announce()
    await place.send("agent.available", agent=agent, life=life)
    await ask(place)
    return (await place.last("offer.made")).offer


async def holders(place):
    """Return who held the conversation in each epoch from 1."""
    return [entry.data.to.agent for entry in await place.told(Target.HUMAN_AGENT, "holder.changed")]


# --- offers -----------------------------------------------------------------------------------------


async def test_an_offer_can_be_accepted_until_its_last_millisecond(place):
    """Whatever the loop has done by then."""
    offer = await offered(place)
    place.now += 19_999
    await place.send("offer.accept", offer=offer.id, agent="dana")
    assert await holders(place) == ["dana"]


async def test_an_offer_that_expired_a_millisecond_ago(place):
    """It is refused although nobody has noticed the deadline yet; the next one is asked all the same."""
    offer = await offered(place)
    await place.send("agent.available", agent="eli", life=600)
    place.now += 20_000
    await place.send("offer.accept", offer=offer.id, agent="dana")
    refused = await place.last("command.refused")
    assert (refused.why, refused.epoch) == ("offer-expired", 0)
    await place.loop.round()
    assert (await place.last("offer.ended")).how == "expired"
    assert (await place.last("offer.made")).agent.identity == "eli"
    assert await holders(place) == []


async def test_the_offer_of_another_agent(place):
    """Only the one who is asked can answer."""
    offer = await offered(place)
    for kind in ("offer.accept", "offer.decline"):
        await place.send(kind, offer=offer.id, agent="eli")
        assert (await place.last("command.refused")).why == "offer-of-another-agent"
    await place.send("offer.accept", offer=offer.id, agent="dana")
    assert await holders(place) == ["dana"]


@pytest.mark.parametrize("kind", ["offer.accept", "offer.decline"])
async def test_an_answer_after_the_closing(place, kind):
    """The offer was withdrawn, and a closed conversation has no holder to be."""
    offer = await offered(place)
    ledger = await place.store.read_whole(ACCOUNT, CONVERSATION)
    ledger.take_conversation(make_conversation(status="CLOSED"), Version(5, 5), place.cause())
    assert await place.store.commit([ledger]) == [True]
    await place.send(kind, offer=offer.id, agent="dana")
    assert (await place.last("command.refused")).why == "conversation-closed"
    assert await holders(place) == []
    await place.loop.round()
    assert [(one.identity, one.load) for one in (await place.desk.look())[0]] == [("dana", 0)]


async def test_a_request_after_the_closing_of_one_that_was_never_handed_off(place):
    """Nobody is asked for a conversation that is closed, whether its floor was ever moved or not."""
    await place.announce()
    await place.send("agent.available", agent="dana")
    ledger = await place.store.read_whole(ACCOUNT, CONVERSATION)
    ledger.take_conversation(make_conversation(status="CLOSED"), Version(5, 5), place.cause())
    assert await place.store.commit([ledger]) == [True]
    await ask(place)
    assert (await place.last("command.refused")).why == "conversation-closed"
    assert "offer.made" not in await place.types()


# --- whoever does not hold --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("conversation.release", {}),
        ("conversation.transfer", {"to": {"agent": "eli"}}),
        ("conversation.say", {"text": "x"}),
        ("conversation.finish", {}),
    ],
)
@pytest.mark.parametrize("agent", ["eli", "participant:p9"])
async def test_somebody_who_does_not_hold(place, kind, more, agent):
    """Neither a colleague nor a made-up participant moves, writes in or ends what Dana holds."""
    epoch = await hold(place)
    await place.send(kind, conversation=CONVERSATION, agent=agent, epoch=epoch, **more)
    why = "not-the-holder" if agent == "eli" else "unknown-agent"
    assert (await place.last("command.refused")).why == why
    assert await holders(place) == ["dana"]
    assert place.spoken == []


async def test_a_release_after_a_release(place):
    """The second one is of somebody who does not hold any more."""
    epoch = await hold(place)
    for name in ("first", "second"):
        await place.send("conversation.release", name, conversation=CONVERSATION, agent="dana", epoch=epoch)
    refused = await place.last("command.refused")
    assert (refused.command_id, refused.why, refused.epoch) == ("second", "not-the-holder", epoch + 1)


async def test_a_transfer_to_oneself(place):
    """By name it is refused; by queue or skills somebody else is asked, and never the giver."""
    epoch = await hold(place)
    await place.send("agent.available", agent="dana", life=600)
    at = {"conversation": CONVERSATION, "agent": "dana", "epoch": epoch}
    await place.send("conversation.transfer", **at, to={"agent": "dana"})
    assert (await place.last("command.refused")).why == "already-the-holder"
    await place.send("conversation.transfer", **at, to={"skills": ["german"]})
    await place.later(1)
    assert [entry.data.agent.identity for entry in await place.told(Target.HUMAN_AGENT, "offer.made")] == ["dana"]
    assert await holders(place) == ["dana"]
    await place.later(59)
    assert (await place.last("handoff.failed")).fallback == "ai-agent"
    assert await holders(place) == ["dana"]  # who keeps it, since nobody took it


# --- texts ------------------------------------------------------------------------------------------


async def send_raw(place, data, command_id="raw"):
    """Take a handoff.request whose document is bytes of the sender's own."""
    document = b'{"specversion":"1.0","id":"%s","type":"command.handoff.request","source":"/t","data":%s}'
    fields = {
        b"type": b"handoff.request",
        b"id": command_id.encode(),
        b"command": document % (command_id.encode(), data),
    }
    return await place.commander.attempt(Delivery(StreamRef(0, place.keys.commands(0)), f"{place.now}-1", fields))


@pytest.mark.parametrize(
    "broken",
    [rb'"\ud83d"', rb'"\ude00"', b'"\xed\xa0\xbd"', b'"\xff"'],
    ids=["first half", "second half", "half in UTF-8", "no UTF-8"],
)
async def test_a_context_with_a_broken_character(place, broken):
    """It is taken as U+FFFD wherever it is, and consumers can read every entry."""
    await place.announce()
    await place.send("agent.available", agent="dana")
    text = broken.strip(b'"')
    data = b'{"conversation":"%s","reason":"r%s","summary":"s%s","context":{"k%s":["v%s"]}}'
    assert await send_raw(place, data % (CONVERSATION.encode(), text, text, text, text)) == Done()
    for kind in ("handoff.requested", "offer.made"):
        ((event,),) = [
            [row[b"event"]]
            for _, row in await place.redis.xrange(place.keys.participants(0, Target.HUMAN_AGENT))
            if row[b"type"] == kind.encode()
        ]
        shown = orjson.loads(event)["data"]
        shown = shown.get("request") or shown["offer"]
        (key,), ((value,),) = zip(*shown["context"].items(), strict=True)
        assert {shown["reason"][:2], shown["summary"][:2], key[:2], value[:2]} == {"r�", "s�", "k�", "v�"}
        assert read_entry(event).data.epoch == 0
    offer = (await place.last("offer.made")).offer
    await place.send("offer.accept", offer=offer.id, agent="dana")
    assert await holders(place) == ["dana"]


async def test_a_refused_command_with_a_broken_character_is_answered(place):
    """The answer shows the command as it was read."""
    await send_raw(place, rb'{"conversation":"unheard-of","reason":"\ud83d"}')
    assert (await place.last("command.refused")).command.data == {"conversation": "unheard-of", "reason": "�"}


@pytest.mark.parametrize("size", [8192, 8193])
async def test_the_size_of_a_context(place, size):
    """8 KB of JSON and no more: what is larger is a dead letter, and nothing has happened."""
    await place.announce()
    verdict = await ask(place, context={"a": "x" * (size - len('{"a":""}'))})
    assert isinstance(verdict, Done if size == 8192 else Poison)
    assert await place.types() == (["handoff.requested"] if size == 8192 else [])


# --- many ---------------------------------------------------------------------------------------------


async def test_requests_without_end_cost_the_same_each(place):
    """One is open, the others are refused; neither the conversation nor the number of commands to Redis grows."""

    async def cost(number):
        before = (await place.redis.info("stats"))["total_commands_processed"]
        for _ in range(number):
            await ask(place)
        key = place.keys.conversation(ACCOUNT, CONVERSATION)
        spent = (await place.redis.info("stats"))["total_commands_processed"] - before
        return spent / number, await place.redis.hlen(key), sum(map(len, await place.redis.hvals(key)))

    await place.announce()
    await ask(place)
    first, *small = await cost(20)
    last, *large = await cost(300)
    assert small == large
    assert last <= first * 1.1
    assert len(await place.told(Target.HUMAN_AGENT, "handoff.requested")) == 1
    assert len(await place.told(Target.HUMAN_AGENT, "command.refused")) == 320


async def test_requests_at_once(place):
    """As many as there are, one is open."""
    await place.announce()
    await place.send("agent.available", agent="dana")
    await asyncio.gather(*(ask(place) for _ in range(40)))
    types = await place.types()
    assert (types.count("handoff.requested"), types.count("offer.made"), types.count("command.refused")) == (1, 1, 39)


# --- the roster changes -----------------------------------------------------------------------------


def without(*names):
    """The team after these people were taken out of the file."""
    people = {name: member for name, member in PEOPLE.items() if name not in names}
    return Team(people, {"default": Queue(ring=20, patience=60)})


@pytest.mark.parametrize(
    ("kind", "more"), [("conversation.say", {"text": "x"}), ("conversation.finish", {}), ("conversation.release", {})]
)
async def test_who_was_removed_may_finish_what_they_hold(place, kind, more):
    """The conversation is theirs until they give it away."""
    epoch = await hold(place)
    place.team = without("dana")
    await place.send(kind, conversation=CONVERSATION, agent="dana", epoch=epoch, **more)
    assert "command.refused" not in await place.types()
    assert len(place.spoken) == (kind != "conversation.release")


async def test_who_was_removed_may_transfer(place):
    """To somebody who is still there."""
    epoch = await hold(place)
    place.team = without("dana")
    await place.send("agent.available", agent="eli")
    at = {"conversation": CONVERSATION, "agent": "dana", "epoch": epoch}
    await place.send("conversation.transfer", **at, to={})
    offer = (await place.last("offer.made")).offer
    await place.send("offer.accept", offer=offer.id, agent="eli")
    assert await holders(place) == ["dana", "eli"]


async def test_who_was_removed_keeps_the_presence_for_what_they_hold(place):
    """Nobody else is asked as long as they say that they are there; afterwards somebody is."""
    epoch = await hold(place)
    place.team = without("dana")
    await place.send("agent.available", agent="eli", life=6000)
    for _ in range(5):
        await place.later(30)
        assert await place.send("agent.available", agent="dana", life=60) == Done()
    assert await holders(place) == ["dana"]
    await place.send("conversation.release", conversation=CONVERSATION, agent="dana", epoch=epoch)
    verdict = await place.send("agent.available", agent="dana")
    assert isinstance(verdict, Poison)
    assert "not in the roster" in verdict.reason


async def test_who_was_removed_and_goes_loses_what_they_hold(place):
    """By a command, or because the presence lapses."""
    await hold(place)
    place.team = without("dana")
    await place.send("agent.available", agent="eli", life=600)
    await place.send("agent.offline", agent="dana")
    await place.later(1)
    assert await holders(place) == ["dana", None]
    assert (await place.last("offer.made")).agent.identity == "eli"


async def test_who_was_removed_gets_nothing_new(place):
    """Though they are present, and the only one: neither an offer nor a conversation without asking."""
    await place.send("agent.available", agent="dana", life=600)
    place.team = without("dana")
    await place.announce()
    await ask(place)
    await place.later(1)
    assert await place.types() == ["handoff.requested"]
    await place.send("agent.available", agent="eli", life=600)
    await place.later(1)
    assert (await place.last("offer.made")).agent.identity == "eli"


async def test_who_was_removed_and_is_asked_may_only_decline(place):
    """The next one is asked at once then."""
    offer = await offered(place)
    place.team = without("dana")
    await place.send("agent.available", agent="eli")
    await place.send("offer.accept", offer=offer.id, agent="dana")
    assert (await place.last("command.refused")).why == "unknown-agent"
    await place.send("offer.decline", offer=offer.id, agent="dana")
    assert (await place.last("offer.made")).agent.identity == "eli"


# --- the clock of Redis is set ------------------------------------------------------------------------


async def test_the_clock_goes_forward_an_hour_while_somebody_is_asked(place):
    """The offer ends once, and the request, whose patience is over, by its queue's fallback; it can be asked again."""
    await offered(place)
    await place.later(HOUR)
    await place.later(0)
    types = await place.types()
    assert [types.count(one) for one in ("offer.made", "offer.ended", "handoff.failed")] == [1, 1, 1]
    await place.send("agent.available", agent="dana")
    await ask(place)
    offer = (await place.last("offer.made")).offer
    await place.send("offer.accept", offer=offer.id, agent="dana")
    assert await holders(place) == ["dana"]


async def test_the_clock_goes_forward_an_hour_while_a_person_holds(place):
    """Presence lapses once, too early; who says that they are there is asked again, and has it again."""
    await hold(place)
    place.team = Team(PEOPLE, {"default": Queue(patience=2 * HOUR, fallback=Fallback.WAIT)})
    await place.later(HOUR)
    await place.send("agent.available", agent="dana")
    for _ in range(3):
        await place.later(5)
    assert await holders(place) == ["dana", None]
    offer = (await place.last("offer.made")).offer
    await place.send("offer.accept", offer=offer.id, agent="dana")
    assert await holders(place) == ["dana", None, "dana"]


async def test_the_clock_goes_back_an_hour_while_somebody_is_asked(place):
    """The offer stands, and is accepted; nothing lapses."""
    offer = await offered(place)
    await place.later(-HOUR)
    assert (await place.types())[-1] == "offer.made"
    await place.send("offer.accept", offer=offer.id, agent="dana")
    assert await holders(place) == ["dana"]
    await place.later(30)
    assert await holders(place) == ["dana"]


async def test_presence_is_not_an_hour_longer_after_the_clock_went_back(place):
    """Ids of entries never go back, and the time of a command is no later than now."""
    await hold(place)
    ahead = place.now + HOUR * 1000
    fields = {b"type": b"agent.available", b"id": b"late", b"command": b'{"data":{"agent":"dana","life":60}}'}
    stream = StreamRef(0, place.keys.commands(0))
    assert await place.commander.attempt(Delivery(stream, f"{ahead}-7", fields)) == Done()
    await place.later(59)
    assert await holders(place) == ["dana"]
    await place.later(2)
    assert await holders(place) == ["dana", None]


async def test_presence_is_told_once_by_its_id(place):
    """A command that was written twice, or passed on twice, brings nobody back who has left since."""
    await place.send("agent.available", "come", agent="dana")
    place.now += 10
    await place.send("agent.offline", "go", agent="dana")
    place.now += 10
    await place.send("agent.available", "come", agent="dana")
    (dana,), _ = await place.desk.look()
    assert dana.present_until == 0
    await place.send("agent.available", "come-again", agent="dana")
    (dana,), _ = await place.desk.look()
    assert dana.present_until > place.now
    for number in range(100):
        await place.send("agent.away", f"again-{number}", agent="dana")
    assert await place.redis.hstrlen(place.keys.desk("told"), "dana") < 1000


@pytest.mark.parametrize("private", ["+15551230009", "dana@example.com"])
async def test_what_senders_write_into_ids_is_masked_in_the_log(place, lines, private):
    """They choose them: the number of a customer and a time, for example."""
    await place.send("handoff.request", f"{private}-7", conversation=f"sms-{private}", reason="x")
    assert private not in str(lines("command") + lines("floor"))
    for kind, data in [
        ("agent.available", {"agent": private}),
        (f"call.{private}", {}),
        ("handoff.request", {"conversation": CONVERSATION, "reason": "x", "account": private}),
    ]:
        verdict = await place.send(kind, **data)
        assert isinstance(verdict, Poison)
        assert private not in verdict.reason
