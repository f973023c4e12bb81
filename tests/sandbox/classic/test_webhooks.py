"""Classic webhooks: which fire, how they are signed, what a pre-action answer does; inbound messages and the bridge."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl

import pytest
from aiohttp import web
from twilio.request_validator import RequestValidator

from router.sandbox.options import DEFAULT_CLASSIC_SERVICE_SID as SERVICE
from tests.sandbox.classic.test_api import PAIR, Classic
from tests.sandbox.harness import ACCOUNT, CUSTOMER, OURS, TOKEN, basic, start_site
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
TOLD = {"X-Twilio-Webhook-Enabled": "true"}


class Hook:
    """Takes classic webhooks; `answers` maps an event to what is answered to it."""

    def __init__(self):
        self.url, self.seen, self.answers, self.over = "", [], {}, asyncio.Event()

    async def take(self, request):
        body = (await request.read()).decode()
        form = dict(parse_qsl(body, keep_blank_values=True))
        url = self.url.rpartition("/")[0] + request.raw_path
        validator = RequestValidator(TOKEN)
        assert validator.validate(url, form, request.headers["X-Twilio-Signature"])
        self.seen.append((request.path, form))
        answer = self.answers.get(form["EventType"], (200, {}))
        if answer == "hang":
            await self.over.wait()
            return web.Response()
        return (
            web.json_response(answer[1], status=answer[0]) if isinstance(answer, tuple) else web.Response(body=answer)
        )

    @property
    def kinds(self):
        return [form["EventType"] for _, form in self.seen]

    def form(self, kind):
        return next(form for _, form in self.seen if form["EventType"] == kind)


@pytest.fixture
async def hook():
    hook = Hook()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", hook.take)
    runner, url = await start_site(app)
    hook.url = f"{url}/hook"
    yield hook
    hook.over.set()
    await runner.cleanup()


@pytest.fixture
async def told(start, hook):
    """A sandbox that tells the hook of everything."""

    async def begin(**switches):
        given = {
            "classic_webhook_filters": EVENTS,
            "classic_pre_webhook_url": f"{hook.url.replace('//', '//user:pass@')}/pre#rc=2",
            "classic_post_webhook_url": f"{hook.url}/post?a=1",
        }
        return Classic(await start(**(given | switches)))

    return begin


async def settled(classic):
    await until(lambda: classic.sandbox.state.classic_webhooks.pending == 0)


async def inbound(classic, **body):
    given = {"from": CUSTOMER, "to": OURS, "body": "hello"} if "conversation" not in body else {}
    answer = await classic.sandbox.post("/sandbox/classic/inbound", given | body)
    assert answer.status in {200, 201}, answer.raw
    await settled(classic)
    return answer.body


async def test_own_calls_are_silent(told, hook):
    """What REST calls do is not told, unless they ask for it."""
    classic = await told()
    sid = await classic.open()
    await classic.join(sid)
    await classic.form(
        f"/Conversations/{sid}/Participants", {"Identity": "ana"}, **{"X-Twilio-Webhook-Enabled": "false"}
    )
    await settled(classic)
    assert hook.seen == []


async def test_own_calls_that_ask(told, hook):
    """A REST call that enables webhooks is told after it happened, and nobody is asked before."""
    classic = await told()
    sid = (await classic.form("/Conversations", {"FriendlyName": "é"}, **TOLD)).body["sid"]
    path = f"/Conversations/{sid}/Participants"
    member = (await classic.form(path, {"Identity": "ana"}, **TOLD)).body["sid"]
    await classic.form(f"{path}/{member}", {"LastReadMessageIndex": "0"}, **TOLD)
    headers = basic() | TOLD
    await classic.sandbox.call("DELETE", f"/v1{path}/{member}", headers=headers)
    await classic.form(f"/Conversations/{sid}", {"FriendlyName": "x", "State": "closed"}, **TOLD)
    await classic.sandbox.call("DELETE", f"/v1/Conversations/{sid}", headers=headers)
    await settled(classic)
    assert hook.kinds == [
        "onConversationAdded",
        "onUserAdded",
        "onParticipantAdded",
        "onParticipantUpdated",
        "onParticipantRemoved",
        "onConversationUpdated",
        "onConversationStateUpdated",
        "onConversationRemoved",
    ]
    assert {form["Source"] for _, form in hook.seen} == {"API"}
    assert {form["AccountSid"] for _, form in hook.seen} == {ACCOUNT}
    assert {path for path, _ in hook.seen} == {"/hook/post"}
    added = hook.form("onParticipantAdded")
    assert (added["ConversationSid"], added["ParticipantSid"], added["Identity"]) == (sid, member, "ana")
    assert (added["MessagingBinding.Type"], "MessagingBinding.Address" in added) == ("chat", False)
    assert hook.form("onParticipantUpdated")["LastReadMessageIndex"] == "0"
    assert "DateRemoved" in hook.form("onParticipantRemoved")
    moved = hook.form("onConversationStateUpdated")
    assert (moved["StateFrom"], moved["StateTo"], moved["Reason"]) == ("active", "closed", "API")


@pytest.mark.parametrize("filters", [(), ("onMessageAdded",)])
async def test_filters(told, hook, filters):
    """An event that is not in the filters never fires; an empty list is none."""
    classic = await told(classic_webhook_filters=filters)
    await inbound(classic)
    assert hook.kinds == list(filters)


async def test_auto_creation(told, hook):
    """A message of a stranger opens a conversation: asked once, then told in the documented order."""
    classic = await told()
    taken = await inbound(classic)
    assert taken["outcome"] == "created"
    assert hook.kinds == ["onConversationAdd", "onConversationAdded", "onParticipantAdded", "onMessageAdded"]
    asked = hook.form("onConversationAdd")
    assert (asked["MessagingBinding.Address"], asked["MessagingBinding.ProxyAddress"]) == (CUSTOMER, OURS)
    assert (asked["MessagingBinding.AuthorAddress"], asked["MessageBody"]) == (CUSTOMER, "hello")
    assert asked["ChatServiceSid"] == SERVICE
    assert "ConversationSid" not in asked
    message = hook.form("onMessageAdded")
    assert message["ParticipantSid"] == taken["participant"]["sid"] == hook.form("onParticipantAdded")["ParticipantSid"]
    assert (message["Body"], message["Author"], message["Index"], message["Source"]) == ("hello", CUSTOMER, "0", "SDK")
    assert message["MessageSid"].startswith("IM")
    assert await classic.find() == [(taken["conversation"]["sid"], "active")]


async def test_the_next_message(told, hook):
    """A message goes where its pair is bound, is asked about, and wakes an inactive conversation."""
    classic = await told()
    sid = await classic.open()
    await classic.join(sid)
    await classic.post(f"/Conversations/{sid}", State="inactive")
    taken = await inbound(classic)
    assert (taken["outcome"], taken["conversation"]["sid"]) == ("added", sid)
    assert hook.kinds == ["onMessageAdd", "onConversationStateUpdated", "onMessageAdded"]
    assert hook.form("onConversationStateUpdated")["Reason"] == "EVENT"
    assert (await inbound(classic, body="again"))["message"]["Index"] == "1"


async def test_traffic_holds_timers_off(told):
    """A message begins the timers anew."""
    classic = await told()
    sid = await classic.open(Timers__Inactive="PT1M")
    await classic.join(sid)
    for _ in range(3):
        await classic.sandbox.post("/sandbox/clock", {"advanceSeconds": 40})
        assert (await inbound(classic))["conversation"]["state"] == "active"


async def test_timers_are_told(told, hook):
    """A state that a timer changes is told, with TIMER as reason, when the admin API moves the clock."""
    classic = await told()
    await classic.open(Timers__Inactive="PT1M")
    await classic.sandbox.post("/sandbox/clock", {"advanceSeconds": 61})
    await settled(classic)
    moved = hook.form("onConversationStateUpdated")
    assert (moved["StateTo"], moved["Reason"]) == ("inactive", "TIMER")


async def test_closed_is_not_reopened(told):
    """A message to a pair of a closed conversation opens another."""
    classic = await told()
    first = (await inbound(classic))["conversation"]["sid"]
    await classic.post(f"/Conversations/{first}", State="closed")
    taken = await inbound(classic)
    assert taken["outcome"] == "created"
    assert taken["conversation"]["sid"] != first


async def test_without_auto_creation(told, hook):
    """With auto-creation off a stranger's message is not taken."""
    classic = await told(classic_auto_creation=False)
    assert (await inbound(classic)) == {
        "outcome": "ignored",
        "conversation": None,
        "participant": None,
        "message": None,
        "bridged": None,
    }
    assert hook.seen == []


