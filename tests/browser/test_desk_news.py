"""News in open pages of the desk, in a browser: what they leave as it is, and connections that are refused."""

import pytest
from playwright.async_api import expect

from tests.console.desk.conftest import console, idle_office, office, office_settings, ports, sandbox, users_file
from tests.support.accounts import OTHER_CUSTOMER
from tests.support.waiting import until

__all__ = ["console", "idle_office", "office", "office_settings", "ports", "sandbox", "users_file"]  # fixtures

pytestmark = pytest.mark.timeout(240)

EVENTS = "**/desk/events*"
#: Puts a page into the background or the foreground, for its scripts: in a headless browser all are visible.
SEEN = """isSeen => {
  Object.defineProperty(document, "hidden", { value: !isSeen, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


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


async def test_one_of_the_tabs_in_the_background_stays_connected(idle_office, windows, console, ports):
    """It keeps the presence and gives the browser's connections to others; when it is closed, another one follows."""
    dana = await windows(console)
    await dana.enter_as("dana")
    await dana.page.clock.install()
    tabs = [dana.page, *[await dana.context.new_page() for _ in range(3)]]
    for tab in tabs:
        await tab.goto(f"{console}/desk")
    bells = ports.desk.news._bells
    await until(lambda: len(bells) == 4)
    for tab in tabs[:3]:
        await tab.evaluate(SEEN, False)
    await until_counted(tabs[0], bells, 2)
    await tabs[3].close()
    await until_counted(tabs[0], bells, 1)
    before = set(bells)
    await tabs[0].close()
    await until(lambda: len(bells) == 1 and not before & bells)
    await tabs[2].evaluate(SEEN, True)
    await until(lambda: len(bells) == 2)


async def until_counted(page, bells, number):
    """Let time pass in the browser until so many pages are connected."""

    async def are_counted():
        await page.clock.run_for(1_000)
        return len(bells) == number

    await until(are_counted)


async def test_a_form_that_is_not_answered_can_be_sent_again(idle_office, windows, console, ports):
    """Locked against double clicks, and open again after ten seconds."""
    dana = await windows(console)
    await dana.enter_as("dana")
    await dana.page.clock.install()
    await dana.open("/desk")
    form = dana.page.locator("form.presence")
    await form.evaluate("form => form.addEventListener('submit', (event) => event.preventDefault())")
    await form.evaluate("form => form.requestSubmit(form.elements.state)")
    assert await form.get_attribute("data-sent") == "yes"
    await dana.page.clock.run_for(10_001)
    assert await form.get_attribute("data-sent") is None
