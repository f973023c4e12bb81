"""The page of dead letters: what was given up and why, opened, replayed and dropped, one or all that match."""

from dataclasses import replace

import pytest

from router.console.operations import parts
from router.console.roles import Role
from router.streams.store.jobs import JobState
from tests.console.operations.scenes import CONVERSATION, HOSTILE
from tests.support.accounts import CUSTOMER
from tests.support.waiting import until

MASKED = "+155***01"


async def test_each_letter_says_why_who_and_which_event(reader, scenes):
    """The reason comes first, the event leads to its story, and the letter can be opened."""
    name = await scenes.letter()
    page = await (await reader()).page("/dead-letters")
    ((given_up, reason, customer, kind, group, event, _),) = page.rows()
    assert (given_up, reason) == ("2026-01-07 14:03:00Z", "ValueError: no answer")
    assert (customer, kind, group) == (f"SMS {CUSTOMER}", "communication.received", "ai-agent after 5")
    links = page.links()
    assert links[event].startswith("/story?q=ev_")
    assert links["Open"] == f"/dead-letters/{name.replace(':', '%3A')}"
    assert "1 event was given up" in page.text


async def test_a_program_gets_the_same(reader, scenes):
    """Times, ids and the facts of the entry."""
    name = await scenes.letter()
    ((item,), following) = (await (await reader()).json("/dead-letters")).values()
    assert following is None
    assert item["id"] == name
    assert item["address"] == CUSTOMER
    assert (item["conversation"], item["group"], item["deliveries"]) == (CONVERSATION, "ai-agent", 5)
    assert item["event_id"].startswith("ev_")


@pytest.mark.parametrize(("role", "shown"), [(Role.VIEWER, MASKED), (Role.OPERATOR, CUSTOMER)])
async def test_a_viewer_sees_no_private_value(reader, scenes, role, shown):
    """Neither in the list nor in a letter, as a page or as JSON; an operator sees all, and the raw text."""
    name = await scenes.letter(reason=f"ValueError: {CUSTOMER} and ana@example.com")
    person = await reader(role)
    pages = [await person.page(path) for path in ("/dead-letters", f"/dead-letters/{name}")]
    data = [await person.json(path) for path in ("/dead-letters", f"/dead-letters/{name}")]
    for one in (*(page.text for page in pages), *map(str, data)):
        assert shown in one
        assert (CUSTOMER in one) == (role is Role.OPERATOR)
        assert ("ana@example.com" in one) == (role is Role.OPERATOR)
    assert len(pages[1].all("details")) == (1 if role is Role.OPERATOR else 0)
    assert len(pages[1].all("form")) == (2 if role is Role.OPERATOR else 0)


async def test_what_a_stranger_wrote_is_shown_harmlessly(reader, scenes):
    """Markup is text, control characters are visible, and no direction leaves its place."""
    name = await scenes.letter(reason=HOSTILE, **{f"n{HOSTILE}": HOSTILE, "dead-group": HOSTILE})
    operator = await reader()
    for path in ("/dead-letters", f"/dead-letters/{name}"):
        _, _, text = await operator.visitor.get(path)
        assert "<img" not in text
        assert "&lt;img src=x onerror=alert(1)&gt;" in text
        assert "\\x1b[2J\\u202e" in text
        assert not [one for one in text if not one.isprintable() and one != "\n"]
        page = await operator.page(path)
        assert HOSTILE[:10] in "".join(one.text for one in page.all("bdi"))
        _, _, text = await operator.visitor.get(path, headers=operator.token | {"Accept": "application/json"})
        assert text.isprintable()


async def test_ten_thousand_letters_are_paged_without_reading_them_all(reader, scenes, redis, monkeypatch):
    """Each page begins behind the last one; no page reads further than it has to."""
    await scenes.letters(10_000)
    read = []
    xrange = type(redis).xrange

    async def count(self, name, *args, **options):
        rows = await xrange(self, name, *args, **options)
        read.append(len(rows or []))
        return rows

    monkeypatch.setattr(type(redis), "xrange", count)
    operator = await reader()
    page = await operator.page("/dead-letters")
    assert len(page.rows()) == parts.ROWS
    assert "10,000 events were given up" in page.text
    assert sum(read) < 1000
    seen = []
    path = "/dead-letters?limit=500"
    while path:
        data = await operator.json(path)
        seen += [item["id"] for item in data["items"]]
        path = data["next"] and f"/dead-letters?limit=500&cursor={data['next']}"
    assert len(seen) == len(set(seen)) == 10_000


async def test_the_link_to_the_next_page_keeps_the_filter(reader, scenes):
    """A filter with characters of a URL in it, too."""
    await scenes.letters(5, reason="a&b=c d")
    await scenes.letters(3)
    operator = await reader()
    page = await operator.page("/dead-letters?limit=2&reason=a%26b%3Dc")
    assert len(page.rows()) == 2
    following = await operator.page(page.links()["Next page"])
    assert [row[1] for row in following.rows()] == ["a&b=c d"] * 2
    assert len((await operator.page(following.links()["Next page"])).rows()) == 1


