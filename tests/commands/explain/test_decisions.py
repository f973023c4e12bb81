"""`explain`: who holds a conversation and why, and what another file would have decided."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from router.__main__ import make_parser
from router.commands.explain.decisions import run_explain
from router.core.keys import Keys
from router.core.routing.queues import Queue
from router.core.routing.team import Team, TeamMember
from tests.core.builders import CONVERSATION
from tests.support.accounts import ACCOUNT
from tests.worker.floor_place import Place, ask

TEAM = Team(
    {
        "dana": TeamMember("dana", "Dana", 2),
        "eli": TeamMember("eli", "Eli", 2, ("german",)),
        "fay": TeamMember("fay", "Fay", 1, channels=("VOICE",)),
    },
    {"default": Queue()},
)


@pytest.fixture
async def place(redis, environment):
    """A conversation that eli has accepted, whom nobody else could have been asked for."""
    place = Place(redis, Keys(), team=TEAM)
    await place.announce()
    for agent in TEAM.members:
        await place.send("agent.available", agent=agent)
    await ask(place, skills=["german"])
    made = await place.last("offer.made")
    await place.send("offer.accept", "accepted", offer=made.offer.id, agent="eli")
    return place


async def explain(capsys, *arguments, status=0):
    assert await run_explain(make_parser().parse_args(["explain", *arguments])) == status
    return capsys.readouterr().out


@pytest.mark.parametrize("name", [CONVERSATION, "p1"], ids=["conversation", "participant"])
async def test_every_decision_is_shown(place, capsys, name):
    """What came in, what followed, who was chosen, and why the others were not."""
    text = await explain(capsys, name)
    assert f"conversation {CONVERSATION} of {ACCOUNT}" in text
    assert "held by eli in epoch 1" in text
    assert "the rule that decided first: a rule" in text
    assert [line.split("  ")[1] for line in text.splitlines() if line.startswith("20")] == [
        "handoff.request (command-4)",
        "agent.chosen",
        "offer.accept (accepted)",
    ]
    assert [line.partition(";")[0].strip() for line in text.splitlines() if "; epoch" in line] == [
        "handoff.requested",
        "offer.made",
        "offer.ended (accepted), holder.changed (accepted)",
    ]
    assert "eli was chosen" in text
    assert "not dana: lacks german" in text
    assert "not fay: lacks german" in text


async def test_refusals_are_shown(place, capsys):
    """With their reason, and that nothing changed."""
    await place.send("conversation.release", "early", conversation=CONVERSATION, agent="dana", epoch=1)
    assert "refused: not-the-holder" in await explain(capsys, CONVERSATION)


async def test_why_nobody_is_asked_now(place, capsys, tmp_path, monkeypatch):
    """Of everybody in the roster, also of those who are not present."""
    rows = {"dana": "capacity = 2", "eli": 'capacity = 2\nskills = ["german"]', "gus": "capacity = 1"}
    people = [f'[[agent]]\nidentity = "{name}"\nname = "{name}"\n{rest}\n' for name, rest in rows.items()]
    (tmp_path / "roster.toml").write_text("".join(people))
    (tmp_path / "routing.toml").write_text('[default]\ntarget = "ai-agent"\n')
    monkeypatch.setenv("ROUTER_CONFIG_DIR", str(tmp_path))
    await place.send("conversation.release", conversation=CONVERSATION, agent="eli", epoch=1)
    await place.send("agent.away", agent="eli")
    await ask(place, skills=["german"])
    text = await explain(capsys, CONVERSATION)
    shown = text.partition("nobody can be asked now: queue 'default', SMS, skills german, priority 0\n")[2]
    assert shown.splitlines()[:4] == [
        "    not dana: lacks german",
        "    not eli: away",
        "    not gus: not present",
        "    not fay: not in the roster",
    ]
    waiting = json.loads(await explain(capsys, CONVERSATION, "--json"))["waiting"]
    assert (waiting["is_open"], waiting["chosen"], waiting["others"]["gus"]) == (True, None, "not present")


async def test_nobody_is_asked_by_a_closed_queue(place, capsys, tmp_path, monkeypatch):
    """That is the reason then, and not the people."""
    (tmp_path / "roster.toml").write_text('[[agent]]\nidentity = "dana"\nname = "Dana"\ncapacity = 2\n')
    today = datetime.now(tz=UTC).date()
    holidays = f"{today}, {today + timedelta(1)}"  # midnight may pass during the test
    routing = f'[default]\ntarget = "ai-agent"\n[[queue]]\nname = "default"\nholidays = [{holidays}]\n'
    (tmp_path / "routing.toml").write_text(routing)
    monkeypatch.setenv("ROUTER_CONFIG_DIR", str(tmp_path))
    await place.send("conversation.release", conversation=CONVERSATION, agent="eli", epoch=1)
    await place.send("agent.away", agent="eli")
    await ask(place, skills=["german"])
    assert "nobody is looked for now: the queue 'default' is closed" in await explain(capsys, CONVERSATION)


async def test_what_other_people_would_have_been_chosen(place, capsys, tmp_path):
    """Of the agents who were there, with the skills of the other file."""
    roster = tmp_path / "new-roster.toml"
    roster.write_text(
        '[[agent]]\nidentity = "dana"\nname = "Dana"\ncapacity = 2\nskills = ["german"]\n'
        '[[agent]]\nidentity = "fay"\nname = "Fay"\ncapacity = 1\n'
    )
    text = await explain(capsys, CONVERSATION, "--with", str(roster))
    assert "with new-roster.toml: dana would be chosen" in text
    assert "not eli: not in the roster" in text
    shown = json.loads(await explain(capsys, CONVERSATION, "--json", "--with", str(roster)))
    assert [line["with"]["chosen"] for line in shown["journal"] if "with" in line] == ["dana"]


async def test_the_last_room_of_the_chosen_person_is_shown_as_it_was(place, capsys, tmp_path):
    """Before the choice: the same people would be chosen again, also one who is full since."""
    await place.announce(conversation_id="last")
    await place.send("handoff.request", conversation="last", reason="x", agent="eli")
    roster = tmp_path / "roster.toml"
    roster.write_text('[[agent]]\nidentity = "eli"\nname = "Eli"\ncapacity = 2\n')
    assert "with roster.toml: eli would be chosen" in await explain(capsys, "last", "--with", str(roster))


async def test_what_another_policy_would_have_decided(place, capsys, tmp_path):
    """For each customer, whose address is masked."""
    routing = tmp_path / "routing.toml"
    routing.write_text('[default]\ntarget = "human-agent"\n')
    text = await explain(capsys, CONVERSATION, "--with", str(routing))
    assert "human-agent, because of default" in text
    assert "+15551230001" not in text


async def test_nothing_is_known(redis, environment, capsys):
    """The exit status tells a program too, which finds nothing but JSON on standard output."""
    assert await run_explain(make_parser().parse_args(["explain", "--json", "p9"])) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "nothing is known of p9" in shown.err
