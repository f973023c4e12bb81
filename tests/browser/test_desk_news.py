"""News in open pages of the desk, in a browser: what they leave as it is, and connections that are refused."""

import pytest
from playwright.async_api import expect

from tests.console.desk.conftest import console, idle_office, office, office_settings, ports, sandbox, users_file
from tests.support.accounts import OTHER_CUSTOMER

__all__ = ["console", "idle_office", "office", "office_settings", "ports", "sandbox", "users_file"]  # fixtures

pytestmark = pytest.mark.timeout(240)

EVENTS = "**/desk/events*"


async def away(route):
    """Answer as the console does while Redis is away."""
    await route.fulfill(status=503, content_type="text/html", body="Redis does not answer.")


@pytest.fixture
async def at_desk_without_news(windows, console, ports):
    """Return a function that opens the desk of a person while its news are refused; time stands still there."""

    async def make(name):
        one = await windows(console)
        await one.enter_as(name)
        await one.page.clock.install()
        await one.page.route(EVENTS, away)
        await one.open("/desk")
        return one

    return make


async def test_a_page_whose_news_were_refused_connects_again_by_itself(office, at_desk_without_news):
    """An answer of 503 is no end: the page says that it tries again, does so, and its person is present."""
    dana = await at_desk_without_news("dana")
    connection = dana.page.locator("#connection")
    await expect(connection).to_have_text("The connection to the console is lost. It is tried again.")
    await dana.page.clock.run_for(6_000)
    await dana.page.unroute(EVENTS)
    await dana.page.clock.run_for(60_000)
    await expect(connection).to_be_hidden()
    await office.until_present("dana")
    dana.forgive(503)


async def test_a_page_whose_reader_was_signed_out_says_so_and_connects_once_they_are_back(
    idle_office, at_desk_without_news
):
    """Signing in again, in another tab, is enough."""
    dana = await at_desk_without_news("dana")
    connection = dana.page.locator("#connection")
    await expect(connection).to_contain_text("It is tried again.")
    await dana.context.clear_cookies()
    await dana.page.unroute(EVENTS)
    await dana.page.clock.run_for(60_000)
    await expect(connection).to_contain_text("You are signed out")
    await dana.enter_as("dana")
    await dana.page.clock.run_for(60_000)
    await expect(connection).to_be_hidden()
    dana.forgive(503)
    dana.complaints = [one for one in dana.complaints if "MIME type" not in one]  # that of the page to sign in


async def test_whoever_reads_a_transcript_keeps_the_place(office, at_desk):
    """A new line changes neither the others nor what has the focus; it is scrolled to from the end only."""
    conversation = await office.customer_writes("\n".join(["a long story"] * 90))
    dana = await at_desk("dana")
    await office.until_present("dana")
    await office.ask_for_person(conversation, agent="dana")
    await dana.page.get_by_role("button", name="Accept").click()
    log = dana.page.get_by_role("log")
    await expect(log).to_contain_text("a long story")
    await log.evaluate("log => { log.scrollTop = 0; log.focus(); log.querySelector('li').isOld = true; }")
    await office.customer_writes("hello again")
    await expect(log).to_contain_text("hello again")
    found = "log => [log.scrollTop, document.activeElement === log, log.querySelector('li').isOld]"
    assert await log.evaluate(found) == [0, True, True]
    await log.evaluate("log => { log.scrollTop = log.scrollHeight; }")
    await office.customer_writes("and again")
    await expect(log).to_contain_text("and again")
    assert await log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight") < 2


async def test_a_link_of_the_desk_keeps_the_focus(office, at_desk):
    """Another offer replaces the lists; the link that had the focus has it again."""
    conversation = await office.customer_writes("hello")
    dana = await at_desk("dana")
    await office.until_present("dana")
    await office.ask_for_person(conversation, agent="dana")
    await dana.page.get_by_role("link", name="Look first").focus()
    other = await office.customer_writes("another one", sender=OTHER_CUSTOMER)
    await office.ask_for_person(other, agent="dana")
    await expect(dana.page.get_by_role("heading", name="Offers (2)")).to_be_visible()
    focused = await dana.page.evaluate("document.activeElement.getAttribute('href')")
    assert focused == f"/desk/conversations/{conversation}"
