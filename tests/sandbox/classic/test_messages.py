"""Classic messages of the sandbox: authors, order and pages, webhooks, refusals."""

from __future__ import annotations

import asyncio

import pytest
from twilio.rest import Client

from router.conversations import ClassicConversations, Transport
from router.sandbox.options import DEFAULT_CLASSIC_SERVICE_SID as SERVICE
from tests.sandbox.classic.harness import WITH_WEBHOOKS, Classic, LinkedHttpClient, official_fields, our_fields
from tests.support.accounts import ACCOUNT, CUSTOMER, KEY, OURS, SECRET
from tests.support.waiting import until


async def test_the_author_of_a_rest_call(classic):
    """A message belongs to the member whose identity or address its author is, if there is one."""
    sid = await classic.open()
    ana, bob = (await classic.join(sid)).body, (await classic.join(sid, Identity="bob")).body
    authors = (CUSTOMER, "bob", "stranger", None)
    written = [(await classic.write(sid, Body="hi", **({"Author": each} if each else {}))).body for each in authors]
    assert [each["participant_sid"] for each in written] == [ana["sid"], bob["sid"], None, None]
    assert [each["author"] for each in written] == [CUSTOMER, "bob", "stranger", "system"]
    assert [each["index"] for each in written] == [0, 1, 2, 3]
    assert (await classic.get(f"/Conversations/{sid}/Messages/{written[1]['sid']}")).body == written[1]


@pytest.mark.parametrize(("order", "expected"), [("asc", [0, 1, 2, 3, 4]), ("desc", [4, 3, 2, 1, 0])])
async def test_order_and_pages(classic, order, expected):
    """Pages follow each other in either order, and lead back."""
    sid = await classic.open()
    for number in range(5):
        await classic.write(sid, Body=str(number))
    path, found, pages = f"/Conversations/{sid}/Messages?Order={order}&PageSize=2", [], []
    while path:
        answer = (await classic.get(path)).body
        pages.append([each["index"] for each in answer["messages"]])
        found += pages[-1]
        previous, path = answer["meta"]["previous_page_url"], answer["meta"]["next_page_url"]
        path = path and path.partition("/v1")[2]
    assert found == expected
    back = (await classic.get(previous.partition("/v1")[2])).body
    assert [each["index"] for each in back["messages"]] == pages[-2]


async def test_an_inbound_message_is_listed(classic):
    """An inbound message is read like one of a REST call."""
    answer = await classic.sandbox.post("/sandbox/classic/inbound", {"from": CUSTOMER, "to": OURS, "body": "hello"})
    sid = answer.body["conversation"]["sid"]
    (message,) = (await classic.get(f"/Conversations/{sid}/Messages")).body["messages"]
    assert (message["body"], message["author"], message["participant_sid"]) == (
        "hello",
        CUSTOMER,
        answer.body["participant"]["sid"],
    )


async def test_only_the_newest_messages_are_kept(start):
    """Memory is bounded, and the index keeps counting."""
    classic = Classic(await start(keep_communications=2))
    sid = await classic.open()
    for number in range(4):
        await classic.write(sid, Body=str(number))
    assert [each["index"] for each in (await classic.get(f"/Conversations/{sid}/Messages")).body["messages"]] == [2, 3]


async def test_refusals(classic):
    """An empty body, wrong attributes, an unknown message or order, and a closed conversation are refused."""
    sid = await classic.open()
    assert (await classic.write(sid, Author="ana")).body["code"] == 20001
    assert (await classic.write(sid, Body="x", Attributes="{")).body["code"] == 50304
    assert (await classic.get(f"/Conversations/{sid}/Messages/IM0")).body["code"] == 50500
    assert (await classic.get(f"/Conversations/{sid}/Messages?Order=up")).status == 400
    await classic.post(f"/Conversations/{sid}", State="closed")
    assert (await classic.write(sid, Body="late")).body["code"] == 50377


async def test_traffic_activates_the_conversation(classic):
    """A message makes an inactive conversation active again."""
    sid = await classic.open()
    await classic.post(f"/Conversations/{sid}", State="inactive")
    await classic.write(sid, Body="hi")
    assert (await classic.get(f"/Conversations/{sid}")).body["state"] == "active"


async def test_webhooks(start, webhooks):
    """A REST call sends webhooks only if it enables them; the response to a pre-action one modifies or rejects."""
    sandbox = await start(
        classic_webhook_filters=("onMessageAdd", "onMessageAdded"),
        classic_pre_webhook_url=f"{webhooks.url}/pre",
        classic_post_webhook_url=f"{webhooks.url}/post",
        classic_pre_for_api_writes=True,
    )
    classic = Classic(sandbox)
    sid = await classic.open()
    await classic.write(sid, Body="unseen")
    webhooks.answers["onMessageAdd"] = (200, {"body": "changed"})
    answer = await classic.form(f"/Conversations/{sid}/Messages", {"Body": "hi", "Author": "bob"}, **WITH_WEBHOOKS)
    assert answer.body["body"] == "changed"
    await until(lambda: "onMessageAdded" in webhooks.kinds)
    form = webhooks.form("onMessageAdded")
    assert (form["Body"], form["Source"], form["Index"], form["Author"]) == ("changed", "API", "1", "bob")
    assert webhooks.kinds == ["onMessageAdd", "onMessageAdded"]
    webhooks.answers["onMessageAdd"] = (400, {})
    refused = await classic.form(f"/Conversations/{sid}/Messages", {"Body": "hi"}, **WITH_WEBHOOKS)
    assert refused.body["code"] == 50056


@pytest.mark.parametrize("service_sid", [None, SERVICE], ids=["default", "service"])
async def test_the_official_client_and_ours_read_the_same(sandbox, classic, service_sid):
    """Twilio's own client creates and lists messages, and ours reads the same."""
    sid = await classic.open()
    http_client = LinkedHttpClient(sandbox.url)
    official = Client(KEY, SECRET, ACCOUNT, http_client=http_client).conversations.v1
    scope = official if service_sid is None else official.services(service_sid)

    def use_it():
        made = scope.conversations(sid).messages.create(author="bob", body="hi")
        return official_fields(made), [
            official_fields(each) for each in scope.conversations(sid).messages.list(order="desc")
        ]

    made, listed = await asyncio.to_thread(use_it)
    async with Transport(sandbox.url, KEY, SECRET, retries=0) as transport:
        ours = ClassicConversations(transport)
        second = await ours.create_message(sid, author="bob", body="hi", service_sid=service_sid)
        found = [
            our_fields(each) async for each in ours.list_messages(sid, newest_first=False, service_sid=service_sid)
        ]
    http_client.session.close()
    assert listed == [made]
    assert found[1] == our_fields(second)
    for name in ("sid", "author", "body", "index", "conversation_sid", "date_created"):
        assert found[0][name] == made[name]
