"""Every operation of the classic client: the requests it sends, and the results of pages, links and error codes."""

import orjson
import pytest
from aiohttp import web

from router.core.addresses import Address
from router.core.classic.resources import (
    REMOVE,
    ClassicChange,
    NewClassicParticipant,
    is_already_there,
    is_bound_elsewhere,
)
from router.core.errors import (
    AuthenticationError,
    ConflictError,
    NotFoundError,
    RequestError,
    ServerError,
    TransportError,
    UnavailableError,
)
from tests.support.accounts import SERVICE

SID, OTHER = "CH" + "a" * 32, "CH" + "b" * 32
MEMBER = {"sid": "MB1", "conversation_sid": SID, "identity": None, "messaging_binding": {"type": "sms"}}
MESSAGE = {"sid": "IM1", "conversation_sid": SID, "author": "ai-agent", "body": "hi", "index": 0}
ANA = NewClassicParticipant(address="whatsapp:+15550100001", proxy_address="whatsapp:+15550109999")
SERVICES = pytest.mark.parametrize(
    ("service_sid", "prefix"), [(None, "/v1"), (SERVICE, f"/v1/Services/{SERVICE}")], ids=["default", "service"]
)


@SERVICES
async def test_create(api, classic, service_sid, prefix):
    """A participant is created by a form with dotted names and an encoded plus; any 2xx is success."""
    api.reply(201, MEMBER)
    made = await classic.create_participant(SID, ANA, service_sid=service_sid)
    assert made.sid == "MB1"
    form = "MessagingBinding.Address=whatsapp%3A%2B15550100001&MessagingBinding.ProxyAddress=whatsapp%3A%2B15550109999"
    assert api.wire == [("POST", f"{prefix}/Conversations/{SID}/Participants", form)]
    assert api.seen[0].headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "X-Twilio-Webhook-Enabled" not in api.seen[0].headers


@pytest.mark.parametrize(("webhooks", "header"), [(True, "true"), (False, "false"), (None, None)])
async def test_webhooks_of_writes(api, classic, webhooks, header):
    """Each write can request webhooks, suppress them or leave it to the API."""
    api.reply(201, MEMBER).reply(200, MEMBER).reply(204, raw=b"")
    await classic.create_participant(SID, ANA, webhooks=webhooks)
    await classic.update_participant(SID, "MB1", ClassicChange(), webhooks=webhooks)
    await classic.delete_participant(SID, "MB1", webhooks=webhooks)
    assert [each.headers.get("X-Twilio-Webhook-Enabled") for each in api.seen] == [header] * 3


@SERVICES
async def test_update(api, classic, service_sid, prefix):
    """An update sends only what changes, and the word null for what is removed."""
    api.reply(200, MEMBER)
    change = ClassicChange(attributes='{"a":1}', proxy_address=REMOVE, last_read_message_index=0, identity="ana é")
    await classic.update_participant("order 7/8", "MB1", change, service_sid=service_sid)
    form = (
        "Identity=ana%20%C3%A9&MessagingBinding.ProxyAddress=null&Attributes=%7B%22a%22%3A1%7D&LastReadMessageIndex=0"
    )
    assert api.wire == [("POST", f"{prefix}/Conversations/order%207%2F8/Participants/MB1", form)]


@SERVICES
async def test_fetch_by_identity(api, classic, service_sid, prefix):
    """An identity is one segment of the path, whatever characters it has."""
    api.reply(200, MEMBER)
    await classic.fetch_participant(SID, "a/../b+c@d", service_sid=service_sid)
    assert api.wire == [("GET", f"{prefix}/Conversations/{SID}/Participants/a%2F..%2Fb%2Bc@d", None)]


@SERVICES
async def test_delete(api, classic, service_sid, prefix):
    """A delete has no body in request and response."""
    api.reply(204, raw=b"")
    assert await classic.delete_participant(SID, "MB1", service_sid=service_sid) is None
    assert api.wire == [("DELETE", f"{prefix}/Conversations/{SID}/Participants/MB1", None)]
    assert "Content-Type" not in api.seen[0].headers


async def test_delete_is_repeated(api, classic):
    """A delete is repeated, because doing it twice has the effect of doing it once."""
    api.reply(503).reply(204, raw=b"")
    await classic.delete_participant(SID, "MB1")
    assert len(api.seen) == 2