async def test_a_filter_that_matches_little_looks_at_a_bounded_number(reader, scenes, monkeypatch):
    """The page then has few rows, or none, and a next one."""
    monkeypatch.setattr("router.console.operations.dead_letters.MOST_LOOKED_AT", 10)
    await scenes.letters(15)
    await scenes.letter(reason="rare")
    operator = await reader()
    first = await operator.json("/dead-letters?reason=RARE")
    assert first["items"] == []
    second = await operator.json(f"/dead-letters?reason=RARE&cursor={first['next']}")
    assert [item["reason"] for item in second["items"]] == ["rare"]
    assert second["next"] is None
    page = await operator.page("/dead-letters?reason=RARE")
    assert "Next page" in page.links()
    assert "None of those that were looked at for this page matches" in page.text


@pytest.mark.parametrize(
    ("query", "reasons"),
    [
        ("reason=VALUE", ["ValueError: no answer"]),
        ("stream=inbound", ["other"]),
        ("group=resolver", ["other"]),
        ("source=messaging", ["other"]),
        ("event=communication.received", ["ValueError: no answer"]),
        ("since=1h", ["ValueError: no answer", "other"]),
        ("until=1h", []),
    ],
)
async def test_letters_are_filtered(reader, scenes, ports, query, reasons):
    """By reason, origin, kind and time."""
    await scenes.letter()
    other = {"dead-stream": ports.keys.inbound(0), "dead-group": "resolver", "dead-reason": "other"}
    await scenes.redis.xadd(ports.keys.dead_letters(0), {"source": "messaging", "key": "k"} | other)
    operator = await reader()
    assert [item["reason"] for item in (await operator.json(f"/dead-letters?{query}"))["items"]] == reasons
    page = await operator.page(f"/dead-letters?{query}")
    assert [row[1] for row in page.rows()] == reasons
    name, _, value = query.partition("=")
    assert page.form(action="/dead-letters", method="get")[name] == value


async def test_a_letter_shows_its_entry_and_what_a_replay_would_do(reader, scenes):
    """Decoded line by line."""
    name = await scenes.letter()
    page = await (await reader()).page(f"/dead-letters/{name}")
    lines = "\n".join(one.text for one in page.all("pre"))
    assert f"data.address: {CUSTOMER}" in lines
    assert "goes back on router:{0}:participants:ai-agent: no group reads that stream" in page.text
    assert f"/explain?q={CONVERSATION}" in page.links().values()


@pytest.mark.parametrize("name", ["0:1-1", "nonsense", "0:x", "99:1-1", "1-1", "%00", "..%2F..", "٣:1-1"])
async def test_a_letter_that_is_gone_is_not_found(reader, name):
    """It may have been replayed by somebody else meanwhile."""
    operator = await reader()
    for page in (
        await operator.page(f"/dead-letters/{name}", status=404),
        await operator.press(f"/dead-letters/{name}/replay", status=404),
        await operator.press(f"/dead-letters/{name}/drop", status=404),
    ):
        assert page.one("h1").text == "There is nothing here"


async def test_one_letter_is_replayed_once(reader, scenes, redis, ports):
    """It is back on its stream, the page leads to its story, and the audit says who did it."""
    name = await scenes.letter()
    operator = await reader()
    form = (await operator.page(f"/dead-letters/{name}")).all("form")[0]
    page = await operator.press(form.attributes["action"])
    assert f"{name}: back on router:{{0}}:participants:ai-agent as " in page.text
    assert [link for link in page.links().values() if link.startswith("/story?q=ev_")]
    ((_, fields),) = await redis.xrange(ports.keys.participants(0, "ai-agent"))
    assert fields[b"replayed"]
    assert await redis.xlen(ports.keys.dead_letters(0)) == 0
    await operator.press(f"/dead-letters/{name}/replay", status=404)
    second, first, *_ = await ports.audit.read()
    assert (first.who, first.action, first.what) == ("olu", "POST /dead-letters/{id}/replay", f"dead letter {name}")
    assert first.detail.startswith("200: back on router:{0}:participants:ai-agent as")
    assert second.detail.startswith("404")


async def test_a_letter_of_no_stream_stays(reader, scenes):
    """Nobody knows where it belongs."""
    name = await scenes.letter(**{"dead-stream": "elsewhere"})
    operator = await reader()
    page = await operator.page(f"/dead-letters/{name}")
    assert "disabled" in page.all("button")[0].attributes
    assert (
        "does not say which of our streams" in (await operator.press(f"/dead-letters/{name}/replay", status=409)).text
    )
    assert (await operator.json(f"/dead-letters/{name}"))["replay"]["can_replay"] is False


