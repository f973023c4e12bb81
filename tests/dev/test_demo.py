"""The demo of `dev`: entries are printed as they arrive."""

from __future__ import annotations

import asyncio

import pytest

from router.core.keys import Keys
from router.core.routing.team import Team
from router.dev import demo
from router.dev.demo import Demo
from router.streams.client.connection import RedisError
from router.tasks import end
from tests.support.waiting import until
from tests.test_docs import an_entry


@pytest.mark.parametrize("problem", [RedisError("away"), TimeoutError(), ConnectionRefusedError()])
async def test_entries_are_printed_after_an_outage_of_redis(monkeypatch, tmp_path, capsys, problem):
    """An error while reading ends nothing; the entry that arrives next is printed."""
    answers = [problem, an_entry()]

    async def watch(*_):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        yield answer
        await asyncio.Event().wait()

    monkeypatch.setattr(demo, "watch", watch)
    monkeypatch.setattr(demo, "RETRY_DELAY", 0.0)
    following = asyncio.create_task(Demo({}, None, Keys(), team=Team(), logs=[tmp_path / "ai-agent.log"]).follow())
    shown = []
    await until(lambda: shown.append(capsys.readouterr().out) or "participant.joined" in "".join(shown))
    await end(following)
