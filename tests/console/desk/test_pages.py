"""The desk's pages: who may see what, texts of strangers, and pages when the API or Redis is away."""

import asyncio
import wave
from contextlib import AsyncExitStack
from html import unescape

import pytest
from redis.exceptions import ClusterDownError, NoPermissionError
from redis.exceptions import ConnectionError as RedisConnectionError

from router.console.desk import pages, reading, transcripts
from router.console.desk.news import LISTS, OFFER
from router.console.pages import ConsoleError
from router.core.keys import Target
from router.core.ledger.marker import PARTICIPANT
from tests.console.desk.make_sound import PATH, make_sound
from tests.support.accounts import ACCOUNT, CUSTOMER, OTHER_CUSTOMER, OURS
from tests.support.waiting import until

MARKUP = '<script>alert(1)</script><img src=x onerror="alert(2)">'
#: An override that shows the rest from right to left, Hebrew, and an escape of a terminal.
TRICKS = "\u202egnirts \u05e9\u05dc\u05d5\u05dd \x1b[31mred"


async def test_texts_of_strangers_are_only_text(office, colleagues):
    """Markup is shown as it was written, characters that reorder or hide are visible, and other scripts stay."""
    dana = await colleagues("dana")
    async with dana.page() as desk:
        conversation = await office.customer_writes(MARKUP)
        await office.customer_writes(TRICKS)
        await office.until_present("dana")
        await office.ask_for_person(conversation, reason=MARKUP, summary=TRICKS, context={MARKUP: TRICKS})
        shown = [await desk.next("lists", "Offers (1)"), (await dana.get("/desk"))[2]]
        await dana.answer(await dana.offer(), "accept")
        async with dana.page(conversation) as page:
            shown.append(await page.next("transcript", "alert(2)"))
        shown.append((await dana.get(f"/desk/conversations/{conversation}"))[2])
    for text in shown:
        assert "<script>alert" not in text
        assert "<img" not in text
        assert MARKUP in unescape(text)
        assert "\u202e" not in text
        assert "\x1b" not in text
        assert "\\u202egnirts \u05e9\u05dc\u05d5\u05dd \\x1b[31mred" in text
        assert 'dir="auto"' in text


async def test_a_name_of_a_customer_is_shown_and_only_text(office, colleagues):
    """The name that WhatsApp tells of a customer stands beside the address."""
    dana = await colleagues("dana")
    name = f"Ana {MARKUP}"
    async with dana.page():
        await office.harness.append(office.harness.whatsapp("whatsapp:+15551230001", ProfileName=name))
        said = await until(lambda: office.last("communication.received", Target.AI_AGENT))
        await office.until_present("dana")
        await office.ask_for_person(said.conversation.id)

        async def find():
            offer = await dana.offer()
            return offer if offer["name"] else None

        offer = await until(find)
        assert (offer["name"], offer["address"], offer["channel"]) == (name, "+15551230001", "WHATSAPP")
        _, _, text = await dana.get("/desk")
        assert "<img" not in text
        assert name in unescape(text)


async def test_a_conversation_is_for_those_whom_it_concerns(office, colleagues):
    """Whoever has it, is asked about it or has had it, and operators; nobody else."""
    dana, eli, olu = [await colleagues(one) for one in ("dana", "eli", "olu")]
    async with dana.page(), eli.page():
        conversation = await office.hold(dana, "hello")
        path = f"/desk/conversations/{conversation}"
        assert (await eli.get(path))[0] == 403
        assert (await eli.get(f"/desk/events?conversation={conversation}"))[0] == 403
        assert (await olu.get(path))[0] == 200
        assert not (await olu.conversation(conversation))["is_mine"]
        await office.until_present("eli")
        await dana.act(conversation, "transfer", agent="eli")
        offer = await eli.offer()
        assert (await eli.get(path))[0] == 200
        await eli.answer(offer, "accept")
        status, _, text = await dana.get(path)
        assert status == 200
        assert "You do not have this conversation" in text
    assert (await dana.get("/desk/conversations/conv_conversation_of_nobody"))[0] == 404


