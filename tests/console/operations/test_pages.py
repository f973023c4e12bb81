"""Every page of operations: it opens for a viewer and an operator, and a program gets its data."""

import pytest

from router.console.operations import PAGES
from router.console.roles import Role
from tests.console.operations.scenes import HOSTILE
from tests.support.accounts import CUSTOMER

#: Pages of their own: those with ids in the path, and those that need a query.
LISTS = [page.path for page in PAGES if page.method == "GET" and "{" not in page.path and "events" not in page.path]
PLAIN = [path for path in LISTS if path not in {"/story", "/streams/samples"}]


def test_the_pages_were_found():
    """A test over no pages finds nothing wrong."""
    assert {"/", "/waiting", "/dead-letters", "/quarantine", "/agents", "/queues", "/streams", "/audit"} <= set(PLAIN)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
@pytest.mark.parametrize("path", PLAIN)
async def test_a_page_opens_with_nothing_to_show(reader, path, role):
    """Of a deployment that has just begun, with a heading and whole HTML."""
    page = await (await reader(role)).page(path)
    assert page.one("h1").text


@pytest.mark.parametrize("path", [path for path in PLAIN if path not in {"/", "/explain"}])
async def test_a_list_has_items_and_the_cursor_of_the_next_page(reader, path):
    """The contract of all lists; at the end the cursor is null."""
    data = await (await reader(Role.VIEWER)).json(path)
    assert data.keys() == {"items", "next"}
    assert (type(data["items"]), data["next"]) == (list, None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.method} {page.path}")
async def test_an_agent_is_sent_away(reader, page):
    """The pages of operations are not for the role agent."""
    agent = await reader(Role.AGENT)
    path = page.path.replace("{id}", "1")
    if page.method == "POST":
        assert "not for the role agent" in (await agent.press(path, status=403)).text
    elif path == "/":
        status, headers, _ = await agent.visitor.get(path)
        assert (status, headers["Location"]) == (303, "/desk")
    else:
        assert "not for the role agent" in (await agent.page(path, status=403)).text


@pytest.mark.parametrize("page", [page for page in PAGES if page.method == "POST"], ids=lambda page: page.path)
async def test_a_viewer_changes_nothing(reader, page):
    """Only an operator acts."""
    await (await reader(Role.VIEWER)).press(page.path.replace("{id}", "1"), status=403)


@pytest.mark.parametrize("path", ["/waiting", "/dead-letters", "/quarantine", "/audit"])
@pytest.mark.parametrize("cursor", ["x", "-1", "1" * 30, "99:1-1", "0:x", "٣", "0:1-1 "])
async def test_a_cursor_of_nonsense_is_refused(reader, path, cursor):
    """With a message, and no page that has failed."""
    viewer = await reader(Role.VIEWER)
    status, _, text = await viewer.visitor.get(path, params={"cursor": cursor}, headers=viewer.token)
    assert status == 400, text
    assert "cursor must be the `next` of a page before" in text


@pytest.mark.parametrize("cursor", ["0-0", "00-000"])
async def test_a_cursor_before_all_ids_is_refused(reader, cursor):
    """Redis looks at nothing before it, which is no outage."""
    page = await (await reader(Role.VIEWER)).page(f"/audit?cursor={cursor}", status=400)
    assert "cursor must be the `next` of a page before" in page.text


@pytest.mark.parametrize("path", ["/waiting", "/dead-letters", "/quarantine", "/audit", "/tail"])
@pytest.mark.parametrize("limit", ["0", "501", "-1", "x", "1e3", "9" * 40])
async def test_a_limit_of_nonsense_is_refused(reader, path, limit):
    """Pages are bounded."""
    viewer = await reader(Role.VIEWER)
    assert "limit must be" in (await viewer.page(f"{path}?limit={limit}", status=400)).text


@pytest.mark.parametrize("path", ["/waiting", "/dead-letters", "/quarantine"])
async def test_a_time_of_nonsense_is_refused(reader, path):
    """It says what a time looks like; an age is one, too."""
    viewer = await reader(Role.VIEWER)
    assert "since must be a time: ISO 8601" in (await viewer.page(f"{path}?since=yesterday", status=400)).text
    await viewer.page(f"{path}?since=15m&until=2026-01-31T14:03:00Z")


@pytest.mark.parametrize("path", ["/waiting", "/dead-letters", "/quarantine", "/tail"])
async def test_a_filter_that_a_stranger_made_is_shown_harmlessly(reader, path):
    """A link may have been sent to an operator."""
    operator = await reader()
    field = "q" if path == "/tail" else "reason"
    status, _, text = await operator.visitor.get(path, params={field: HOSTILE})
    assert status == 200
    assert "<img" not in text
    assert not [one for one in text if not one.isprintable() and one != "\n"]


