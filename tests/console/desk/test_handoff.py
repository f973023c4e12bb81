"""The life of a handoff over the pages: two people and an AI agent, a real worker, and the sandbox's API."""

import asyncio
import re
from html import unescape

import orjson
import pytest

from router.console.desk import sending
from router.core.keys import Target
from router.worker.app import working
from tests.console.desk.office import hidden_fields
from tests.support.accounts import OTHER_CUSTOMER
from tests.support.waiting import until


async def asked_one(*people):
    """Return who of these people is asked, and then the others."""

    async def find():
        for one in people:
            if (await one.desk())["offers"]:
                return one
        return None

    asked = await until(find)
    return asked, *(one for one in people if one is not asked)


async def test_two_people_and_an_ai_agent_hand_a_conversation_over(office, colleagues):
    """Asked for, declined, accepted by the next one, answered, passed on, given back with a note, and closed."""
    dana, eli = await colleagues("dana"), await colleagues("eli")
    conversation = await office.customer_writes("my order is broken")
    async with dana.page(), eli.page():
        await office.until_present("dana", "eli")
        await office.ask_for_person(conversation, context={"order": "4711"})
        first, second = await asked_one(dana, eli)
        offer = await first.offer()
        shown = {name: offer[name] for name in ("channel", "queue", "reason", "summary", "context")}
        assert shown == {
            "channel": "SMS",
            "queue": "default",
            "reason": "wants a refund",
            "summary": "Order 4711 is broken.",
            "context": {"order": "4711"},
        }
        status, headers, _ = await first.answer(offer, "decline")
        assert (status, headers["Location"]) == (303, "/desk?done=offer.decline")
        status, headers, _ = await second.answer(await second.offer(), "accept")
        assert (status, headers["Location"]) == (303, f"/desk/conversations/{conversation}")
        status, _, text = await second.act(conversation, "reply", text="I look into it.\r\nOne moment.")
        assert status == 303, text
        assert "I look into it.\nOne moment." in await office.sandbox.texts(conversation)
        others = (await second.conversation(conversation))["people"]
        assert [(one["identity"], one["availability"]) for one in others] == [
            (first.identity, "available"),
            ("kim", "offline"),
        ]
        status, _, text = await second.act(conversation, "transfer", agent=first.identity, note="knows refunds")
        assert status == 303, text
        passed = await first.offer()
        assert (passed["note"], passed["asked_by"]) == ("knows refunds", second.identity)
        assert (await second.conversation(conversation))["is_mine"]
        assert (await first.answer(passed, "accept"))[0] == 303
        assert not (await second.conversation(conversation))["is_mine"]
        status, headers, text = await first.act(conversation, "release", note="the refund is on its way")
        assert (status, headers.get("Location")) == (303, "/desk?done=conversation.release"), text
        given_back = await office.last("holder.changed", Target.AI_AGENT)
        assert (given_back.to.target, given_back.note) == ("ai-agent", "the refund is on its way")
        await office.ask_for_person(conversation, reason="asks again", agent=second.identity)
        assert (await second.answer(await second.offer(), "accept"))[0] == 303
        status, headers, text = await second.act(conversation, "finish")
        assert (status, headers.get("Location")) == (303, "/desk?done=conversation.finish"), text
        closed = [one["status"] for one in await office.sandbox.conversations()]
        assert closed == ["CLOSED"]


async def test_an_open_page_shows_an_offer_and_what_the_customer_says_by_itself(office, colleagues):
    """Nobody loads the page again: offers, messages and unread marks come to it."""
    dana = await colleagues("dana")
    async with dana.page() as desk:
        conversation = await office.customer_writes("hello")
        await office.until_present("dana")
        await office.ask_for_person(conversation)
        assert "wants a refund" in await desk.next("lists", "Offers (1)")
        await desk.next("offer")
        await dana.answer(await dana.offer(), "accept")
        await desk.next("lists", "My conversations (1)")
        for text in ("are you there?", "thank you"):
            desk.forget()
            await dana.conversation(conversation)
            await desk.next("lists", lacking=" new")
            await office.customer_writes(text)
            await desk.next("lists", "1 new")
        async with dana.page(conversation) as page:
            await office.customer_writes("bye")
            assert "hello" in await page.next("transcript", "bye")


