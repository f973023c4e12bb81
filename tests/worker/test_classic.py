"""Classic conversations without a bridge: who is announced, from which event, and what it costs."""

import pytest

from router.core.keys import Target
from router.core.ledger.marker import Result
from router.core.resources import ParticipantType
from router.simulator.messages import SimulatedWebhook
from router.streams.delivery import Done, Later, Poison
from tests.inbound.samples import encode_json
from tests.support.accounts import CUSTOMER, DESK, OURS
from tests.worker.classic_world import POST_EVENTS, Classic, classic, shuffled, start_hook
from tests.worker.world import ACCOUNT, DESK_RULE, EVERYBODY, NOBODY, PLAIN

DONE = Done()
FETCH_MEMBER = "GET /v1/Conversations/{conversation}/Participants/{participant}"
LIST_MEMBERS = "GET /v1/Conversations/{conversation}/Participants"


@pytest.fixture
async def hook():
    async for hook in start_hook():
        yield hook


@pytest.fixture
async def told(make_world, hook):
    """Return a function that makes a world whose sandbox tells of classic conversations."""

    async def make(**switches):
        switches = {"classic_post_webhook_url": hook.url, "classic_webhook_filters": POST_EVENTS} | switches
        return Classic(await make_world(**switches), hook)

    return make


# --- participants ----------------------------------------------------------------------------------


async def test_added_customer_is_announced_without_a_call(world):
    """The webhook says everything: one joined under the classic SIDs, with both ends, and no request."""
    assert await world.settle(classic("participant-added")) == [Result.JOINED]
    assert await world.total() == 0
    (entry,) = await world.entries()
    data = entry.data
    assert (data.origin, data.channel, data.address, data.recipient.address) == ("announced", "SMS", CUSTOMER, OURS)
    assert data.conversation.id == data.conversation.classic_sid == data.participant.conversation_id
    assert data.conversation.id.startswith("CH")
    assert data.participant.id.startswith("MB")
    assert (data.conversation.configuration_id, data.participant.type) == (None, ParticipantType.CUSTOMER)
    assert data.participant.addresses[0].channel_id == data.conversation.id
    assert data.cause.source == "classic"


async def test_rules_see_our_address(make_world):
    """The proxy address is the recipient that rules ask for."""
    world = await make_world(policy=PLAIN + DESK_RULE)
    await world.settle(classic("participant-added", recipient=DESK))
    (entry,) = await world.entries(Target.HUMAN_AGENT)
    assert entry.data.recipient.address == DESK


async def test_chat_user_is_unknown_and_announced(world):
    """A chat user is known by identity, on CHAT, and may be a customer: the policy decides."""
    assert await world.settle(classic("participant-added", identity="ana")) == [Result.JOINED]
    (entry,) = await world.entries()
    assert (entry.data.channel, entry.data.address, entry.data.participant.type) == ("CHAT", "ana", "UNKNOWN")


async def test_chat_user_of_ours_is_not_announced(make_world):
    """An identity under which a consumer joined, even a moment ago and in another process, is our own side."""
    world = await make_world(policy=EVERYBODY)
    await world.settle(classic("participant-added"))
    await world.redis.zadd(world.keys.own_addresses(ACCOUNT), {"CHAT|ai-agent": 1})
    added, wrote = (classic(kind, identity="ai-agent") for kind in ("participant-added", "message-added"))
    assert await world.settle(added, wrote) == [Result.IGNORED, Result.IGNORED]
    assert await world.types() == ["joined"]
    assert await world.total() == 0


async def test_agent_of_a_group_is_nobodys_to_take(world):
    """Who writes under a projected number of ours is an agent, and so is its message."""
    scene = {"identity": "bob", "projected": OURS, "conversation_sid": "CH" + "1" * 32, "participant_sid": "MB1"}
    events = [classic("participant-added", **scene), classic("message-added", **scene)]
    assert await world.settle(*events) == [Result.IGNORED, Result.IGNORED]
    assert (await world.entries(), await world.total()) == ([], 0)


async def test_policy_that_ignores_customers(make_world):
    """Nobody is announced whom the policy gives to nobody."""
    world = await make_world(policy=NOBODY)
    assert await world.settle(classic("participant-added")) == [Result.IGNORED]


async def test_member_that_the_webhook_does_not_describe(told):
    """A webhook without binding and identity costs one look at the member."""
    side = await told()
    taken = await side.inbound()
    sids = {"conversation_sid": taken["conversation"]["sid"], "participant_sid": taken["participant"]["sid"]}
    bare = dict.fromkeys(("MessagingBinding.Address", "MessagingBinding.ProxyAddress"), "null")
    assert await side.world.settle(classic("participant-added", **sids, extra=bare)) == [DONE]
    assert await side.world.calls() == {FETCH_MEMBER: 1}
    (entry,) = await side.world.entries()
    assert (entry.data.origin, entry.data.address, entry.data.recipient.address) == ("announced", CUSTOMER, OURS)
    assert await side.world.settle(classic("message-added", **sids)) == [Result.KNOWN]


