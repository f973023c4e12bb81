"""The decisions of a conversation, as `explain` and the console read them."""

from __future__ import annotations

import pytest

from router.core.keys import Keys
from router.core.stories import StageName
from router.operations.decisions import read_decisions
from router.process.stories import make_stories
from router.settings.load import load
from router.streams.store.stories import StoryAbout
from tests.core.builders import CONVERSATION
from tests.support.accounts import ACCOUNT, TOKEN
from tests.worker.floor_place import Place, ask

pytestmark = pytest.mark.real


@pytest.fixture
async def place(redis):
    place = Place(redis, Keys())
    await place.announce()
    await ask(place)
    return place


@pytest.fixture
def settings(monkeypatch, redis_url):
    for name, value in {"REDIS_URL": redis_url, "TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)
    return load()


async def test_a_conversation_is_found_without_a_search(place, redis, settings):
    """Its key follows from the account and the id, however many conversations there are."""
    pages = []
    found = await read_decisions(redis, settings, CONVERSATION, on_page=pages.append)
    assert found.ledger.conversation_id == CONVERSATION
    assert found.holding.request is not None
    assert pages == []


async def test_a_participant_is_searched_for(place, redis, settings):
    """No key names the conversation of a participant."""
    pages = []
    found = await read_decisions(redis, settings, "p1", on_page=pages.append)
    assert found.ledger.conversation_id == CONVERSATION
    assert pages[0] == 1


async def test_a_participant_is_found_by_its_story(place, redis, settings):
    """However many conversations there are; one of another conversation leads to nothing."""
    pages, now = [], await redis.time()
    writer = make_stories(settings, redis, process="worker", clock=lambda: now[0] * 1_000_000)
    for participant in ("p1", "p2"):
        about = StoryAbout("ev_1", ACCOUNT, "", CONVERSATION, participant)
        writer.tell(0, about, StageName.WAITING, "for something")
    await writer.close()
    found = await read_decisions(redis, settings, "p1", on_page=pages.append)
    assert (found.ledger.conversation_id, pages) == (CONVERSATION, [])
    assert await read_decisions(redis, settings, "p2", on_page=pages.append) is None


async def test_nothing_is_known_of_a_name_that_nothing_has(place, redis, settings):
    """Also of one with characters that a pattern would obey."""
    for name in ("conv_conversation_0", "*", ""):
        assert await read_decisions(redis, settings, name) is None


async def test_a_line_of_nonsense_hides_no_other(place, redis, settings):
    """Another release, or somebody by hand, may have written it."""
    journal = Keys().journal(ACCOUNT, CONVERSATION)
    before = await read_decisions(redis, settings, CONVERSATION)
    await redis.lpush(journal, b"\xff{", b"[]")
    found = await read_decisions(redis, settings, CONVERSATION)
    assert (found.journal, found.unreadable) == (before.journal, 2)
    assert [line["what"] for line in found.to_json()["journal"]] == ["handoff.request"]