async def test_viewers_see_no_desk(idle_office, colleagues):
    """The desk is for the roles agent and operator."""
    vera = await colleagues("vera")
    for path in ("/desk", "/desk/events", "/desk/conversations/x"):
        assert (await vera.get(path))[0] == 403


async def test_nobody_acts_for_somebody_else(office, colleagues):
    """The person of a command is who has signed in, whatever a form says."""
    dana, eli = await colleagues("dana"), await colleagues("eli")
    async with dana.page():
        conversation = await office.hold(dana)
        path = f"/desk/conversations/{conversation}"
        fields = await dana.form(path, "/release") | {"csrf": await eli.csrf(), "agent": "dana"}
        status, _, text = await eli.send(f"{path}/release", fields)
        assert status == 409
        assert "You do not have this conversation any more." in text
        assert (await office.commands("conversation.release"))[-1]["agent"] == "eli"
        assert (await dana.conversation(conversation))["is_mine"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "it is empty"), ("  \n ", "it is empty"), ("x" * 1601, "String should have at most 1600 characters")],
    ids=["empty", "blank", "too long"],
)
async def test_a_text_that_cannot_be_sent_is_kept(office, colleagues, text, problem):
    """The page says what is wrong with it, and it is still there."""
    dana = await colleagues("dana")
    async with dana.page():
        conversation = await office.hold(dana)
        status, _, page = await dana.act(conversation, "reply", text=text)
        assert status == 400
        assert f"text: {problem}." in page
        assert text.strip() in page
        assert await office.commands("conversation.say") == []


async def test_the_api_away_is_said_and_the_rest_works(office, colleagues, monkeypatch):
    """What the router knows is shown, and nothing fails."""
    monkeypatch.setattr(transcripts, "FRESH", 0.0)
    dana = await colleagues("dana")
    async with dana.page():
        conversation = await office.hold(dana, "my order is broken")
        office.sandbox.fault(status=500, method="GET", times=1000)
        shown = await dana.conversation(conversation)
        assert "The API has answered with status 500" in shown["problem"]
        assert [line["text"] for line in shown["lines"] if line["kind"] == "said"] == ["my order is broken"]
        office.sandbox.clear_faults()
        assert (await dana.conversation(conversation))["problem"] == ""


async def test_a_conversation_of_another_release_leaves_the_rest_of_the_desk(office, colleagues, redis):
    """Its card has no content, the others and the connected page are as ever, and what is written in it is kept."""
    dana = await colleagues("dana")
    async with dana.page() as desk:
        first = await office.hold(dana)
        fields = await dana.form(f"/desk/conversations/{first}", "/reply")
        second = await office.customer_writes("another", sender=OTHER_CUSTOMER)
        await office.ask_for_person(second, agent="dana")
        await dana.answer(await dana.offer(), "accept")
        await redis.hset(office.keys.conversation(ACCOUNT, first), "format", "99")
        shown = await dana.desk()
        assert [one["id"] for one in shown["conversations"]] == [second]
        assert shown["unreadable"] == [{"id": first, "account": ACCOUNT}]
        assert "This conversation cannot be read now" in (await dana.get("/desk"))[2]
        await redis.hset(office.keys.conversation(ACCOUNT, second), "format", "99")
        desk.forget()
        await dana.post("/desk/presence", {"state": "away"})
        lists = ""
        while "My conversations (0)" not in lists:  # updates from before may be on their way
            lists = await desk.next("lists", "cannot be read now")
        path = f"/desk/conversations/{first}/reply"
        status, _, text = await dana.send(path, fields | {"text": "what I wrote"})
        assert status == 503
        assert "what I wrote</textarea>" in text
        status, _, text = await dana.get(f"/desk/conversations/{first}")
        assert (status, "of another release" in text) == (503, True)
        await redis.delete(office.keys.conversation(ACCOUNT, first), office.keys.conversation(ACCOUNT, second))


