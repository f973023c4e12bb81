"""Classic messages after they were written, media and content templates, and delivery receipts."""

from __future__ import annotations

import asyncio
import json

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from router.conversations import ClassicConversations, Transport
from router.sandbox.options import DEFAULT_CLASSIC_SERVICE_SID as SERVICE
from tests.sandbox.classic.harness import WITH_WEBHOOKS, Classic, LinkedHttpClient, bound
from tests.sandbox.harness import basic
from tests.support.accounts import ACCOUNT, CUSTOMER, KEY, SECRET
from tests.support.waiting import until

MEDIA = "ME" + "a" * 32
CONTENT = "HX" + "b" * 32
OTHER = "+15550100044"
FILTERS = tuple(f"onMessage{how}" for how in ("Add", "Added", "Update", "Updated", "Remove", "Removed"))


@pytest.fixture
async def hooked(start, webhooks):
    """Start a sandbox that sends every event about messages to the receiver."""

    async def begin(*filters, **switches):
        given = {
            "classic_webhook_filters": filters or (*FILTERS, "onDeliveryUpdated"),
            "classic_pre_webhook_url": f"{webhooks.url}/pre",
            "classic_post_webhook_url": f"{webhooks.url}/post",
            "classic_pre_for_api_writes": True,
        }
        return Classic(await start(**(given | switches)))

    return begin


async def test_an_update_changes_the_given_fields(classic):
    """An update keeps what it does not name; another author is another member's message, or nobody's."""
    sid = await classic.open()
    ana = (await classic.join(sid, Identity="ana")).body["sid"]
    path = f"/Conversations/{sid}/Messages/{(await classic.write(sid, Body='hi', Attributes='[1]')).body['sid']}"
    changed = (await classic.post(path, Body="bye", DateUpdated="2026-01-02T03:04:05Z")).body
    assert (changed["body"], changed["attributes"], changed["author"]) == ("bye", "[1]", "system")
    assert changed["date_updated"] == "2026-01-02T03:04:05Z" != changed["date_created"]
    changed = (await classic.post(path, Author="ana", Attributes='{"half": "\\ud83d"}')).body
    assert (changed["body"], changed["participant_sid"], changed["index"]) == ("bye", ana, 0)
    assert (await classic.post(path, Author="bob")).body["participant_sid"] is None
    assert (await classic.get(path)).body["author"] == "bob"


async def test_refused_updates_change_nothing(classic):
    """A wrong field, an unknown message and a closed conversation refuse an update."""
    sid = await classic.open()
    path = f"/Conversations/{sid}/Messages/{(await classic.write(sid, Body='hi')).body['sid']}"
    before = (await classic.get(path)).body
    for fields, code in (
        ({"Body": ""}, 20001),
        ({"Body": "x", "Attributes": "{"}, 50304),
        ({"Body": "x", "Attributes": '"' + "x" * 4096 + '"'}, 50303),
        ({"Body": "x", "DateUpdated": "9999-12-31T23:59:59-12:00"}, 20001),
        ({"Body": "x", "DateCreated": "today"}, 20001),
        ({"Body": "x", "Author": "x" * 257}, 20001),
        ({"Body": "x", "Subject": "x" * 257}, 20001),
    ):
        answer = await classic.post(path, **fields)
        assert (answer.status, answer.body["code"]) == (400, code), fields
    missing = await classic.post(f"/Conversations/{sid}/Messages/IM0", Body="x")
    assert (missing.status, missing.body["code"]) == (404, 50500)
    await classic.post(f"/Conversations/{sid}", State="closed")
    assert (await classic.post(path, Body="late")).body["code"] == 50377
    assert (await classic.get(path)).body == before


async def test_a_removed_message_is_gone(classic):
    """A removed message is a 404 with its receipts; the others keep their index, and none gets its index again."""
    sid = await classic.open()
    await classic.join(sid)
    written = [(await classic.write(sid, Body=str(number))).body for number in range(3)]
    path = f"/Conversations/{sid}/Messages/{written[1]['sid']}"
    assert (await classic.delete(path)).status == 204
    for gone in (path, f"{path}/Receipts"):
        assert (await classic.get(gone)).body["code"] == 50500
    assert (await classic.delete(path)).status == 404
    assert (await classic.write(sid, Body="4")).body["index"] == 3
    left = (await classic.get(f"/Conversations/{sid}/Messages")).body["messages"]
    assert [each["index"] for each in left] == [0, 2, 3]


