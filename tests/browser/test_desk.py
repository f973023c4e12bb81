"""The desk in browsers: two people and an AI agent, one of the browsers killed in the middle."""

import pytest
from playwright.async_api import expect

from router.core.keys import Target
from tests.browser.chromium import running_chromium
from tests.browser.looks import problems_of
from tests.browser.windows import make_window
from tests.console.desk.conftest import console, idle_office, office, office_settings, ports, sandbox, users_file
from tests.console.operations.scenes import HOSTILE
from tests.support.accounts import CUSTOMER
from tests.support.waiting import until

__all__ = ["console", "idle_office", "office", "office_settings", "ports", "sandbox", "users_file"]  # fixtures

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def doomed(driver, console, ports, tmp_path):
    """Return a function that opens the desk in a browser of its own; gives the window and the browser."""
    with running_chromium(tmp_path) as chromium:

        async def make(name):
            await chromium.until_ready()
            one = await make_window(await driver.chromium.connect_over_cdp(chromium.url), console)
            await one.enter_as(name)
            await one.open("/desk")
            return one, chromium

        yield make


async def test_two_people_and_an_ai_agent(office, at_desk, doomed):
    """Asked for, declined, accepted, a browser killed, answered, passed on, given back, asked for again, and closed."""
    conversation = await office.customer_writes("my order is broken")
    dana = await at_desk("dana")
    await office.until_present("dana")
    await office.ask_for_person(conversation, context={"order": "4711"})
    offer = dana.page.get_by_role("listitem").filter(has=dana.page.get_by_role("button", name="Accept"))
    await expect(offer).to_contain_text("Order 4711 is broken.")
    eli, chromium = await doomed("eli")
    await office.until_present("dana", "eli")
    await offer.get_by_role("button", name="Decline").click()
    await expect(dana.page.get_by_role("heading", name="Offers (0)")).to_be_visible()

    await eli.page.get_by_role("button", name="Accept").click()
    await eli.page.get_by_text("my order is broken").wait_for()
    await eli.page.get_by_label("Reply to the customer").fill("I look")
    assert eli.complaints == []
    chromium.kill()

    eli = await at_desk("eli")
    await eli.page.get_by_role("link", name=CUSTOMER).click()
    log = eli.page.get_by_role("log")
    await eli.page.get_by_label("Reply to the customer").fill("I look into it.")
    await eli.page.get_by_role("button", name="Send").click()
    await expect(log).to_contain_text("I look into it.")
    assert await office.sandbox.texts(conversation) == ["I look into it."]
    await office.customer_writes("thank you")
    await expect(log).to_contain_text("thank you")

    await eli.page.get_by_text("Pass on", exact=True).first.click()
    await eli.page.get_by_label("To a person").select_option("dana")
    await eli.page.get_by_label("Note for them").fill("knows refunds")
    await eli.page.get_by_role("button", name="Pass on").click()
    await expect(offer).to_contain_text("knows refunds")
    await offer.get_by_role("button", name="Accept").click()
    await dana.page.get_by_role("log").get_by_text("thank you").wait_for()
    await eli.open(f"/desk/conversations/{conversation}")
    await expect(eli.page.locator("#transcript")).to_contain_text("You do not have this conversation: Dana has it.")

    await dana.page.get_by_text("Back to the AI agent", exact=True).click()
    await dana.page.get_by_label("Note for the AI agent").fill("the refund is on its way")
    await dana.page.get_by_role("button", name="Give back").click()
    await dana.expect_heading("Desk")
    given_back = await office.last("holder.changed", Target.AI_AGENT)
    assert (given_back.to.target, given_back.note) == ("ai-agent", "the refund is on its way")

    await office.ask_for_person(conversation, reason="asks again", agent="dana")
    await offer.get_by_role("button", name="Accept").click()
    await dana.page.get_by_text("Finish", exact=True).click()
    await dana.page.get_by_role("button", name="Close the conversation").click()
    await dana.expect_heading("Desk")
    assert [one["status"] for one in await office.sandbox.conversations()] == ["CLOSED"]


async def test_what_strangers_write_is_text(office, at_desk):
    """Markup, marks that change direction and escapes in texts, reasons and names are shown, and do nothing."""
    conversation = await office.customer_writes(HOSTILE.replace("\r\n", " "))
    dana = await at_desk("dana")
    await office.until_present("dana")
    await office.ask_for_person(conversation, reason=HOSTILE, summary=HOSTILE, context={HOSTILE: HOSTILE})
    await expect(dana.page.locator(".offer")).to_contain_text("<img src=x onerror=alert(1)>")
    assert await problems_of(dana) == []
    await dana.page.get_by_role("button", name="Accept").click()
    await expect(dana.page.get_by_role("log")).to_contain_text("<img src=x onerror=alert(1)>")
    await dana.page.get_by_label("Reply to the customer").fill(HOSTILE)
    await dana.page.get_by_role("button", name="Send").click()
    await expect(dana.page.get_by_role("log").locator(".ours")).to_contain_text("<img src=x onerror=alert(1)>")
    shown = await dana.page.inner_text("body")
    assert "\u202e" not in shown
    assert "\x1b" not in shown
    assert await dana.page.locator("main img").count() == 0
    assert await problems_of(dana) == []


async def test_the_desk_without_javascript(office, windows, console, ports):
    """Whoever has no JavaScript sees the offer after the next look, accepts it and answers."""
    conversation = await office.customer_writes("hello")
    one = await windows(console, java_script_enabled=False)
    await one.enter_as("dana")
    status, answer = await office.command("agent.available", agent="dana", life=600)
    assert status == 202, answer
    await office.ask_for_person(conversation)

    accept = one.page.get_by_role("button", name="Accept")

    async def look():
        await one.open("/desk")
        return await accept.count()

    await until(look)
    await accept.click()
    await one.page.get_by_label("Reply to the customer").fill("Good morning")
    await one.page.get_by_role("button", name="Send").click()
    await expect(one.page.get_by_role("log")).to_contain_text("Good morning")
