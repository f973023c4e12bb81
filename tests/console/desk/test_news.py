"""News for pages: whom an entry concerns, what is remembered, and nonsense on a stream."""

import asyncio

import orjson
import pytest

from router.console.desk import news as desk_news
from router.console.desk.news import ANSWER, CONNECTION, LISTS, OFFER, TRANSCRIPT, DeskNews
from router.console.desk.sending import CommandSender
from router.console.hub import Arrival, Hub, Missed, RedisState, StreamKind, running
from router.core.keys import Keys
from router.core.sealing import NO_KEYS
from router.tasks import end
from tests.support.accounts import ACCOUNT, CUSTOMER
from tests.support.waiting import until

CONVERSATION = (ACCOUNT, "c1")
#: µs since 1970, and the ms of the entries' ids.
NOW = 1_700_000_000_000_000
NOW_MS = NOW // 1000


@pytest.fixture
def hub(redis):
    return Hub(redis, Keys())


@pytest.fixture
def news(redis, hub):
    sender = CommandSender(redis, Keys(), source="/test", sealer=NO_KEYS)
    return DeskNews(hub, redis, Keys(), sender, NO_KEYS, clock=lambda: NOW)


def arrival(kind, number=1, **data):
    """Return an entry about the conversation."""
    about = {"account_id": ACCOUNT, "conversation": {"id": "c1"}, "epoch": 1}
    document = {"id": f"e{number}", "type": kind, "time": "2026-11-20T11:00:00.000Z", "data": about | data}
    return Arrival(StreamKind.PARTICIPANTS, "s", f"{number}-0", {b"event": orjson.dumps(document)})


def message(number=1, text="hi", **data):
    said = {"id": None, "channel_id": f"SM{number}", "text": text}
    fields = {"participant": {"id": "p1"}, "address": CUSTOMER, "communication": said}
    return arrival("communication.received", number, **(fields | data))


def taken_by(agent, number=1):
    end = {"target": "human-agent", "agent": agent} if agent else {"target": "ai-agent", "agent": None}
    return arrival("holder.changed", number, **{"from": {"target": "ai-agent", "agent": None}, "to": end})


def rung(bell):
    """Return what a page has been told, and forget it."""
    names, bell._names = bell._names, set()
    return names


def test_an_offer_rings_whom_it_asks(news):
    """With a sound; nobody else hears of it."""
    with news.listen("dana") as dana, news.listen("eli") as eli:
        news.take(arrival("offer.made", agent={"identity": "dana", "name": "Dana"}))
        assert rung(dana) == {LISTS, OFFER}
        assert rung(eli) == set()


def test_a_message_rings_who_has_the_conversation_and_its_pages(news):
    """Whoever had it before is not told; a page that shows the conversation is."""
    with news.listen("dana") as dana, news.listen("eli") as eli, news.listen("olu", CONVERSATION) as page:
        news.take(taken_by("dana"))
        for bell in (dana, eli, page):
            rung(bell)
        news.take(message())
        assert rung(dana) == {LISTS}
        assert rung(eli) == set()
        assert rung(page) == {LISTS, TRANSCRIPT}
        news.take(taken_by(None, 2))
        rung(dana)
        news.take(message(3))
        assert rung(dana) == set()


def test_messages_and_names_are_remembered(news, monkeypatch):
    """Each once, the newest of a few conversations."""
    monkeypatch.setattr(desk_news, "MAX_CONVERSATIONS", 2)
    for number in (1, 1, 2):
        news.take(message(number, profile_name="Ana"))
    recent = news.recent(CONVERSATION)
    assert (recent.name, [one.text for _, one in recent.messages], recent.latest) == ("Ana", ["hi", "hi"], 2000)
    assert (recent.count_after(0), recent.count_after(1000), recent.count_after(2000)) == (2, 1, 0)
    assert news.changes_of(CONVERSATION) == 3
    for number in (2, 3):
        news.take(message(number, conversation={"id": f"c{number}"}))
    assert news.recent(CONVERSATION).latest == 0


def test_texts_and_names_are_forgotten_after_their_time(news):
    """What `erase` does not reach is in memory for minutes, a name for a day; the message still counts as unread."""
    old, older = NOW_MS - desk_news.TEXTS_KEPT * 1000 - 1, NOW_MS - desk_news.NAMES_KEPT * 1000 - 1
    news.take(message(older, "older", profile_name="Ana", conversation={"id": "c2"}))
    news.take(message(old, "old", profile_name="Bo"))
    news.take(message(NOW_MS, "new"))
    news.forget_old()
    recent = news.recent(CONVERSATION)
    assert (recent.name, [one.text for _, one in recent.messages], recent.count_after(0)) == ("Bo", ["new"], 2)
    news.take(message(old, "old"))
    assert [one.text for _, one in recent.messages] == ["new"]
    recent = news.recent((ACCOUNT, "c2"))
    assert (recent.name, list(recent.messages), recent.latest) == ("", [], older * 1000)
    assert "older" not in repr(news._recent)
    assert "Ana" not in repr(news._recent)


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"{",
        b"[]",
        b'{"data": 1}',
        b'{"type": "communication.received", "data": {"account_id": 1, "conversation": {"id": 2}}}',
        b'{"type": "holder.changed", "data": {"account_id": "A", "conversation": {"id": "c"}, "to": 7}}',
        b'{"type": "offer.made", "data": {"account_id": "A", "conversation": {"id": "c"}, "agent": "dana"}}',
        b'{"type": "offer.made", "data": {"account_id": "A", "conversation": {"id": "c"}}}',
        b'{"type":"","data":{"account_id":"","conversation":{"id":""},"cause":{"source":"commands","idempotency_key":[1]}}}',
        b'{"type": ["x"], "data": {"account_id": "A", "conversation": {"id": "c"}, "from": {"agent": ["x"]}}}',
    ],
)
def test_nonsense_on_a_stream_changes_nothing(news, event):
    """Whoever can write to Redis can write anything."""
    with news.listen("dana") as dana:
        news.take(Arrival(StreamKind.PARTICIPANTS, "s", "1-0", {b"event": event}))
        news.take(Arrival(StreamKind.PARTICIPANTS, "s", "what", {}))
        assert rung(dana) == set()


