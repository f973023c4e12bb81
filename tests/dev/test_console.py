"""The console of `dev`: its users, its token, and its sign-in link."""

import asyncio
import base64
import re

import aiohttp
import pytest

from router.console.roles import Role
from router.console.users import ConsoleUser, Users, read_users, write_users
from router.dev.console import OPERATOR, write_dev_users
from router.settings.environment import read_dotenv
from tests.harness.dev import running_dev


def test_users_are_an_operator_and_everybody_of_the_roster(tmp_path):
    """Users that somebody has added stay, with their roles and passwords; the token is replaced."""
    path = tmp_path / "console-users.toml"
    write_dev_users(path, "old", ["dana", "eli"])
    added = ConsoleUser(name='quo"te', role=Role.VIEWER)
    known = read_users(path)
    write_users(path, Users(known.users | {added.name: added}, known.tokens))
    write_dev_users(path, "new", ["dana"])
    users = read_users(path)
    roles = {name: user.role for name, user in users.users.items()}
    assert roles == {OPERATOR: Role.OPERATOR, "dana": Role.AGENT, "eli": Role.AGENT, 'quo"te': Role.VIEWER}
    assert users.find_token("old") is None
    assert users.find_token("new").role is Role.OPERATOR
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.processes
def test_the_printed_link_signs_in_once_and_the_token_calls(tmp_path):
    """Whoever opens the link is the operator; a second use is refused; programs use the token and keys of dev.env."""
    key = base64.b64encode(bytes(32)).decode()
    with running_dev(tmp_path, ROUTER_SEAL_KEYS=key) as environment:
        assert environment["ROUTER_SEAL_KEYS"] == key
        url, token = environment["ROUTER_CONSOLE_URL"], environment["ROUTER_CONSOLE_TOKEN"]
        assert read_dotenv(tmp_path / "dev.env")["ROUTER_CONSOLE_TOKEN"] == token
        link = re.search(rf"{url}/sign-in/link\?token=([0-9a-f]+)", (tmp_path / "out").read_text())
        asyncio.run(_use_link(url, link[0], {"token": link[1]}))
        assert asyncio.run(_call(url, token))["role"] == "operator"


async def _use_link(url, link, form):
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(url, cookie_jar=jar, headers={"Accept": "text/html"}) as browser:
        assert 'action="/sign-in/link"' in await (await browser.get(link)).text()
        assert (await browser.post("/sign-in/link", data=form, allow_redirects=False)).status == 303
        assert "<dd>operator</dd>" in await (await browser.get("/account")).text()
        assert (await browser.post("/sign-in/link", data=form, allow_redirects=False)).status == 403


async def _call(url, token):
    async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {token}"}) as program:
        return await (await program.get("/account")).json()