async def test_one_letter_is_dropped_for_good(reader, scenes, redis, ports):
    """By a program as by a person."""
    first, second = await scenes.letter(), await scenes.letter()
    operator = await reader()
    await operator.press(f"/dead-letters/{first}/drop")
    assert (await operator.send(f"/dead-letters/{second}/drop"))["text"] == "dropped"
    assert await redis.xlen(ports.keys.dead_letters(0)) == 0


async def finished(reader, job_id, state=JobState.DONE):
    """Wait for the end of a job; returns it."""

    async def is_over():
        job = await reader.json(f"/jobs/{job_id}")
        return job if job["state"] != JobState.RUNNING else None

    job = await until(is_over)
    assert job["state"] == state, job
    return job


async def test_everything_that_matches_is_replayed_after_a_dry_run(reader, scenes, redis, ports):
    """The dry run shows what would be done, its button does it, and what does not match stays."""
    await scenes.letters(250)
    await scenes.letter(reason="other")
    operator = await reader()
    page = await operator.page("/dead-letters?reason=no+answer")
    form = page.form(class_="bulk")
    assert (form["action"], form["reason"]) == ("dry-run", "no answer")
    place = await operator.press("/dead-letters", form, status=303)
    dry = await finished(operator, place.rpartition("/")[2])
    ((outcome, number),) = dry["counts"].items()
    assert outcome.startswith("goes back on router:{0}:participants:ai-agent")
    assert (number, dry["seen"], dry["total"]) == (250, 251, 251)
    assert await redis.xlen(ports.keys.dead_letters(0)) == 251
    page = await operator.page(place)
    assert "Replay these 250" in page.text
    form = page.one("div", id="progress").all("form")[0]
    fields = {one.attributes["name"]: one.attributes["value"] for one in form.all("input")}
    place = await operator.press(form.attributes["action"], fields, status=303)
    job = await finished(operator, place.rpartition("/")[2])
    assert job["counts"] == {"replay": 250}
    assert await redis.xlen(ports.keys.participants(0, "ai-agent")) == 250
    assert [item["reason"] for item in (await operator.json("/dead-letters"))["items"]] == ["other"]
    assert [entry.action for entry in await ports.audit.read(limit=4)] == [
        "dead-letters.replay done",
        "POST /dead-letters",
        "dead-letters.dry-run done",
        "POST /dead-letters",
    ]


@pytest.mark.parametrize("until_when", ["", "9999-12-31T00:00:00Z"])
async def test_what_arrives_after_the_dry_run_is_not_touched(reader, scenes, redis, ports, until_when):
    """Nobody has seen it, even if it arrives before the end that somebody has typed."""
    await scenes.letter()
    operator = await reader()
    dry = await operator.send("/dead-letters", {"action": "dry-run", "reason": "no answer", "until": until_when})
    await finished(operator, dry["id"])
    later = (await redis.time())[0] * 1000 + 60_000
    fields = scenes.entry() | scenes.origin("no answer")
    late = await redis.xadd(ports.keys.dead_letters(0), fields, id=f"{later}-0")
    job = await operator.send("/dead-letters", {"action": "drop", "dry_run": dry["id"], "confirm": "yes"})
    assert (await finished(operator, job["id"]))["counts"] == {"drop": 1}
    assert [entry_id for entry_id, _ in await redis.xrange(ports.keys.dead_letters(0))] == [late]


@pytest.mark.parametrize(
    ("form", "status", "message"),
    [
        ({"action": "replay"}, 409, "Make a dry run first"),
        ({"action": "replay", "dry_run": "unknown"}, 409, "Make a dry run first"),
        ({"action": "drop", "dry_run": "DRY"}, 400, "confirm it"),
        ({"action": "drop", "dry_run": "DRY", "confirm": "no"}, 400, "confirm it"),
        ({"action": "replay", "dry_run": "OLD"}, 409, "more than an hour old"),
        ({"action": "replay", "dry_run": "OTHER"}, 409, "Make a dry run first"),
        ({"action": "erase"}, 400, "action"),
        ({}, 400, "action"),
        ({"action": "dry-run", "since": "never"}, 400, "since must be a time"),
    ],
)
async def test_a_bulk_action_needs_its_dry_run(reader, scenes, redis, ports, form, status, message):
    """A recent and finished one of the same list; and dropping is confirmed."""
    await scenes.letter()
    operator = await reader()
    dry = (await operator.send("/dead-letters", {"action": "dry-run"}))["id"]
    await finished(operator, dry)
    other = (await operator.send("/quarantine", {"action": "dry-run"}))["id"]
    await finished(operator, other)
    old = await ports.jobs.store.read(dry)
    await ports.jobs.store.note(replace(old, job_id="old", started_at=old.started_at - 3_601_000_000))
    named = {"DRY": dry, "OTHER": other, "OLD": "old"}
    form = {name: named.get(value, value) for name, value in form.items()}
    assert message in (await operator.send("/dead-letters", form, status=status))["error"]
    assert await redis.xlen(ports.keys.dead_letters(0)) == 1
