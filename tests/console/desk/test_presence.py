"""Presence follows the pages that are open: one per person, however many tabs, and none once the last one is gone."""

import asyncio

import pytest

from router.console.desk import presence as presences
from router.console.desk.presence import LEAVING, LOADED, PAUSE, RENEW, PagePresence
from router.core.keys import Keys
from router.core.routing.commands import LIFE, read_command
from router.streams.store.person_marks import PersonMarks
from router.tasks import end
from tests.support.waiting import until


class Hall:
    """The presence of people whose clock the test moves."""

    def __init__(self, redis):
        self.redis, self.keys, self.now = redis, Keys(), 1000.0
        self.marks = PersonMarks(redis, self.keys)
        self.presence = PagePresence(redis, self.keys, self.marks, source="/test", clock=lambda: self.now)

    async def later(self, seconds):
        """Let time pass and do what is due then; returns the commands that were written."""
        self.now += seconds
        await self.presence.tell_due()
        return await self.told()

    async def told(self):
        """Return the commands since the last call: type, person and life of each."""
        pipeline = self.redis.pipeline(transaction=True)  # nothing may be written between the two
        pipeline.xrange(self.keys.commands(0))
        pipeline.delete(self.keys.commands(0))
        rows, _ = await pipeline.execute()
        commands = [read_command(fields) for _, fields in rows]
        return [(one.type, one.data.agent, one.data.life) for one in commands]


@pytest.fixture
def hall(redis):
    return Hall(redis)


async def test_two_tabs_are_one_person(hall):
    """The first page tells it, the second adds nothing, and while one is open presence is renewed in time."""
    with hall.presence.page("dana"):
        assert await hall.later(0) == [("agent.available", "dana", LIFE)]
        with hall.presence.page("dana"):
            assert await hall.later(0) == []
            assert await hall.later(RENEW) == [("agent.available", "dana", LIFE)]
        assert await hall.later(PAUSE) == []
        assert await hall.later(RENEW - PAUSE) == [("agent.available", "dana", LIFE)]
    assert RENEW < LIFE


async def test_after_the_last_page_presence_is_short(hall):
    """Once, a moment after the last page is gone; another console with a page of the same person renews in time."""
    with hall.presence.page("dana"):
        await hall.later(0)
    assert await hall.later(PAUSE / 2) == []
    assert await hall.later(PAUSE / 2) == [("agent.available", "dana", LEAVING)]
    assert await hall.later(RENEW * 3) == []
    assert RENEW < LEAVING < LIFE


async def test_a_page_that_is_loaded_again_tells_nothing(hall):
    """Between two pages of one person there is a moment without one."""
    with hall.presence.page("dana"):
        await hall.later(0)
    await hall.later(PAUSE / 2)
    with hall.presence.page("dana"):
        assert await hall.later(PAUSE) == []
        assert await hall.later(RENEW) == [("agent.available", "dana", LIFE)]


async def test_who_is_away_stays_away(hall):
    """Over every renewal and every lapse, until they are back."""
    with hall.presence.page("dana"):
        await hall.later(0)
        await hall.presence.set_away("dana", is_away=True)
        assert await hall.told() == [("agent.away", "dana", LIFE)]
        assert await hall.later(RENEW) == [("agent.away", "dana", LIFE)]
    assert await hall.later(PAUSE) == [("agent.away", "dana", LEAVING)]
    with hall.presence.page("dana"):
        assert await hall.later(LEAVING * 2) == [("agent.away", "dana", LIFE)]
        await hall.presence.set_away("dana", is_away=False)
        assert await hall.told() == [("agent.available", "dana", LIFE)]


async def test_a_page_without_a_connection_is_presence_for_a_while(hall):
    """Without JavaScript no page is ever connected; one that is connected tells it by itself."""
    await hall.presence.load("dana")
    assert await hall.told() == [("agent.available", "dana", LOADED)]
    with hall.presence.page("dana"):
        await hall.later(0)
        await hall.told()
        await hall.presence.load("dana")
        assert await hall.told() == []


async def test_at_the_end_everybody_is_leaving(hall):
    """A console that is stopped ends presence soon, and one that is killed when its life is over."""
    with hall.presence.page("dana"):
        await hall.later(0)
        await hall.presence.tell_due(is_last=True)
        assert await hall.told() == [("agent.available", "dana", LEAVING)]


async def test_an_outage_of_redis_is_waited_out(own_server, clients, lines, monkeypatch):
    """What was due is told once Redis is back."""
    monkeypatch.setattr(presences, "_AGAIN", 0.05)
    hall = Hall(clients(own_server.url, timeout=0.5))
    own_server.kill()
    running = asyncio.create_task(hall.presence.run())
    with hall.presence.page("dana"):
        await until(lambda: lines("console.waiting"))
        await own_server.start()
        assert await until(hall.told) == [("agent.available", "dana", LIFE)]
    await end(running)


async def test_two_pages_of_a_browser_and_one_that_is_killed(office, colleagues, ports):
    """One of two tabs is killed: still present. The other one too: presence is told to end, and lapses by itself."""
    dana = await colleagues("dana")
    async with dana.page() as first, dana.page() as second:
        await office.until_present("dana")
        before = len(await office.commands("agent.available"))
        first.kill()
        await until(lambda: len(ports.desk.news._bells) == 1)
        assert (await dana.desk())["agent"]["presence"] == "available"
        assert len(await office.commands("agent.available")) == before
        second.kill()

        async def is_leaving():
            return [one for one in await office.commands("agent.available") if one["life"] == LEAVING]

        assert await until(is_leaving) == [{"agent": "dana", "life": LEAVING}]


async def test_whoever_lapses_loses_what_they_have_to_the_next_one(office, colleagues, monkeypatch):
    """The browser of one person is killed in the middle: their conversation is offered to the other."""
    monkeypatch.setattr(presences, "LEAVING", 1)
    dana, eli = await colleagues("dana"), await colleagues("eli")
    async with eli.page():
        async with dana.page() as page:
            conversation = await office.hold(dana, "hello")
            page.kill()
        await office.until_present("eli")
        offer = await eli.offer()
        assert (offer["id"], offer["summary"]) == (conversation, "Order 4711 is broken.")
        assert (await eli.answer(offer, "accept"))[0] == 303
        said = [line["text"] for line in (await eli.conversation(conversation))["lines"]]
        assert "the person was no longer present: the queue has it" in said


async def test_away_is_a_switch_of_the_page(office, colleagues):
    """Whoever is away is not asked, keeps being away over a lapse, and says when they are back."""
    dana = await colleagues("dana")
    status, headers, _ = await dana.send("/desk/presence", await dana.form("/desk", "/presence") | {"state": "away"})
    assert (status, headers["Location"]) == (303, "/desk")

    async def shown():
        found = (await dana.desk())["agent"]
        return found["presence"] if found["presence"] != "offline" else None

    assert await until(shown) == "away"
    async with dana.page() as page:
        assert "I am back" in await page.next("lists")
        await dana.send("/desk/presence", await dana.form("/desk", "/presence") | {"state": "available"})
        await office.until_present("dana")


async def test_somebody_outside_the_roster_is_told_so(office, colleagues):
    """No command is sent for them, which would be a dead letter."""
    nele = await colleagues("nele")
    _, _, text = await nele.get("/desk")
    assert "nele is not in the roster" in text
    async with nele.page() as page:
        await page.next("lists", "not in the roster")
    fields = {"csrf": await nele.csrf(), "state": "away"}
    assert (await nele.send("/desk/presence", fields))[0] == 403
    assert await office.redis.xlen(office.keys.commands(0)) == 0