async def test_updated_member(world):
    """Another address is told of; an attribute is not, and an older update changes nothing."""
    await world.settle(classic("participant-added"))
    member = dict(classic("participant-added").pairs)
    sids = {"conversation_sid": member["ConversationSid"], "participant_sid": member["ParticipantSid"]}
    moved = classic("participant-updated", at=2, **sids, customer="+15551230009", recipient=OURS)
    assert await world.settle(classic("participant-updated", at=1), moved) == [Result.KNOWN, Result.UPDATED]
    late = classic("participant-updated", at=1.5)
    assert await world.settle(late) == [Result.STALE]
    assert await world.types() == ["joined", "updated"]


async def test_removed_member_leaves_whatever_came_first(world):
    """A removal ends the stay and needs no call; what is told of that SID afterwards is stale, even in one second."""
    added, removed = classic("participant-added"), classic("participant-removed", at=0)
    assert await world.settle(added, removed) == [Result.JOINED, Result.LEFT]
    assert await world.settle(classic("participant-updated", at=0)) == [Result.STALE]
    assert await world.types() == ["joined", "left"]


async def test_removal_before_the_adding(world):
    """A removal that comes first is noted, and the adding behind it announces nobody."""
    results = await world.settle(classic("participant-removed", at=3), classic("participant-added"))
    assert results == [Result.NOTED, Result.STALE]
    assert await world.entries() == []


async def test_rejoining_is_a_new_stay(world):
    """A member that is added again has another SID, and is announced again."""
    await world.settle(classic("participant-added"), classic("participant-removed", at=1))
    sid = dict(classic("participant-added").pairs)["ConversationSid"]
    again = classic("participant-added", at=2, conversation_sid=sid, participant_sid="MB" + "9" * 32)
    assert await world.settle(again) == [Result.JOINED]
    assert await world.types() == ["joined", "left", "joined"]


# --- messages --------------------------------------------------------------------------------------


async def test_message_of_a_member_that_nobody_told_of(told):
    """A message announces its author, with one look at the member; the next one costs nothing."""
    side = await told()
    taken = await side.inbound()
    sids = {"conversation_sid": taken["conversation"]["sid"], "participant_sid": taken["participant"]["sid"]}
    assert await side.world.settle(classic("message-added", **sids)) == [DONE]
    assert await side.world.calls() == {FETCH_MEMBER: 1}
    (entry,) = await side.world.entries()
    assert (entry.data.origin, entry.data.address, entry.data.participant.id) == (
        "found",
        CUSTOMER,
        sids["participant_sid"],
    )
    assert await side.world.settle(classic("message-added", index=1, **sids)) == [Result.KNOWN]
    added = classic("participant-added", **sids, extra={"DateCreated": taken["participant"]["date_created"]})
    assert await side.world.settle(added) == [Result.KNOWN]
    assert await side.world.types() == ["joined"]


@pytest.mark.parametrize("identity", ["ana", "ana@example.com", "+15551230001"])
async def test_message_that_names_its_author_only(told, identity):
    """Without a participant SID the author is looked for among the members, by identity and by address."""
    side = await told()
    conversation = await side.call("POST", "/Conversations")
    await side.join(conversation["sid"], Identity=identity)
    message = classic(
        "message-added",
        identity=identity,
        conversation_sid=conversation["sid"],
        extra={"ParticipantSid": "null"},
    )
    assert await side.world.settle(message) == [DONE]
    assert (await side.world.calls())[LIST_MEMBERS] == 1
    (entry,) = await side.world.entries()
    assert (entry.data.channel, entry.data.address) == ("CHAT", identity)
    again = classic("message-added", identity=identity, conversation_sid=conversation["sid"], index=1)
    assert (await side.world.settle(again))[0] in {Result.KNOWN, DONE}
    assert await side.world.types() == ["joined"]


async def test_message_of_nobody(told):
    """What a REST call wrote in nobody's name is ignored without a call, an unknown author after a look."""
    side = await told()
    conversation = await side.call("POST", "/Conversations")
    nobody = {"ParticipantSid": "null", "Author": "system"}
    message = {"conversation_sid": conversation["sid"], "extra": nobody}
    assert await side.world.settle(classic("message-added", origin="API", **message)) == [Result.IGNORED]
    before = await side.world.total()
    assert await side.world.settle(classic("message-added", index=1, **message)) == [DONE]
    assert await side.world.total() == before + 1
    assert await side.world.entries() == []