async def test_modification(told, hook):
    """What may be changed is published changed, and nothing else is."""
    classic = await told()
    hook.answers["onConversationAdd"] = (200, {"friendly_name": "VIP", "state": "closed"})
    hook.answers["onMessageAdd"] = (200, {"body": "•••", "author": "hidden", "attributes": 7, "index": "9"})
    assert (await inbound(classic))["conversation"]["friendly_name"] == "VIP"
    message = (await inbound(classic, body="secret"))["message"]
    assert (message["Body"], message["Author"], message["Attributes"], message["Index"]) == ("•••", "hidden", "{}", "1")
    assert hook.form("onConversationAdded")["State"] == "active"
    assert [form["Body"] for _, form in hook.seen if form["EventType"] == "onMessageAdded"] == ["hello", "•••"]


@pytest.mark.parametrize("answer", [b"", b"<Response/>", (200, [1]), (302, {})])
async def test_other_answers_change_nothing(told, hook, answer):
    """What is no JSON object, and no refusal, lets everything pass unchanged."""
    classic = await told()
    hook.answers["onConversationAdd"] = answer
    taken = await inbound(classic)
    assert (taken["outcome"], taken["conversation"]["friendly_name"]) == ("created", None)


@pytest.mark.parametrize("status", [403, 500])
async def test_rejection(told, hook, status):
    """A refused conversation loses its message, a refused message is not published."""
    classic = await told()
    hook.answers["onConversationAdd"] = (status, {})
    assert (await inbound(classic))["outcome"] == "rejected"
    assert await classic.find() == []
    sid = await classic.open()
    await classic.join(sid)
    hook.answers["onMessageAdd"] = (status, {})
    assert (await inbound(classic))["outcome"] == "rejected"
    assert hook.kinds == ["onConversationAdd", "onMessageAdd"]


