"""Who asks: a person by the session's cookie or by a trusted proxy's header, or a program by its bearer token.

A cookie is the id of a session and its signature. The session itself is in Redis, so signing out ends it at once for
all consoles; the role is read from the users' file at each request, so a change counts at once, too.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.console.roles import ConsoleError, Role

if TYPE_CHECKING:
    from aiohttp import web

    from router.console.ports import ConsolePorts
    from router.console.users import ConsoleUser
    from router.settings.model import Settings

#: A request with this header was not made by a person, such as a page that renews itself: it does not renew a session.
BACKGROUND_HEADER: Final = "X-Background"
_SECOND: Final = 1_000_000
#: Characters that no id of a session of ours has more of.
_LONGEST_ID: Final = 64
#: Schemes of which browsers ask for a name and a password themselves, for the proxy in front.
_OF_BROWSERS: Final = frozenset({"basic", "digest", "negotiate", "ntlm"})
_Address = IPv4Address | IPv6Address


class Way(StrEnum):
    """How a caller has shown who it is."""

    NONE = "none"  # of a public page
    SESSION = "session"
    PROXY = "proxy"
    TOKEN = "token"  # noqa: S105 - the name of a way


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `csrf` is the token that forms of this caller's pages carry, empty for programs."""

    user: str
    role: Role
    way: Way
    csrf: str = ""
    session_id: str = ""


#: Somebody who has not signed in.
NOBODY: Final = Caller("", Role.VIEWER, Way.NONE)


async def identify(raw: web.Request, ports: ConsolePorts, *, renew: bool = True) -> Caller | None:
    """Return who asks, None if nobody has signed in; `renew` the session's idle time.

    Raises ConsoleError for a wrong token, and RedisError.
    """
    if is_of_program(raw):
        return _by_token(raw.headers["Authorization"], ports)
    by_proxy = _named_by_proxy(raw, ports.settings)
    if by_proxy is not None:
        return await _by_name(by_proxy, ports)
    cookie = raw.cookies.get(cookie_name(ports.settings))
    return await _by_cookie(cookie, ports, renew=renew) if cookie else None


def is_of_program(raw: web.Request) -> bool:
    """Return whether an Authorization header came that no browser sends: a proxy may hand on what it was sent."""
    scheme = raw.headers.get("Authorization", "").partition(" ")[0].lower()
    return "Authorization" in raw.headers and scheme not in _OF_BROWSERS


def _by_token(authorization: str, ports: ConsolePorts) -> Caller:
    scheme, _, token = authorization.partition(" ")
    found = ports.users.read().find_token(token.strip()) if scheme.lower() == "bearer" else None
    if found is None:
        raise ConsoleError(401, "The bearer token is not known.")
    return Caller(found.name, found.role, Way.TOKEN)


async def _by_name(name: str, ports: ConsolePorts) -> Caller:
    user = ports.users.read().users.get(name)
    if user is None:
        raise ConsoleError(403, "The proxy has named a user who is not in the console's file of users.")
    return Caller(user.name, user.role, Way.PROXY, _sign(await ports.sign_ins.secret(), f"proxy {user.name}"))


async def _by_cookie(cookie: str, ports: ConsolePorts, *, renew: bool) -> Caller | None:
    session_id, _, signature = cookie.partition(".")
    if not session_id.isascii() or not 1 <= len(session_id) <= _LONGEST_ID:
        return None
    stored = await ports.sign_ins.use(session_id, ports.settings.console_idle if renew else None)
    if not stored.secret or not hmac.compare_digest(_sign(stored.secret, f"session {session_id}"), _ascii(signature)):
        return None
    content: dict[str, Any] = orjson.loads(stored.content) if stored.content else {}
    known = ports.users.read().users
    user = known.get(content.get("user", ""))
    if user is None or content.get("mark") != user.mark:
        if known:  # none: the file may have a mistake, after whose correction the session goes on
            await ports.sign_ins.close(session_id)
        return None
    if ports.clock() >= content["since"] + ports.settings.console_session * _SECOND:
        await ports.sign_ins.close(session_id)
        return None
    return Caller(user.name, user.role, Way.SESSION, _sign(stored.secret, f"csrf {session_id}"), session_id)


def _ascii(text: str) -> str:
    """Return text that `compare_digest` takes."""
    return text if text.isascii() else ""


def _sign(secret: bytes, text: str) -> str:
    return hmac.new(secret, text.encode(), "sha256").hexdigest()


async def end_session(raw: web.Request, ports: ConsolePorts) -> None:
    """End the session that the browser has, if any."""
    session_id = raw.cookies.get(cookie_name(ports.settings), "").partition(".")[0]
    if session_id and session_id.isascii():
        await ports.sign_ins.close(session_id[:_LONGEST_ID])


async def begin_session(user: ConsoleUser, ports: ConsolePorts) -> str:
    """Begin a session, and return the value of its cookie."""
    session_id = secrets.token_urlsafe(24)
    content = {"user": user.name, "mark": user.mark, "since": ports.clock()}
    secret = await ports.sign_ins.secret()
    await ports.sign_ins.open(session_id, orjson.dumps(content), ports.settings.console_idle)
    return f"{session_id}.{_sign(secret, f'session {session_id}')}"


def is_https(settings: Settings) -> bool:
    """Return whether people reach the console by https."""
    return (settings.console_url or "").startswith("https://")


def cookie_name(settings: Settings) -> str:
    """Return the name of the session's cookie; behind https one that only this host, and only https, can set."""
    return "__Host-router-console" if is_https(settings) else "router-console"


def _named_by_proxy(raw: web.Request, settings: Settings) -> str | None:
    """Return the user whom a trusted proxy names; None without one, or if the sender is none."""
    header = settings.console_proxy_header
    if header is None or not is_proxy(raw.remote, settings):
        return None
    names = raw.headers.getall(header, [])
    if len(names) > 1:
        raise ConsoleError(400, f"The proxy has sent {header} more than once.")
    return names[0].strip() or None if names else None


def is_proxy(address: str | None, settings: Settings) -> bool:
    """Return whether an address belongs to a proxy whose headers are believed."""
    sender = _parse(address)
    return sender is not None and any(sender in ip_network(one) for one in settings.console_proxies)


def address_of(raw: web.Request, settings: Settings) -> str:
    """Return the address of the client: the last one in X-Forwarded-For that is no proxy of ours, else the sender's."""
    address = raw.remote or ""
    forwarded = [part.strip() for line in raw.headers.getall("X-Forwarded-For", []) for part in line.split(",")]
    while forwarded and is_proxy(address, settings):
        following = forwarded.pop()
        if _parse(following) is None:
            break
        address = following
    return address


def _parse(address: str | None) -> _Address | None:
    try:
        parsed = ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
