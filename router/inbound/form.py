"""Reading form parameters: bytes at the door, text once the request is proven authentic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.errors import UnreadableError
from router.core.signature import MAX_PARAMETERS, parse_form

if TYPE_CHECKING:
    from router.core.signature import Pairs


def read_text(pairs: Pairs) -> dict[str, str]:
    """Return the parameters as text, the first value of a repeated one.

    Raises UnreadableError naming the parameter (never its value) whose bytes are not UTF-8.
    """
    texts: dict[str, str] = {}
    for name, value in pairs:
        try:
            texts.setdefault(name.decode(), value.decode())
        except UnicodeDecodeError as error:
            shown = name.decode("ascii", "backslashreplace")[:64]
            raise UnreadableError(f"parameter {shown} is not UTF-8") from error
    return texts


def read_form(body: bytes, wanted: frozenset[bytes], prefix: bytes) -> dict[str, str]:
    """Return the parameters of a form that are `wanted`, or begin with `prefix`, as text, the first of a repeated one.

    Raises UnreadableError as parse_form and read_text do, also for what is not UTF-8 in the others.
    """
    if not body.isascii() or body.count(b"&") >= MAX_PARAMETERS:
        return read_text(parse_form(body))
    pairs: Pairs = []
    for parameter in body.split(b"&"):  # most have no escape, and most nobody reads: those cost one look each
        if b"%" in parameter:
            pairs += parse_form(parameter)
            continue
        name, _, value = parameter.partition(b"=")
        if name in wanted or name.startswith(prefix):
            pairs.append((name, value.replace(b"+", b" ")))
    return read_text(pairs)


def require(texts: dict[str, str], *names: str) -> None:
    """Raise UnreadableError naming every parameter that is missing or blank."""
    missing = [name for name in names if not texts.get(name, "").strip()]
    if missing:
        raise UnreadableError(f"missing or blank: {', '.join(missing)}")