async def test_webhooks_of_changes(hooked, webhooks):
    """Updates and removals send their webhooks if enabled; a pre-action one modifies or rejects."""
    classic = await hooked()
    sid = await classic.open()
    message = (await classic.write(sid, Body="hi")).body
    path = f"/Conversations/{sid}/Messages/{message['sid']}"
    await classic.post(path, Body="unseen")
    webhooks.answers["onMessageUpdate"] = (200, {"body": "masked", "attributes": "[2]"})
    answer = await classic.form(path, {"Body": "secret"}, **WITH_WEBHOOKS)
    assert (answer.body["body"], answer.body["attributes"]) == ("masked", "[2]")
    assert webhooks.form("onMessageUpdate")["Body"] == "secret"
    webhooks.answers |= {"onMessageUpdate": (400, {}), "onMessageRemove": (403, {})}
    headers = basic() | WITH_WEBHOOKS
    assert (await classic.form(path, {"Body": "x"}, **WITH_WEBHOOKS)).body["code"] == 50056
    assert (await classic.sandbox.call("DELETE", f"/v1{path}", headers=headers)).body["code"] == 50056
    webhooks.answers.clear()
    assert (await classic.sandbox.call("DELETE", f"/v1{path}", headers=headers)).status == 204
    await until(lambda: "onMessageRemoved" in webhooks.kinds)
    updated, removed = webhooks.form("onMessageUpdated"), webhooks.form("onMessageRemoved")
    assert (updated["Body"], updated["MessageSid"], updated["Index"]) == ("masked", message["sid"], "0")
    assert ("DateUpdated" in updated, "DateRemoved" in updated, "DateRemoved" in removed) == (True, False, True)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"MediaSid": MEDIA}, ("", [MEDIA], None)),
        ({"MediaSid": MEDIA, "Body": "look"}, ("look", [MEDIA], None)),
        ({"ContentSid": CONTENT}, (None, None, CONTENT)),
        ({"ContentSid": CONTENT, "ContentVariables": '{"1": "\\ud83d"}'}, (None, None, CONTENT)),
        ({"ContentSid": CONTENT, "Body": "ignored", "MediaSid": MEDIA}, (None, None, CONTENT)),
    ],
)
async def test_media_and_content_without_a_body(hooked, webhooks, fields, expected):
    """A message needs a body, media or a content template, which replaces the others."""
    classic = await hooked("onMessageAdded")
    sid = await classic.open()
    answer = await classic.form(f"/Conversations/{sid}/Messages", fields, **WITH_WEBHOOKS)
    assert answer.status == 201, answer.raw
    message = answer.body
    sids = [each["sid"] for each in message["media"]] if message["media"] else None
    assert (message["body"], sids, message["content_sid"]) == expected
    await until(lambda: webhooks.seen)
    form = webhooks.form("onMessageAdded")
    assert [each["MediaSid"] for each in json.loads(form.get("Media", "[]"))] == (expected[1] or [])
    async with Transport(classic.sandbox.url, KEY, SECRET, retries=0) as transport:
        read = [each async for each in ClassicConversations(transport).list_messages(sid)]
    assert [each.body for each in read] == [expected[0]]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, 20001),
        ({"MediaSid": "", "ContentSid": ""}, 20001),
        ({"MediaSid": "ME1"}, 50510),
        ({"Body": "x", "MediaSid": CONTENT}, 50510),
        ({"ContentSid": MEDIA}, 50526),
        ({"ContentSid": CONTENT, "ContentVariables": "{"}, 50527),
        ({"ContentSid": CONTENT, "ContentVariables": "[]"}, 50527),
        ({"ContentSid": CONTENT, "ContentVariables": json.dumps({str(each): "" for each in range(101)})}, 50529),
        ({"ContentSid": CONTENT, "ContentVariables": json.dumps({"x" * 17: ""})}, 50540),
        ({"ContentSid": CONTENT, "ContentVariables": json.dumps({"1": "x" * 257})}, 50541),
        ({"Body": "x", "DateCreated": "0001-01-01T00:00:00+12:00"}, 20001),
        ({"Body": "x", "DateUpdated": "9" * 5000}, 20001),
    ],
)
async def test_an_invalid_message_has_no_effect(classic, fields, code):
    """An invalid message is a 400 with its code; the list stays as it was."""
    sid = await classic.open()
    answer = await classic.write(sid, **fields)
    assert (answer.status, answer.body["code"]) == (400, code)
    assert (await classic.get(f"/Conversations/{sid}/Messages")).body["messages"] == []


