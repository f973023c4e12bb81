"""Webhooks of one conversation, and those of the service as a resource: writes, limits, pages, and what they send."""

from __future__ import annotations

import asyncio

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from router.sandbox.options import DEFAULT_CLASSIC_SERVICE_SID as SERVICE
from tests.sandbox.classic.harness import WITH_WEBHOOKS, Classic, LinkedHttpClient
from tests.sandbox.harness import basic
from tests.support.accounts import ACCOUNT, KEY, SECRET
from tests.support.waiting import until

FLOW = "FW" + "c" * 32
URL = "https://bot.example/hook"
SETTINGS = "/Configuration/Webhooks"


@pytest.fixture
def official(sandbox):
    http_client = LinkedHttpClient(sandbox.url)
    yield Client(KEY, SECRET, ACCOUNT, http_client=http_client).conversations.v1
    http_client.session.close()


def hook(target="webhook", **fields):
    """The form of a webhook: fields of its configuration, in place of a whole one's; None leaves one out."""
    whole = {
        "webhook": {"Url": URL, "Filters": "onMessageAdded"},
        "trigger": {"Url": URL, "Triggers": "help"},
        "studio": {"FlowSid": FLOW},
    }[target]
    given = {f"Configuration.{name}": value for name, value in (whole | fields).items() if value is not None}
    return {"Target": target} | given


async def add(classic, sid, form, **headers):
    """Add a webhook; it must succeed, and its path is returned."""
    answer = await classic.form(f"/Conversations/{sid}/Webhooks", form, **headers)
    assert answer.status == 201, answer.raw
    return answer.body["url"].partition("/v1")[2]


@pytest.mark.parametrize("service_sid", [None, SERVICE], ids=["default", "service"])
async def test_the_official_client(official, service_sid):
    """Twilio's own client creates, lists, fetches, updates and removes webhooks of each target."""
    scope = official if service_sid is None else official.services(service_sid)

    def drive():
        webhooks = scope.conversations(scope.conversations.create().sid).webhooks
        names = ["onMessageAdded", "onConversationRemoved"]
        made = webhooks.create(
            target="webhook",
            configuration_url=URL,
            configuration_method="get",
            configuration_filters=names,
            configuration_replay_after=7,
        )
        assert made.configuration == {"url": URL, "method": "get", "filters": names, "replay_after": 7}
        assert (made.target, made.sid[:2], getattr(made, "chat_service_sid", None)) == ("webhook", "WH", service_sid)
        trigger = webhooks.create(target="trigger", configuration_url=URL, configuration_triggers=["a", "b"])
        assert trigger.configuration["triggers"] == ["a", "b"]
        studio = webhooks.create(target="studio", configuration_flow_sid=FLOW)
        assert studio.configuration == {"flow_sid": FLOW}
        for page_size in (1, 2, 50):
            assert [each.sid for each in webhooks.list(page_size=page_size)] == [made.sid, trigger.sid, studio.sid]
        changed = webhooks(trigger.sid).update(configuration_triggers=["c"], configuration_method="get")
        assert (changed.configuration["triggers"], changed.configuration["url"]) == (["c"], URL)
        assert webhooks(trigger.sid).fetch().configuration == changed.configuration
        assert webhooks(made.sid).delete()
        with pytest.raises(TwilioRestException) as caught:
            webhooks(made.sid).fetch()
        assert (caught.value.status, caught.value.code) == (404, 50360)

    await asyncio.to_thread(drive)


