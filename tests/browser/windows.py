"""Windows of a browser, with what a person does in them, and everything that they complain of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from playwright.async_api import expect

from tests.console.people import PASSWORD, PEOPLE, Visitor
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response

    from router.console.roles import Role

DESKTOP: Final = {"width": 1280, "height": 800}
PHONE: Final = {"width": 360, "height": 740}
#: Milliseconds that the browser may take for one step, on a quiet machine.
PATIENCE: Final = 15_000
#: What a page says whose console has ended, with the test: a test that ends one itself looks at what the page shows.
_REFUSED: Final = "net::ERR_CONNECTION_REFUSED"


class Window:
    """One window with cookies of its own. `complaints` are errors of scripts, blocked and failed requests."""

    def __init__(self, context: BrowserContext, page: Page, url: str) -> None:
        self.context, self.page, self.url = context, page, url
        self.complaints: list[str] = []
        self.bytes = 0
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("requestfailed", self._see_failure)
        page.on("response", self._see_answer)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and _REFUSED not in message.text:
            self.complaints.append(f"{message.type}: {message.text}")

    def _see_failure(self, request: Request) -> None:
        if request.failure not in {"net::ERR_ABORTED", _REFUSED}:  # a live connection that ends with its page
            self.complaints.append(f"failed: {request.url}: {request.failure}")

    def _see_answer(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"status {response.status}: {response.url}")

    async def open(self, path: str) -> None:
        """Open a page of the console."""
        await self.page.goto(self.url + path)

    async def sign_in(self, role: Role, password: str = PASSWORD) -> None:
        """Sign in by the form, as the person of a role."""
        await self.page.get_by_label("Name").fill(PEOPLE[role])
        await self.page.get_by_label("Password").fill(password)
        await self.page.get_by_role("button", name="Sign in").click()

    async def enter(self, role: Role) -> None:
        """Have a session of the person of a role, without the form."""
        await self.enter_as(PEOPLE[role])

    async def enter_as(self, person: str) -> None:
        """Have a session of a person, who signs in elsewhere."""
        visitor = Visitor(self.url)
        try:
            assert await visitor.sign_in(person) == 303
            assert visitor.cookie is not None
            name, value = visitor.cookie.key, visitor.cookie.value
        finally:
            await visitor.close()
        await self.context.add_cookies([{"name": name, "value": value, "url": self.url, "sameSite": "Strict"}])

    async def expect_heading(self, text: str) -> None:
        """Wait until the page has this heading."""
        await expect(self.page.locator("h1")).to_have_text(text)

    @property
    def path(self) -> str:
        """What follows the console's URL in the address bar."""
        return self.page.url.removeprefix(self.url)

    async def is_too_wide(self) -> list[str]:
        """Return the elements that make the page scroll sideways; a part with its own scroll bar does not."""
        found: list[str] = await self.page.evaluate(_TOO_WIDE)
        return found

    def forgive(self, status: int) -> None:
        """Forget complaints about answers with a status, which the test has asked for."""
        self.complaints = [one for one in self.complaints if str(status) not in one.partition("://")[0]]


_TOO_WIDE: Final = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  return [...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > width + 1 && !one.closest(".scroll"))
    .map((one) => one.outerHTML.slice(0, 120)).slice(0, 5);
}"""


async def make_window(browser: Browser, url: str, **options: Any) -> Window:
    """Open an empty window; options of playwright's contexts, such as `viewport` and `color_scheme`."""
    context = await browser.new_context(**{"viewport": DESKTOP, "locale": "en-US", "timezone_id": "UTC"} | options)
    context.set_default_timeout(scaled(PATIENCE))
    expect.set_options(timeout=scaled(PATIENCE))
    return Window(context, await context.new_page(), url)