@pytest.mark.parametrize("error", [RedisConnectionError("gone"), ClusterDownError("down")], ids=["away", "down"])
async def test_a_partition_away_leaves_the_rest_of_the_desk(office, colleagues, ports, monkeypatch, error):
    """Its conversations are cards without content; what Redis refuses until somebody acts is no such outage."""
    dana, store = await colleagues("dana"), ports.desk.reader._store
    read_whole, raised = store.read_whole, [error]
    async with dana.page():
        first = await office.hold(dana)
        second = await office.customer_writes("another", sender=OTHER_CUSTOMER)
        await office.ask_for_person(second, agent="dana")
        await dana.answer(await dana.offer(), "accept")

        async def read(account_id, conversation_id):
            if conversation_id == first:
                raise raised[0]
            return await read_whole(account_id, conversation_id)

        monkeypatch.setattr(store, "read_whole", read)
        shown = await dana.desk()
        assert [one["id"] for one in shown["conversations"]] == [second]
        assert shown["unreadable"] == [{"id": first, "account": ACCOUNT}]
        assert "its part of Redis" in (await dana.get("/desk"))[2]
        raised[0] = NoPermissionError("no rights")
        assert (await dana.get("/desk"))[0] == 500


async def test_the_transcript_goes_on_while_the_lists_and_read_marks_cannot_be_read(
    office, colleagues, ports, monkeypatch
):
    """These are in the first partition, the conversation may be in another one; the lists follow once they can be."""
    monkeypatch.setattr(pages, "_LOOKS", (3600.0,))
    dana, reader = await colleagues("dana"), ports.desk.reader

    async def fail(*_, **__):
        raise RedisConnectionError("gone")

    async with dana.page():
        conversation = await office.hold(dana, "hello")
        async with dana.page(conversation) as page:
            await page.next("transcript", "hello")
            await page.next("lists")
            with monkeypatch.context() as patch:
                patch.setattr(reader, "read_own", fail)
                patch.setattr(reader._marks, "mark_read", fail)
                await office.customer_writes("and another thing")
                await ports.desk.presence.set_away("dana", is_away=True)
                await page.next("transcript", "and another thing")
            ports.desk.news.ring_person("dana", OFFER)
            await page.next("lists", "I am back")


async def test_a_participant_of_another_release_is_said(office, colleagues, redis):
    """Only the page of that conversation is not available."""
    dana = await colleagues("dana")
    async with dana.page():
        conversation = await office.hold(dana)
        name = office.keys.conversation(ACCOUNT, conversation)
        await redis.hset(name, f"{PARTICIPANT}conv_participant_x", '{"format": "99"}')
        status, _, text = await dana.get(f"/desk/conversations/{conversation}")
        assert (status, "of another release" in text) == (503, True)
        await redis.hdel(name, f"{PARTICIPANT}conv_participant_x")


async def test_an_offer_that_was_accepted_leads_on_without_a_look(office, colleagues, ports, monkeypatch):
    """What cannot be read afterwards takes nothing from what was done."""
    dana = await colleagues("dana")
    async with dana.page():
        conversation = await office.customer_writes()
        await office.until_present("dana")
        await office.ask_for_person(conversation)
        offer = await dana.offer()

        async def fail(_):
            raise ConsoleError(503, "not now")

        monkeypatch.setattr(ports.desk.reader, "find", fail)
        status, headers, _ = await dana.answer(offer, "accept")
        assert (status, headers["Location"]) == (303, f"/desk/conversations/{conversation}")
        fields = await dana.form("/desk", "/desk/presence")
        status, _, text = await dana.send("/desk/offers", fields | {"offer": offer["offer"], "answer": "accept"})
        assert (status, 'class="problem"' in text) == (409, True)


async def test_a_long_conversation_is_read_to_its_end(office, colleagues, monkeypatch):
    """Every page of the API's list; the newest lines are shown, and the others on demand."""
    monkeypatch.setattr(transcripts, "_PAGE", 2)
    monkeypatch.setattr(reading, "MAX_LINES", 3)
    dana = await colleagues("dana")
    async with dana.page():
        conversation = await office.hold(dana, "number 0")
        for number in range(1, 6):
            await office.customer_writes(f"number {number}")
        path = f"/desk/conversations/{conversation}"

        async def find():
            _, _, text = await dana.get(path)
            return text if "number 5" in text else None

        text = await until(find)
        assert "number 0" not in text
        assert f'<a href="{path}?all=1">Show' in text
        status, _, text = await dana.act(conversation, "reply", text="too late", epoch="99")
        assert (status, f'<a href="{path}?all=1">Show' in text) == (409, True)
        _, _, text = await dana.get(f"{path}?all=1")
        assert [number for number in range(6) if f"number {number}" in text] == [0, 1, 2, 3, 4, 5]
        assert f'data-events="/desk/events?conversation={conversation}&amp;all=1"' in text
        async with dana.page(conversation, "&all=1") as page:
            await page.next("transcript", "number 0")
        async with dana.page(conversation) as page:
            await page.next("transcript", "earlier lines")


