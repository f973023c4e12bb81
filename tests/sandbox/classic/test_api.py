"""The rules of the classic API: error codes, bindings and what frees them, paging, states and timers."""

from __future__ import annotations

import pytest

from router.sandbox.options import DEFAULT_CLASSIC_SERVICE_SID as SERVICE
from tests.harness.sandbox import make_options
from tests.sandbox.classic.harness import PAIR, Classic, bound
from tests.sandbox.harness import basic
from tests.support.accounts import ACCOUNT, CUSTOMER, OURS


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        pytest.param(bound("nobody"), 50407, id="address"),
        pytest.param(bound("+1555"), 50407, id="short address"),
        pytest.param(bound("whatsapp:"), 50407, id="bare prefix"),
        pytest.param(bound("+" + "1" * 256), 50407, id="long address"),
        pytest.param(bound(CUSTOMER, "us"), 50408, id="proxy"),
        pytest.param(bound(CUSTOMER, CUSTOMER), 50409, id="equal"),
        pytest.param(bound("", OURS), 50411, id="empty address"),
        pytest.param({}, 50411, id="nothing"),
        pytest.param(bound(CUSTOMER, ""), 50412, id="empty proxy"),
        pytest.param({"MessagingBinding.Address": CUSTOMER}, 50412, id="no proxy"),
        pytest.param(bound(f"whatsapp:{CUSTOMER}"), 50414, id="channels"),
        pytest.param(PAIR | {"Identity": "ana"}, 50451, id="identity and address"),
        pytest.param({"Identity": "x" * 257}, 50207, id="long identity"),
        pytest.param({"Identity": " "}, 50211, id="blank identity"),
        pytest.param({"Identity": "ana", "Attributes": "{"}, 50304, id="attributes"),
        pytest.param({"Identity": "ana", "Attributes": '"' + "x" * 4096 + '"'}, 50303, id="long attributes"),
        pytest.param({"Identity": "ana", "RoleSid": "RL1"}, 20001, id="role"),
        pytest.param({"Identity": "ana", "DateCreated": "today"}, 20001, id="date"),
    ],
)
async def test_an_invalid_participant(classic, fields, code):
    """An invalid participant is a 400 with its code in the classic shape, and has no effect."""
    sid = await classic.open()
    answer = await classic.form(f"/Conversations/{sid}/Participants", fields)
    assert answer.status == 400
    assert set(answer.body) == {"code", "message", "more_info", "status"}
    assert (answer.body["code"], answer.body["status"]) == (code, 400)
    assert (await classic.get(f"/Conversations/{sid}/Participants")).body["participants"] == []


@pytest.mark.parametrize(
    ("address", "proxy", "kind"),
    [
        (CUSTOMER, OURS, "sms"),
        (CUSTOMER, "55555", "sms"),
        (f"whatsapp:{CUSTOMER}", f"whatsapp:{OURS}", "whatsapp"),
        ("whatsapp:US.1234", f"whatsapp:{OURS}", "whatsapp"),
        (f"rcs:{CUSTOMER}", "rcs:agent", "rcs"),
        ("messenger:12", "messenger:34", "messenger"),
        ("ana@example.com", "us@example.com", "email"),
    ],
)
async def test_binding_types(classic, address, proxy, kind):
    """The type of a binding follows from the form of its address."""
    answer = await classic.join(await classic.open(), **bound(address, proxy))
    assert answer.status == 201
    assert answer.body["messaging_binding"] == {"type": kind, "address": address, "proxy_address": proxy}


async def test_a_member_twice(classic):
    """The same pair or identity in one conversation is 50433."""
    sid = await classic.open()
    assert (await classic.join(sid)).status == 201
    assert (await classic.join(sid, Identity="ana")).status == 201
    for fields in (PAIR, {"Identity": "ana"}):
        answer = await classic.join(sid, **fields)
        assert (answer.status, answer.body["code"]) == (409, 50433)
    assert (await classic.join(sid, **bound(CUSTOMER, "+15550109998"))).status == 201


async def test_a_pair_in_another_conversation(classic):
    """A bound pair is 50416 elsewhere, and the text names the conversation that holds it."""
    first, second = await classic.open(), await classic.open()
    await classic.join(first)
    answer = await classic.join(second)
    assert (answer.status, answer.body["code"]) == (409, 50416)
    assert answer.body["message"].endswith(f"already exists in Conversation {first}")


