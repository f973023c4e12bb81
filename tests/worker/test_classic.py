"""Classic conversations without a bridge: the members that are announced, by which event, and the requests needed."""

import pytest

from router.core.keys import Target
from router.core.ledger.marker import Result
from router.core.resources import ParticipantType
from router.simulator.messages import SimulatedWebhook
from router.streams.delivery import Done, Later, Poison
from tests.inbound.samples import encode_json
from tests.support.accounts import ACCOUNT, CUSTOMER, DESK, OURS
from tests.support.policies import DESK_RULE, EVERYBODY, NOBODY, PLAIN
from tests.worker.classic_harness import POST_EVENTS, Classic, classic, shuffled, start_hook

DONE = Done()
FETCH_MEMBER = "GET /v1/Conversations/{conversation}/Participants/{participant}"
LIST_MEMBERS = "GET /v1/Conversations/{conversation}/Participants"


@pytest.fixture
async def hook():
    async for hook in start_hook():
        yield hook


@pytest.fixture
async def make_side(make_harness, hook):
    """Return a function that makes Twilio's side of a harness whose sandbox sends classic webhooks."""

    async def make(**switches):
        switches = {"classic_post_webhook_url": hook.url, "classic_webhook_filters": POST_EVENTS} | switches
        return Classic(await make_harness(**switches), hook)

    return make


# --- participants ----------------------------------------------------------------------------------


async def test_an_added_customer_is_announced_without_a_request(harness):
    """An added customer is announced under its classic SIDs from the webhook alone."""
    assert await harness.settle(classic("participant-added")) == [Result.JOINED]
    assert await harness.total() == 0
    (entry,) = await harness.entries()
    data = entry.data
    assert (data.origin, data.channel, data.address, data.recipient.address) == ("announced", "SMS", CUSTOMER, OURS)
    assert data.conversation.id == data.conversation.classic_sid == data.participant.conversation_id
    assert data.conversation.id.startswith("CH")
    assert data.participant.id.startswith("MB")
    assert (data.conversation.configuration_id, data.participant.type) == (None, ParticipantType.CUSTOMER)
    assert data.participant.addresses[0].channel_id == data.conversation.id
    assert data.cause.source == "classic"


