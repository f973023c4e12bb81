"""`python -m router explain-signature`: why a signature does not match, and what to change. It never prints a token."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from router.commands.connected import connected
from router.operations.redaction import plain
from router.operations.request_text import RequestText, parse_headers, parse_request, split_target
from router.operations.signature_advice import advise, request_of
from router.process.terminal import CommandFailedError, complain, show
from router.settings.load import load
from router.streams.store.quarantine import find

if TYPE_CHECKING:
    import argparse

    from router.settings.model import Settings

#: Settings that a signature is compared with.
_REQUIRED = ("twilio_account_sid", "twilio_auth_token", "public_base_url")


async def explain_signature(arguments: argparse.Namespace) -> int:
    """Print what was signed and what to change; returns 0, 1 if nothing matches, 2 if there is no request."""
    settings = load(require=_REQUIRED)
    if arguments.id:
        request = await _from_quarantine(arguments.id)
        if request is None:
            complain(f"{arguments.id}: no such entry in the quarantine (any more): replayed, dropped, or too old")
            return 2
    else:
        try:
            request = _from_options(arguments)
        except (OSError, ValueError) as error:
            complain(f"the request cannot be read: {error}")
            return 2
    return _report(request, settings, arguments.id)


def _report(request: RequestText, settings: Settings, entry_id: str | None) -> int:
    explanation = advise(request, settings)
    for line in explanation.lines:
        show(plain(line))
    if explanation.is_right and entry_id:
        show(f"To accept it: python -m router quarantine replay {entry_id}")
    elif entry_id and explanation.is_explained:
        show(f"To see whether it is accepted then: python -m router quarantine replay {entry_id} --dry-run")
    elif entry_id:
        show(f"What was sent: python -m router quarantine show {entry_id}")
    return 0 if explanation.is_explained else 1


async def _from_quarantine(entry_id: str) -> RequestText | None:
    async with connected() as (redis, settings):
        kept = await find(redis, settings.keys, entry_id, settings.sealer)
    if kept is None:
        return None
    if kept.problem:
        raise CommandFailedError(kept.problem)
    if not kept.refused.is_whole:
        show("The body was not kept; only what does not need it is tried.")
    return request_of(kept.refused)


def _from_options(arguments: argparse.Namespace) -> RequestText:
    """Return the request that the options describe; raises OSError, ValueError."""
    if arguments.request:
        return parse_request(_read(arguments.request))
    raw_path, host = split_target(arguments.url.encode("utf-8", "surrogateescape"))
    headers = parse_headers(arguments.header)
    if host:
        headers.setdefault("host", host)
    return RequestText("POST", raw_path, headers, _read(arguments.body_file) if arguments.body_file else b"")


def _read(path: str) -> bytes:
    return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
