"""URLs of API calls: the base, the path with percent-encoded ids, the query, and the route that logs may show.

A path is a template with `{names}`. Ids are filled in only here, so that none can leave its segment, and the template
is the route, free of ids and addresses. A value that cannot be an id is refused before anything is sent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, quote, urlencode, urljoin, urlsplit

from router.core.errors import RequestError, ServerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_VERSION: Final = re.compile(r"(/v[12])?/*\Z")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f\\]")
_WORD: Final = re.compile(r"[A-Za-z]*|v\d")


def trim_base(base_url: str) -> str:
    """Return the base without trailing slashes and without a trailing version, which is part of every path.

    Raises ValueError, without repeating the text, unless it is http(s) with a host and without user info and query.
    """
    try:
        parts = urlsplit(base_url.strip())
        is_plain = parts.port != 0 and not ("@" in parts.netloc or parts.query or parts.fragment)
    except ValueError:
        is_plain = False
    if not is_plain or parts.scheme.lower() not in {"http", "https"} or not parts.hostname:
        raise ValueError("the base URL of the API must be http(s)://host[:port], without user info and query")
    return _VERSION.sub("", f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}")


def fill_path(template: str, ids: Mapping[str, str]) -> str:
    """Return the path with `ids` percent-encoded, each as one segment.

    Raises RequestError for an id that is empty, `.`, `..` or not UTF-8: it would name another resource.
    """
    return template.format_map({name: _segment(name, value) for name, value in ids.items()})


def _segment(name: str, value: str) -> str:
    if value in {"", ".", ".."}:
        raise RequestError(f"{name} is not an id")
    try:
        return quote(value, safe="")
    except UnicodeEncodeError:
        raise RequestError(f"{name} is not an id") from None  # the cause would repeat the value


def generalize(path: str) -> str:
    """Return the route of a path that was given without `ids`: segments other than words and versions become `{}`."""
    return "/".join(part if _WORD.fullmatch(part) else "{}" for part in path.partition("?")[0].split("/"))


def encode_query(query: Mapping[str, str | Sequence[str]]) -> str:
    """Return the query string; a list becomes a repeated parameter, and a plus is encoded."""
    return urlencode(query, doseq=True, quote_via=quote)


def follow_link(base: str, link: str, route: str) -> str:
    """Return the URL of a `link` in a response, absolute or relative to `base`; path and query are unchanged.

    Raises ServerError, without repeating the link, if it leads to another origin: every call carries the credentials,
    and a response must not be able to send them elsewhere.
    """
    origin = urlsplit(base)
    try:
        target = urlsplit(urljoin(f"{base}/", link))
        is_ours = "@" not in target.netloc and _origin(target) == _origin(origin)
    except ValueError:  # not a URL, or an invalid port
        is_ours = False
    if not is_ours or _UNPRINTABLE.search(link):
        raise ServerError(f"{route}: a link that leads to another host", status=200)
    search = f"?{target.query}" if target.query else ""
    return f"{origin.scheme}://{origin.netloc}{target.path}{search}"


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(scheme)
