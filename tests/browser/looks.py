"""Looks at a page as different people have it: by keyboard, with a screen reader, in the dark, on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from axe_playwright_python.async_playwright import Axe

from tests.browser.windows import DESKTOP, PHONE

if TYPE_CHECKING:
    from tests.browser.windows import Window

#: The rules of axe-core: WCAG 2.2 AA, and what is good beyond it (landmarks, headings, labels).
_TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
#: The narrowest window that WCAG asks for (1.4.10), and a phone.
WIDTHS: Final = (320, PHONE["width"])

#: Marks everything that the keyboard is to reach with its place, and notes where the focus goes and how it looks.
_PREPARE: Final = """() => {
  const wanted = 'a[href], button, input, select, textarea, summary, [tabindex="0"]';
  const all = [...document.querySelectorAll(wanted)].filter((one) =>
    one.checkVisibility() && !one.disabled && one.type !== "hidden" && one.tabIndex >= 0);
  all.forEach((one, place) => one.dataset.place = place);
  window.reached = [];
  document.addEventListener("focusin", ({target}) => {
    const style = getComputedStyle(target);
    const box = target.getBoundingClientRect();
    window.reached.push({
      place: target.dataset.place === undefined ? null : Number(target.dataset.place),
      html: target.outerHTML.slice(0, 100),
      isSeen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2
        && box.width > 0 && box.right > 0 && box.bottom > 0
        && box.left < innerWidth && box.top < innerHeight,
    });
  });
  document.body.tabIndex = -1;
  document.body.focus();
  document.body.removeAttribute("tabindex");
  window.reached = [];
  return all.map((one) => one.outerHTML.slice(0, 100));
}"""


async def by_keyboard(window: Window) -> list[str]:
    """Go through a page with the Tab key; returns what is not reached, out of order, or reached unseen."""
    page = window.page
    wanted: list[str] = await page.evaluate(_PREPARE)
    assert wanted
    for _ in range(len(wanted) + 5):  # a part that scrolls is reached as well
        await page.keyboard.press("Tab")
    reached: list[dict[str, Any]] = await page.evaluate("window.reached")
    places = [one["place"] for one in reached if one["place"] is not None]
    first_round = places[: len(wanted)]
    problems = [f"not reached: {wanted[place]}" for place in range(len(wanted)) if place not in first_round]
    problems += [f"unseen: {one['html']}" for one in reached if not one["isSeen"] and one["place"] is not None]
    if first_round != sorted(first_round):
        problems.append(f"order: {first_round}")
    return problems


async def by_rules(window: Window, *rules: str) -> list[str]:
    """Check a page by the rules of axe-core, or by some of them; returns what breaks one."""
    only = {"type": "rule", "values": list(rules)} if rules else {"type": "tag", "values": list(_TAGS)}
    found = await Axe().run(window.page, options={"resultTypes": ["violations"], "runOnly": only})
    return [
        f"{one['id']}: {node['html'][:200]} ({node['failureSummary'][:200]})"
        for one in found.response["violations"]
        for node in one["nodes"]
    ]


async def in_the_dark(window: Window) -> list[str]:
    """Look at a page in dark colors; returns texts that are hard to read, or that it stayed light."""
    page = window.page
    await page.emulate_media(color_scheme="dark")
    back = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    red, green, blue = (int(part) for part in back.removeprefix("rgb(").removesuffix(")").split(","))
    problems = [] if red + green + blue < 3 * 80 else [f"not dark: {back}"]
    problems += [f"dark, {problem}" for problem in await by_rules(window, "color-contrast", "link-in-text-block")]
    await page.emulate_media(color_scheme="light")
    return problems


async def on_a_phone(window: Window) -> list[str]:
    """Look at a page in narrow windows; returns what makes it scroll sideways."""
    problems = []
    for width in WIDTHS:
        await window.page.set_viewport_size({"width": width, "height": PHONE["height"]})
        problems += [f"wider than {width}: {one}" for one in await window.is_too_wide()]
    await window.page.set_viewport_size(DESKTOP)
    return problems


async def problems_of(window: Window) -> list[str]:
    """Return all problems of the page that is open."""
    return [
        *await by_rules(window),
        *await in_the_dark(window),
        *await on_a_phone(window),
        *await by_keyboard(window),
    ]
