"""Classic webhooks: which are sent, signatures, responses to pre-action webhooks; inbound messages and the bridge."""

from __future__ import annotations

import asyncio

import pytest

from router.sandbox.options import DEFAULT_CLASSIC_SERVICE_SID as SERVICE
from tests.sandbox.classic.harness import PAIR, WITH_WEBHOOKS, Classic
from tests.sandbox.harness import basic
from tests.support.accounts import ACCOUNT, CUSTOMER, OURS
from tests.support.waiting import until

EVENTS = tuple(
    f"on{what}{how}"
    for what, hows in {
        "Conversation": ("Add", "Added", "Update", "Updated", "Remove", "Removed", "StateUpdated"),
        "Participant": ("Add", "Added", "Update", "Updated", "Remove", "Removed"),
        "Message": ("Add", "Added"),
        "User": ("Added",),
    }.items()
    for how in hows
)


@pytest.fixture
async def subscribed(start, webhooks):
    """Start a sandbox that sends every event to the receiver."""

    async def begin(**switches):
        given = {
            "classic_webhook_filters": EVENTS,
            "classic_pre_webhook_url": f"{webhooks.url.replace('//', '//user:pass@')}/pre#rc=2",
            "classic_post_webhook_url": f"{webhooks.url}/post?a=1",
        }
        return Classic(await start(**(given | switches)))

    return begin


async def test_rest_calls_send_no_webhooks_by_default(subscribed, webhooks):
    """A REST call sends webhooks only if a header enables them."""
    classic = await subscribed()
    sid = await classic.open()
    await classic.join(sid)
    await classic.form(
        f"/Conversations/{sid}/Participants", {"Identity": "ana"}, **{"X-Twilio-Webhook-Enabled": "false"}
    )
    await classic.sandbox.settled()
    assert webhooks.seen == []


async def test_rest_calls_that_enable_webhooks(subscribed, webhooks):
    """A REST call that enables webhooks sends the post-action ones, and no pre-action ones."""
    classic = await subscribed()
    sid = (await classic.form("/Conversations", {"FriendlyName": "é"}, **WITH_WEBHOOKS)).body["sid"]
    path = f"/Conversations/{sid}/Participants"
    member = (await classic.form(path, {"Identity": "ana"}, **WITH_WEBHOOKS)).body["sid"]
    await classic.form(f"{path}/{member}", {"LastReadMessageIndex": "0"}, **WITH_WEBHOOKS)
    headers = basic() | WITH_WEBHOOKS
    await classic.sandbox.call("DELETE", f"/v1{path}/{member}", headers=headers)
    await classic.form(f"/Conversations/{sid}", {"FriendlyName": "x", "State": "closed"}, **WITH_WEBHOOKS)
    await classic.sandbox.call("DELETE", f"/v1/Conversations/{sid}", headers=headers)
    await classic.sandbox.settled()
    assert webhooks.kinds == [
        "onConversationAdded",
        "onUserAdded",
        "onParticipantAdded",
        "onParticipantUpdated",
        "onParticipantRemoved",
        "onConversationUpdated",
        "onConversationStateUpdated",
        "onConversationRemoved",
    ]
    assert {form["Source"] for _, form in webhooks.seen} == {"API"}
    assert {form["AccountSid"] for _, form in webhooks.seen} == {ACCOUNT}
    assert {path for path, _ in webhooks.seen} == {"/hook/post"}
    added = webhooks.form("onParticipantAdded")
    assert (added["ConversationSid"], added["ParticipantSid"], added["Identity"]) == (sid, member, "ana")
    assert (added["MessagingBinding.Type"], "MessagingBinding.Address" in added) == ("chat", False)
    assert webhooks.form("onParticipantUpdated")["LastReadMessageIndex"] == "0"
    assert "DateRemoved" in webhooks.form("onParticipantRemoved")
    moved = webhooks.form("onConversationStateUpdated")
    assert (moved["StateFrom"], moved["StateTo"], moved["Reason"]) == ("active", "closed", "API")


@pytest.mark.parametrize("filters", [(), ("onMessageAdded",)])
async def test_filters(subscribed, webhooks, filters):
    """An event that is not in the filters is never sent; an empty list sends none."""
    classic = await subscribed(classic_webhook_filters=filters)
    await classic.receive()
    assert webhooks.kinds == list(filters)