@pytest.mark.parametrize("failure", ["reset", "server error"])
async def test_a_post_that_may_have_had_an_effect_is_not_repeated(api, classic, failure):
    """A create or update that may have had an effect is sent once."""
    for _ in range(2):
        api.reset() if failure == "reset" else api.reply(503)
    with pytest.raises((TransportError, ServerError)):
        await classic.create_participant(SID, ANA)
    with pytest.raises((TransportError, ServerError)):
        await classic.update_participant(SID, "MB1", ClassicChange())
    assert len(api.seen) == 2


async def test_a_limited_post_is_repeated(api, classic):
    """A create that got a 429 had no effect and is repeated."""
    api.reply(429, {"code": 20429}).reply(201, MEMBER)
    await classic.create_participant(SID, ANA)
    assert len(api.seen) == 2


@SERVICES
async def test_list_follows_links_as_given(api, classic, service_sid, prefix):
    """A list has the items of all pages, each fetched by the link of the page before it, unchanged."""
    path = f"{prefix}/Conversations/{SID}/Participants"
    api.reply_page({"sid": "a"}, {"sid": "b"}, link=f"{path}?PageSize=2&Page=1&PageToken=PT%2Bx%3D")
    api.reply_page({"sid": "b"}, {"sid": "c"}, link="/v1/Elsewhere?odd=%2B1")
    api.reply_page({"sid": "d"})
    found = await classic.list_participants(SID, service_sid=service_sid, page_size=2)
    assert [each.sid for each in found] == ["a", "b", "c", "d"]
    assert [each.target for each in api.seen] == [
        f"{path}?PageSize=2",
        f"{path}?PageSize=2&Page=1&PageToken=PT%2Bx%3D",
        "/v1/Elsewhere?odd=%2B1",
    ]


@pytest.mark.parametrize(
    "link",
    [
        "https://conversations.twilio.com.evil.example/v1/x",
        "http://user@{host}/v1/x",
        "http://{host}@evil.example/v1/x",
        "https://{host}/v1/x",
        "//evil.example/v1/x",
        "http://127.0.0.1:1/v1/x",
        "http://127.0.0.1:nonsense/v1/x",
        "http://{host}\\@evil.example/v1/x",
        "http://{host}/v1/x\r\nX: y",
        "ftp://{host}/v1/x",
    ],
)
async def test_links_to_other_origins_are_not_followed(api, classic, link):
    """Credentials are sent only to the origin of the API."""
    api.reply_page({"sid": "a"}, link=link.format(host=api.base_url.removeprefix("http://")))
    with pytest.raises(ServerError, match="another host") as caught:
        await classic.list_participants(SID)
    assert "evil" not in str(caught.value)
    assert len(api.seen) == 1


async def test_a_relative_link_is_followed(api, classic):
    """A link without a host is on the origin of the API."""
    api.reply(200, {"participants": [{"sid": "a"}], "meta": {"next_page_url": "v1/next?Page=1"}})
    api.reply_page({"sid": "b"})
    assert [each.sid for each in await classic.list_participants(SID)] == ["a", "b"]
    assert api.seen[1].target == "/v1/next?Page=1"


async def test_a_repeated_link(api, classic):
    """A list that repeats a link is an error, not a loop."""
    for _ in range(9):
        api.reply_page({"sid": "a"}, link="/v1/again")
    with pytest.raises(ServerError, match="does not end"):
        await classic.list_participants(SID)
    assert len(api.seen) == 2


async def test_endless_links(api, classic):
    """A list with ever new links and no new items is an error."""

    async def serve(_request):
        link = f"{api.base_url}/v1/{len(api.seen)}"
        return web.Response(body=orjson.dumps({"participants": [{"sid": "a"}], "meta": {"next_page_url": link}}))

    api.otherwise = serve
    with pytest.raises(ServerError, match="does not end"):
        await classic.list_participants(SID)
    assert len(api.seen) == 101


async def test_a_link_that_is_not_a_text(api, classic):
    """A link that is not a text is a ServerError."""
    api.reply(200, {"participants": [], "meta": {"next_page_url": 7}})
    with pytest.raises(ServerError, match="not a URL"):
        await classic.list_participants(SID)


async def test_one_report_per_page(api, classic, calls):
    """Every page is reported with the template of the list, never with the link."""
    api.reply_page({"sid": "a"}, link="/v1/Conversations/Ana/Participants?PageToken=x")
    api.reply_page()
    await classic.list_participants("Ana")
    assert {each.route for each in calls} == {"/v1/Conversations/{conversation}/Participants"}


