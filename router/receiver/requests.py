"""The parts of a request that are checked, from HTTP or from the quarantine."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from router.core.errors import WrongTypeError
from router.core.signing.twilio import SETTINGS_HEADER
from router.core.values import Value

if TYPE_CHECKING:
    from aiohttp import web
    from multidict import MultiMapping

    from router.inbound.sources import Source

SIGNATURE: Final = "X-Twilio-Signature"
#: The header by which Twilio tells repeats of one webhook.
TOKEN: Final = "I-Twilio-Idempotency-Token"  # noqa: S105 - a header name


class RawRequest(Value):
    """The checked parts of a request: path and query as on the wire, headers (names in any case), the whole body."""

    raw_path: bytes
    headers: MultiMapping[str]
    body: bytes


def raw_path_of(request: web.Request) -> bytes:
    """Return path and query as received; bytes that are not UTF-8 are unchanged."""
    return request.raw_path.encode("utf-8", "surrogateescape")


def stated_settings(headers: MultiMapping[str]) -> str | None:
    """Return the value of SETTINGS_HEADER; of several lines all, since HTTP lets a proxy split a list into lines."""
    header = headers.get(SETTINGS_HEADER)
    return header if header is None else ",".join(headers.getall(SETTINGS_HEADER))


@lru_cache(maxsize=64)  # callers send the same one or two; strangers send anything
def media_type(header: str) -> str:
    """Return a content type without its parameters."""
    return header.partition(";")[0].strip().lower()


def require_type(raw: RawRequest, source: Source) -> None:
    """Raise WrongTypeError unless the content type is one of the source's."""
    content_type = media_type(raw.headers.get("Content-Type", ""))
    if content_type != source.content_type and content_type not in source.also:
        raise WrongTypeError(f"{content_type[:64] or 'no content type'} instead of {source.content_type}")