async def test_auto_creation(subscribed, webhooks):
    """A message without a conversation opens one: one pre-action webhook, then the others in the documented order."""
    classic = await subscribed()
    taken = await classic.receive()
    assert taken["outcome"] == "created"
    assert webhooks.kinds == ["onConversationAdd", "onConversationAdded", "onParticipantAdded", "onMessageAdded"]
    asked = webhooks.form("onConversationAdd")
    assert (asked["MessagingBinding.Address"], asked["MessagingBinding.ProxyAddress"]) == (CUSTOMER, OURS)
    assert (asked["MessagingBinding.AuthorAddress"], asked["MessageBody"]) == (CUSTOMER, "hello")
    assert asked["ChatServiceSid"] == SERVICE
    assert "ConversationSid" not in asked
    message = webhooks.form("onMessageAdded")
    assert (
        message["ParticipantSid"]
        == taken["participant"]["sid"]
        == webhooks.form("onParticipantAdded")["ParticipantSid"]
    )
    assert (message["Body"], message["Author"], message["Index"], message["Source"]) == ("hello", CUSTOMER, "0", "SDK")
    assert message["MessageSid"].startswith("IM")
    assert await classic.find() == [(taken["conversation"]["sid"], "active")]


async def test_the_next_message(subscribed, webhooks):
    """A message goes to the conversation of its pair, after a pre-action webhook, and makes it active."""
    classic = await subscribed()
    sid = await classic.open()
    await classic.join(sid)
    await classic.post(f"/Conversations/{sid}", State="inactive")
    taken = await classic.receive()
    assert (taken["outcome"], taken["conversation"]["sid"]) == ("added", sid)
    assert webhooks.kinds == ["onMessageAdd", "onConversationStateUpdated", "onMessageAdded"]
    assert webhooks.form("onConversationStateUpdated")["Reason"] == "EVENT"
    assert (await classic.receive(body="again"))["message"]["Index"] == "1"


async def test_traffic_restarts_timers(subscribed):
    """A message restarts the timers."""
    classic = await subscribed()
    sid = await classic.open(Timers__Inactive="PT1M")
    await classic.join(sid)
    for _ in range(3):
        await classic.sandbox.advance(40)
        assert (await classic.receive())["conversation"]["state"] == "active"


async def test_timers_send_webhooks(subscribed, webhooks):
    """A change of state by a timer is sent, with the reason TIMER, when the admin API advances the clock."""
    classic = await subscribed()
    await classic.open(Timers__Inactive="PT1M")
    await classic.sandbox.advance(61)
    await classic.sandbox.settled()
    moved = webhooks.form("onConversationStateUpdated")
    assert (moved["StateTo"], moved["Reason"]) == ("inactive", "TIMER")


async def test_closed_is_not_reopened(subscribed):
    """A message to the pair of a closed conversation opens another one."""
    classic = await subscribed()
    first = (await classic.receive())["conversation"]["sid"]
    await classic.post(f"/Conversations/{first}", State="closed")
    taken = await classic.receive()
    assert taken["outcome"] == "created"
    assert taken["conversation"]["sid"] != first


async def test_without_auto_creation(subscribed, webhooks):
    """With auto-creation off, a message without a conversation is ignored."""
    classic = await subscribed(classic_auto_creation=False)
    assert (await classic.receive()) == {
        "outcome": "ignored",
        "conversation": None,
        "participant": None,
        "message": None,
        "bridged": None,
    }
    assert webhooks.seen == []


async def test_modification(subscribed, webhooks):
    """The response to a pre-action webhook modifies the fields that may be modified, and no others."""
    classic = await subscribed()
    webhooks.answers["onConversationAdd"] = (200, {"friendly_name": "VIP", "state": "closed"})
    webhooks.answers["onMessageAdd"] = (200, {"body": "•••", "author": "hidden", "attributes": 7, "index": "9"})
    assert (await classic.receive())["conversation"]["friendly_name"] == "VIP"
    message = (await classic.receive(body="secret"))["message"]
    assert (message["Body"], message["Author"], message["Attributes"], message["Index"]) == ("•••", "hidden", "{}", "1")
    assert webhooks.form("onConversationAdded")["State"] == "active"
    assert [form["Body"] for _, form in webhooks.seen if form["EventType"] == "onMessageAdded"] == ["hello", "•••"]


async def test_modification_by_a_text_that_is_cut(subscribed, webhooks):
    """Half of a surrogate pair in a response is U+FFFD."""
    classic = await subscribed()
    await classic.receive()
    webhooks.answers["onMessageAdd"] = rb'{"body": "hi \ud83d"}'
    assert (await classic.receive())["message"]["Body"] == "hi \ufffd"


@pytest.mark.parametrize("answer", [b"", b"<Response/>", (200, [1]), (302, {})])
async def test_other_answers_change_nothing(subscribed, webhooks, answer):
    """A response that is neither a JSON object nor a refusal changes nothing."""
    classic = await subscribed()
    webhooks.answers["onConversationAdd"] = answer
    taken = await classic.receive()
    assert (taken["outcome"], taken["conversation"]["friendly_name"]) == ("created", None)