@pytest.mark.parametrize("release", ["remove", "delete", "close", "inactive"])
async def test_releasing_a_pair(classic, release):
    """Removing the member, deleting or closing the conversation releases the pair; an inactive one holds it."""
    first, second = await classic.open(), await classic.open()
    member = (await classic.join(first)).body["sid"]
    if release == "remove":
        assert (await classic.delete(f"/Conversations/{first}/Participants/{member}")).status == 204
    elif release == "delete":
        assert (await classic.delete(f"/Conversations/{first}")).status == 204
    else:
        await classic.post(f"/Conversations/{first}", State="closed" if release == "close" else release)
    answer = await classic.join(second)
    assert answer.status == (409 if release == "inactive" else 201)
    found = dict(await classic.find())
    assert (second in found) is (release != "inactive")
    expected = {"close": "closed", "inactive": "inactive"}
    assert found.get(first) == expected.get(release)


async def test_closed_is_final(classic):
    """A closed conversation refuses every write but its deletion: 50377."""
    sid = await classic.open()
    member = (await classic.join(sid)).body["sid"]
    await classic.post(f"/Conversations/{sid}", State="closed")
    for answer in (
        await classic.post(f"/Conversations/{sid}", State="active"),
        await classic.join(sid, Identity="ana"),
        await classic.post(f"/Conversations/{sid}/Participants/{member}", Attributes="{}"),
    ):
        assert (answer.status, answer.body["code"]) == (400, 50377)
    assert (await classic.get(f"/Conversations/{sid}")).body["state"] == "closed"
    assert (await classic.delete(f"/Conversations/{sid}")).status == 204


async def test_limit_of_bound_members(classic):
    """A conversation has at most fifty members that are not chat users."""
    sid = await classic.open()
    for number in range(50):
        assert (await classic.join(sid, **bound(f"+1555030{number:04d}"))).status == 201
    assert (await classic.join(sid)).body["code"] == 50418
    assert (await classic.join(sid, Identity="ana")).status == 201


async def test_limit_of_members(classic, monkeypatch):
    """A conversation has a limit for members of any kind."""
    monkeypatch.setattr("router.sandbox.classic.members.MAX_MEMBERS", 1)
    sid = await classic.open()
    await classic.join(sid, Identity="ana")
    assert (await classic.join(sid, Identity="bo")).body["code"] == 50417


async def test_group(classic):
    """In a group MMS handsets have no proxy and hold no pair; adding one twice is 50437."""
    sid = await classic.open()
    answer = await classic.join(sid, Identity="agent", **{"MessagingBinding.ProjectedAddress": OURS})
    assert answer.body["messaging_binding"] == {"type": "sms", "projected_address": OURS}
    handset = await classic.join(sid, **{"MessagingBinding.Address": CUSTOMER})
    assert handset.body["messaging_binding"] == {"type": "sms", "address": CUSTOMER}
    assert (await classic.join(sid, **{"MessagingBinding.Address": CUSTOMER})).body["code"] == 50437


async def test_a_chat_user(classic):
    """An identity becomes one user, however many conversations it is in."""
    for _ in range(2):
        await classic.join(await classic.open(), Identity="ana")
    answer = await classic.sandbox.get("/v1/ParticipantConversations", params={"Identity": "ana"})
    (user,) = {each["participant_user_sid"] for each in answer.body["conversations"]}
    assert user.startswith("US")
    assert len(user) == 34


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"MessagingBinding.ProxyAddress": "null"}, 50440),
        ({"MessagingBinding.ProjectedAddress": OURS}, 50442),
        ({"MessagingBinding.ProxyAddress": CUSTOMER}, 50409),
        ({"Identity": ""}, 50211),
        ({"Identity": "ana"}, 50433),
        ({"MessagingBinding.ProxyAddress": "+15550109998"}, 50416),
    ],
)
async def test_an_invalid_change(classic, fields, code):
    """A refused update changes nothing."""
    first, second = await classic.open(), await classic.open()
    member = (await classic.join(first)).body
    await classic.join(first, Identity="ana")
    await classic.join(second, **bound(CUSTOMER, "+15550109998"))
    path = f"/Conversations/{first}/Participants/{member['sid']}"
    assert (await classic.form(path, fields)).body["code"] == code
    assert (await classic.get(path)).body == member