async def test_fail_open(told, hook):
    """No answer in time lets everything pass unchanged."""
    classic = await told(classic_webhook_timeout_seconds=0.05)
    hook.answers["onConversationAdd"] = "hang"
    assert (await inbound(classic))["outcome"] == "created"


async def test_nobody_listens(told):
    """A hook that is not there lets everything pass, and its events are counted as failed, once each."""
    classic = await told(classic_pre_webhook_url="http://127.0.0.1:1/", classic_post_webhook_url="http://127.0.0.1:1/")
    assert (await inbound(classic))["outcome"] == "created"
    assert classic.sandbox.state.classic_webhooks.counts["failed"] == 3


async def test_asking_about_rest_calls(told, hook):
    """With its switch on, REST calls that enable webhooks are asked about too, and can be refused: 50056."""
    classic = await told(classic_pre_for_api_writes=True)
    hook.answers["onConversationAdd"] = (200, {"friendly_name": "VIP"})
    made = (await classic.form("/Conversations", {"FriendlyName": "x"}, **TOLD)).body
    assert made["friendly_name"] == "VIP"
    hook.answers["onParticipantAdd"] = (400, {})
    path = f"/Conversations/{made['sid']}/Participants"
    answer = await classic.form(path, PAIR, **TOLD)
    assert (answer.status, answer.body["code"]) == (400, 50056)
    assert (await classic.form(path, PAIR)).status == 201
    await classic.form(f"/Conversations/{made['sid']}", {"Attributes": "{}"}, **TOLD)
    await settled(classic)
    assert [kind for kind in hook.kinds if not kind.endswith("ed")] == [
        "onConversationAdd",
        "onParticipantAdd",
        "onConversationUpdate",
    ]
    asked = hook.form("onParticipantAdd")
    assert (asked["MessagingBinding.Address"], "ParticipantSid" in asked) == (CUSTOMER, False)


async def test_messages_at_once(told, hook):
    """Of many first messages of one customer at once one opens the conversation, and all are in it."""
    classic = await told()
    bodies = ({"from": CUSTOMER, "to": OURS, "body": str(number)} for number in range(20))
    answers = await asyncio.gather(*(classic.sandbox.post("/sandbox/classic/inbound", body) for body in bodies))
    await settled(classic)
    assert sorted(each.status for each in answers) == [200] * 19 + [201]
    assert len({each.body["conversation"]["sid"] for each in answers}) == 1
    assert sorted(int(each.body["message"]["Index"]) for each in answers) == list(range(20))
    assert hook.kinds.count("onConversationAdded") == hook.kinds.count("onParticipantAdded") == 1
    assert hook.kinds.count("onMessageAdded") == 20