@pytest.mark.parametrize(
    ("form", "code"),
    [
        pytest.param({}, 50368, id="nothing"),
        pytest.param({"Target": "email"}, 50364, id="target"),
        pytest.param(hook(Url=None), 50369, id="no url"),
        pytest.param(hook("trigger", Url=""), 50369, id="empty url"),
        pytest.param(hook(Url="bot.example"), 20001, id="relative url"),
        pytest.param(hook(Url=URL + "x" * 512), 50372, id="long url"),
        pytest.param(hook(Filters=None), 50370, id="no filter"),
        pytest.param(hook(Filters=""), 50370, id="empty filter"),
        pytest.param(hook(Filters="onMessageAdd"), 50365, id="pre-action"),
        pytest.param(hook(Filters="onMessageAdded\ufffd"), 50365, id="unknown filter"),
        pytest.param(hook("trigger", Triggers=None), 50371, id="no trigger"),
        pytest.param(hook("trigger", Triggers=""), 50366, id="empty trigger"),
        pytest.param(hook("trigger", Triggers="x" * 249), 50366, id="long trigger"),
        pytest.param(hook("studio", FlowSid="FW1"), 50367, id="flow"),
        pytest.param(hook("studio", FlowSid=None), 50367, id="no flow"),
        pytest.param(hook(Method="put"), 20001, id="method"),
        *(
            pytest.param(hook(ReplayAfter=number), 20001, id=f"replay {number[:20]}")
            for number in ("18446744073709551616", "9" * 5000, "2147483648", "-1", "1.5", "1e3", "٣", "", "null")
        ),
    ],
)
async def test_an_invalid_webhook(classic, form, code):
    """An invalid webhook is a 400 with its code, and has no effect."""
    sid = await classic.open()
    answer = await classic.form(f"/Conversations/{sid}/Webhooks", form)
    assert (answer.status, answer.body["code"]) == (400, code), answer.raw
    assert (await classic.get(f"/Conversations/{sid}/Webhooks")).body["webhooks"] == []


async def test_an_invalid_update_changes_nothing(classic):
    """An update that would leave a webhook without what it needs is refused."""
    sid = await classic.open()
    path = await add(classic, sid, hook(ReplayAfter="2147483647"))
    before = (await classic.get(path)).body
    for name, value, code in (("Url", "", 50369), ("Filters", "", 50370), ("Filters", "x", 50365)):
        answer = await classic.form(path, {f"Configuration.{name}": value})
        assert (answer.status, answer.body["code"]) == (400, code)
    assert (await classic.get(path)).body == before
    assert (await classic.form(f"{path}0", {})).body["code"] == 50360


async def test_the_limits(classic):
    """A conversation has at most five webhooks, a trigger five words; a closed one only loses some."""
    sid = await classic.open()
    paths = [await add(classic, sid, hook()) for _ in range(5)]
    assert (await classic.form(f"/Conversations/{sid}/Webhooks", hook())).body["code"] == 50361
    assert (await classic.delete(paths[0])).status == 204
    six = "&".join(f"Configuration.Triggers={each}" for each in range(6))
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    call = classic.sandbox.call
    base = f"/v1/Conversations/{sid}/Webhooks"
    given = f"Target=trigger&Configuration.Url={URL}&{six}"
    assert (await call("POST", base, headers=basic() | headers, data=given)).body["code"] == 50362
    await classic.post(f"/Conversations/{sid}", State="closed")
    assert (await classic.form(f"/Conversations/{sid}/Webhooks", hook())).body["code"] == 50377
    assert (await classic.form(paths[1], {"Configuration.Method": "get"})).body["code"] == 50377
    assert (await classic.delete(paths[1])).status == 204


@pytest.mark.parametrize("method", ["post", "get"])
async def test_events_of_the_conversation(classic, webhooks, method):
    """A webhook gets the events in its filters, of its conversation only, by its method, and signed."""
    sid, other = await classic.open(), await classic.open()
    await add(classic, sid, hook(Url=f"{webhooks.url}?a=1", Method=method, Filters="onConversationUpdated"))
    for each in (sid, other):
        await classic.form(f"/Conversations/{each}", {"FriendlyName": "é & ü"}, **WITH_WEBHOOKS)
        await classic.form(f"/Conversations/{each}/Messages", {"Body": "unsubscribed"}, **WITH_WEBHOOKS)
    await classic.post(f"/Conversations/{sid}", FriendlyName="without the header")
    await until(lambda: webhooks.seen)
    await classic.sandbox.settled()
    ((_, form),) = webhooks.seen
    assert (form["ConversationSid"], form["FriendlyName"], form["EventType"]) == (sid, "é & ü", "onConversationUpdated")


