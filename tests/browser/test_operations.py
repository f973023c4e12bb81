"""What an operator does at night: searches, watches what arrives, and sees when something is away."""

import re
import sys

import pytest
from playwright.async_api import expect

from router.console.app import make_app
from router.console.hub import running
from router.console.identity import BACKGROUND_HEADER
from router.console.roles import Role
from router.console.serve import make_ports
from router.process.apis import close_clients, make_apis
from router.streams.client.connection import connect
from tests.browser.test_pages import MOST_BYTES
from tests.console.operations.scenes import HOSTILE
from tests.console.people import make_settings
from tests.harness.sandbox import running_sandbox
from tests.harness.serving import serving
from tests.operations.parts import Parts, sid_of, sms
from tests.support.accounts import CUSTOMER
from tests.support.waiting import scaled, until

_EVENTS = re.compile("/tail/events")
#: Milliseconds within which the first view is to be there on a quiet machine: printed, not asserted.
FIRST_VIEW = 200


@pytest.fixture
async def parts(redis, redis_url, output, tmp_path):
    """Receiver, worker and consumers in this process, over a sandbox."""
    async with running_sandbox() as sandbox:
        yield Parts(redis, redis_url, sandbox, tmp_path)


@pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without JavaScript"])
async def test_from_the_search_box_to_a_story(window, parts, javascript):
    """The customer's number, typed by keyboard into the first page, leads to what became of the message."""
    async with parts.receiving() as send, parts.working(), parts.handling("ai_agent"):
        assert await send(sms(1)) == 200
        await parts.told(CUSTOMER, "sent")
    one = await window(Role.OPERATOR, "/", java_script_enabled=javascript)
    await one.page.get_by_label("What became of").fill("+1 555 123 0001")
    await one.page.keyboard.press("Enter")
    await one.expect_heading("Story")
    steps = one.page.get_by_role("listitem").filter(has=one.page.locator("time"))
    await expect(steps.first).to_contain_text(sid_of(1))
    shown = await one.page.locator(".timeline .state").all_inner_texts()
    assert [name for name in shown if name in {"received", "resolved", "published", "consumed", "sent"}] == shown
    assert {"received", "resolved", "published", "consumed", "sent"} <= set(shown)


async def test_a_number_that_nobody_has(window):
    """The page says that nothing is known, and where to look instead."""
    one = await window(Role.OPERATOR, "/story?q=%2B15550009999")
    await one.page.get_by_role("heading", name="Nothing is known of").wait_for()
    await one.page.get_by_role("link", name="webhooks refused within a day").click()
    await one.expect_heading("Quarantine")
    one.forgive(404)


async def test_the_tail_shows_what_arrives(window, ports, scenes):
    """An entry comes first in the open page without a reload; what is not asked for does not come."""
    one = await window(Role.OPERATOR, "/tail")
    letters = await window(Role.VIEWER, "/tail?stream=dead")
    await until(lambda: ports.hub.listeners >= 2)
    await one.page.evaluate("window.isTheSame = true")
    await scenes.redis.xadd(ports.keys.participants(0, "ai-agent"), scenes.entry(text=HOSTILE))
    first = one.page.locator("tbody tr").first
    await expect(first).to_contain_text("communication.received")
    await expect(first).to_contain_text("<img src=x onerror=alert(1)>")
    await scenes.letter("ValueError: no answer")
    await expect(first).to_contain_text("dead-letters")
    await expect(letters.page.locator("tbody tr")).to_have_count(1)
    await expect(letters.page.locator("tbody tr")).not_to_contain_text(CUSTOMER)
    assert await one.page.evaluate("window.isTheSame")


async def test_curves_that_renew_themselves_are_no_use_of_the_session(window, scenes):
    """A page of streams that nobody looks at does not keep its session alive."""
    one = await window(Role.OPERATOR, "/account")
    async with one.page.expect_request("**/streams/samples") as asked:
        await one.open("/streams")
    assert (await (await asked.value).all_headers())[BACKGROUND_HEADER.lower()] == "1"