async def test_a_change_moves_the_pair(classic):
    """A new proxy releases the old pair and holds the new one; other fields stay."""
    first, second = await classic.open(), await classic.open()
    member = (await classic.join(first)).body
    path = f"/Conversations/{first}/Participants/{member['sid']}"
    changed = (await classic.post(path, MessagingBinding__ProxyAddress="+15550109998", LastReadTimestamp="x")).body
    assert changed["messaging_binding"]["proxy_address"] == "+15550109998"
    assert changed["last_read_timestamp"] == "x"
    assert changed["attributes"] == member["attributes"]
    assert (await classic.join(second)).status == 201
    assert (await classic.post(path, MessagingBinding__ProxyAddress=OURS)).body["code"] == 50416
    cleared = (await classic.post(path, LastReadTimestamp="null", LastReadMessageIndex="null")).body
    assert (cleared["last_read_timestamp"], cleared["last_read_message_index"]) == (None, None)


async def test_a_chat_user_gets_no_proxy(classic):
    """A proxy cannot be added to a chat user; a projected address can be added and removed."""
    sid = await classic.open()
    path = f"/Conversations/{sid}/Participants/{(await classic.join(sid, Identity='ana')).body['sid']}"
    assert (await classic.post(path, MessagingBinding__ProxyAddress=OURS)).body["code"] == 50441
    projected = await classic.post(path, MessagingBinding__ProjectedAddress=OURS)
    assert projected.body["messaging_binding"] == {"type": "sms", "projected_address": OURS}
    assert (await classic.post(path, MessagingBinding__ProjectedAddress="null")).body["messaging_binding"] is None


async def test_attributes_with_half_a_surrogate_pair(classic):
    """Attributes are JSON although a text in them is cut, and are kept as they came."""
    cut = r'{"name": "hi \ud83d"}'
    sid = await classic.open(Attributes=cut)
    assert (await classic.get(f"/Conversations/{sid}")).body["attributes"] == cut


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"FriendlyName": "x" * 257}, 400, 20001),
        ({"State": "asleep"}, 400, 20001),
        ({"Attributes": "{"}, 400, 50304),
        ({"Attributes": '"' + "x" * 16384 + '"'}, 400, 50303),
        ({"Timers.Inactive": "PT59S"}, 400, 50375),
        ({"Timers.Closed": "PT9M"}, 400, 50376),
        ({"Timers.Closed": "soon"}, 400, 20001),
        ({"Timers.Closed": "P"}, 400, 20001),
        ({"UniqueName": "taken"}, 409, 50353),
    ],
)
async def test_an_invalid_conversation(classic, fields, status, code):
    """An invalid conversation is refused with its code, on creation and on update."""
    await classic.open(UniqueName="taken")
    sid = await classic.open(UniqueName="free")
    for path in ("/Conversations", f"/Conversations/{sid}"):
        answer = await classic.form(path, fields)
        assert (answer.status, answer.body["code"]) == (status, code)


async def test_a_new_unique_name(classic):
    """A change releases the old unique name, and an empty one removes it."""
    sid = await classic.open(UniqueName="one")
    await classic.post("/Conversations/one", UniqueName="two")
    assert (await classic.get("/Conversations/one")).status == 404
    assert (await classic.get("/Conversations/two")).body["sid"] == sid
    assert (await classic.post(f"/Conversations/{sid}", UniqueName="")).body["unique_name"] is None
    await classic.open(UniqueName="two")


async def test_an_imported_conversation(classic):
    """Dates, messaging service and e-mail binding of an import are kept."""
    fields = {"DateCreated": "2020-01-02T03:04:05Z", "MessagingServiceSid": "MG" + "7" * 32}
    answer = await classic.form(
        "/Conversations", fields | {"Bindings.Email.Address": "us@example.com", "State": "closed"}
    )
    assert answer.body["date_created"] == answer.body["date_updated"] == "2020-01-02T03:04:05Z"
    assert answer.body["messaging_service_sid"] == "MG" + "7" * 32
    assert answer.body["bindings"]["email"]["address"] == "us@example.com"
    assert answer.body["state"] == "closed"