async def test_a_conversation_that_closes_meanwhile(told, hook):
    """A message whose conversation closes while the webhook is asked opens another."""
    classic = await told()
    first = (await inbound(classic))["conversation"]["sid"]
    hook.answers["onMessageAdd"] = "hang"
    sending = asyncio.create_task(inbound(classic))
    await until(lambda: "onMessageAdd" in hook.kinds)
    await classic.post(f"/Conversations/{first}", State="closed")
    hook.over.set()
    taken = await sending
    assert (taken["outcome"], taken["message"]["Index"]) == ("created", "0")
    assert taken["conversation"]["sid"] != first


async def test_a_conversation_that_opens_meanwhile(told, hook):
    """A message whose pair is bound while the webhook is asked goes to the conversation that bound it."""
    classic = await told()
    hook.answers["onConversationAdd"] = "hang"
    sending = asyncio.create_task(inbound(classic))
    await until(lambda: "onConversationAdd" in hook.kinds)
    sid = await classic.open()
    await classic.join(sid)
    hook.over.set()
    taken = await sending
    assert (taken["outcome"], taken["conversation"]["sid"]) == ("added", sid)


async def test_a_chat_user_writes(told, hook):
    """A message of a chat user is told with its identity; who is no member may not write."""
    classic = await told()
    sid = await classic.open()
    await classic.join(sid, Identity="ana")
    taken = await inbound(classic, conversation=sid, identity="ana", body="hi")
    assert (taken["outcome"], taken["message"]["Author"]) == ("added", "ana")
    assert hook.form("onMessageAdded")["ClientIdentity"] == "ana"
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
async def test_bridge(told, address, proxy, channel):
    """A bridged message comes in on v2 as well, where the classic conversation's SID finds it."""
    classic = await told(classic_bridge=True)
    taken = await inbound(classic, **{"from": address, "to": proxy})
    sid = taken["conversation"]["sid"]
    found = (await classic.sandbox.get("/v2/Conversations", params={"channelId": sid})).body["conversations"]
    assert [each["id"] for each in found] == [taken["bridged"]["id"]]
    sides = {each["type"]: each["addresses"][0] for each in found[0]["participants"]}
    assert (sides["CUSTOMER"]["channel"], sides["CUSTOMER"]["address"]) == (channel, address)
    again = await inbound(classic, **{"from": address, "to": proxy})
    assert again["bridged"]["id"] == taken["bridged"]["id"]


async def test_bridge_of_a_chat_user(told):
    """A bridged chat user's own address carries the classic conversation's SID."""
    bridged = {
        "id": "conv_configuration_0000000000000000000000000b",
        "conversationsV1Bridge": {"serviceId": SERVICE},
    }
    plain = {"id": "conv_configuration_0000000000000000000000000a"}
    classic = await told(classic_bridge=True, configurations=(plain, bridged))
    sid = await classic.open()
    await classic.join(sid, Identity="ana")
    taken = (await inbound(classic, conversation=sid, identity="ana", body="hi"))["bridged"]
    addresses = [address for each in taken["participants"] for address in each["addresses"]]
    assert {"channel": "CHAT", "address": "ana", "channelId": sid} in addresses
    assert taken["configurationId"] == bridged["id"]


async def test_duplicates_and_drops(told, hook):
    """The faults of status callbacks happen to classic webhooks too."""
    classic = await told(callback_duplicates=2)
    await inbound(classic)
    assert hook.kinds.count("onMessageAdded") == 3
    await classic.sandbox.switch(callback_drop_fraction=1.0)
    await inbound(classic)
    assert hook.kinds.count("onMessageAdded") == 3


async def test_reset_drops_what_waits(told, hook):
    """Reset drops webhooks that wait, and what happens afterwards is told."""
    classic = await told()
    await classic.sandbox.switch(callback_delay_seconds=3600)
    sid = (await classic.form("/Conversations", {}, **TOLD)).body["sid"]
    await classic.form(f"/Conversations/{sid}", {"FriendlyName": "x"}, **TOLD)
    await classic.sandbox.post("/sandbox/reset")
    assert classic.sandbox.state.classic_webhooks.pending == 0
    await inbound(classic)
    assert hook.kinds == ["onConversationAdd", "onConversationAdded", "onParticipantAdded", "onMessageAdded"]
    assert sid not in {form.get("ConversationSid") for _, form in hook.seen}
