"""The pages about the state of the deployment: the first page, streams, processes, waiting events, people."""

from __future__ import annotations

import pytest

from router.console.operations.start import PAGES_OF_SECTIONS
from router.console.roles import Role
from router.core.keys import RESOLVER
from router.core.routing.wishes import AgentCard, Wish
from router.operations.diagnosis import RULES
from router.streams.store.desk import Desk
from tests.console.operations.scenes import HOSTILE
from tests.operations.conftest import Deployment
from tests.support.accounts import CUSTOMER
from tests.support.source import ROOT


@pytest.fixture
def deployment(redis, ports):
    """A deployment in Redis, without its processes."""
    return Deployment(redis, ports.settings)


async def test_the_first_page_has_the_problems_first(reader, deployment):
    """The worst on top, each with what to do and where to see more."""
    await deployment.run("worker")
    await deployment.bury()
    page = await (await reader()).page("/")
    problems = page.all("li", class_="problem")
    levels = [problem.all("span", class_="state")[0].text for problem in problems]
    assert levels == sorted(levels, key=["down", "degraded"].index)
    assert problems[0].text.startswith("down no receiver is running: webhooks are not accepted What to do: start")
    assert problems[0].links() == {"Show": "/processes"}
    letters = next(problem for problem in problems if "1 dead letter: given up" in problem.text)
    assert letters.links() == {"Show": "/dead-letters"}
    assert page.one("section", **{"aria-labelledby": "state"}).one("h2").text == "State: down"


async def test_the_first_page_renews_its_state_and_leaves_the_search_box_alone(reader):
    """Somebody may be typing there."""
    page = await (await reader()).page("/")
    renewed = page.one("div", id="now")
    assert (renewed.attributes["hx-get"], renewed.attributes["hx-select"]) == ("/", "#now")
    assert renewed.all("input") == []
    assert renewed.all("section")


async def test_a_program_gets_the_whole_state(reader, deployment):
    """As the command `status --json` prints it."""
    await deployment.run("web", "worker")
    data = await (await reader(Role.VIEWER)).json("/")
    assert data["level"] in {"degraded", "down"}
    assert {
        "at",
        "problems",
        "processes",
        "streams",
        "lag",
        "waiting",
        "spool",
        "oldest",
        "dead_letters",
    } <= data.keys()
    assert sorted(process["kind"] for process in data["processes"]) == ["web", "worker"]


async def test_a_healthy_deployment_has_no_problem(reader, deployment):
    """The page then says so."""
    await deployment.run("web", "worker", "ai-agent", "human-agent")
    page = await (await reader()).page("/")
    assert page.all("li", class_="problem") == []
    assert "Nothing is wrong" in page.text
    assert page.one("dl", class_="numbers").all("dd")[0].text == "4"


