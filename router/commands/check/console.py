"""`check` of the console: its file of users, who reaches it, and whose headers it believes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from router.commands.check.redis import Finding
from router.console.roles import Role
from router.console.security import LOOPBACK
from router.console.users import read_users, users_path
from router.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.console.users import Users
    from router.core.routing.team import Team
    from router.settings.model import Settings


def check_console(settings: Settings, team: Team) -> list[Finding]:
    """Return the findings; a deployment without users has no console, which is no problem."""
    try:
        users = read_users(users_path(settings))
    except SettingsError as error:
        return [Finding("FAIL", "console", problem) for problem in error.problems]
    if not users.users and not users.tokens:
        return [Finding("ok", "console", "nobody can sign in: `python -m router console add-user` adds a user")]
    text = f"{len(users.users)} users, {len(users.tokens)} tokens"
    warnings = [Finding("warn", "console", warning) for warning in _warnings(settings, users, team)]
    return [*warnings, Finding("ok", "console", text)]


def _warnings(settings: Settings, users: Users, team: Team) -> Iterator[str]:
    url = settings.console_url or ""
    if url.startswith("http://") and urlsplit(url).hostname not in LOOPBACK:
        yield "ROUTER_CONSOLE_URL is http: anybody on the network path can read passwords and sessions"
    if not url and settings.console_host not in LOOPBACK:
        yield "ROUTER_CONSOLE_URL is not set: the cookie is not Secure, and forms are compared with the Host header"
    if url and urlsplit(url).hostname not in LOOPBACK and not settings.console_proxies:
        yield (
            "ROUTER_CONSOLE_PROXIES is not set: if a proxy is in front, all people have its address, and whoever "
            "guesses passwords keeps everybody from signing in"
        )
    strangers = [name for name, one in users.users.items() if one.role is Role.AGENT and name not in team.members]
    for name in strangers if team.members else ():
        yield f"the agent '{name}' is not in the roster, so nothing is offered to them"
