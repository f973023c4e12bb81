"""The live tail: the newest entries, and those that arrive while the page is open."""

from __future__ import annotations

from contextlib import asynccontextmanager
from urllib.parse import quote

import orjson
import pytest

from router.console.roles import Role
from tests.console.operations.scenes import CONVERSATION, HOSTILE
from tests.support.accounts import CUSTOMER
from tests.support.html import read_html
from tests.support.waiting import deadline, until

MASKED = "+155***01"


class Events:
    """The events of one open connection."""

    def __init__(self, answer):
        self.answer = answer

    async def next(self):
        """Wait for the next event; returns its name and data."""
        name, lines = "message", []
        async with deadline(20):
            while True:
                read = await self.answer.content.readline()
                assert read, "the connection has ended"
                line = read.decode().rstrip("\r\n")
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    lines.append(line[6:])
                elif not line and lines:
                    return name, "\n".join(lines)


@asynccontextmanager
async def following(reader, path, *, is_program=False):
    """Open a live page, as a browser or a program does."""
    headers = reader.token | {"Accept": "application/json"} if is_program else {"Accept": "text/event-stream"}
    async with reader.visitor.session.get(path, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield Events(answer)


async def arrive(redis, ports, scenes, target="ai-agent", number=1, **changes):
    """Add an entry of a customer's message."""
    await redis.xadd(ports.keys.participants(0, target), scenes.entry(number) | changes)


async def listening(ports, number=1):
    """Wait until so many listen besides the desk, and the hub knows where the streams end."""
    await until(lambda: ports.hub.listeners == number + 1 and ports.hub._position)


async def test_the_page_has_the_newest_entries_without_javascript(reader, redis, ports, scenes):
    """Of all streams, the newest first, each with its customer and its event."""
    await redis.xadd(
        ports.keys.inbound(0), {"source": "messaging", "key": "k", "subject": f"SMS|{CUSTOMER}|x"}, id="1-0"
    )
    await arrive(redis, ports, scenes)
    operator = await reader()
    page = await operator.page("/tail")
    first, second = page.rows()
    assert (first[1], first[2], first[3], first[4]) == (
        "participants:ai-agent",
        "communication.received",
        f"SMS {CUSTOMER}",
        "hello",
    )
    assert second[0] == "1970-01-01 00:00:00.001Z"
    assert {f"/story?q={CONVERSATION}"} <= set(page.links().values())
    assert [item["entry_id"] for item in (await operator.json("/tail"))["items"]][1] == "1-0"
    assert page.one("tbody").attributes["hx-sse:connect"] == "/tail/events?"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_a_viewer_sees_neither_address_nor_text(reader, redis, ports, scenes, role):
    """In what is there and in what arrives."""
    person = await reader(role)
    async with following(person, "/tail/events") as events:
        await listening(ports)
        await arrive(redis, ports, scenes)
        _, row = await events.next()
    page = await person.page("/tail")
    for text in (page.text, row):
        assert (CUSTOMER in text) == (role is Role.OPERATOR)
        assert (MASKED in text) == (role is Role.VIEWER)
    assert (page.rows()[0][4] == "hello") == (role is Role.OPERATOR)


async def test_what_arrives_is_sent_as_a_row_or_as_data(reader, redis, ports, scenes):
    """A page gets a row for its table, a program the same as JSON."""
    operator = await reader()
    async with (
        following(operator, "/tail/events") as page,
        following(operator, "/tail/events", is_program=True) as data,
    ):
        await listening(ports, 2)
        await arrive(redis, ports, scenes)
        name, row = await page.next()
        _, text = await data.next()
    item = orjson.loads(text)["item"]
    cells = [cell.text for cell in read_html(row).one("tr").all("td")]
    assert name == "message"
    assert cells[1:4] == ["participants:ai-agent", "communication.received", f"SMS {CUSTOMER}"]
    assert (item["stream"], item["conversation"], item["text"]) == ("participants:ai-agent", CONVERSATION, "hello")


@pytest.mark.parametrize(
    "query",
    [
        "kind=joined",
        "stream=human-agent",
        f"q={quote(CUSTOMER)}",
        "q=0001",
        "q=conv_participant_7",
    ],
)
async def test_the_tail_is_filtered(reader, redis, ports, scenes, query):
    """By type, stream, id, or a part of the address of four characters; the page and what arrives alike."""
    matching = {
        "kind": {"type": "participant.joined", "event": b'{"type": "participant.joined", "data": {}}'},
        "stream": {},
        "q": {},
    }[query.partition("=")[0]]
    target = "human-agent" if query.startswith("stream") else "ai-agent"
    operator = await reader()
    async with following(operator, f"/tail/events?{query}", is_program=True) as events:
        await listening(ports)
        await redis.xadd(ports.keys.participants(0, "ai-agent"), {"event": "{}", "type": "other"})
        await arrive(redis, ports, scenes, target, number=7, **matching)
        _, text = await events.next()
    item = orjson.loads(text)["item"]
    assert item["kind"] != "other"
    assert [one["entry_id"] for one in (await operator.json(f"/tail?{query}"))["items"]] == [item["entry_id"]]


async def test_a_filter_finds_what_is_behind_many_others(reader, redis, ports, scenes):
    """Among the last entries of each stream, not only among those that the page would show."""
    await arrive(redis, ports, scenes, number=7)
    for number in range(100, 160):
        await arrive(redis, ports, scenes, number=number)
    operator = await reader()
    assert len((await operator.json("/tail?q=conv_participant_7"))["items"]) == 1
    assert len((await operator.json("/tail"))["items"]) == 50


@pytest.mark.parametrize("query", ["q=*", "q=%25%25", "q=%3F"])
async def test_a_wildcard_is_refused(reader, query):
    """There are none; the message says what there is."""
    operator = await reader()
    for path in ("/tail", "/tail/events"):
        data = await operator.json(f"{path}?{query}", status=400)
        assert "four characters of an address at least; there are no wildcards" in data["error"]


async def test_a_part_of_an_address_that_is_too_short_finds_nothing(reader, redis, ports, scenes):
    """Four characters at least, or nearly every row matches."""
    await arrive(redis, ports, scenes)
    assert (await (await reader()).json("/tail?q=%2B15"))["items"] == []


async def test_a_viewer_cannot_search_by_a_part_of_an_address(reader, redis, ports, scenes):
    """What is masked must not be found out by trying; a whole address is what the viewer knows already."""
    await arrive(redis, ports, scenes)
    viewer = await reader(Role.VIEWER)
    assert (await viewer.json("/tail?q=3000"))["items"] == []
    assert len((await viewer.json(f"/tail?q={quote(CUSTOMER)}"))["items"]) == 1


async def test_nonsense_that_arrives_is_shown_harmlessly(reader, redis, ports):
    """And the connection goes on."""
    operator = await reader()
    async with following(operator, "/tail/events") as events:
        await listening(ports)
        for fields in ({"event": b"\xff["}, {"type": HOSTILE, "event": "[]"}, {HOSTILE: HOSTILE}):
            await redis.xadd(ports.keys.participants(0, "ai-agent"), fields)
            _, row = await events.next()
            assert "<img" not in row
            assert not [one for one in row if not one.isprintable() and one != "\n"]


async def test_the_tail_says_that_redis_is_away_and_goes_on(alone, own_ports, own_server):
    """The open page is told, and gets what arrives once Redis is back."""
    async with following(alone, "/tail/events") as events:
        await until(lambda: own_ports.hub.listeners and own_ports.hub._position)
        own_server.kill()
        name, text = await events.next()
        assert (name, text.strip()) == ("state", "Redis does not answer. The tail goes on by itself once it does.")
        await own_server.start()
        name, text = await events.next()
        assert (name, text.strip()) == ("state", "")