async def test_redis_is_away_while_a_page_is_open(windows, own_server, users_file):
    """An open page says so and goes on by itself; one that is opened meanwhile comes back by itself, too."""
    settings = make_settings(own_server.url, ROUTER_CONSOLE_USERS=str(users_file))
    apis, redis = make_apis(settings), connect(own_server.url, timeout=scaled(2))
    ports = make_ports(settings, redis, apis)
    async with running(ports.hub), serving(make_app(ports)) as url:
        one, other = await windows(url), await windows(url)
        await one.enter(Role.OPERATOR)
        await other.enter(Role.OPERATOR)
        await one.open("/tail")
        await until(lambda: ports.hub.listeners)
        own_server.kill()
        await expect(one.page.locator("#tail-state")).to_contain_text("Redis does not answer")
        await other.open("/waiting")
        await expect(other.page.get_by_role("alert")).to_contain_text("Redis does not answer")
        await own_server.start()
        await expect(other.page.locator("h1")).to_have_text("Waiting events", timeout=scaled(30_000))
        await expect(one.page.locator("#tail-state")).to_have_text("", timeout=scaled(30_000))
        await redis.xadd(ports.keys.dead_letters(0), {"source": "messaging", "key": "k"})
        await expect(one.page.locator("tbody tr")).to_have_count(1)
        other.forgive(503)
        for each in (one, other):
            await each.page.goto("about:blank")
    await ports.jobs.close()
    await close_clients(apis, redis)


async def test_the_console_is_away_while_a_page_is_open(windows, ports):
    """A page that has lost the console says so, and takes it back once the console answers."""
    async with running(ports.hub):
        async with serving(make_app(ports)) as url:
            one = await windows(url)
            await one.enter(Role.OPERATOR)
            await one.open("/tail")
            await until(lambda: ports.hub.listeners)
        away = one.page.get_by_role("status").first
        await expect(away).to_contain_text("No connection to the console")
        async with serving(make_app(ports), port=int(url.rpartition(":")[2])):
            await expect(away).to_have_text("", timeout=scaled(30_000))
            await expect(one.page.locator("#tail-gap")).to_contain_text("Entries may be missing")
            one.complaints = [each for each in one.complaints if "ERR_" not in each and "fetch" not in each]
            await one.page.goto("about:blank")


async def answer_503(route):
    """Answer as a console without Redis does."""
    await route.fulfill(status=503, content_type="text/html", body="Redis does not answer.")


async def test_a_live_page_connects_once_it_can(window, ports, scenes):
    """A first connection that fails is repeated, and the page says that entries may be missing.

    Interception slows scripts down, so this also shows that htmx waits for its extension.
    """
    one = await window(Role.OPERATOR, "/account")
    await one.page.route(_EVENTS, answer_503)
    await one.open("/tail")
    away = one.page.get_by_role("status").first
    await expect(away).to_contain_text("No connection to the console")
    await one.page.unroute(_EVENTS)
    await expect(away).to_have_text("", timeout=scaled(30_000))
    await expect(one.page.locator("#tail-gap")).to_contain_text("Entries may be missing: load the page again")
    await until(lambda: ports.hub.listeners)
    await scenes.letter("ValueError: no answer")
    await expect(one.page.locator("tbody tr").first).to_contain_text("dead-letters")
    one.forgive(503)


async def test_curves_come_once_they_can_be_read(window, ports, scenes):
    """Curves that cannot be read at first are asked for again, and the page says what is missing until then."""
    await scenes.letter("ValueError: no answer")
    for _ in range(3):  # of which two have a rate
        await ports.samples.take()
    one = await window(Role.OPERATOR, "/account")
    await one.page.route("**/streams/samples", answer_503)
    await one.open("/streams")
    await expect(one.page.locator("#charts-state")).to_contain_text("The curves cannot be read now")
    await one.page.unroute("**/streams/samples")
    await expect(one.page.locator("#charts canvas").first).to_be_visible(timeout=scaled(30_000))
    await expect(one.page.locator("#charts-state")).to_have_text("")
    one.forgive(503)


@pytest.mark.parametrize(
    ("role", "path"),
    [(None, "/sign-in"), (Role.OPERATOR, "/"), (Role.OPERATOR, "/tail"), (Role.OPERATOR, "/streams")],
)
async def test_the_first_view_is_small(window, scenes, role, path, capsys):
    """The first view with an empty cache, all that it loads included, is 100 kB at most; its time is printed."""
    await scenes.letters(60)
    one = await window(role, "")
    network = await one.context.new_cdp_session(one.page)
    loaded = []
    network.on("Network.loadingFinished", lambda event: loaded.append(event["encodedDataLength"]))
    await network.send("Network.enable")
    await one.open(path)
    await one.page.wait_for_load_state("load")
    await until(lambda: loaded)
    milliseconds = await one.page.evaluate(
        "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? performance.now()"
    )
    with capsys.disabled():
        sys.stdout.write(
            f"\n{path}: {sum(loaded):,.0f} bytes, first view after {milliseconds:.0f} ms (target {FIRST_VIEW} ms)\n"
        )
    assert 1_000 < sum(loaded) <= MOST_BYTES