@pytest.mark.parametrize("status", [403, 500])
async def test_rejection(subscribed, webhooks, status):
    """A rejected conversation is not opened, a rejected message is not published."""
    classic = await subscribed()
    webhooks.answers["onConversationAdd"] = (status, {})
    assert (await classic.receive())["outcome"] == "rejected"
    assert await classic.find() == []
    sid = await classic.open()
    await classic.join(sid)
    webhooks.answers["onMessageAdd"] = (status, {})
    assert (await classic.receive())["outcome"] == "rejected"
    assert webhooks.kinds == ["onConversationAdd", "onMessageAdd"]


async def test_fail_open(subscribed, webhooks):
    """Without a response in time the change proceeds unmodified."""
    classic = await subscribed(classic_webhook_timeout_seconds=0.05)
    webhooks.answers["onConversationAdd"] = "hang"
    assert (await classic.receive())["outcome"] == "created"


async def test_no_receiver(subscribed):
    """Without a receiver every change proceeds, and each event is counted as failed once."""
    classic = await subscribed(
        classic_pre_webhook_url="http://127.0.0.1:1/", classic_post_webhook_url="http://127.0.0.1:1/"
    )
    assert (await classic.receive())["outcome"] == "created"
    assert classic.sandbox.state.classic_webhooks.counts["failed"] == 3


async def test_pre_action_webhooks_of_rest_calls(subscribed, webhooks):
    """With its switch on, REST calls that enable webhooks send the pre-action ones too; a rejection is 50056."""
    classic = await subscribed(classic_pre_for_api_writes=True)
    webhooks.answers["onConversationAdd"] = (200, {"friendly_name": "VIP"})
    made = (await classic.form("/Conversations", {"FriendlyName": "x"}, **WITH_WEBHOOKS)).body
    assert made["friendly_name"] == "VIP"
    webhooks.answers["onParticipantAdd"] = (400, {})
    path = f"/Conversations/{made['sid']}/Participants"
    answer = await classic.form(path, PAIR, **WITH_WEBHOOKS)
    assert (answer.status, answer.body["code"]) == (400, 50056)
    assert (await classic.form(path, PAIR)).status == 201
    await classic.form(f"/Conversations/{made['sid']}", {"Attributes": "{}"}, **WITH_WEBHOOKS)
    await classic.sandbox.settled()
    assert [kind for kind in webhooks.kinds if not kind.endswith("ed")] == [
        "onConversationAdd",
        "onParticipantAdd",
        "onConversationUpdate",
    ]
    asked = webhooks.form("onParticipantAdd")
    assert (asked["MessagingBinding.Address"], "ParticipantSid" in asked) == (CUSTOMER, False)


async def test_messages_at_once(subscribed, webhooks):
    """Of many first messages of a customer at once, one opens the conversation, and all are in it."""
    classic = await subscribed()
    bodies = ({"from": CUSTOMER, "to": OURS, "body": str(number)} for number in range(20))
    answers = await asyncio.gather(*(classic.sandbox.post("/sandbox/classic/inbound", body) for body in bodies))
    await classic.sandbox.settled()
    assert sorted(each.status for each in answers) == [200] * 19 + [201]
    assert len({each.body["conversation"]["sid"] for each in answers}) == 1
    assert sorted(int(each.body["message"]["Index"]) for each in answers) == list(range(20))
    assert webhooks.kinds.count("onConversationAdded") == webhooks.kinds.count("onParticipantAdded") == 1
    assert webhooks.kinds.count("onMessageAdded") == 20


async def test_a_conversation_that_closes_meanwhile(subscribed, webhooks):
    """A message whose conversation closes during the pre-action webhook opens another one."""
    classic = await subscribed()
    first = (await classic.receive())["conversation"]["sid"]
    webhooks.answers["onMessageAdd"] = "hang"
    sending = asyncio.create_task(classic.receive())
    await until(lambda: "onMessageAdd" in webhooks.kinds)
    await classic.post(f"/Conversations/{first}", State="closed")
    webhooks.released.set()
    taken = await sending
    assert (taken["outcome"], taken["message"]["Index"]) == ("created", "0")
    assert taken["conversation"]["sid"] != first


async def test_a_conversation_that_opens_meanwhile(subscribed, webhooks):
    """A message whose pair is bound during the pre-action webhook goes to the conversation that bound it."""
    classic = await subscribed()
    webhooks.answers["onConversationAdd"] = "hang"
    sending = asyncio.create_task(classic.receive())
    await until(lambda: "onConversationAdd" in webhooks.kinds)
    sid = await classic.open()
    await classic.join(sid)
    webhooks.released.set()
    taken = await sending
    assert (taken["outcome"], taken["conversation"]["sid"]) == ("added", sid)