def test_every_section_with_a_page_is_one_of_the_documentation():
    """A problem names a section of docs/operations.md; the page that shows it follows from the name."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    headings = {line.lstrip("# ").lower().replace(" ", "-") for line in text.splitlines() if line.startswith("#")}
    slugs = {"".join(one for one in heading if one.isalnum() or one == "-") for heading in headings}
    assert set(PAGES_OF_SECTIONS) <= slugs
    assert len(RULES) > 5


async def test_streams_say_who_reads_them_and_what_is_left(reader, deployment, redis):
    """Those with something to do come first; a group that nobody reads is marked."""
    await deployment.run("worker")
    await deployment.park("k1", "k2")
    await redis.xadd(deployment.inbound, deployment.webhook("k3"))
    await redis.xgroup_create(deployment.inbound, "mine", id="0")
    page = await (await reader()).page("/streams")
    section = page.all("section", class_="stream")[0]
    assert section.one("h2").text == deployment.inbound
    assert "3 entries" in section.text
    groups = {row[0]: row[1:] for row in section.rows()}
    assert groups[RESOLVER][:3] == ["1", "0", "2"]
    assert groups["mine"][0] == "3"
    assert groups["mine"][4] == "nobody"
    assert section.all("tr", class_="degraded")[0].all("td")[0].text == "mine"
    (link,) = [path for path in section.links().values() if path.startswith("/waiting?")]
    assert len((await (await reader()).page(link)).rows()) == 2


async def test_the_curves_are_drawn_from_the_consoles_own_samples(reader):
    """The script is told where they are; uPlot and its style are files of ours."""
    operator = await reader()
    _, _, text = await operator.visitor.get("/streams")
    assert 'data-samples="/streams/samples"' in text
    assert "uPlot.iife.min." in text
    assert (await operator.json("/streams/samples")).keys() == {"at", "streams"}


async def test_processes_that_died_come_first(reader, deployment, redis):
    """They have not said that they ended."""
    await deployment.run("web", "worker")
    (name,) = [one async for one in redis.scan_iter(match="*process:worker*")]
    await redis.delete(name)
    page = await (await reader()).page("/processes")
    assert [row[:2] for row in page.rows()] == [["dead", "worker"], ["alive", "web"]]
    data = await (await reader(Role.VIEWER)).json("/processes")
    assert [(one["kind"], one["is_alive"]) for one in data["items"]] == [("worker", False), ("web", True)]


async def test_no_process_at_all_is_said(reader):
    """An empty table would look as if nothing was wrong."""
    page = await (await reader()).page("/processes")
    assert "neither receiver nor worker runs" in page.one("p", role="alert").text


async def test_waiting_events_say_why_and_since_when(reader, deployment):
    """The reasons with their numbers on top; an event behind another one of its customer is marked."""
    await deployment.park("k1", "k2", reason="the API answers 503", since=1_767_794_580_000)
    page = await (await reader()).page("/waiting")
    first, second = page.rows()
    assert first[0] == "2026-01-07 14:03:00Z"
    assert (first[1], first[2], first[4]) == ("the API answers 503", f"SMS {CUSTOMER}", "3")
    assert "(behind an earlier one)" in second[1]
    assert "2 events wait" in page.text
    assert [one.text for one in page.one("ul", class_="counts").all("li")] == ["2 the API answers 503"]
    assert [path for path in page.links().values() if path.startswith("/story?q=ev_")]


@pytest.mark.parametrize(("role", "shown"), [(Role.VIEWER, "+155***01"), (Role.OPERATOR, CUSTOMER)])
async def test_waiting_events_are_masked_by_role(reader, deployment, role, shown):
    """In the reason, too."""
    await deployment.park("k1", reason=f"no account for {CUSTOMER}")
    data = await (await reader(role)).json("/waiting")
    assert (data["items"][0]["address"], data["items"][0]["reason"]) == (shown, f"no account for {shown}")


async def test_waiting_events_are_paged_and_filtered(reader, deployment):
    """The cursor goes on behind the page, and keeps the filter."""
    await deployment.park(*(f"k{number}" for number in range(5)), reason="the API answers 503")
    operator = await reader()
    page = await operator.page("/waiting?limit=2&reason=503")
    second = await operator.page(page.links()["Next page"])
    third = await operator.page(second.links()["Next page"])
    assert [len(one.rows()) for one in (page, second, third)] == [2, 2, 1]
    assert "Next page" not in third.links()
    assert (await operator.page("/waiting?reason=429")).rows() == []


async def test_a_filter_that_matches_little_looks_at_few_waiting_events(reader, deployment, monkeypatch):
    """The next page goes on where the look ended, whatever matched."""
    monkeypatch.setattr("router.console.operations.waiting.MOST_LOOKED_AT", 3)
    await deployment.park(*(f"k{number}" for number in range(5)))
    operator = await reader()
    page = await operator.page("/waiting?event=k4")
    assert page.rows() == []
    assert "None of those that were looked at for this page matches" in page.text
    following = page.links()["Next page"]
    assert "cursor=3" in following
    last = await operator.page(following)
    assert len(last.rows()) == 1
    assert "(behind an earlier one)" in last.rows()[0][1]
    assert "Next page" not in last.links()


async def test_the_reasons_of_a_part_are_said_to_be_of_a_part(reader, deployment):
    """Otherwise the most frequent reason may seem to be rare."""
    await deployment.park("k1", "k2")
    operator = await reader()
    titles = [(await operator.page(f"/waiting{query}")).one("h2").text for query in ("", "?limit=1", "?cursor=1")]
    assert titles == ["Why", "Why (events of this page)", "Why (events of this page)"]


async def test_agents_show_presence_load_and_conversations(reader, redis, ports):
    """A conversation leads to why it is there."""
    desk = Desk(redis, ports.keys, clock=lambda: ports.clock() // 1000)
    until = ports.clock() // 1000 + 600_000
    await desk.arrive(AgentCard("dana", "Dana", 3, ("german",)), until)
    await desk.arrive(AgentCard("eli", f"Eli{HOSTILE}", 1), until, is_away=True)
    await desk.settle("AC1 conv_conversation_1", 1, Wish(holder="dana", units=1))
    page = await (await reader()).page("/agents")
    dana, eli = page.rows()
    assert dana[0].startswith("Dana dana")
    assert (dana[1], dana[3], dana[4], dana[6]) == ("available", "1 of 3", "german", "AC1 conv_conversation_1")
    assert eli[1] == "away"
    assert page.links()["AC1 conv_conversation_1"] == "/explain?q=conv_conversation_1"
    assert page.all("img") == []
    data = await (await reader(Role.VIEWER)).json("/agents")
    assert [(one["identity"], one["presence"]) for one in data["items"]] == [("dana", "available"), ("eli", "away")]


async def test_queues_show_who_waits_how_long(reader, redis, ports):
    """The default queue is always there."""
    page = await (await reader()).page("/queues")
    ((name, state, waiting, *_),) = [row for row in page.rows() if row[0] == "default"]
    assert (name, state, waiting) == ("default", "open", "0")
    data = await (await reader(Role.VIEWER)).json("/queues")
    assert {"name", "is_open", "waiting", "oldest", "available"} <= data["items"][0].keys()


@pytest.mark.parametrize("path", ["/agents", "/queues"])
async def test_a_roster_with_mistakes_is_explained(reader, ports, tmp_path, monkeypatch, path):
    """With file and line, as at a start."""
    (tmp_path / "roster.toml").write_text("[[agent]]\nidentity = 5\n")
    (tmp_path / "routing.toml").write_text('[default]\ntarget = "ai-agent"\n')
    monkeypatch.setitem(ports.settings.__dict__, "config_dir", tmp_path)
    data = await (await reader()).json(path, status=409)
    assert "roster.toml:2" in data["error"]


async def test_the_audit_is_paged_from_the_newest(reader, ports):
    """Each action once, with who, what and the result."""
    viewer = await reader(Role.VIEWER)
    for number in range(5):
        await ports.audit.note("olu", "operator", "POST /x", f"thing {number}", "done")
    page = await viewer.page("/audit?limit=3")
    assert [row[3] for row in page.rows()] == ["thing 4", "thing 3", "thing 2"]
    following = await viewer.page(page.links()["Next page"])
    assert [row[3] for row in following.rows()][:2] == ["thing 1", "thing 0"]
    data = await viewer.json("/audit")
    assert (len(data["items"]), data["next"]) == (6, None)
    assert data["items"][0].keys() == {"id", "at", "who", "role", "action", "what", "detail"}


async def test_the_audit_is_masked_for_a_viewer(reader, ports):
    """The name of a thing may be an address."""
    for role, shown in ((Role.VIEWER, "+155***01"), (Role.OPERATOR, CUSTOMER)):
        person = await reader(role)
        await ports.audit.note("olu", "operator", "erase", CUSTOMER, HOSTILE)
        page = await person.page("/audit")
        assert page.rows()[0][3] == shown
        assert page.all("img") == []