async def test_triggers_and_flows(classic, webhooks):
    """A trigger gets messages with one of its words in any case; a flow gets nothing."""
    sid = await classic.open()
    await add(classic, sid, hook("trigger", Url=webhooks.url, Triggers="help"))
    await add(classic, sid, hook("studio"))
    for body in ("hello", "please HELP me"):
        await classic.form(f"/Conversations/{sid}/Messages", {"Body": body}, **WITH_WEBHOOKS)
    await classic.form(f"/Conversations/{sid}", {"FriendlyName": "help"}, **WITH_WEBHOOKS)
    await classic.sandbox.settled()
    assert [form["Body"] for _, form in webhooks.seen] == ["please HELP me"]


async def test_messages_are_replayed(classic, webhooks):
    """`ReplayAfter` sends the messages from its index on, which were written before the webhook was."""
    sid = await classic.open()
    for number in range(3):
        await classic.write(sid, Body=str(number))
    await add(classic, sid, hook(Url=webhooks.url, ReplayAfter="1"))
    await add(classic, sid, hook(Url=webhooks.url))
    await classic.sandbox.settled()
    assert [form["Body"] for _, form in webhooks.seen] == ["1", "2"]


async def test_an_inbound_message_and_the_end(classic, webhooks):
    """Inbound messages and the deletion of the conversation are sent too; a removed webhook gets nothing."""
    taken = await classic.receive()
    sid = taken["conversation"]["sid"]
    await add(classic, sid, hook(Url=webhooks.url, Filters="onMessageAdded"))
    path = await add(classic, sid, hook(Url=webhooks.url, Filters="onMessageAdded"))
    await add(classic, sid, hook(Url=webhooks.url, Filters="onConversationRemoved"))
    await classic.delete(path)
    await classic.receive()
    headers = basic() | WITH_WEBHOOKS
    await classic.sandbox.call("DELETE", f"/v1/Conversations/{sid}", headers=headers)
    await classic.sandbox.settled()
    assert webhooks.kinds.count("onMessageAdded") == 1
    assert sorted(webhooks.kinds) == ["onConversationRemoved", "onMessageAdded"]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("url", ["http://[bad", "http://bot.example:99999/", "http://bot.example:port", "http://u@"])
async def test_a_url_that_nobody_can_call(start, url, method):
    """A text that is no URL fails like one without a receiver: no call fails, and no delivery waits for ever."""
    classic = Classic(
        await start(
            classic_pre_for_api_writes=True, classic_webhook_filters=("onConversationAdd", "onConversationAdded")
        )
    )
    given = {"PreWebhookUrl": url, "PostWebhookUrl": url, "Method": method}
    assert (await classic.form(SETTINGS, given)).status == 200
    await classic.sandbox.subscribe([{"url": url}])
    opened = await classic.form("/Conversations", {}, **WITH_WEBHOOKS)
    assert opened.status == 201, opened.raw
    await add(classic, opened.body["sid"], hook(Url=url, Method=method))
    await classic.form(f"/Conversations/{opened.body['sid']}/Messages", {"Body": "x"}, **WITH_WEBHOOKS)
    await classic.sandbox.open()
    await classic.sandbox.settled()
    assert classic.sandbox.state.classic_webhooks.counts["failed"] == 2
    assert classic.sandbox.state.status_callbacks.counts["failed"] >= 1


@pytest.mark.parametrize("number", ["18446744073709551616", "1" + "0" * 40, "9" * 5000, "-1", "٣"])
@pytest.mark.parametrize("name", ["Page", "PageSize"])
async def test_pages_have_a_range(classic, name, number):
    """The paging parameters of webhooks have the range of every list."""
    path = f"/v1/Conversations/{await classic.open()}/Webhooks"
    assert (await classic.sandbox.get(path, params={name: number})).status == 400
    assert (await classic.sandbox.get(path, params={"PageToken": number})).status == 400
    assert (await classic.sandbox.get(path)).status == 200


