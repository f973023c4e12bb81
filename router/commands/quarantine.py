"""`python -m router quarantine list|show|replay`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router.commands.connected import connected
from router.core.printable import masked
from router.core.timestamps import to_text
from router.operations.redaction import masked_path, plain, shown_body
from router.process.terminal import complain, show, show_bytes, show_json
from router.receiver.replay import QuarantineReplay
from router.receiver.serve import REQUIRED
from router.streams.store.quarantine import Kept, find, list_kept

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

    from router.settings.model import Settings
    from router.streams.client.connection import Redis

_TRUST_WARNING = (
    "WARNING: --trust accepts webhooks whose signature does not match, although anybody can have sent them.",
    "Account, content type and body are still checked. Look at each with `quarantine show` first.",
)


async def run_quarantine(arguments: argparse.Namespace) -> int:
    """Run the action that was asked for; returns the exit status."""
    if arguments.action == "list":
        return await list_quarantine(arguments)
    if arguments.action == "show":
        return await show_quarantined(arguments.id, raw=arguments.raw)
    return await replay_quarantined(arguments)


async def list_quarantine(arguments: argparse.Namespace) -> int:
    """Print the entries without their bodies, for people or (`json`) for programs."""
    reasons: Counter[str] = Counter()
    async with connected() as (redis, settings):
        async for kept in list_kept(redis, settings.keys):
            if not is_selected(kept, arguments):
                continue
            reasons[kept.refused.reason] += 1
            if arguments.json:
                show_json(_as_object(kept))
            else:
                show(*_as_lines(kept))
    if not arguments.json:
        shown = ", ".join(f"{count} {plain(reason)}" for reason, count in sorted(reasons.items()))
        show(f"{reasons.total()} in the quarantine" + (f": {shown}" if shown else ""))
    return 0


def is_selected(kept: Kept, arguments: argparse.Namespace) -> bool:
    """Tell whether an entry matches --reason and --source."""
    refused = kept.refused
    return arguments.reason in {None, refused.reason} and arguments.source in {None, refused.source}


def _as_lines(kept: Kept) -> list[str]:
    refused = kept.refused
    again = f"  repeated {kept.repeats} times" if kept.repeats else ""
    kind = f"{plain(refused.source)}  {refused.status} {plain(refused.reason)}"
    head = f"{kept.entry_id}  {to_text(refused.received_at)}  {kind}  {_reason(refused.account_id) or '-'}{again}"
    return [head, f"    {_reason(refused.detail)}"]


def _reason(text: str) -> str:
    """Return a text that may quote what a stranger gave for an id: a number is masked with and without its plus."""
    return masked(plain(text), has_ids=False)


def _as_object(kept: Kept) -> dict[str, Any]:
    shown = asdict(kept.refused) | {"path": masked_path(kept.refused.raw_path), "size": kept.refused.size}
    shown = {name: value for name, value in shown.items() if name not in {"body", "raw_path", "headers"}}
    shown |= {name: masked(shown[name], has_ids=False) for name in ("account_id", "detail")}
    return {"id": kept.entry_id, "repeats": kept.repeats} | shown


async def show_quarantined(entry_id: str, *, raw: str | None = None) -> int:
    """Print one entry, private values masked; with `raw`, write the request to that file (`-`: standard output)."""
    async with connected() as (redis, settings):
        kept = await find(redis, settings.keys, entry_id)
    if kept is None:
        complain(f"{entry_id}: no such entry in the quarantine")
        return 1
    if raw is None:
        show(*_describe(kept))
        return 0
    try:
        _write_request(kept, raw)
    except (OSError, ValueError) as error:
        complain(f"{raw}: cannot be written: {error}")
        return 1
    return 0


def _write_request(kept: Kept, path: str) -> None:
    """Write the request as `explain-signature --request` reads it."""
    refused = kept.refused
    head = refused.method.encode() + b" " + refused.raw_path + b" HTTP/1.1\r\n"
    lines = [f"{name}: {value}\r\n".encode("utf-8", "surrogateescape") for name, value in refused.headers]
    request = b"".join([head, *lines, b"\r\n", refused.body])
    if path == "-":
        show_bytes(request)
        return
    Path(path).write_bytes(request)
    show(f"{path}: the whole request, nothing masked")


def _describe(kept: Kept) -> list[str]:
    refused = kept.refused
    content_type = next((value for name, value in refused.headers if name.lower() == "content-type"), "")
    body = f"{len(refused.body)} bytes" if refused.is_whole else "not kept"
    return [
        f"{kept.entry_id}",
        f"  refused    {refused.status} {plain(refused.reason)}: {_reason(refused.detail)}",
        f"  source     {plain(refused.source)}",
        f"  account    {_reason(refused.account_id) or '(names none)'}",
        f"  received   {to_text(refused.received_at)}, repeated {kept.repeats} times",
        f"  request    {plain(refused.method)} {masked_path(refused.raw_path)}",
        *(f"  header     {plain(name)}: {plain(value)}" for name, value in refused.headers),
        f"  body       {body}",
        *(f"    {line}" for line in shown_body(content_type, refused.body) if refused.is_whole),
    ]


async def replay_quarantined(arguments: argparse.Namespace) -> int:
    """Check entries again and accept them; status 1 if one stays or does not exist, 2 for wrong usage."""
    problem = _wrong_usage(arguments)
    if problem:
        complain(problem)
        return 2
    if arguments.trust:
        complain(*_TRUST_WARNING)
    replayed, left = 0, 0
    async with connected(REQUIRED) as (redis, settings):
        replay = QuarantineReplay(settings, redis)
        async for name, kept in _chosen(redis, settings, arguments):
            if kept is None:
                complain(f"{name}: no such entry in the quarantine")
                left += 1
                continue
            outcome = await replay.replay(kept, is_trusted=arguments.trust)
            show(f"{name}: {plain(outcome.text)}")
            replayed, left = replayed + outcome.is_accepted, left + (not outcome.is_accepted)
    show(f"{replayed} replayed" + (f", {left} not" if left else ""))
    return 1 if left else 0


def _wrong_usage(arguments: argparse.Namespace) -> str | None:
    """Return the problem with the ids and options, None if there is none."""
    if arguments.trust and (arguments.all or not arguments.ids):
        return "--trust needs the ids of entries that you have looked at, and never --all"
    if not arguments.ids and not arguments.all:
        return "name the entries to replay (see `quarantine list`), or give --all"
    if arguments.ids and arguments.all:
        return "name entries or give --all, not both"
    return None


async def _chosen(
    redis: Redis, settings: Settings, arguments: argparse.Namespace
) -> AsyncIterator[tuple[str, Kept | None]]:
    """Yield the entries to replay by id, with None for an id that does not exist."""
    if not arguments.all:
        for entry_id in dict.fromkeys(arguments.ids):
            yield entry_id, await find(redis, settings.keys, entry_id)
        return
    async for kept in list_kept(redis, settings.keys):
        if is_selected(kept, arguments):
            yield kept.entry_id, kept