@SERVICES
@pytest.mark.parametrize(
    ("member", "query"),
    [({"address": "+15550100001"}, "Address=%2B15550100001"), ({"identity": "ana+1"}, "Identity=ana%2B1")],
    ids=["address", "identity"],
)
async def test_lookup(api, classic, service_sid, prefix, member, query):
    """A lookup sends an address or an identity unchanged, and a page size of 50."""
    api.reply_page({"conversation_sid": SID, "participant_sid": "MB1"}, key="conversations")
    found = [each async for each in classic.find_conversations(**member, service_sid=service_sid)]
    assert [each.conversation_sid for each in found] == [SID]
    assert api.wire == [("GET", f"{prefix}/ParticipantConversations?{query}&PageSize=50", None)]


@pytest.mark.parametrize("member", [{}, {"address": "+1", "identity": "ana"}, {"address": ""}, {"identity": ""}])
async def test_lookup_of_both_or_none(api, classic, member):
    """A lookup with both or none of address and identity is refused before anything is sent."""
    with pytest.raises(ValueError, match="either an address or an identity"):
        classic.find_conversations(**member)
    assert api.seen == []


@pytest.mark.parametrize("size", [0, 51])
async def test_page_size_of_a_lookup(api, classic, size):
    """A page of a lookup has at most 50 items, the smaller of the two documented limits."""
    with pytest.raises(ValueError, match="1 to 50"):
        classic.find_conversations(address="+1", page_size=size)
    assert api.seen == []


@pytest.mark.parametrize("size", [0, 101])
async def test_page_size(api, classic, size):
    """A page of any other list has 1 to 100 items."""
    with pytest.raises(ValueError, match="1 to 100"):
        await classic.list_participants(SID, page_size=size)
    with pytest.raises(ValueError, match="1 to 100"):
        classic.list_messages(SID, page_size=size)
    assert api.seen == []


def row(number, state, proxy):
    binding = {"type": "sms", "address": "+15550100001", "proxy_address": proxy, "level": None}
    return {
        "conversation_sid": f"CH{number}",
        "participant_sid": f"MB{number}",
        "conversation_state": state,
        "participant_messaging_binding": binding,
    }


async def test_lookup_filters(api, classic):
    """States and proxy are compared by the client, on all pages; the limit counts the results."""
    rows = [row(1, "closed", "+15550109999"), row(2, "active", "+15550109998"), row(3, "inactive", "+15550109999")]
    api.reply_page(*rows[:2], key="conversations", link="/v1/next").reply(
        200, {"conversations": [*rows[2:], row(4, "active", "+15550109999")], "meta": {}}
    )
    found = classic.find_conversations(
        address="+15550100001", proxy=Address("SMS", "+1 555 010 9999"), states={"active", "inactive"}, limit=1
    )
    assert [each.conversation_sid async for each in found] == ["CH3"]


async def test_two_memberships_of_one_conversation(api, classic):
    """A lookup yields each membership of one conversation."""
    rows = [row(1, "active", "+1"), row(1, "active", "+2") | {"participant_sid": "MB9"}]
    api.reply_page(*rows, key="conversations")
    found = [each.participant_sid async for each in classic.find_conversations(address="+15550100001")]
    assert found == ["MB1", "MB9"]


@SERVICES
async def test_fetch_conversation(api, classic, service_sid, prefix):
    """A conversation is fetched by its unique name; unknown states and fields are kept."""
    api.reply(200, {"sid": SID, "state": "napping", "timers": {}, "mood": "fine"})
    conversation = await classic.fetch_conversation("order 7", service_sid=service_sid)
    assert (conversation.state, conversation.model_extra) == ("napping", {"mood": "fine"})
    assert api.wire == [("GET", f"{prefix}/Conversations/order%207", None)]


@pytest.mark.parametrize("code", [50433, 50437])
@pytest.mark.parametrize("status", [409, 400, 403])
async def test_already_there(api, classic, code, status):
    """The code for an existing member is a ConflictError with any 4xx status."""
    api.reply(status, {"code": code, "message": "Participant already exists", "status": status})
    with pytest.raises(ConflictError) as caught:
        await classic.create_participant(SID, ANA)
    assert is_already_there(caught.value)
    assert (caught.value.code, caught.value.status) == (code, status)
    assert len(api.seen) == 1


