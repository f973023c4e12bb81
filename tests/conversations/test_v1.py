"""Every classic operation on the wire, and what scripted answers, links and errors make of it."""

from types import SimpleNamespace

import orjson
import pytest
from aiohttp import web

from router.conversations.v1 import ClassicConversations
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
from tests.conversations.conftest import ScriptedApi, serving

SERVICE = "IS" + "0" * 31 + "1"
SID, OTHER = "CH" + "a" * 32, "CH" + "b" * 32
MEMBER = {"sid": "MB1", "conversation_sid": SID, "identity": None, "messaging_binding": {"type": "sms"}}
ANA = NewClassicParticipant(address="whatsapp:+15550100001", proxy_address="whatsapp:+15550109999")
SERVICES = pytest.mark.parametrize(
    ("service_sid", "prefix"), [(None, "/v1"), (SERVICE, f"/v1/Services/{SERVICE}")], ids=["default", "service"]
)


class FormApi(ScriptedApi):
    """Notes bodies as they are: forms are no JSON."""

    async def handle(self, request):
        body = await request.read()
        self.seen.append(
            SimpleNamespace(method=request.method, target=request.raw_path, headers=request.headers, body=body.decode())
        )
        step = self.steps.popleft() if self.steps else self.otherwise
        return await step(request)


@pytest.fixture
async def api(time):
    async with serving(FormApi(time)) as scripted:
        yield scripted


@pytest.fixture
def client(transport):
    return ClassicConversations(transport)


def page(api, *items, key="participants", link=None):
    """Script one page; a `link` without a host is put on the server's own."""
    link = f"{api.base_url}{link}" if link and link.startswith("/v1") else link
    return api.reply(200, {key: list(items), "meta": {"key": key, "next_page_url": link}})


@SERVICES
async def test_create(api, client, service_sid, prefix):
    """A create is a form with dotted names, a plus is no space, and any 2xx will do."""
    api.reply(201, MEMBER)
    made = await client.create_participant(SID, ANA, service_sid=service_sid)
    assert made.sid == "MB1"
    form = "MessagingBinding.Address=whatsapp%3A%2B15550100001&MessagingBinding.ProxyAddress=whatsapp%3A%2B15550109999"
    assert api.wire == [("POST", f"{prefix}/Conversations/{SID}/Participants", form)]
    assert api.seen[0].headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "X-Twilio-Webhook-Enabled" not in api.seen[0].headers


@pytest.mark.parametrize(("webhooks", "header"), [(True, "true"), (False, "false"), (None, None)])
async def test_webhooks_are_asked_for(api, client, webhooks, header):
    """Each write can ask for webhooks, refuse them or leave it to the API."""
    api.reply(201, MEMBER).reply(200, MEMBER).reply(204, raw=b"")
    await client.create_participant(SID, ANA, webhooks=webhooks)
    await client.update_participant(SID, "MB1", ClassicChange(), webhooks=webhooks)
    await client.delete_participant(SID, "MB1", webhooks=webhooks)
    assert [each.headers.get("X-Twilio-Webhook-Enabled") for each in api.seen] == [header] * 3


@SERVICES
async def test_update(api, client, service_sid, prefix):
    """An update sends what changes, and the word null to remove."""
    api.reply(200, MEMBER)
    change = ClassicChange(attributes='{"a":1}', proxy_address=REMOVE, last_read_message_index=0, identity="ana é")
    await client.update_participant("order 7/8", "MB1", change, service_sid=service_sid)
    form = (
        "Identity=ana%20%C3%A9&MessagingBinding.ProxyAddress=null&Attributes=%7B%22a%22%3A1%7D&LastReadMessageIndex=0"
    )
    assert api.wire == [("POST", f"{prefix}/Conversations/order%207%2F8/Participants/MB1", form)]


@SERVICES
async def test_fetch_by_identity(api, client, service_sid, prefix):
    """An identity is one segment of the path, whatever is in it."""
    api.reply(200, MEMBER)
    await client.fetch_participant(SID, "a/../b+c@d", service_sid=service_sid)
    assert api.wire == [("GET", f"{prefix}/Conversations/{SID}/Participants/a%2F..%2Fb%2Bc@d", "")]


@SERVICES
async def test_delete(api, client, service_sid, prefix):
    """A delete has no body either way."""
    api.reply(204, raw=b"")
    assert await client.delete_participant(SID, "MB1", service_sid=service_sid) is None
    assert api.wire == [("DELETE", f"{prefix}/Conversations/{SID}/Participants/MB1", "")]
    assert "Content-Type" not in api.seen[0].headers


async def test_delete_is_repeated(api, client):
    """Deleting twice is deleting once."""
    api.reply(503).reply(204, raw=b"")
    await client.delete_participant(SID, "MB1")
    assert len(api.seen) == 2