async def test_the_transcript_names_who_spoke_and_what_was_decided(office, colleagues):
    """Customer and person are told apart although both texts of ours come from one address, with notes and events."""
    dana = await colleagues("dana")
    async with dana.page():
        conversation = await office.hold(dana, "my order is broken")
        await dana.act(conversation, "reply", text="Sorry for that.")

        async def find():
            shown = await dana.conversation(conversation)
            return shown if any(line["text"] == "Sorry for that." for line in shown["lines"]) else None

        shown = await until(find)
    said = [(line["role"], line["who"], line["text"]) for line in shown["lines"] if line["kind"] == "said"]
    assert said == [("customer", "+15551230001", "my order is broken"), ("person", "Dana", "Sorry for that.")]
    assert [line["text"] for line in shown["lines"] if line["kind"] == "note"] == ["Order 4711 is broken."]
    assert "Dana took the conversation" in [line["text"] for line in shown["lines"] if line["kind"] == "event"]
    roles = {member["role"]: member["label"] for member in shown["members"] if member["is_here"]}
    assert roles["customer"] == "+15551230001"
    assert roles["person"] == "Dana"


async def test_a_customer_who_has_left_is_shown_as_gone(office, colleagues):
    """The API lists the customer no more; the ledger still knows who it was."""
    dana = await colleagues("dana")
    async with dana.page():
        conversation = await office.hold(dana)
        members = await office.sandbox.participants(conversation)
        (customer,) = [one for one in members if one["type"] == "CUSTOMER"]
        await office.sandbox.remove_participant(conversation, customer["id"])
        callback = office.harness.callback("PARTICIPANT_REMOVED", customer, at="2100-01-01T00:00:00.000Z")
        await office.harness.append(callback)

        async def find():
            found = (await dana.conversation(conversation))["members"]
            return [one for one in found if one["id"] == customer["id"] and not one["is_here"]]

        (gone,) = await until(find)
        assert (gone["role"], gone["address"]) == ("customer", "+15551230001")


async def test_a_reply_of_somebody_who_has_lost_the_conversation_is_refused_and_kept(office, colleagues):
    """The page says who has it now and why nothing was sent, and what was written is still there."""
    dana, eli = await colleagues("dana"), await colleagues("eli")
    async with dana.page(), eli.page():
        conversation = await office.hold(dana)
        path = f"/desk/conversations/{conversation}"
        fields = await dana.form(path, "/reply")
        await office.until_present("eli")
        await dana.act(conversation, "transfer", agent="eli")
        await eli.answer(await eli.offer(), "accept")
        status, _, text = await dana.send(f"{path}/reply", fields | {"text": "a long & careful answer"})
        assert status == 409
        assert "You do not have this conversation any more." in text
        assert "<bdi>Eli</bdi> has it" in text
        assert "a long &amp; careful answer" in text
        assert "a long & careful answer" not in await office.sandbox.texts(conversation)
        status, _, text = await dana.request(
            "POST",
            f"{path}/reply",
            json=fields | {"text": "again"},
            headers={"Accept": "application/json", "X-CSRF-Token": fields["csrf"]},
        )
        answer = orjson.loads(text)
        assert (status, answer["answer"]["why"], answer["draft"]["text"]) == (409, "not-the-holder", "again")


async def test_a_form_that_is_sent_twice_is_one_command(office, colleagues):
    """A double click, and the same form again later: the customer gets the text once, and each is answered alike."""
    dana = await colleagues("dana")
    async with dana.page():
        conversation = await office.hold(dana)
        path = f"/desk/conversations/{conversation}"
        fields = await dana.form(path, "/reply") | {"text": "once only"}
        answers = await asyncio.gather(*(dana.send(f"{path}/reply", fields) for _ in range(3)))
        answers.append(await dana.send(f"{path}/reply", fields))
        assert {(status, headers["Location"]) for status, headers, _ in answers} == {(303, f"{path}#reply")}
        await dana.send(f"{path}/reply", fields | {"text": "and another"})
        said = await office.sandbox.texts(conversation)
        assert (said.count("once only"), said.count("and another")) == (1, 1)


async def test_a_transfer_that_is_not_confirmed_keeps_to_whom(idle_office, colleagues, ports, office_settings):
    """Person, queue and skill are still chosen, so that pressing again asks the same ones: it is the same command."""
    office, dana = idle_office, await colleagues("dana")
    async with dana.page():
        async with working(office_settings):
            conversation = await office.hold(dana)
        ports.desk.sender.patience = 0.05
        chosen = {"agent": "eli", "queue": "default", "skills": "refunds"}
        status, _, page = await dana.act(conversation, "transfer", **chosen)
        assert status == 202
        form = page[page.index("/transfer") :]
        shown = dict(re.findall(r'<select id="[^"]+" name="([a-z]+)">.*?value="([a-z]*)" selected', form, re.DOTALL))
        assert shown == chosen
        path = f"/desk/conversations/{conversation}/transfer"
        await dana.send(path, hidden_fields(page, "/transfer") | shown)
        rows = await office.redis.xrange(office.keys.commands(0))
        assert len({one[b"id"] for _, one in rows if one[b"type"] == b"conversation.transfer"}) == 1


