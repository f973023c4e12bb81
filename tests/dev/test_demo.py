"""The demo of `dev`: how it ends, what it notes, and the command that it suggests."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from router.core.keys import Keys, Target
from router.core.routing.team import Team, TeamMember
from router.dev import demo
from router.dev.demo import Demo
from router.dev.happening import LineKind
from router.settings.environment import STATE_DIR
from router.simulator.options import parse_simulate
from router.streams.client.embedded import free_port
from tests.dev.test_people import World


@pytest.mark.parametrize("state_dir", [STATE_DIR, Path("/tmp/my state"), Path("other")])
def test_the_suggested_command_finds_this_dev(state_dir):
    """It names the state directory unless that is the usual one, so that it works as it stands."""
    demo = Demo({}, None, Keys(), team=Team(), say=lambda _: None)
    (line,) = [line for line in demo.summary("python -m router", state_dir) if "simulate" in line]
    python, option, module, command, *arguments = shlex.split(line)
    assert (python, option, module, command) == ("python", "-m", "router", "simulate")
    assert Path(parse_simulate(arguments).state_dir) == state_dir


DANA = TeamMember("dana", "Dana", 2)


@pytest.fixture
def make_demo(redis, monkeypatch):
    """Return a function that makes a demo whose sandbox does not answer, and the list of what it says."""
    monkeypatch.setattr(demo, "_SAMPLES", ())
    shown = []

    def make(client=redis, **more):
        sandbox = {"TWILIO_CONVERSATIONS_URL": f"http://127.0.0.1:{free_port()}", "TWILIO_API_KEY": "SK1"}
        environment = sandbox | {"TWILIO_API_SECRET": "made-up"}
        return Demo(environment, client, Keys(), team=Team({"dana": DANA}), say=shown.append, **more), shown

    return make


async def test_a_process_that_does_not_answer_ends_the_demo_only(make_demo, redis):
    """It was killed, say, and is started again: the demo says so, its people leave, and `dev` goes on."""
    one, shown = make_demo()
    assert await one.play() is False
    (said,) = [told.text for told in shown if told.kind is LineKind.TROUBLE]
    assert said.startswith("ends early: ClientConnectorError")
    commands = [fields[b"type"] for _, fields in await redis.xrange(Keys().commands(0))]
    assert commands == [b"agent.available", b"agent.offline"]


async def test_a_redis_that_does_not_answer_ends_the_demo_only(make_demo, clients):
    """It is away for a moment: nothing is raised."""
    one, shown = make_demo(clients("redis://127.0.0.1:1/0"))
    assert await one.play() is False
    assert [told.text.partition(" ")[0] for told in shown if told.kind is LineKind.TROUBLE] == ["ends"]


async def test_a_demo_that_takes_too_long_says_so(make_demo, monkeypatch):
    """What has not arrived then does not come."""
    one, shown = make_demo()

    async def send(*_, **__):
        return "+15551230001"

    monkeypatch.setattr(demo, "TIMEOUT", 0)
    monkeypatch.setattr(Demo, "_act", send)
    monkeypatch.setattr(Demo, "_capture", send)
    assert await one.play() is False
    assert [told.text for told in shown if told.kind is LineKind.TROUBLE] == [
        "ends early: not everything has come within 0 s"
    ]


@pytest.mark.parametrize("is_over", [False, True])
async def test_nothing_is_noted_unless_the_demo_plays(make_demo, redis, is_over):
    """`dev` may run for weeks, with or without a demo."""
    one, _ = make_demo()
    if is_over:
        await one.play()
    world = World(redis, DANA)
    world.people = one
    await world.place.announce(Target.AI_AGENT)
    await world.go_on()
    assert world.told[Target.AI_AGENT] != "0"
    assert any("0 participant.joined" in line for line in one.summary("", STATE_DIR))
