"""People and programs who use the console in tests."""

import re
from functools import cache
from hashlib import sha256

from aiohttp import ClientSession, CookieJar

from router.console.passwords import make_hash
from router.console.roles import Role
from router.settings.load import load
from tests.harness.settings import make_environment

PASSWORD = "a long enough password"
#: The person of each role, who has PASSWORD, and the bearer token of each role.
PEOPLE = {Role.AGENT: "amara", Role.OPERATOR: "olu", Role.VIEWER: "vera"}
TOKENS = {role: f"token-of-an-{role}" for role in Role}
_CSRF = re.compile(r'name="csrf" value="([0-9a-f]+)"')


@cache
def password_hash():
    """A hash of PASSWORD that is quick to compare."""
    return make_hash(PASSWORD, n=2)


def users_text():
    """The text of a file of users."""
    rows = [
        f'[[user]]\nname = "{name}"\nrole = "{role}"\npassword = "{password_hash()}"' for role, name in PEOPLE.items()
    ]
    rows += [
        f'[[token]]\nname = "program-{role}"\nrole = "{role}"\nsha256 = "{sha256(token.encode()).hexdigest()}"'
        for role, token in TOKENS.items()
    ]
    return "\n".join(rows)


def make_settings(redis_url, **changes):
    """The settings of a console."""
    return load(environment=make_environment(redis_url, "http://127.0.0.1:9", **changes))


def bearer(role):
    """The headers of a program of a role."""
    return {"Authorization": f"Bearer {TOKENS[role]}"}


def filled(page):
    """The path of a page, with something in the place of each part."""
    return re.sub(r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}", "x", page.path)


class Visitor:
    """A browser: cookies, forms, and the headers that browsers send."""

    def __init__(self, url):
        self.url = url
        self.session = ClientSession(url, cookie_jar=CookieJar(unsafe=True), headers={"Accept": "text/html"})

    async def close(self):
        """Close all windows."""
        await self.session.close()

    async def sign_in(self, name, password=PASSWORD):
        """Sign in by the form; returns the status."""
        form = {"name": name, "password": password, "next": ""}
        async with self.session.post("/sign-in", data=form, allow_redirects=False) as answer:
            return answer.status

    @property
    def cookie(self):
        """The session's cookie, None without one."""
        return next(iter(self.session.cookie_jar), None)

    async def get(self, path, **options):
        """Open a page; returns its status, headers and text."""
        return await self.request("GET", path, **options)

    async def post(self, path, form=None, **options):
        """Send a form with the CSRF token of the account page."""
        return await self.request("POST", path, data={"csrf": await self.csrf(), **(form or {})}, **options)

    async def csrf(self):
        """The token in the forms of this visitor's pages."""
        _, _, text = await self.get("/account")
        found = _CSRF.search(text)
        return found[1] if found else ""

    async def request(self, method, path, **options):
        """Send a request; returns status, headers and text, without following a redirect."""
        async with self.session.request(method, path, allow_redirects=False, **options) as answer:
            return answer.status, answer.headers, await answer.text()