@pytest.mark.parametrize("fate", ["reset", "server error"])
async def test_a_post_of_unknown_fate_is_not_repeated(api, client, fate):
    """A create or update that may have had an effect goes out once."""
    for _ in range(2):
        api.reset() if fate == "reset" else api.reply(503)
    with pytest.raises((TransportError, ServerError)):
        await client.create_participant(SID, ANA)
    with pytest.raises((TransportError, ServerError)):
        await client.update_participant(SID, "MB1", ClassicChange())
    assert len(api.seen) == 2


async def test_a_limited_post_is_repeated(api, client):
    """A 429 was not processed."""
    api.reply(429, {"code": 20429}).reply(201, MEMBER)
    await client.create_participant(SID, ANA)
    assert len(api.seen) == 2


@SERVICES
async def test_list_follows_links_as_given(api, client, service_sid, prefix):
    """All pages come, each by the link of the one before and by nothing that was built here."""
    path = f"{prefix}/Conversations/{SID}/Participants"
    page(api, {"sid": "a"}, {"sid": "b"}, link=f"{path}?PageSize=2&Page=1&PageToken=PT%2Bx%3D")
    page(api, {"sid": "b"}, {"sid": "c"}, link="/v1/Elsewhere?odd=%2B1")
    page(api, {"sid": "d"})
    found = await client.list_participants(SID, service_sid=service_sid, page_size=2)
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
async def test_links_to_elsewhere_are_not_followed(api, client, link):
    """The credentials go to the API's own origin only."""
    page(api, {"sid": "a"}, link=link.format(host=api.base_url.removeprefix("http://")))
    with pytest.raises(ServerError, match="another host") as caught:
        await client.list_participants(SID)
    assert "evil" not in str(caught.value)
    assert len(api.seen) == 1


async def test_a_relative_link_is_followed(api, client):
    """A link without a host is on the API's own."""
    page(api, {"sid": "a"})
    api.steps.clear()
    api.reply(200, {"participants": [{"sid": "a"}], "meta": {"next_page_url": "v1/next?Page=1"}})
    page(api, {"sid": "b"})
    assert [each.sid for each in await client.list_participants(SID)] == ["a", "b"]
    assert api.seen[1].target == "/v1/next?Page=1"


async def test_a_link_in_a_circle(api, client):
    """A repeated link is an error, not a loop."""
    for _ in range(9):
        page(api, {"sid": "a"}, link="/v1/again")
    with pytest.raises(ServerError, match="does not end"):
        await client.list_participants(SID)
    assert len(api.seen) == 2


async def test_links_without_end(api, client):
    """New links that bring nothing new end as an error."""

    async def serve(_request):
        link = f"{api.base_url}/v1/{len(api.seen)}"
        return web.Response(body=orjson.dumps({"participants": [{"sid": "a"}], "meta": {"next_page_url": link}}))

    api.otherwise = serve
    with pytest.raises(ServerError, match="does not end"):
        await client.list_participants(SID)
    assert len(api.seen) == 101


async def test_a_link_that_is_none(api, client):
    """A next page that is no text is the API's fault."""
    api.reply(200, {"participants": [], "meta": {"next_page_url": 7}})
    with pytest.raises(ServerError, match="no URL"):
        await client.list_participants(SID)


async def test_one_report_per_page(api, client, calls):
    """An observer sees the template of the list on every page, never the link."""
    page(api, {"sid": "a"}, link="/v1/Conversations/Ana/Participants?PageToken=x")
    page(api)
    await client.list_participants("Ana")
    assert {each.route for each in calls} == {"/v1/Conversations/{conversation}/Participants"}


@SERVICES
@pytest.mark.parametrize(
    ("who", "query"),
    [({"address": "+15550100001"}, "Address=%2B15550100001"), ({"identity": "ana+1"}, "Identity=ana%2B1")],
    ids=["address", "identity"],
)
async def test_lookup(api, client, service_sid, prefix, who, query):
    """A lookup sends one of address and identity, exactly, and asks for 50 at most."""
    page(api, {"conversation_sid": SID, "participant_sid": "MB1"}, key="conversations")
    found = [each async for each in client.find_conversations(**who, service_sid=service_sid)]
    assert [each.conversation_sid for each in found] == [SID]
    assert api.wire == [("GET", f"{prefix}/ParticipantConversations?{query}&PageSize=50", "")]


@pytest.mark.parametrize("who", [{}, {"address": "+1", "identity": "ana"}, {"address": ""}, {"identity": ""}])
async def test_lookup_of_both_or_none(api, client, who):
    """Both or none of address and identity is refused before anything is sent."""
    with pytest.raises(ValueError, match="by one of them"):
        client.find_conversations(**who)
    assert api.seen == []


@pytest.mark.parametrize("size", [0, 51])
async def test_page_size_of_a_lookup(api, client, size):
    """The sources disagree on the maximum, so the smaller one is kept."""
    with pytest.raises(ValueError, match="1 to 50"):
        client.find_conversations(address="+1", page_size=size)
    assert api.seen == []


@pytest.mark.parametrize("size", [0, 101])
async def test_page_size(api, client, size):
    """A page has 1 to 100 items."""
    with pytest.raises(ValueError, match="1 to 100"):
        await client.list_participants(SID, page_size=size)
    with pytest.raises(ValueError, match="1 to 100"):
        client.list_conversations(page_size=size)
    assert api.seen == []