@pytest.mark.parametrize(("switch", "codes"), [("specific", [50350, 50350, 50432]), ("generic", [20404, 20404, 20404])])
async def test_missing(start, switch, codes):
    """An unknown resource is a 404, with its own code or the generic one."""
    classic = Classic(await start(classic_not_found=switch))
    sid = await classic.open()
    paths = ("/Conversations/CH1", "/Conversations/CH1/Participants", f"/Conversations/{sid}/Participants/MB1")
    answers = [await classic.get(path) for path in paths]
    assert [(each.status, each.body["code"]) for each in answers] == [(404, code) for code in codes]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, 20001),
        ({"Address": ""}, 20001),
        ({"Address": CUSTOMER, "Identity": "ana"}, 50451),
        ({"Address": CUSTOMER, "PageSize": "0"}, 20001),
        ({"Address": CUSTOMER, "PageSize": "many"}, 20001),
        ({"Address": CUSTOMER, "Page": "-1"}, 20001),
        ({"Address": CUSTOMER, "PageToken": "PT?"}, 20001),
        ({"Address": CUSTOMER, "PageToken": "PTMTI"}, 20001),
    ],
)
async def test_an_invalid_lookup(classic, query, code):
    """A lookup needs exactly one of address and identity, and valid paging parameters."""
    answer = await classic.sandbox.get("/v1/ParticipantConversations", params=query)
    assert (answer.status, answer.body["code"]) == (400, code)


async def test_a_lookup_row(classic):
    """A row has the membership and the conversation, with the links of the requested variant."""
    sid = await classic.open(FriendlyName="Order", Timers__Closed="PT10M")
    member = (await classic.join(sid)).body["sid"]
    path = f"/v1/Services/{SERVICE}/ParticipantConversations"
    (row,) = (await classic.sandbox.get(path, params={"Address": CUSTOMER})).body["conversations"]
    url = f"{classic.sandbox.url}/v1/Services/{SERVICE}/Conversations/{sid}"
    assert row["links"] == {"conversation": url, "participant": f"{url}/Participants/{member}"}
    assert row["participant_messaging_binding"] == {
        "type": "sms",
        "address": CUSTOMER,
        "proxy_address": OURS,
        "projected_address": None,
        "level": None,
        "name": None,
    }
    assert (row["account_sid"], row["chat_service_sid"], row["participant_sid"]) == (ACCOUNT, SERVICE, member)
    assert (row["conversation_friendly_name"], list(row["conversation_timers"])) == ("Order", ["date_closed"])


async def test_variants(classic):
    """The default variant of a Participant has no service SID, the other one has; each has its own URLs."""
    sid = await classic.open()
    member = (await classic.join(sid)).body
    other = (await classic.get(f"/Services/{SERVICE}/Conversations/{sid}/Participants/{member['sid']}")).body
    assert "chat_service_sid" not in member
    assert other["chat_service_sid"] == SERVICE
    assert other["url"] == member["url"].replace("/v1/", f"/v1/Services/{SERVICE}/")


async def test_meta(classic):
    """Links have the filters and the page size, the first one no token; a page size is reduced to the maximum."""
    for number in range(3):
        sid = await classic.open()
        await classic.join(sid, **bound(CUSTOMER, f"+1555010999{number}"))
    query = {"Address": CUSTOMER, "PageSize": "1", "Page": "0"}
    meta = (await classic.sandbox.get("/v1/ParticipantConversations", params=query)).body["meta"]
    base = f"{classic.sandbox.url}/v1/ParticipantConversations?Address=%2B15551230001&PageSize=1&Page="
    assert meta["url"] == meta["first_page_url"] == f"{base}0"
    assert meta["next_page_url"].startswith(f"{base}1&PageToken=PT")
    assert (meta["previous_page_url"], meta["key"], meta["page"], meta["page_size"]) == (None, "conversations", 0, 1)
    query["PageSize"] = "1000"
    assert (await classic.sandbox.get("/v1/ParticipantConversations", params=query)).body["meta"]["page_size"] == 50
    assert (await classic.get(f"/Conversations/{sid}/Participants?PageSize=1000")).body["meta"]["page_size"] == 100


async def test_pages_survive_writes(classic):
    """A member that exists throughout is listed exactly once while others come and go."""
    sid = await classic.open()
    members = [(await classic.join(sid, Identity=f"user {number}")).body["sid"] for number in range(6)]
    page = (await classic.get(f"/Conversations/{sid}/Participants?PageSize=2")).body
    await classic.delete(f"/Conversations/{sid}/Participants/{members[0]}")
    await classic.delete(f"/Conversations/{sid}/Participants/{members[1]}")
    await classic.join(sid, Identity="late")
    seen = [each["identity"] for each in page["participants"]]
    while link := page["meta"]["next_page_url"]:
        page = (await classic.sandbox.get(link.removeprefix(classic.sandbox.url))).body
        seen += [each["identity"] for each in page["participants"]]
    assert seen == [*(f"user {number}" for number in range(6)), "late"]


