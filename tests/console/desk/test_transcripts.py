"""Readings of the API that several pages share, and how long they stay in memory."""

from types import SimpleNamespace

import pytest

from router.console.desk import transcripts
from router.console.desk.transcripts import Transcripts
from tests.support.accounts import ACCOUNT
from tests.support.waiting import until

CONVERSATION = (ACCOUNT, "conv_conversation_1")


class EmptyApi:
    """An API of a conversation without members and texts."""

    async def list_participants(self, *_, **__):
        return []

    async def list_communications(self, *_, **__):
        for one in ():
            yield one


@pytest.fixture
def apis():
    api = SimpleNamespace(v2=EmptyApi())
    return SimpleNamespace(of=lambda _: api)


async def test_a_reading_is_dropped_once_nobody_may_use_it(apis, monkeypatch):
    """`erase` does not reach what a console has read; it is gone after seconds."""
    monkeypatch.setattr(transcripts, "FRESH", 0.05)
    readings = Transcripts(apis, clock=lambda: 0.0)
    first = await readings.read(CONVERSATION, 0)
    assert await readings.read(CONVERSATION, 0) is first
    await until(lambda: not readings._kept)
    assert await readings.read(CONVERSATION, 0) is not first
    await readings.close()
