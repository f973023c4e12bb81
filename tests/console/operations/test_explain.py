"""The page that says why a decision fell."""

from __future__ import annotations

import asyncio

import pytest

from router.console.operations import decisions
from router.console.roles import Role
from router.core.routing.team import Team, TeamMember
from tests.console.operations.scenes import HOSTILE
from tests.core.builders import CONVERSATION
from tests.worker.floor_place import Place, ask


@pytest.fixture
async def place(redis, ports):
    """A conversation for which dana is asked, and eli is not."""
    team = Team({"dana": TeamMember("dana", "Dana", 2, ("german",)), "eli": TeamMember("eli", "Eli", 2)})
    place = Place(redis, ports.keys, team=team)
    await place.announce()
    for agent in team.members:
        await place.send("agent.available", agent=agent)
    await ask(place, skills=["german"])
    return place


@pytest.mark.parametrize("name", [CONVERSATION, "p1"], ids=["conversation", "participant"])
async def test_each_decision_says_who_was_chosen_and_why_others_were_not(reader, place, name):
    """In their order, with times."""
    viewer = await reader(Role.VIEWER)
    page = await viewer.page(f"/explain?q={name}")
    assert page.one("h2", id="now").text == CONVERSATION
    decided = [one.text for one in page.one("ol", class_="timeline").all("li")]
    assert "handoff.request" in decided[0]
    assert "dana was chosen. not eli: lacks german" in decided[1]
    data = await viewer.json(f"/explain?q={name}")
    assert (data["found"], data["conversation"]) == (True, CONVERSATION)
    assert [line["what"] for line in data["journal"]] == ["handoff.request", "agent.chosen"]


async def test_why_nobody_is_asked_is_said(reader, place):
    """For everybody who is known."""
    made = await place.last("offer.made")
    await place.send("offer.decline", offer=made.offer.id, agent="dana")
    page = await (await reader()).page(f"/explain?q={CONVERSATION}")
    assert "Nobody can be asked now." in page.text
    reasons = [one.text for one in page.all("li") if one.text.startswith("not ")]
    assert any(reason.startswith("not dana: ") for reason in reasons)


async def test_the_page_begins_with_a_box(reader):
    """Without a name there is nothing to explain; a program sees that, too."""
    viewer = await reader(Role.VIEWER)
    assert (await viewer.page("/explain")).form(action="/explain") == {"q": ""}
    assert await viewer.json("/explain") == {"found": False, "subject": ""}


@pytest.mark.parametrize("query", ["q=*", "q=%20", "q=?"])
async def test_a_wildcard_is_refused(reader, query):
    """It would be a search through everything."""
    data = await (await reader()).json(f"/explain?{query}", status=400)
    assert data["error"] == "Name a conversation or a participant."


@pytest.mark.parametrize("name", ["conv_conversation_0", HOSTILE, "[a-z]*x", "x" * 2000])
async def test_nothing_is_known_of_a_name_that_nothing_has(reader, place, name):
    """It is shown harmlessly."""
    operator = await reader()
    status, _, text = await operator.visitor.get("/explain", params={"q": name})
    assert status == 404
    assert "Nothing is known of" in text
    assert "<img" not in text


async def test_a_search_that_takes_too_long_names_the_command(reader, place, monkeypatch):
    """A page does not wait for a search through millions of conversations."""

    async def search(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(decisions, "PATIENCE", 0.01)
    monkeypatch.setattr(decisions, "read_decisions", search)
    data = await (await reader()).json("/explain?q=conv_participant_x", status=503)
    assert "python -m router explain conv_participant_x" in data["error"]