async def test_timers(classic):
    """Without traffic a conversation becomes inactive, then closed; activating it by the API restarts the timers."""
    sid = await classic.open(Timers__Inactive="PT1M", Timers__Closed="PT1H")

    async def state_after(seconds):
        await classic.sandbox.advance(seconds)
        return (await classic.get(f"/Conversations/{sid}")).body["state"]

    assert await state_after(59) == "active"
    assert await state_after(2) == "inactive"
    await classic.post(f"/Conversations/{sid}", State="active")
    assert await state_after(59) == "active"
    assert await state_after(3600) == "closed"


async def test_a_timer_is_replaced(classic):
    """An empty timer never ends, and a new timer replaces the earlier one."""
    sid = await classic.open(Timers__Inactive="PT1M", Timers__Closed="PT10M")
    await classic.post(f"/Conversations/{sid}", Timers__Inactive="", Timers__Closed="P1DT1H")
    await classic.sandbox.advance(86_400)
    assert (await classic.get(f"/Conversations/{sid}")).body["state"] == "active"
    await classic.sandbox.advance(3_601)
    assert (await classic.get(f"/Conversations/{sid}")).body["state"] == "closed"


async def test_closed_conversations_are_kept_within_bounds(start):
    """Only the newest closed conversations are kept."""
    classic = Classic(await start(keep_closed=1))
    sids = [await classic.open(UniqueName=str(number)) for number in range(2)]
    for sid in sids:
        await classic.post(f"/Conversations/{sid}", State="closed")
    assert [(await classic.get(f"/Conversations/{sid}")).status for sid in sids] == [404, 200]
    assert await classic.open(UniqueName="0")


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "application/json"}, b"{}", 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"Identity=%FF", 400),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"a=1&" * 1001, 400),
    ],
)
async def test_a_body_that_is_not_a_form(classic, headers, body, status):
    """A body that is not a form in UTF-8 is refused."""
    answer = await classic.sandbox.call("POST", "/v1/Conversations", headers=basic() | headers, data=body)
    assert answer.status == status
    assert answer.body["status"] == status


async def test_faults_and_counts(classic):
    """Classic requests are counted and have faults, like those of v2."""
    fault = {"method": "GET", "route": "/v1/Conversations", "status": 503, "retryAfter": 2, "times": 1}
    await classic.sandbox.post("/sandbox/faults", fault)
    answer = await classic.get("/Conversations")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert (await classic.get("/Conversations")).status == 200
    requests = (await classic.sandbox.get("/sandbox/requests")).body["requests"]
    assert requests == {"GET /v1/Conversations": 2}


async def test_rate_limit(start):
    """The rate limit applies to the classic API too: 429 with 20429."""
    classic = Classic(await start(rate_limit_per_second=1, clock=lambda: 1_800_000_000_000_000))
    assert (await classic.get("/Conversations")).status == 200
    answer = await classic.get("/Conversations")
    assert (answer.status, answer.body["code"]) == (429, 20429)


async def test_credentials(classic):
    """Without credentials a classic route answers 401 with 20003 in the classic shape."""
    answer = await classic.sandbox.get("/v1/Conversations", headers={})
    assert (answer.status, answer.body["code"]) == (401, 20003)
    assert set(answer.body) == {"code", "message", "more_info", "status"}


async def test_error_shape(start):
    """The switch for the error shape applies to classic errors too."""
    classic = Classic(await start(error_shape="C"))
    assert (await classic.get("/Conversations/CH1")).body["title"] == "Not Found"


async def test_an_unknown_state_filter(classic):
    """An unknown state is refused as a filter."""
    assert (await classic.get("/Conversations?State=asleep")).status == 400


async def test_reset(classic):
    """Reset deletes classic conversations and releases their pairs."""
    await classic.join(await classic.open(UniqueName="one"))
    await classic.sandbox.post("/sandbox/reset")
    assert await classic.find() == []
    assert (await classic.join(await classic.open(UniqueName="one"))).status == 201


def test_an_invalid_service_sid():
    """A sandbox refuses a classic_service_sid that is not a service SID."""
    with pytest.raises(ValueError, match="classic_service_sid"):
        make_options(classic_service_sid="IS1")