async def test_two_tabs_that_accept_one_offer_both_lead_to_the_conversation(office, colleagues):
    """The second click comes too late for the offer, and the conversation is theirs all the same."""
    dana = await colleagues("dana")
    async with dana.page():
        conversation = await office.customer_writes()
        await office.until_present("dana")
        await office.ask_for_person(conversation)
        offer = await dana.offer()
        tabs = [await dana.form("/desk", "/desk/offers") for _ in range(2)]
        pressed = {"offer": offer["offer"], "answer": "accept"}
        answers = [await dana.send("/desk/offers", tab | pressed) for tab in tabs]
        assert {(one[0], one[1]["Location"]) for one in answers} == {(303, f"/desk/conversations/{conversation}")}


async def test_an_offer_of_somebody_else_is_refused_with_its_reason(office, colleagues):
    """Who was not asked cannot accept, and reads why."""
    dana, eli = await colleagues("dana"), await colleagues("eli")
    async with dana.page(), eli.page():
        await office.until_present("dana", "eli")
        conversation = await office.customer_writes()
        await office.ask_for_person(conversation, agent="dana")
        theirs = await dana.offer()
        other = await office.customer_writes("another", sender=OTHER_CUSTOMER)
        await office.ask_for_person(other, agent="eli")
        await eli.offer()
        status, _, text = await eli.answer(theirs, "accept")
        assert status == 409
        assert "Somebody else was asked." in text
        assert '<meta http-equiv="refresh" content="30; url=/desk">' in text  # the offers have no page of their own


async def test_without_a_worker_nothing_is_lost_or_done_twice(idle_office, colleagues, ports, office_settings):
    """An answer that does not come in time says so, keeps the form's id, and is told once a worker is there."""
    office, dana = idle_office, await colleagues("dana")
    async with dana.page():
        async with working(office_settings):
            conversation = await office.hold(dana)
        ports.desk.sender.patience = 0.05
        path = f"/desk/conversations/{conversation}"
        fields = await dana.form(path, "/release") | {"note": "a note"}
        status, _, text = await dana.send(f"{path}/release", fields)
        assert status == 202
        assert "Not confirmed yet" in text
        assert f'name="form" value="{fields["form"]}"' in text
        assert "a note" in text
        await dana.send(f"{path}/release", fields)
        async with dana.page() as page, working(office_settings):
            assert "Done." in await page.next("answer")
        changes = [one for one in await office.heard(Target.AI_AGENT) if one.type == "holder.changed"]
        assert len(changes) == 2


@pytest.mark.parametrize(("action", "fields"), [("reply", {"text": "at last"}), ("finish", {})])
async def test_a_reply_and_a_closing_that_take_long_are_told_as_done(
    idle_office, colleagues, ports, office_settings, monkeypatch, action, fields
):
    """No entry tells of them: the worker's note is looked for after the page has stopped to wait."""
    monkeypatch.setattr(sending, "_LONGEST_WATCH", 0.05)
    office, dana = idle_office, await colleagues("dana")
    async with dana.page() as desk:
        async with working(office_settings):
            conversation = await office.hold(dana)
        ports.desk.sender.patience = 0.05
        status, _, text = await dana.act(conversation, action, **fields)
        assert status == 202, text
        async with dana.page(conversation) as page, working(office_settings):
            assert "Done." in await page.next("answer")
            assert f"/desk/conversations/{conversation}" in await desk.next("answer", "Done.")
            if action == "reply":
                await page.next("transcript", "at last")


async def test_a_text_that_is_shown_again_is_the_same_text(idle_office, colleagues, ports, office_settings):
    """Whatever invisible characters it has, pressing Send again on the page that was answered is the same command."""
    office, dana = idle_office, await colleagues("dana")
    text = "10\u00a0000 for \U0001f469\u200d\U0001f4bb,\tor \u0645\u06cc\u200c\u062e\u0648\u0627\u0647 & <b>\n\non"
    async with dana.page():
        async with working(office_settings):
            conversation = await office.hold(dana)
        ports.desk.sender.patience = 0.05
        status, _, page = await dana.act(conversation, "reply", text=f"\n{text}")
        assert status == 202
        shown = re.search(r'<textarea id="text"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
        assert unescape(shown[1]).strip() == text
        path = f"/desk/conversations/{conversation}/reply"
        await dana.send(path, hidden_fields(page, "/reply") | {"text": unescape(shown[1])})
        rows = await office.redis.xrange(office.keys.commands(0))
        said = {one[b"id"] for _, one in rows if one[b"type"] == b"conversation.say"}
        assert len(said) == 1