def row(number, state, proxy):
    binding = {"type": "sms", "address": "+15550100001", "proxy_address": proxy, "level": None}
    return {
        "conversation_sid": f"CH{number}",
        "participant_sid": f"MB{number}",
        "conversation_state": state,
        "participant_messaging_binding": binding,
    }


async def test_lookup_filters(api, client):
    """States and proxy are compared here, over all pages; a limit counts what passes."""
    rows = [row(1, "closed", "+15550109999"), row(2, "active", "+15550109998"), row(3, "inactive", "+15550109999")]
    page(api, *rows[:2], key="conversations", link="/v1/next").reply(
        200, {"conversations": [*rows[2:], row(4, "active", "+15550109999")], "meta": {}}
    )
    found = client.find_conversations(
        address="+15550100001", proxy=Address("SMS", "+1 555 010 9999"), states={"active", "inactive"}, limit=1
    )
    assert [each.conversation_sid async for each in found] == ["CH3"]


async def test_one_person_twice_in_a_conversation(api, client):
    """Two memberships of one conversation are two rows."""
    rows = [row(1, "active", "+1"), row(1, "active", "+2") | {"participant_sid": "MB9"}]
    page(api, *rows, key="conversations")
    found = [each.participant_sid async for each in client.find_conversations(address="+15550100001")]
    assert found == ["MB1", "MB9"]


@SERVICES
async def test_conversations(api, client, service_sid, prefix):
    """A conversation is fetched by its unique name, and conversations are listed by state."""
    api.reply(200, {"sid": SID, "state": "napping", "timers": {}, "mood": "fine"})
    page(api, {"sid": SID}, key="conversations")
    conversation = await client.fetch_conversation("order 7", service_sid=service_sid)
    listed = [each.sid async for each in client.list_conversations(state="active", service_sid=service_sid)]
    assert (conversation.state, conversation.model_extra) == ("napping", {"mood": "fine"})
    assert listed == [SID]
    assert [each.target for each in api.seen] == [
        f"{prefix}/Conversations/order%207",
        f"{prefix}/Conversations?State=active&PageSize=100",
    ]


@pytest.mark.parametrize("code", [50433, 50437])
@pytest.mark.parametrize("status", [409, 400, 403])
async def test_already_there(api, client, code, status):
    """The code says that the member is there, whatever 4xx it comes with."""
    api.reply(status, {"code": code, "message": "Participant already exists", "status": status})
    with pytest.raises(ConflictError) as caught:
        await client.create_participant(SID, ANA)
    assert is_already_there(caught.value)
    assert (caught.value.code, caught.value.status) == (code, status)
    assert len(api.seen) == 1


@pytest.mark.parametrize("code", [50416, 50438])
async def test_bound_elsewhere(api, client, code):
    """The conversation that holds the pair, or the group, is read out of the text."""
    words = f"A binding for this participant and proxy address already exists in Conversation {OTHER}"
    api.reply(409, {"code": code, "message": words, "status": 409})
    with pytest.raises(ConflictError) as caught:
        await client.create_participant(SID, ANA)
    assert caught.value.conflicting_id == OTHER
    assert is_bound_elsewhere(caught.value) is (code == 50416)


async def test_bound_somewhere(api, client):
    """Without a SID in the text the conflict names no conversation, and the body may be anything."""
    api.reply(409, {"code": 50416, "message": None})
    with pytest.raises(ConflictError) as caught:
        await client.create_participant(SID, ANA)
    assert caught.value.conflicting_id is None


@pytest.mark.parametrize("code", [50419, 50349, 50391, 50213])
async def test_concurrent_change(api, client, code):
    """Somebody else was faster: the event is innocent and waits; nothing is repeated here."""
    api.reply(409, {"code": code, "message": "conflict", "status": 409})
    with pytest.raises(UnavailableError) as caught:
        await client.update_participant(SID, "MB1", ClassicChange())
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
async def test_other_errors(api, client, status, code, error):
    """Every other code leaves the exception of the HTTP status as it is."""
    api.reply(status, {"code": code, "message": "no", "status": status}, times=9)
    with pytest.raises(error) as caught:
        await client.create_participant(SID, ANA)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.__cause__ is None


async def test_a_form_that_cannot_be_written(api, client):
    """What no form can carry is refused before it is sent, without repeating it."""
    with pytest.raises(RequestError, match="cannot be written as a form"):
        await client.create_participant(SID, NewClassicParticipant.model_construct(identity="\ud800"))
    assert api.seen == []


async def test_an_answer_that_does_not_fit(api, client):
    """A 201 that is no Participant leaves the fate unknown: ServerError, and no second POST."""
    api.reply(201, {"identity": "ana"})
    with pytest.raises(ServerError, match="no ClassicParticipant"):
        await client.create_participant(SID, ANA)
    assert len(api.seen) == 1