@pytest.mark.parametrize("code", [50416, 50438])
async def test_bound_elsewhere(api, classic, code):
    """The conversation that holds the pair or the group is taken from the message."""
    words = f"A binding for this participant and proxy address already exists in Conversation {OTHER}"
    api.reply(409, {"code": code, "message": words, "status": 409})
    with pytest.raises(ConflictError) as caught:
        await classic.create_participant(SID, ANA)
    assert caught.value.conflicting_id == OTHER
    assert is_bound_elsewhere(caught.value) is (code == 50416)


async def test_bound_in_an_unnamed_conversation(api, classic):
    """Without a SID in the message, whatever the body, the conflict names no conversation."""
    api.reply(409, {"code": 50416, "message": None})
    with pytest.raises(ConflictError) as caught:
        await classic.create_participant(SID, ANA)
    assert caught.value.conflicting_id is None


@pytest.mark.parametrize("code", [50419, 50349, 50391, 50213])
async def test_concurrent_change(api, classic, code):
    """A concurrent change is an UnavailableError and is not repeated by the client."""
    api.reply(409, {"code": code, "message": "conflict", "status": 409})
    with pytest.raises(UnavailableError) as caught:
        await classic.update_participant(SID, "MB1", ClassicChange())
    assert caught.value.code == code
    assert len(api.seen) == 1


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (404, 20404, NotFoundError),
        (404, 50350, NotFoundError),
        (401, 20003, AuthenticationError),
        (400, 50407, RequestError),
        (409, None, ConflictError),
        (500, 50433, ServerError),
    ],
)
async def test_other_errors(api, classic, status, code, error):
    """Every other code leaves the exception of the HTTP status unchanged."""
    api.reply(status, {"code": code, "message": "no", "status": status}, times=9)
    with pytest.raises(error) as caught:
        await classic.create_participant(SID, ANA)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.__cause__ is None


async def test_a_form_that_cannot_be_encoded(api, classic):
    """A value that a form cannot carry is refused before anything is sent."""
    with pytest.raises(RequestError, match="cannot be written as a form"):
        await classic.create_participant(SID, NewClassicParticipant.model_construct(identity="\ud800"))
    assert api.seen == []


async def test_an_answer_that_does_not_fit(api, classic):
    """A 201 without a participant may have had an effect: ServerError, and no second POST."""
    api.reply(201, {"identity": "ana"})
    with pytest.raises(ServerError, match="no ClassicParticipant"):
        await classic.create_participant(SID, ANA)
    assert len(api.seen) == 1


@SERVICES
async def test_create_message(api, classic, service_sid, prefix):
    """A message is a form of author and body, with a header that requests webhooks."""
    api.reply(201, MESSAGE)
    made = await classic.create_message(SID, author="ai-agent", body="hi & bye", service_sid=service_sid, webhooks=True)
    assert (made.sid, made.index) == ("IM1", 0)
    assert api.wire == [("POST", f"{prefix}/Conversations/{SID}/Messages", "Author=ai-agent&Body=hi%20%26%20bye")]
    assert api.seen[0].headers["X-Twilio-Webhook-Enabled"] == "true"


@pytest.mark.parametrize(("newest_first", "order"), [(True, "desc"), (False, "asc")])
async def test_list_messages(api, classic, newest_first, order):
    """A list of messages has the items of all pages, in the requested order."""
    api.reply_page(MESSAGE, key="messages", link="/v1/Conversations/x/Messages?PageToken=1")
    api.reply_page(MESSAGE | {"sid": "IM2"}, key="messages")
    found = [one.sid async for one in classic.list_messages(SID, newest_first=newest_first)]
    assert found == ["IM1", "IM2"]
    assert api.seen[0].target == f"/v1/Conversations/{SID}/Messages?Order={order}&PageSize=50"


async def test_lost_message_is_not_repeated(api, classic):
    """A message that may have been sent is not repeated."""
    api.reply(500, {})
    with pytest.raises(ServerError):
        await classic.create_message(SID, author="a", body="b")
    assert len(api.seen) == 1


async def test_message_to_a_missing_conversation(api, classic):
    """A message to a missing conversation is a NotFoundError."""
    api.reply(404, {"code": 50350, "message": "no", "status": 404})
    with pytest.raises(NotFoundError):
        await classic.create_message(SID, author="a", body="b")