# --- conversations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "state"), [("state-updated", "closed"), ("conversation-removed", "active")])
async def test_closing_ends_the_conversation(world, kind, state):
    """A state of closed and a removal close the conversation for its holder; nothing joins it any more."""
    await world.settle(classic("participant-added"))
    assert await world.settle(classic(kind, at=5, state=state)) == [Result.CLOSED]
    assert await world.types() == ["joined", "closed"]
    late = classic("participant-added", at=6, participant_sid="MB" + "9" * 32)
    assert await world.settle(late, classic("message-added", at=6)) == [Result.STALE, Result.STALE]
    (_, entry) = await world.entries()
    assert (entry.data.conversation.status, entry.data.conversation.classic_sid) == ("CLOSED", entry.subject)


async def test_states_that_close_nothing(world):
    """An inactive conversation still holds its members, and what is older than the last state is stale."""
    events = [
        classic("conversation-added", state="initializing"),
        classic("participant-added"),
        classic("state-updated", at=5, state="inactive"),
        classic("state-updated", at=3, state="active"),
        classic("conversation-updated", at=6, state="paused"),
    ]
    results = [Result.NOTED, Result.JOINED, Result.NOTED, Result.STALE, Result.NOTED]
    assert await world.settle(*events) == results
    assert await world.types() == ["joined"]


async def test_what_is_disregarded(world):
    """Deliveries, users and changes of messages change no participant."""
    kinds = ("delivery-updated", "user-added", "user-updated", "message-updated", "message-removed")
    assert await world.settle(*[classic(kind) for kind in kinds]) == [Result.IGNORED] * len(kinds)


# --- Twilio's side: auto-creation, every event often and in any order ---------------------------------------------


@pytest.mark.parametrize("seed", range(6))
async def test_auto_creation_in_any_order(told, seed):
    """Conversation, member and messages, each told three times in any order: one joined."""
    side = await told()
    await side.inbound()
    await side.inbound(body="again")
    webhooks = []
    while len(webhooks) < 4:
        webhooks += await side.hook.take_all("onMessageAdded")
    await side.world.settle(*shuffled(webhooks, seed))
    assert await side.world.types() == ["joined"]


@pytest.mark.parametrize("seed", range(6))
async def test_a_whole_life_in_any_order(told, seed):
    """Whatever the order and however often: who left has left, and nobody is announced twice."""
    side = await told()
    taken = await side.inbound()
    sid, member = taken["conversation"]["sid"], taken["participant"]["sid"]
    await side.join(sid, Identity="bob")
    await side.call("DELETE", f"/Conversations/{sid}/Participants/{member}")
    await side.call("POST", f"/Conversations/{sid}", State="closed")
    webhooks = await side.hook.take_all("onConversationStateUpdated")
    await side.world.settle(*shuffled(webhooks, seed))
    entries = await side.world.entries()
    joined = [entry.subject for entry in entries if entry.type == "participant.joined"]
    assert len(joined) == len(set(joined))
    assert all(entry.data.conversation.id == sid for entry in entries)
    closings = [entry.type for entry in entries].count("conversation.closed")
    assert closings == (1 if joined else 0)
    assert not entries or entries[-1].type == "conversation.closed"


async def test_event_streams_tells_the_same(world):
    """What Event Streams tells of a member announces it too, and the form webhook is then a duplicate."""
    form = dict(classic("participant-added").pairs)
    data = {name: form[name] for name in ("AccountSid", "ConversationSid", "ParticipantSid", "DateCreated")}
    data["MessagingBinding"] = {"Address": CUSTOMER, "ProxyAddress": OURS, "Type": "SMS"}
    event = {"specversion": "1.0", "type": "com.twilio.conversations.participant.added", "id": "EZ1", "data": data}
    streamed = SimulatedWebhook("/webhooks/event-streams", "", "application/json", encode_json([event]))
    assert await world.settle(streamed) == [Result.JOINED]
    assert await world.settle(classic("participant-added")) == []  # the receiver has seen it
    assert await world.types() == ["joined"]


# --- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(404, Done), (429, Later), (503, Later), (401, Later), (403, Later), (400, Poison)],
)
async def test_errors_of_the_api_by_their_class(world, status, verdict):
    """What is gone is ignored by name, what may recover waits, and only what can never succeed is given up."""
    world.resolver = world.make_resolver(retries=0)
    world.fault(status=status)
    (result,) = await world.settle(classic("message-added"))
    assert isinstance(result, verdict)
    world.mend()
    assert await world.entries() == []


async def test_gone_is_told_by_name(world, lines):
    """A member who is not there any more when its message is worked on is ignored, and the log says why."""
    assert await world.settle(classic("message-added")) == [DONE]
    (line,) = lines("event")
    assert (line["result"], line["reason"]) == (
        "ignored",
        "gone: the participant is not in its conversation any more",
    )
    assert CUSTOMER not in str(line)