async def test_many_open_pages_cost_no_more_than_one(idle_office, colleagues, redis):
    """While nothing happens, one reader asks Redis for all of them."""
    dana = await colleagues("dana")
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(dana.page()) for _ in range(40)]
        for page in opened:
            await page.next("lists")

        async def is_quiet():
            before = await count_commands(redis)
            await until(lambda: has_read(redis, before, 10))
            after = await count_commands(redis)
            return (after["total"] - before["total"]) / (after["xread"] - before["xread"]) < 10

        await until(is_quiet)


async def has_read(redis, before, number):
    """Tell whether the hub has read so often since."""
    return (await count_commands(redis))["xread"] - before["xread"] >= number


async def count_commands(redis):
    """Count the commands that the server has had, without this one, and the reads of streams."""
    stats = await redis.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()}
    return {"xread": calls["xread"], "total": sum(calls.values()) - calls["info"]}


async def test_pages_of_one_conversation_share_a_reading_of_the_api(office, colleagues, ports, monkeypatch):
    """Nothing is asked again before something has happened there."""
    monkeypatch.setattr(transcripts, "FRESH", 3600.0)
    dana = await colleagues("dana")
    async with dana.page():
        conversation = await office.hold(dana, "hello")
        await dana.conversation(conversation)
        before = await office.harness.calls()
        await asyncio.gather(*(dana.conversation(conversation) for _ in range(10)))
        assert await office.harness.calls() == before
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(dana.page(conversation)) for _ in range(5)]
            await office.customer_writes("and another thing")
            for page in opened:
                await page.next("transcript", "and another thing")
        listed = "GET /v2/Conversations/{conversation}/Communications"
        assert (await office.harness.calls())[listed] - before[listed] <= 3


async def test_a_text_of_ours_is_shown_after_any_change(office, colleagues, monkeypatch):
    """No entry tells of it: after each change, also the second of two, the page reads the transcript again."""
    monkeypatch.setattr(transcripts, "FRESH", 0.0)
    monkeypatch.setattr(pages, "_LOOKS", tuple(0.3 * number for number in range(1, 300)))
    dana = await colleagues("dana")
    async with dana.page():
        conversation = await office.hold(dana, "hello")
        async with dana.page(conversation) as page:
            for text in ("one", "two"):
                await office.customer_writes(text)
                await page.next("transcript", text)
            await office.sandbox.capture(OURS, CUSTOMER, body="from us")
            await page.next("transcript", "from us")


async def test_a_read_that_fails_loses_no_news(idle_office, colleagues, ports, monkeypatch):
    """What needs no read is told at once, and the rest with the next news, whatever these are."""
    monkeypatch.setattr(pages, "_LOOKS", (3600.0,))
    dana, reader = await colleagues("dana"), ports.desk.reader
    read_own = reader.read_own

    async def fail(*_, **__):
        monkeypatch.setattr(reader, "read_own", read_own)
        raise ConnectionError("gone")

    async with dana.page() as page:
        await page.next("lists", "is <strong")
        monkeypatch.setattr(reader, "read_own", fail)
        await ports.desk.presence.set_away("dana", is_away=True)
        ports.desk.news.ring_person("dana", OFFER, LISTS)
        await page.next("offer")
        await until(lambda: reader.read_own is read_own)
        ports.desk.news.ring_person("dana", OFFER)
        await page.next("offer")
        assert "I am back" in await page.next("lists")


async def test_the_sound_is_what_its_program_makes():
    """A small file that every browser plays; it can be made again."""
    assert PATH.read_bytes() == make_sound()
    with wave.open(str(PATH)) as sound:
        assert 0.2 < sound.getnframes() / sound.getframerate() < 1
    assert PATH.stat().st_size < 8_000
