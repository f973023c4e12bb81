"""Pictures of the pages, which docs show: each page as it is with something to see, small enough for a repository.

`make browser ARGS=--screens` writes those of docs/images again. Times, ids and places are made the same for every run.
"""

import io
from itertools import count

import pytest
from PIL import Image
from playwright.async_api import expect

from tests.browser.windows import PHONE
from tests.console.desk.conftest import console, idle_office, office, office_settings, ports, sandbox, users_file
from tests.support.accounts import CUSTOMER, OTHER_CUSTOMER
from tests.support.source import ROOT

__all__ = ["console", "idle_office", "office", "office_settings", "ports", "sandbox", "users_file"]  # fixtures

IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 60_000
COLORS = 80
SIZE = {"width": 1000, "height": 700}
TALL = {"width": 1000, "height": 1000}

#: Makes a page the same for each run: its times begin at 14:03, ids and hosts are counted.
_CALM = """() => {
  const begin = Date.parse("2026-01-07T14:03:00Z"), times = new Map(), ids = new Map();
  const all = [...document.querySelectorAll("time[datetime]")];
  [...new Set(all.map((one) => Date.parse(one.dateTime)))].sort((a, b) => a - b)
    .forEach((time, at) => times.set(time, begin + at * 1000));
  for (const one of all) {
    const text = new Date(times.get(Date.parse(one.dateTime))).toISOString();
    const [date, time] = [text.slice(0, 10), text.slice(11, 19)];
    if (one.children.length) [one.children[0].textContent, one.children[1].textContent] = [date, time];
    else one.textContent = one.textContent.includes("-") ? `${date} ${time}` : time.slice(0, 5);
  }
  const known = /\\b(conv_[a-z]+_|ev_|KEY|mark-)?([0-9a-z]{24,}|[0-9]{13}-[0-9]+)\\b/g;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    node.textContent = node.textContent
      .replace(known, (whole, kind = "") => {
        if (!ids.has(whole)) ids.set(whole, ids.size + 1);
        const number = String(ids.get(whole));
        if (/^\\d+-\\d+$/.test(whole)) return `17677945${number.padStart(5, "0")}-0`;
        return kind + "0".repeat(8) + number.padStart(4, "0");
      })
      .replace(/\\b(web|worker|console|ai-agent|human-agent)([ @])[\\w.-]+?([-:])\\d+(-[0-9a-f]+)?/g, "$1$2host-1$3101")
      .replace(/\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z/g, "2026-01-07T14:03:00Z");
  }
  document.activeElement.blur();
  scrollTo(0, 0);
}"""


@pytest.fixture
def take(request, tmp_path):
    """Return a function that takes a picture of a window, and checks that it is no riddle and not too large."""

    async def picture(window, name):
        await window.page.evaluate(_CALM)
        raw = await window.page.screenshot(animations="disabled", caret="hide")
        small = shrink(raw)
        (IMAGES if request.config.getoption("--screens") else tmp_path).joinpath(f"{name}.png").write_bytes(small)
        assert 1_000 < len(small) <= MOST_BYTES
        assert await window.is_too_wide() == []

    return picture


def shrink(picture):
    """Return a picture with few colors: a page has no photographs."""
    small = io.BytesIO()
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(COLORS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


async def test_screens_of_operations(window, take, office, ports, scenes, deployment):
    """Sign-in, the first page, a story, waiting events, dead letters and streams."""
    one = await window(path="/sign-in", viewport=SIZE)
    await take(one, "sign-in")
    await office.customer_writes("My order has not arrived.")
    office.sandbox.fault(containing=OTHER_CUSTOMER.removeprefix("+"), status=500)
    await office.harness.append(office.harness.sms(OTHER_CUSTOMER, body="hello?"))
    await deployment.run("web", "worker", "ai-agent", "human-agent")
    await scenes.letters(3, "LookupError: no order of that number")
    await one.enter_as("olu")
    await _until_shown(one, "/waiting", "ServerError 500")
    await take(one, "waiting")
    await _until_shown(one, f"/story?q=%2B{CUSTOMER[1:]}", "published")
    await take(one, "story")
    for path, name in (("/", "start"), ("/dead-letters", "dead-letters"), ("/tail", "tail")):
        await one.open(path)
        await take(one, name)
    await one.page.emulate_media(color_scheme="dark")
    await one.open("/")
    await take(one, "start-dark")
    await one.page.emulate_media(color_scheme="light")
    await sample(ports, scenes)
    await _until_shown(one, "/streams", "resolver")
    await one.page.locator(".uplot").first.wait_for()
    await take(one, "streams")
    office.sandbox.clear_faults()


async def sample(ports, scenes):
    """Take samples of some minutes in which customers write."""
    moments = count(1_767_794_580_000_000, 10_000_000)
    ports.samples._clock = lambda: next(moments)
    for at in range(30):
        for number in range(at * 7 % 11):
            await scenes.redis.xadd(ports.keys.participants(0, "ai-agent"), scenes.entry(number))
        await ports.samples.take()


async def _until_shown(window, path, text):
    await window.open(path)
    while await window.page.get_by_text(text).count() == 0:
        await window.page.reload()


async def test_screens_of_the_desk(window, take, office, ports):
    """An offer, a conversation, and the same on a phone."""
    one = await window(path="/sign-in", viewport=SIZE)
    await one.enter_as("dana")
    await one.open("/desk")
    await office.until_present("dana")
    conversation = await office.customer_writes("My order has not arrived.")
    await office.ask_for_person(conversation, context={"order": "4711"})
    await expect(one.page.get_by_role("button", name="Accept")).to_be_visible()
    await one.page.evaluate(
        "document.querySelectorAll('.countdown').forEach((one) => one.replaceWith('18 s'))"  # it goes on otherwise
    )
    await take(one, "desk")
    await one.page.set_viewport_size(PHONE)
    await take(one, "desk-phone")
    await one.page.set_viewport_size(SIZE)
    await one.page.get_by_role("button", name="Accept").click()
    await one.page.get_by_label("Reply to the customer").fill("I look into it, one moment please.")
    await one.page.get_by_role("button", name="Send").click()
    await expect(one.page.get_by_role("log")).to_contain_text("one moment please")
    await office.customer_writes("Thank you!")
    await expect(one.page.get_by_role("log")).to_contain_text("Thank you!")
    await one.page.set_viewport_size(TALL)
    await take(one, "conversation")
