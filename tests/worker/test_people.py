"""What commands do through the API, against a sandbox: said and closed once, whatever happens between two steps."""

import time

import pytest

from router.agents.effects import Effects
from router.agents.joiners import Joiners
from router.agents.people import PersonActions
from router.core.keys import COMMANDER, Keys, Target
from router.core.ledger.floor import holding_of
from router.streams.delivery import Done
from router.worker.people import Actions
from tests.support.accounts import ACCOUNT
from tests.worker.floor_place import Place

pytestmark = pytest.mark.promise(7)


class Desk:
    """A worker whose commands reach the sandbox, and a conversation that dana holds in epoch 1."""

    def __init__(self, harness):
        self.harness, self.api = harness, harness.sandbox
        self.place = place = Place(harness.redis, Keys(), now=time.time_ns() // 1_000_000)
        apis = harness.make_apis()
        people = PersonActions(apis=apis, joiners=Joiners(apis, place.store))
        self.effects = Effects(harness.redis, place.keys, COMMANDER)
        self.actions = actions = Actions(
            people, place.store, self.effects, place.keys, place.team, lambda: place.now * 1000
        )
        place.commander = place.make_commander(actions.say, actions.close, actions.is_begun)
        self.conversation = ""

    async def open(self):
        """Let a customer write, and dana take the conversation."""
        await self.harness.settle(self.harness.sms())
        (conversation,) = await self.harness.conversations()
        self.conversation = conversation["id"]
        await self.place.send("agent.available", agent="dana")
        await self.place.send("handoff.request", conversation=self.conversation, reason="x")
        made = await self.place.last("offer.made")
        await self.place.send("offer.accept", offer=made.offer.id, agent="dana")

    async def send(self, kind, command_id, agent="dana", epoch=1, **data):
        return await self.place.send(kind, command_id, conversation=self.conversation, agent=agent, epoch=epoch, **data)

    async def texts(self):
        """Return the texts that the API has sent."""
        return await self.api.texts(self.conversation)

    async def refused(self):
        return [one.data.why for one in await self.place.told(Target.HUMAN_AGENT, "command.refused")]


@pytest.fixture
async def desk(harness):
    desk = Desk(harness)
    await desk.open()
    return desk


async def test_a_text_that_was_sent_is_not_refused_when_its_command_comes_again(desk):
    """The process may die before XACK, and the agent give the conversation back meanwhile."""
    assert await desk.send("conversation.say", "said", text="hello") == Done()
    await desk.send("conversation.release", "released")
    assert await desk.send("conversation.say", "said", text="hello") == Done()
    assert (await desk.texts()).count("hello") == 1
    assert await desk.refused() == []


async def test_a_text_in_doubt_is_looked_for_after_the_holder_changed(desk):
    """The process died after sending, before it noted that: the text was sent, and that is no refusal."""
    await desk.send("conversation.say", "said", text="hello")
    key = desk.place.keys.effect(0, COMMANDER, "said")
    await desk.harness.redis.hset(key, "say", f"b{desk.place.now}")
    await desk.send("conversation.release", "released")
    assert await desk.send("conversation.say", "said", text="hello") == Done()
    assert ((await desk.texts()).count("hello"), await desk.refused()) == (1, [])


async def test_a_text_that_comes_too_late_is_refused_with_an_answer(desk):
    """The holder may change between the look at the floor and the beginning of the step."""
    speak = desk.actions.say

    async def late(command, *args):
        await desk.send("conversation.release", "released")
        return await speak(command, *args)

    desk.place.commander = desk.place.make_commander(late, speak, desk.actions.is_begun)
    for _ in range(2):
        assert await desk.send("conversation.say", "said", text="hello") == Done()
    assert ("hello" in await desk.texts(), await desk.refused()) == (False, ["stale-epoch"])


async def test_a_notice_that_comes_too_late_is_not_sent(desk):
    """Somebody has the conversation by now: a place in line would be a second voice."""
    await desk.send("conversation.release", "released")
    ledger = await desk.place.store.read_whole(ACCOUNT, desk.conversation)
    waiting = holding_of(ledger)
    await desk.actions.notify(ledger, waiting, "in time", "You are number 1.")
    await desk.place.send("agent.available", agent="eli")
    await desk.place.send("handoff.request", conversation=desk.conversation, reason="x")
    made = await desk.place.last("offer.made")
    await desk.place.send("offer.accept", offer=made.offer.id, agent="eli")
    await desk.actions.notify(ledger, waiting, "late", "You are number 2.")
    assert [one for one in await desk.texts() if one.startswith("You are")] == ["You are number 1."]


@pytest.mark.parametrize("kind", ["conversation.say", "conversation.finish"])
async def test_a_refused_command_stays_refused(desk, kind):
    """It may come again after its answer, before XACK."""
    for _ in range(2):
        assert await desk.send(kind, "theirs", agent="eli", text="hello") == Done()
    assert (await desk.texts()).count("hello") == 0
    assert [one["status"] for one in await desk.api.conversations()] == ["ACTIVE"]
    assert await desk.refused() == ["not-the-holder"]


async def test_a_conversation_that_was_finished_is_not_refused_when_its_command_comes_again(desk):
    """The callback about the closing may be committed before XACK."""
    assert await desk.send("conversation.finish", "done") == Done()
    (conversation,) = await desk.api.conversations()
    await desk.harness.settle(desk.harness.callback("CONVERSATION_UPDATED", conversation))
    assert await desk.send("conversation.finish", "done") == Done()
    assert (conversation["status"], await desk.refused()) == ("CLOSED", [])


async def test_a_text_to_a_conversation_that_the_api_has_closed_is_answered(desk):
    """Its closing may not have been reported yet."""
    await desk.api.close_conversation(desk.conversation)
    assert await desk.send("conversation.say", "said", text="hello") == Done()
    assert await desk.refused() == ["conversation-closed"]


@pytest.mark.parametrize("channel", ["VOICE", "EMAIL"])
async def test_a_text_on_a_channel_that_cannot_send_is_refused(desk, channel):
    """The person hears why; the API is not asked, and the customer of a call is not written to."""
    ledger = await desk.place.store.read_whole(ACCOUNT, desk.conversation)
    ledger.put("holding", ledger.fields["holding"].replace('"SMS"', f'"{channel}"'))
    assert await desk.place.store.commit([ledger]) == [True]
    for _ in range(2):
        assert await desk.send("conversation.say", "said", text="hello") == Done()
    assert (await desk.refused(), "hello" in await desk.texts()) == (["cannot-send"], False)


async def test_a_text_that_the_api_refuses_for_good_is_answered(desk):
    """Such as one to a customer who has opted out: nobody must believe that it was sent."""
    desk.harness.fault(method="POST", path="Actions", status=400)
    for _ in range(2):
        assert await desk.send("conversation.say", "said", text="hello") == Done()
    assert (await desk.refused(), "hello" in await desk.texts()) == (["cannot-send"], False)


async def test_a_closing_that_the_api_refuses_for_good_is_answered(desk):
    """The agent still holds the conversation, and must know."""
    desk.harness.fault(method="PATCH", status=400)
    for _ in range(2):
        assert await desk.send("conversation.finish", "done") == Done()
    assert await desk.refused() == ["cannot-close"]
    assert [one["status"] for one in await desk.api.conversations()] == ["ACTIVE"]
