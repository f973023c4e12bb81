"""Headers of every answer of the console to browsers, and the checks by which actions of browsers are refused.

The content security policy allows no inline script and no inline style, and nothing from other hosts: text of a
customer that got into a page as markup could do nothing.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aiohttp.hdrs import CACHE_CONTROL

from router.console.identity import Way, is_https
from router.console.roles import ConsoleError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from aiohttp import web

    from router.console.request import ConsoleRequest
    from router.settings.model import Settings

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Server": "participant-router",
}
#: The names of this machine.
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
#: Seconds for which browsers use https only, where the console is behind it.
_HSTS: Final = "max-age=31536000"


def protect(settings: Settings, response: web.StreamResponse) -> None:
    """Add the headers to an answer; nothing is stored by browsers or proxies unless the answer says otherwise."""
    response.headers.update(HEADERS)
    if is_https(settings):
        response.headers["Strict-Transport-Security"] = _HSTS
    response.headers.setdefault(CACHE_CONTROL, "no-store")


def check_origin(raw: web.Request, settings: Settings) -> None:
    """Raise ConsoleError if a browser says that another site has sent this form.

    A browser names the origin of every form, or says `null` where the page that sent it has a Referrer-Policy that
    hides it (https://fetch.spec.whatwg.org/#append-a-request-origin-header). Ours hides it from other sites only, so
    `null` is no form of ours. Sec-Fetch-Site comes by https and on this machine only.
    """
    if raw.headers.get("Sec-Fetch-Site") not in {None, "same-origin", "none"}:
        raise ConsoleError(403, "Another site has sent this form.")
    origin = raw.headers.get("Origin")
    if origin is None:
        return
    own = _own_origins(raw, settings)
    if origin not in own:
        hint = "" if settings.console_url else " Behind a proxy, set ROUTER_CONSOLE_URL to the URL in your browser."
        raise ConsoleError(403, f"Another site has sent this form. This console is {' or '.join(sorted(own))}.{hint}")


def _own_origins(raw: web.Request, settings: Settings) -> set[str]:
    """Return the origin of ROUTER_CONSOLE_URL, else of the Host header; on this machine it has several names."""
    try:
        asked = urlsplit(f"{raw.scheme}://{raw.host}".lower())
    except ValueError as error:  # half of an IPv6 address
        raise ConsoleError(400, "The Host header cannot be read.") from error
    own = urlsplit(settings.console_url.lower()) if settings.console_url else asked
    origins = {_origin_of(own)}
    return origins | {_origin_of(asked)} if {own.hostname, asked.hostname} <= LOOPBACK else origins


def _origin_of(url: SplitResult) -> str:
    """Return an origin as browsers write it: without a user, and without the port that its scheme has anyway."""
    return f"{url.scheme}://{url.netloc.rpartition('@')[2].removesuffix(_DEFAULT_PORTS[url.scheme])}"


async def check_action(request: ConsoleRequest) -> None:
    """Raise ConsoleError unless the caller itself has sent this action: a person by a page of ours, or a program."""
    if request.caller.way is Way.TOKEN:
        return
    check_origin(request.raw, request.ports.settings)
    if request.caller.way is Way.NONE:
        return
    given = await request.given_csrf()
    if not given.isascii() or not hmac.compare_digest(given, request.caller.csrf):
        raise ConsoleError(403, "The form is too old or was not made by this console. Open its page again.")