async def test_the_webhooks_of_the_service(classic, webhooks, official):
    """The account's webhooks are those of its service, are read and changed by Twilio's own client, and are sent."""

    def drive():
        configuration = official.configuration.webhooks()
        fresh = configuration.fetch()
        assert (fresh.method, fresh.filters, fresh.pre_webhook_url, fresh.target) == ("POST", [], None, "webhook")
        changed = configuration.update(
            method="GET", filters=["onConversationAdd", "onConversationAdded"], post_webhook_url=webhooks.url
        )
        assert (changed.post_webhook_url, changed.filters[1]) == (webhooks.url, "onConversationAdded")
        service = official.services(SERVICE).configuration.webhooks().fetch()
        assert (service.method, service.post_webhook_url) == ("GET", webhooks.url)
        assert service.chat_service_sid == SERVICE
        assert configuration.update(target="flex").target == "flex"

    await asyncio.to_thread(drive)
    await classic.form("/Conversations", {"FriendlyName": "x"}, **WITH_WEBHOOKS)
    await until(lambda: webhooks.seen)
    assert webhooks.kinds == ["onConversationAdded"]
    emptied = (await classic.post(SETTINGS, PostWebhookUrl="", Filters="", Method="post")).body
    assert (emptied["post_webhook_url"], emptied["filters"], emptied["method"]) == (None, [], "POST")


@pytest.mark.parametrize(
    "fields",
    [{"Method": "PUT"}, {"Filters": "onNothing"}, {"PreWebhookUrl": "bot"}, {"PostWebhookUrl": "x"}, {"Target": "x"}],
)
async def test_invalid_webhooks_of_the_service(classic, fields):
    """A wrong parameter is a 400 and changes nothing; so is it for the service."""
    for path in (SETTINGS, f"/Services/{SERVICE}{SETTINGS}"):
        before = (await classic.get(path)).body
        answer = await classic.form(path, {"Method": "GET"} | fields)
        assert (answer.status, answer.body["code"]) == (400, 20001)
        assert (await classic.get(path)).body == before
    assert (await classic.get(f"/Services/IS{'f' * 32}{SETTINGS}")).status == 404


@pytest.mark.parametrize("root", ["", f"/Services/{SERVICE}"], ids=["default", "service"])
async def test_every_link_leads_somewhere(classic, root):
    """Every URL of this sandbox in its answers can be read."""
    sid = await classic.open()
    member = (await classic.join(sid)).body["sid"]
    message = (await classic.write(sid, Body="hi")).body["sid"]
    await add(classic, sid, hook())
    base = f"{root}/Conversations"
    paths = [base, f"{base}/{sid}", f"{root}{SETTINGS}", f"{root}/ParticipantConversations?Identity=ana"]
    paths += [f"{base}/{sid}/{each}" for each in ("Participants", "Messages", "Webhooks")]
    paths += [f"{base}/{sid}/Participants/{member}", f"{base}/{sid}/Messages/{message}"]
    seen, todo = set(), [f"/v1{path}" for path in paths]
    while todo:
        path = todo.pop()
        answer = await classic.sandbox.get(path)
        assert answer.status == 200, (path, answer.raw)
        found = {each.removeprefix(classic.sandbox.url) for each in own_urls(answer.body, classic.sandbox.url)}
        todo += found - seen
        seen |= found
    assert any(path.endswith("/Receipts") or "/Receipts?" in path for path in seen)
    assert any("/Webhooks/WH" in path for path in seen)


def own_urls(value, base):
    """Yield the texts in JSON that begin with the sandbox's URL."""
    if isinstance(value, str) and value.startswith(base):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from own_urls(each, base)