async def test_the_proxy_address_is_the_recipient(make_harness):
    """Rules on the recipient see the proxy address."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    await harness.settle(classic("participant-added", recipient=DESK))
    (entry,) = await harness.entries(Target.HUMAN_AGENT)
    assert entry.data.recipient.address == DESK


async def test_a_chat_user_is_announced_as_unknown(harness):
    """A chat user is announced on CHAT with its identity, as UNKNOWN."""
    assert await harness.settle(classic("participant-added", identity="ana")) == [Result.JOINED]
    (entry,) = await harness.entries()
    assert (entry.data.channel, entry.data.address, entry.data.participant.type) == ("CHAT", "ana", "UNKNOWN")


async def test_a_chat_user_of_ours_is_ignored(make_harness):
    """A chat user with an identity of ours is ignored, even if another process has just stored it."""
    harness = await make_harness(policy=EVERYBODY)
    await harness.settle(classic("participant-added"))
    await harness.redis.zadd(harness.keys.own_addresses(ACCOUNT), {"CHAT|ai-agent": 1})
    added, wrote = (classic(kind, identity="ai-agent") for kind in ("participant-added", "message-added"))
    assert await harness.settle(added, wrote) == [Result.IGNORED, Result.IGNORED]
    assert await harness.types() == ["joined"]
    assert await harness.total() == 0


async def test_a_projected_number_of_ours_is_an_agent(harness):
    """A chat user with a projected number of ours is an agent and is ignored, as are its messages."""
    scene = {"identity": "bob", "projected": OURS, "conversation_sid": "CH" + "1" * 32, "participant_sid": "MB1"}
    events = [classic("participant-added", **scene), classic("message-added", **scene)]
    assert await harness.settle(*events) == [Result.IGNORED, Result.IGNORED]
    assert (await harness.entries(), await harness.total()) == ([], 0)


async def test_a_customer_without_a_target_is_ignored(make_harness):
    """A customer that the policy gives no target is ignored."""
    harness = await make_harness(policy=NOBODY)
    assert await harness.settle(classic("participant-added")) == [Result.IGNORED]


async def test_a_member_that_the_webhook_omits_is_fetched(make_side):
    """A webhook without binding and identity needs one request for the member."""
    side = await make_side()
    taken = await side.inbound()
    sids = {"conversation_sid": taken["conversation"]["sid"], "participant_sid": taken["participant"]["sid"]}
    bare = dict.fromkeys(("MessagingBinding.Address", "MessagingBinding.ProxyAddress"), "null")
    assert await side.harness.settle(classic("participant-added", **sids, extra=bare)) == [DONE]
    assert await side.harness.calls() == {FETCH_MEMBER: 1}
    (entry,) = await side.harness.entries()
    assert (entry.data.origin, entry.data.address, entry.data.recipient.address) == ("announced", CUSTOMER, OURS)
    assert await side.harness.settle(classic("message-added", **sids)) == [Result.KNOWN]


async def test_a_new_address_of_a_member_is_an_update(harness):
    """A new address is published as an update; another change is not, and an older one is stale."""
    await harness.settle(classic("participant-added"))
    member = dict(classic("participant-added").pairs)
    sids = {"conversation_sid": member["ConversationSid"], "participant_sid": member["ParticipantSid"]}
    moved = classic("participant-updated", at=2, **sids, customer="+15551230009", recipient=OURS)
    assert await harness.settle(classic("participant-updated", at=1), moved) == [Result.KNOWN, Result.UPDATED]
    late = classic("participant-updated", at=1.5)
    assert await harness.settle(late) == [Result.STALE]
    assert await harness.types() == ["joined", "updated"]


async def test_a_removed_member_leaves(harness):
    """A removal ends the stay without a request; an update of the same second is stale."""
    added, removed = classic("participant-added"), classic("participant-removed", at=0)
    assert await harness.settle(added, removed) == [Result.JOINED, Result.LEFT]
    assert await harness.settle(classic("participant-updated", at=0)) == [Result.STALE]
    assert await harness.types() == ["joined", "left"]


async def test_an_addition_after_its_removal_is_stale(harness):
    """A member whose removal arrives first is never announced."""
    results = await harness.settle(classic("participant-removed", at=3), classic("participant-added"))
    assert results == [Result.NOTED, Result.STALE]
    assert await harness.entries() == []


async def test_a_member_that_returns_is_announced_again(harness):
    """A member that is added again has another SID and is announced again."""
    await harness.settle(classic("participant-added"), classic("participant-removed", at=1))
    sid = dict(classic("participant-added").pairs)["ConversationSid"]
    again = classic("participant-added", at=2, conversation_sid=sid, participant_sid="MB" + "9" * 32)
    assert await harness.settle(again) == [Result.JOINED]
    assert await harness.types() == ["joined", "left", "joined"]


# --- messages --------------------------------------------------------------------------------------


async def test_a_message_announces_an_unknown_author(make_side):
    """A message of an unknown member needs one request and announces it; the next one needs none."""
    side = await make_side()
    taken = await side.inbound()
    sids = {"conversation_sid": taken["conversation"]["sid"], "participant_sid": taken["participant"]["sid"]}
    assert await side.harness.settle(classic("message-added", **sids)) == [DONE]
    assert await side.harness.calls() == {FETCH_MEMBER: 1}
    (entry,) = await side.harness.entries()
    assert (entry.data.origin, entry.data.address, entry.data.participant.id) == (
        "found",
        CUSTOMER,
        sids["participant_sid"],
    )
    assert await side.harness.settle(classic("message-added", index=1, **sids)) == [Result.KNOWN]
    added = classic("participant-added", **sids, extra={"DateCreated": taken["participant"]["date_created"]})
    assert await side.harness.settle(added) == [Result.KNOWN]
    assert await side.harness.types() == ["joined"]


@pytest.mark.parametrize("identity", ["ana", "ana@example.com", "+15551230001"])
async def test_an_author_without_sid_is_found_among_the_members(make_side, identity):
    """The author of a message without a participant SID is found by identity or address."""
    side = await make_side()
    conversation = await side.call("POST", "/Conversations")
    await side.join(conversation["sid"], Identity=identity)
    message = classic(
        "message-added",
        identity=identity,
        conversation_sid=conversation["sid"],
        extra={"ParticipantSid": "null"},
    )
    assert await side.harness.settle(message) == [DONE]
    assert (await side.harness.calls())[LIST_MEMBERS] == 1
    (entry,) = await side.harness.entries()
    assert (entry.data.channel, entry.data.address) == ("CHAT", identity)
    again = classic("message-added", identity=identity, conversation_sid=conversation["sid"], index=1)
    assert (await side.harness.settle(again))[0] in {Result.KNOWN, DONE}
    assert await side.harness.types() == ["joined"]


async def test_a_message_of_no_member_is_ignored(make_side):
    """A message that no member wrote is ignored; one from the API without a request."""
    side = await make_side()
    conversation = await side.call("POST", "/Conversations")
    no_member = {"ParticipantSid": "null", "Author": "system"}
    message = {"conversation_sid": conversation["sid"], "extra": no_member}
    assert await side.harness.settle(classic("message-added", origin="API", **message)) == [Result.IGNORED]
    before = await side.harness.total()
    assert await side.harness.settle(classic("message-added", index=1, **message)) == [DONE]
    assert await side.harness.total() == before + 1
    assert await side.harness.entries() == []


# --- conversations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "state"), [("state-updated", "closed"), ("conversation-removed", "active")])
async def test_a_closing_is_published(harness, kind, state):
    """A closed state or a removal closes the conversation; later events are stale."""
    await harness.settle(classic("participant-added"))
    assert await harness.settle(classic(kind, at=5, state=state)) == [Result.CLOSED]
    assert await harness.types() == ["joined", "closed"]
    late = classic("participant-added", at=6, participant_sid="MB" + "9" * 32)
    assert await harness.settle(late, classic("message-added", at=6)) == [Result.STALE, Result.STALE]
    (_, entry) = await harness.entries()
    assert (entry.data.conversation.status, entry.data.conversation.classic_sid) == ("CLOSED", entry.subject)


async def test_other_states_are_noted(harness):
    """Other states are noted, unless they are older than the last one."""
    events = [
        classic("conversation-added", state="initializing"),
        classic("participant-added"),
        classic("state-updated", at=5, state="inactive"),
        classic("state-updated", at=3, state="active"),
        classic("conversation-updated", at=6, state="paused"),
    ]
    results = [Result.NOTED, Result.JOINED, Result.NOTED, Result.STALE, Result.NOTED]
    assert await harness.settle(*events) == results
    assert await harness.types() == ["joined"]


async def test_irrelevant_event_types_are_ignored(harness):
    """Events about deliveries, users and changes of messages are ignored."""
    kinds = ("delivery-updated", "user-added", "user-updated", "message-updated", "message-removed")
    assert await harness.settle(*[classic(kind) for kind in kinds]) == [Result.IGNORED] * len(kinds)


# --- Twilio's side: auto-creation, every event often and in any order ---------------------------------------------


@pytest.mark.parametrize("seed", range(6))
async def test_auto_creation_in_any_order_announces_once(make_side, seed):
    """The events of an automatic creation, three times each in any order, announce the customer once."""
    side = await make_side()
    await side.inbound()
    await side.inbound(body="again")
    webhooks = []
    while len(webhooks) < 4:
        webhooks += await side.hook.take_all("onMessageAdded")
    await side.harness.settle(*shuffled(webhooks, seed))
    assert await side.harness.types() == ["joined"]


@pytest.mark.parametrize("seed", range(6))
async def test_a_whole_conversation_in_any_order_announces_once(make_side, seed):
    """All events of a conversation, three times each in any order, announce each member at most once."""
    side = await make_side()
    taken = await side.inbound()
    sid, member = taken["conversation"]["sid"], taken["participant"]["sid"]
    await side.join(sid, Identity="bob")
    await side.call("DELETE", f"/Conversations/{sid}/Participants/{member}")
    await side.call("POST", f"/Conversations/{sid}", State="closed")
    webhooks = await side.hook.take_all("onConversationStateUpdated")
    await side.harness.settle(*shuffled(webhooks, seed))
    entries = await side.harness.entries()
    joined = [entry.subject for entry in entries if entry.type == "participant.joined"]
    assert len(joined) == len(set(joined))
    assert all(entry.data.conversation.id == sid for entry in entries)
    closings = [entry.type for entry in entries].count("conversation.closed")
    assert closings == (1 if joined else 0)
    assert not entries or entries[-1].type == "conversation.closed"


async def test_a_member_from_event_streams_is_announced_once(harness):
    """Event Streams announces a member, and the form webhook is then a duplicate."""
    form = dict(classic("participant-added").pairs)
    data = {name: form[name] for name in ("AccountSid", "ConversationSid", "ParticipantSid", "DateCreated")}
    data["MessagingBinding"] = {"Address": CUSTOMER, "ProxyAddress": OURS, "Type": "SMS"}
    event = {"specversion": "1.0", "type": "com.twilio.conversations.participant.added", "id": "EZ1", "data": data}
    streamed = SimulatedWebhook("/webhooks/event-streams", "", "application/json", encode_json([event]))
    assert await harness.settle(streamed) == [Result.JOINED]
    assert await harness.settle(classic("participant-added")) == []  # it is a duplicate for the receiver
    assert await harness.types() == ["joined"]


# --- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(404, Done), (429, Later), (503, Later), (401, Later), (403, Later), (400, Poison)],
)
async def test_errors_are_judged_by_their_class(harness, status, verdict):
    """404 ends the event, an outage makes it wait, and only a refusal is poison."""
    harness.resolver = harness.make_resolver(retries=0)
    harness.fault(status=status)
    (result,) = await harness.settle(classic("message-added"))
    assert isinstance(result, verdict)
    harness.clear_faults()
    assert await harness.entries() == []


async def test_a_message_of_a_member_that_is_gone_is_ignored(harness, lines):
    """A message of a member that is gone is ignored with the reason."""
    assert await harness.settle(classic("message-added")) == [DONE]
    (line,) = lines("event")
    assert (line["result"], line["reason"]) == (
        "ignored",
        "gone: the participant is no longer in the conversation",
    )
    assert CUSTOMER not in str(line)