def test_an_outage_and_missed_news_refresh_every_page(news, hub):
    """While Redis is away a page says so, and afterwards everything is read again."""
    with news.listen("dana") as dana:
        hub.is_up = False
        news.take(RedisState(is_up=False))
        assert rung(dana) == {CONNECTION}
        hub.is_up = True
        news.take(RedisState(is_up=True))
        assert rung(dana) == {CONNECTION, LISTS, TRANSCRIPT}
        news.take(Missed(7))
        assert rung(dana) == {CONNECTION, LISTS, TRANSCRIPT}


async def test_a_late_answer_is_told_to_the_pages_of_its_person(news):
    """A command that nobody has answered in time is answered later."""
    news._sender.patience = 0.01
    await news._sender.send("dana", "offer.decline", "an-id", {"offer": f"{ACCOUNT}/c1/x.1", "agent": "dana"})
    with news.listen("dana") as dana, news.listen("eli") as eli:
        cause = {"source": "commands", "idempotency_key": "an-id"}
        news.take(arrival("offer.ended", agent={"identity": "dana"}, cause=cause))
        assert ANSWER in rung(dana)
        assert ANSWER not in rung(eli)
        assert [(one["kind"], one["answer"]["state"]) for one in dana.late] == [("offer.decline", "done")]


async def test_a_late_answer_is_told_where_its_conversation_is_shown_and_on_the_desk(news):
    """A page of another conversation would take it for its own; the desk says which one it was."""
    news._sender.patience = 0.01
    news.take(message(profile_name="Ana"))
    await news._sender.send("dana", "offer.decline", "an-id", {"offer": f"{ACCOUNT}/c1/x.1", "agent": "dana"})
    other = (ACCOUNT, "c2")
    with (
        news.listen("dana") as desk,
        news.listen("dana", CONVERSATION) as page,
        news.listen("dana", other) as third,
    ):
        news.take(arrival("command.refused", command_id="an-id", why="expired"))
        assert third.late == []
        assert [(one["conversation"], one["name"], one["is_elsewhere"]) for one in page.late + desk.late] == [
            ("c1", "Ana", False),
            ("c1", "Ana", True),
        ]


async def test_a_late_answer_waits_for_the_page_that_is_still_loading(news):
    """A page connects some time after it was made; what was answered meanwhile is told to it, for a minute."""
    news._sender.patience = 0.01
    for number in (1, 2):
        data = {"conversation": "c1", "account": ACCOUNT, "agent": "dana", "epoch": 1}
        await news._sender.send("dana", "conversation.release", f"id-{number}", data)
    news.take(arrival("command.refused", command_id="id-1", why="not-the-holder"))
    with (
        news.listen("eli", CONVERSATION) as eli,
        news.listen("dana") as desk,
        news.listen("dana", CONVERSATION) as page,
    ):
        assert (eli.late, desk.late) == ([], [])
        assert [one["answer"]["why"] for one in page.late] == ["not-the-holder"]
        assert ANSWER in rung(page)
    news.take(arrival("command.refused", 2, command_id="id-2", why="not-the-holder"))
    news._clock = lambda: NOW + 61_000_000
    with news.listen("dana", CONVERSATION) as page:
        assert page.late == []


async def test_a_late_answer_waits_although_the_page_before_is_still_connected(news):
    """That page is connected until the answer to its form is there, and a probe of a page connects without showing."""
    news._sender.patience = 0.01
    data = {"conversation": "c1", "account": ACCOUNT, "agent": "dana", "epoch": 1}
    await news._sender.send("dana", "conversation.release", "id-1", data)
    with news.listen("dana", CONVERSATION) as before:
        news.take(arrival("command.refused", command_id="id-1", why="not-the-holder"))
        with news.listen("dana", CONVERSATION) as probe, news.listen("dana", CONVERSATION) as page:
            told = [[one["answer"]["why"] for one in bell.late] for bell in (before, probe, page)]
            assert told == [["not-the-holder"]] * 3


async def test_a_late_answer_is_not_told_beside_what_was_sent_since(news):
    """It would be taken for the answer to that; pages of other people and conversations are told as ever."""
    news._sender.patience = 0.01
    data = {"conversation": "c1", "account": ACCOUNT, "agent": "dana", "epoch": 1}
    await news._sender.send("dana", "conversation.release", "id-1", data)
    news.take(arrival("command.refused", command_id="id-1", why="not-the-holder"))
    await news._sender.send("dana", "conversation.release", "id-2", data | {"conversation": "c2"})
    await news._sender.send("eli", "conversation.release", "id-3", data | {"agent": "eli"})
    with news.listen("dana", CONVERSATION) as page:
        assert len(page.late) == 1
    await news._sender.send("dana", "conversation.release", "id-4", data)
    with news.listen("dana", CONVERSATION) as page:
        assert page.late == []


async def test_what_was_said_before_the_start_is_read_again(news, hub, redis):
    """A console that was started anew knows the latest messages."""
    entry = message(5)
    await redis.xadd(Keys().participants(0, "human-agent"), entry.fields)
    async with running(hub):
        task = asyncio.create_task(news.run())
        await until(lambda: news.recent(CONVERSATION).latest)
        await end(task)
