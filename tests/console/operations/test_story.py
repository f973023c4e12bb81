"""The search box and the story that it leads to."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from router.console.roles import Role
from router.operations.stories import StorySearch
from router.streams.store.append import Appender, InboundFields
from tests.console.operations.scenes import HOSTILE
from tests.operations.conftest import parts  # noqa: F401 - a fixture
from tests.operations.parts import sid_of, sms
from tests.support.accounts import ACCOUNT, CUSTOMER, OURS

KEY = f"{ACCOUNT}:messaging:{sid_of()}"


@pytest.fixture
async def received(redis, ports):
    """A message that no worker has looked at."""
    fields = InboundFields(
        "messaging", ACCOUNT, KEY, f"SMS|{CUSTOMER}|{OURS}", 1_767_794_580_000_000, b"Body=hi", 86_400
    )
    assert await Appender(redis, ports.keys).append(fields)


async def test_the_story_of_an_answered_message_is_a_timeline(reader, parts):  # noqa: F811
    """In order of time, each stage with its process and details; the last one stands on top."""
    async with parts.receiving() as send, parts.working(), parts.handling("ai_agent"):
        assert await send(sms()) == 200
        await parts.told(sid_of(), "sent")
    operator = await reader()
    for query in (sid_of(), CUSTOMER):
        page = await operator.page(f"/story?q={quote(query)}")
        data = await operator.json(f"/story?q={quote(query)}")
        stages = page.one("ol", class_="timeline").all("li")
        assert [one.one("time").attributes["datetime"] for one in stages] == [one["at"] for one in data["stages"]]
        assert [one.all("span", class_="state")[0].text for one in stages] == [one["stage"] for one in data["stages"]]
        assert {"received", "resolved", "published", "consumed", "sent"} <= {one["stage"] for one in data["stages"]}
        assert page.one("p", class_="last").text.startswith(f"Last: {data['stages'][-1]['stage']}")


async def test_a_program_gets_exactly_the_documented_members(reader, received):
    """{found, subject, stages: [{at, stage, process, id, detail}]}."""
    data = await (await reader(Role.VIEWER)).json(f"/story?q={sid_of()}")
    assert data.keys() == {"found", "subject", "stages"}
    assert data["found"] is True
    assert [stage.keys() for stage in data["stages"]] == [{"at", "stage", "process", "id", "detail"}]
    assert data["stages"][0]["stage"] == "received"
    assert data["stages"][0]["at"] == "2026-01-07T14:03:00.000Z"


async def test_the_box_keeps_what_was_asked_for(reader, received):
    """To look around another time, only that is typed."""
    page = await (await reader()).page(f"/story?q={sid_of()}&around=2026-01-07T14:03:00Z")
    assert page.form(role="search") == {"q": sid_of(), "around": "2026-01-07T14:03:00Z"}


async def test_an_event_leads_to_its_own_story(reader, received):
    """Of a customer with many events, one is a click away."""
    operator = await reader()
    page = await operator.page(f"/story?q={quote(CUSTOMER)}")
    (link,) = [path for path in page.links().values() if path.startswith("/story?q=ev_")]
    assert (await operator.json(link))["found"]


@pytest.mark.parametrize("query", ["", "?q=", "?q=*", "?q=%20", "?q=***", "?q=%25"])
async def test_a_search_for_nothing_or_everything_says_what_to_name(reader, query):
    """Status 400, for people and programs."""
    viewer = await reader(Role.VIEWER)
    page = await viewer.page(f"/story{query}", status=400)
    message = page.one("p", role="alert").text
    assert "q is missing" in message or "Name a MessageSid, CallSid, conversation" in message
    assert (await viewer.json(f"/story{query}", status=400))["error"] == message


async def test_a_name_that_nothing_has_says_what_to_do_next(reader):
    """It may have been refused, or be too long ago; a program sees that it was not found."""
    viewer = await reader(Role.VIEWER)
    page = await viewer.page(f"/story?q={sid_of(9)}", status=404)
    assert f"Nothing is known of {sid_of(9)}" in page.text
    assert "/quarantine?since=1d" in page.links().values()
    assert (await viewer.json(f"/story?q={sid_of(9)}", status=404))["stages"] == []


@pytest.mark.parametrize("query", [HOSTILE, "\x00", "x" * 5000, "+" * 100, "ev_" + "z" * 30, "AC1:messaging:*"])
async def test_any_text_may_be_searched_for(reader, query):
    """It finds nothing, and is shown harmlessly."""
    operator = await reader()
    status, _, text = await operator.visitor.get("/story", params={"q": query})
    assert status in {400, 404}
    assert "<img" not in text
    assert not [one for one in text if not one.isprintable() and one != "\n"]


async def test_an_address_is_masked_in_what_a_program_gets(reader, received):
    """The story holds no address, whoever asks; the text box has what was typed."""
    operator = await reader()
    data = await operator.json(f"/story?q={quote(CUSTOMER)}")
    assert data["found"]
    assert CUSTOMER not in str(data)


@pytest.mark.parametrize("around", ["noon", "25:00", "yesterday"])
async def test_a_time_that_is_none_is_refused(reader, around):
    """With the forms of a time."""
    page = await (await reader()).page(f"/story?q={sid_of()}&around={around}", status=400)
    assert "around must be a time: ISO 8601" in page.text


async def test_the_search_looks_around_the_time(reader, received, monkeypatch):
    """It is in UTC, like all times of the pages."""
    asked = []

    async def find(self, query, *, around=None):
        asked.append((query, around))
        return await original(self, query, around=around)

    original = StorySearch.find
    monkeypatch.setattr(StorySearch, "find", find)
    await (await reader()).page(f"/story?q={sid_of()}&around=2026-01-07T14:03:00Z")
    assert asked == [(sid_of(), 1_767_794_580_000_000)]


async def test_a_dead_event_leads_to_its_letter(reader, parts, redis, ports):  # noqa: F811
    """What can be done about a stage stands beside it, and its page shows that event only."""
    await redis.xadd(ports.keys.inbound(0), {"source": "nobody", "key": "k", "account": ACCOUNT, "subject": "x"})
    async with parts.receiving(), parts.working():
        name = "ev_8254c329a92850f6d539dd37"
        await parts.told(name, "dead")
    operator = await reader()
    page = await operator.page(f"/story?q={name}")
    path = page.links()["see why it was given up; repair that and replay it"]
    assert path == f"/dead-letters?event={name}"
    assert len((await operator.page(path)).rows()) == 1


async def test_a_customer_is_found_within_two_steps_of_the_first_page(reader, received):
    """The first page has the box, and its form leads to the story."""
    operator = await reader()
    form = (await operator.page("/")).one("form", role="search")
    names = [one.attributes["name"] for one in form.all("input")]
    assert (form.attributes["action"], form.attributes["method"], names) == ("/story", "get", ["q", "around"])
    assert "received" in (await operator.page(f"/story?q={quote(CUSTOMER)}")).text