async def test_a_chat_user_writes(subscribed, webhooks):
    """The webhook of a chat user's message has its identity; a user who is not a member may not write."""
    classic = await subscribed()
    sid = await classic.open()
    await classic.join(sid, Identity="ana")
    taken = await classic.receive(conversation=sid, identity="ana", body="hi")
    assert (taken["outcome"], taken["message"]["Author"]) == ("added", "ana")
    assert webhooks.form("onMessageAdded")["ClientIdentity"] == "ana"
    for body, status, code in (
        ({"conversation": sid, "identity": "bo"}, 403, 50430),
        ({"conversation": "CH1", "identity": "ana"}, 404, 50350),
        ({"from": CUSTOMER}, 400, 20001),
        ({"from": CUSTOMER, "to": OURS, "conversation": sid, "identity": "ana"}, 400, 20001),
    ):
        answer = await classic.sandbox.post("/sandbox/classic/inbound", body)
        assert (answer.status, answer.body["code"]) == (status, code)
    await classic.post(f"/Conversations/{sid}", State="closed")
    answer = await classic.sandbox.post("/sandbox/classic/inbound", {"conversation": sid, "identity": "ana"})
    assert answer.body["code"] == 50377


@pytest.mark.parametrize(
    ("address", "proxy", "channel"),
    [
        (CUSTOMER, OURS, "SMS"),
        (f"whatsapp:{CUSTOMER}", f"whatsapp:{OURS}", "WHATSAPP"),
        ("ana@example.com", "us@example.com", "EMAIL"),
    ],
)
async def test_bridge(subscribed, address, proxy, channel):
    """A bridged message is captured into v2 as well, where the classic conversation's SID finds it."""
    classic = await subscribed(classic_bridge=True)
    taken = await classic.receive(**{"from": address, "to": proxy})
    sid = taken["conversation"]["sid"]
    found = (await classic.sandbox.get("/v2/Conversations", params={"channelId": sid})).body["conversations"]
    assert [each["id"] for each in found] == [taken["bridged"]["id"]]
    sides = {each["type"]: each["addresses"][0] for each in found[0]["participants"]}
    assert (sides["CUSTOMER"]["channel"], sides["CUSTOMER"]["address"]) == (channel, address)
    again = await classic.receive(**{"from": address, "to": proxy})
    assert again["bridged"]["id"] == taken["bridged"]["id"]


async def test_bridge_of_a_chat_user(subscribed):
    """The address of a bridged chat user carries the classic conversation's SID."""
    bridged = {
        "id": "conv_configuration_0000000000000000000000000b",
        "conversationsV1Bridge": {"serviceId": SERVICE},
    }
    plain = {"id": "conv_configuration_0000000000000000000000000a"}
    classic = await subscribed(classic_bridge=True, configurations=(plain, bridged))
    sid = await classic.open()
    await classic.join(sid, Identity="ana")
    taken = (await classic.receive(conversation=sid, identity="ana", body="hi"))["bridged"]
    addresses = [address for each in taken["participants"] for address in each["addresses"]]
    assert {"channel": "CHAT", "address": "ana", "channelId": sid} in addresses
    assert taken["configurationId"] == bridged["id"]


async def test_duplicates_and_drops(subscribed, webhooks):
    """The switches for duplicates and drops apply to classic webhooks too."""
    classic = await subscribed(callback_duplicates=2)
    await classic.receive()
    assert webhooks.kinds.count("onMessageAdded") == 3
    await classic.sandbox.switch(callback_drop_fraction=1.0)
    await classic.receive()
    assert webhooks.kinds.count("onMessageAdded") == 3


async def test_reset_drops_pending_webhooks(subscribed, webhooks):
    """Reset drops pending webhooks; later events are sent."""
    classic = await subscribed()
    await classic.sandbox.switch(callback_delay_seconds=3600)
    sid = (await classic.form("/Conversations", {}, **WITH_WEBHOOKS)).body["sid"]
    await classic.form(f"/Conversations/{sid}", {"FriendlyName": "x"}, **WITH_WEBHOOKS)
    await classic.sandbox.post("/sandbox/reset")
    assert classic.sandbox.state.classic_webhooks.pending == 0
    await classic.receive()
    assert webhooks.kinds == ["onConversationAdd", "onConversationAdded", "onParticipantAdded", "onMessageAdded"]
    assert sid not in {form.get("ConversationSid") for _, form in webhooks.seen}