async def test_an_id_beyond_all_times_leaves_every_page_open(reader, redis, ports):
    """An entry may have any id, and ids are times."""
    keys = ports.keys
    last = f"{2**64 - 1}-0"
    await redis.xadd(keys.quarantine(), {"received_at": "9" * 19}, id=last)
    await redis.expire(keys.quarantine(), 100)
    operator = await reader()
    for stream in (keys.inbound(0), keys.dead_letters(0), keys.participants(0, "ai-agent")):
        await redis.xadd(stream, {"x": "y"}, id=last)
        await redis.xgroup_create(stream, "mine", id="0")
    for path in PLAIN:
        await operator.page(path)
    await redis.xadd(keys.audit(), {"x": "y"}, id=last)
    assert (await operator.json("/audit"))["items"][0]["at"].startswith("9999-12-31")


async def test_every_bad_entry_leaves_every_page_open(reader, redis, ports):
    """Anybody with access to Redis may write anything to any stream."""
    keys = ports.keys
    streams = [keys.inbound(0), keys.dead_letters(0), keys.commands(0), keys.quarantine(), keys.audit()]
    streams += [keys.participants(0, target) for target in ("ai-agent", "human-agent")]
    for stream in streams:
        for fields in NONSENSE:
            await redis.xadd(stream, fields)
    await redis.xgroup_create(keys.inbound(0), f"g{HOSTILE}", id="0")
    await redis.expire(keys.quarantine(), 100)
    operator = await reader()
    for path in PLAIN:
        page = await operator.page(path)
        assert not page.all("img"), path
        await operator.json(path)
    for path in ("/dead-letters", "/quarantine"):
        for item in (await operator.json(path))["items"]:
            await operator.page(f"{path}/{item['id']}")
            await operator.json(f"{path}/{item['id']}")


#: Entries as no process of ours writes them.
NONSENSE = [
    {"x": b"\xff\xfe\x00"},
    {"event": b"[" * 5000, "type": HOSTILE},
    {"event": '{"data": {"cause": [], "conversation": "x", "address": 5}}', "type": "participant.joined"},
    {"command": b"\xff", "id": HOSTILE},
    {"source": HOSTILE, "subject": "||||", "key": HOSTILE, "body": HOSTILE},
    {b"n\xff": b"", "dead-stream": HOSTILE, "dead-deliveries": "-9" * 50, "dead-failed-at": HOSTILE},
    {"received_at": "9" * 19, "status": "9" * 19, "headers": "[[1]]", "path": b"\xff", "reason": HOSTILE},
    {"who": HOSTILE, "action": b"\xff"},
]


@pytest.mark.parametrize("path", [path for path in LISTS if path not in {"/streams/samples", "/story"}])
async def test_a_page_says_that_redis_is_away(alone, own_server, path):
    """With status 503 and a message, and it renews itself; it comes back with Redis."""
    query = f"{path}?q=SM{'0' * 32}"
    own_server.kill()
    page = await alone.page(query, status=503)
    assert "Redis does not answer. This page comes back by itself" in page.text
    assert "Redis does not answer" in (await alone.json(query, status=503))["error"]
    await own_server.start()
    status, _, text = await alone.visitor.get(query)
    assert (status, "Redis does not answer" in text) in {(200, False), (404, False)}


async def test_a_viewer_finds_out_no_number_by_trying_parts_of_a_reason(reader, scenes):
    """A filter compares with what is shown: the masked reason."""
    await scenes.letter(reason=f"ValueError: {CUSTOMER}")
    await scenes.refused(detail=f"no account {CUSTOMER}")
    for role, number in ((Role.VIEWER, 0), (Role.OPERATOR, 1)):
        person = await reader(role)
        for path in ("/dead-letters", "/quarantine"):
            found = await person.json(f"{path}?reason={CUSTOMER[3:9]}")
            assert len(found["items"]) == number, (role, path)
            assert len((await person.json(f"{path}?reason=O"))["items"]) == 1


async def test_every_answer_is_as_the_openapi_document_says(reader, scenes):
    """With something to show on each page; an answer has the members of its model, of their types."""
    letter, kept = await scenes.letter(), await scenes.refused()
    operator = await reader()
    job = (await operator.send("/dead-letters", {"action": "dry-run"}))["id"]
    ids = {"/dead-letters/{id}": letter, "/quarantine/{id}": kept, "/jobs/{id}": job}
    pages = [page for page in PAGES if page.method == "GET" and not page.is_live]
    for page in pages:
        path = page.path.replace("{id}", ids.get(page.path, ""))
        data = await operator.json(f"{path}?q=SM1" if path == "/story" else path, 404 if path == "/story" else 200)
        assert page.answer is not None, path
        page.answer.model_validate(data, strict=True)
    assert len(pages) > 15
    for path in (f"/dead-letters/{letter}/replay", f"/quarantine/{kept}/drop"):
        assert {"id", "text"} <= (await operator.send(path)).keys()