@pytest.mark.parametrize(
    ("status", "error", "summary", "reached"),
    [
        ("delivered", 0, ("all", "all", "none", "none", "none"), ["sent", "delivered"]),
        ("read", 0, ("all", "all", "all", "none", "none"), ["sent", "read"]),
        ("sent", 0, ("all", "none", "none", "none", "none"), ["sent"]),
        ("undelivered", 30008, ("all", "none", "none", "none", "all"), ["sent", "undelivered"]),
        ("failed", 30008, ("none", "none", "none", "all", "none"), ["failed"]),
    ],
)
async def test_receipts(hooked, webhooks, status, error, summary, reached):
    """A message has a receipt for each member by number but its author, a summary of them, and their webhooks."""
    classic = await hooked("onDeliveryUpdated", classic_delivery_status=status)
    sid = await classic.open()
    customer = (await classic.join(sid)).body["sid"]
    await classic.join(sid, Identity="ana")
    message = (await classic.write(sid, Body="hi", Author="ana")).body
    names = ("sent", "delivered", "read", "failed", "undelivered")
    assert message["delivery"] == {"total": 1} | dict(zip(names, summary, strict=True))
    path = message["links"]["delivery_receipts"].partition("/v1")[2]
    (receipt,) = (await classic.get(path)).body["delivery_receipts"]
    assert (receipt["status"], receipt["error_code"], receipt["participant_sid"]) == (status, error, customer)
    assert (receipt["message_sid"], receipt["channel_message_sid"][:2], receipt["sid"][:2]) == (
        message["sid"],
        "SM",
        "DY",
    )
    assert (await classic.get(receipt["url"].partition("/v1")[2])).body == receipt
    assert (await classic.get(f"{path}/DY0")).status == 404
    await classic.sandbox.settled()
    forms = [form for _, form in webhooks.seen]
    assert [form["Status"] for form in forms] == reached
    assert {form["DeliveryReceiptSid"] for form in forms} == {receipt["sid"]}
    assert (forms[-1]["ErrorCode"], forms[-1]["ChannelMessageSid"]) == (str(error), receipt["channel_message_sid"])


async def test_an_own_message_has_no_receipt(classic):
    """Nothing is delivered to a message's author, nor to chat users."""
    sid = await classic.open()
    await classic.join(sid)
    await classic.join(sid, Identity="ana")
    message = (await classic.write(sid, Body="hi", Author=CUSTOMER)).body
    assert message["delivery"] is None
    listed = (await classic.get(f"/Conversations/{sid}/Messages/{message['sid']}/Receipts")).body
    assert listed["delivery_receipts"] == []


@pytest.mark.parametrize("page_size", [1, 2, 50])
@pytest.mark.parametrize("service_sid", [None, SERVICE], ids=["default", "service"])
async def test_the_official_client(sandbox, classic, service_sid, page_size):
    """Twilio's own client updates and removes messages, and reads the pages of receipts."""
    sid = await classic.open()
    for number in range(3):
        await classic.join(sid, **bound(f"{OTHER}{number}"))
    http_client = LinkedHttpClient(sandbox.url)
    official = Client(KEY, SECRET, ACCOUNT, http_client=http_client).conversations.v1
    scope = official if service_sid is None else official.services(service_sid)

    def drive():
        messages = scope.conversations(sid).messages
        made = messages.create(media_sid=MEDIA)
        assert made.media[0]["sid"] == MEDIA
        receipts = messages(made.sid).delivery_receipts
        found = receipts.list(page_size=page_size)
        assert [each.status for each in found] == ["delivered"] * 3
        assert len({each.sid for each in found}) == 3
        assert receipts(found[0].sid).fetch().channel_message_sid == found[0].channel_message_sid
        assert getattr(found[0], "chat_service_sid", None) == service_sid
        changed = messages(made.sid).update(body="new", attributes="[1]", author="bob", subject="s")
        assert (changed.body, changed.attributes, changed.author) == ("new", "[1]", "bob")
        assert messages(made.sid).delete()
        with pytest.raises(TwilioRestException) as caught:
            messages(made.sid).fetch()
        assert caught.value.code == 50500

    await asyncio.to_thread(drive)
    http_client.session.close()


@pytest.mark.parametrize("number", ["18446744073709551616", "1" + "0" * 40, "9" * 5000, "-1", "٣"])
@pytest.mark.parametrize("name", ["Page", "PageSize"])
async def test_pages_of_receipts_have_a_range(classic, name, number):
    """The paging parameters of receipts have the range of every list."""
    sid = await classic.open()
    path = f"/v1/Conversations/{sid}/Messages/{(await classic.write(sid, Body='x')).body['sid']}/Receipts"
    assert (await classic.sandbox.get(path, params={name: number})).status == 400
    assert (await classic.sandbox.get(path, params={"PageToken": number})).status == 400
    assert (await classic.sandbox.get(path)).status == 200
