"""`python -m router quarantine list|show|replay`."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from router.commands.redaction import masked_body, masked_path, plain
from router.core.timestamps import to_text
from router.receiver.readmission import make_readmission
from router.receiver.serve import REQUIRED
from router.settings.load import load
from router.streams.client.connection import Redis, connect
from router.streams.store.quarantine import Kept, find, list_kept

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Iterable

    from router.settings.model import Settings

_TRUST_WARNING = (
    "WARNING: --trust takes in webhooks whose signature is not right, as if Twilio had sent them: anybody can have\n"
    "made them. Account, type and form are checked as ever. Look at each with `quarantine show` first."
)


@asynccontextmanager
async def connected(require: Iterable[str] = ("redis_url",)) -> AsyncIterator[tuple[Redis, Settings]]:
    """Yield a connection to REDIS_URL, and the settings; raises SettingsError if one of `require` is not set."""
    settings = load(require=require)
    redis = connect(settings.redis)
    try:
        yield redis, settings
    finally:
        await redis.aclose()


async def list_quarantine(arguments: argparse.Namespace) -> int:
    """Print what is in the quarantine, as people or (with `json`) programs read it; bodies are left out."""
    reasons: Counter[str] = Counter()
    async with connected() as (redis, settings):
        async for kept in list_kept(redis, settings.keys):
            if not is_meant(kept, arguments):
                continue
            reasons[kept.refused.reason] += 1
            print(_as_json(kept) if arguments.json else _as_line(kept))
    if not arguments.json:
        shown = ", ".join(f"{count} {plain(reason)}" for reason, count in sorted(reasons.items()))
        print(f"{reasons.total()} in the quarantine" + (f": {shown}" if shown else ""))
    return 0


def is_meant(kept: Kept, arguments: argparse.Namespace) -> bool:
    """Tell whether an entry is of the reason and the source that were asked for."""
    refused = kept.refused
    return arguments.reason in {None, refused.reason} and arguments.source in {None, refused.source}


def _as_line(kept: Kept) -> str:
    refused = kept.refused
    again = f"  repeated {kept.repeats} times" if kept.repeats else ""
    kind = f"{plain(refused.source)}  {refused.status} {plain(refused.reason)}"
    head = f"{kept.entry_id}  {to_text(refused.received_at)}  {kind}  {plain(refused.account_id) or '-'}{again}"
    return f"{head}\n    {plain(refused.detail)}"


def _as_json(kept: Kept) -> str:
    shown = asdict(kept.refused) | {"path": masked_path(kept.refused.raw_path), "size": kept.refused.size}
    shown = {name: value for name, value in shown.items() if name not in {"body", "raw_path", "headers"}}
    return orjson.dumps({"id": kept.entry_id, "repeats": kept.repeats} | shown).decode()


async def show_quarantined(entry_id: str, *, raw: str | None = None) -> int:
    """Print all that is known of one entry, what is private masked; `raw` names where its bytes go (`-`: here)."""
    async with connected() as (redis, settings):
        kept = await find(redis, settings.keys, entry_id)
    if kept is None:
        print(f"{entry_id}: no such entry in the quarantine", file=sys.stderr)
        return 1
    if raw is None:
        print("\n".join(_describe(kept)))
    else:
        _write(as_request(kept), raw)
    return 0


def _write(request: bytes, path: str) -> None:
    if path == "-":
        sys.stdout.buffer.write(request)
        return
    Path(path).write_bytes(request)
    print(f"{path}: the whole request, nothing masked")


def as_request(kept: Kept) -> bytes:
    """Return the request as it was on the wire; what `explain-signature --request` reads."""
    refused = kept.refused
    head = refused.method.encode() + b" " + refused.raw_path + b" HTTP/1.1\r\n"
    lines = [f"{name}: {value}\r\n".encode("utf-8", "surrogateescape") for name, value in refused.headers]
    return b"".join([head, *lines, b"\r\n", refused.body])


def _describe(kept: Kept) -> list[str]:
    refused = kept.refused
    content_type = next((value for name, value in refused.headers if name.lower() == "content-type"), "")
    body = f"{len(refused.body)} bytes" if refused.is_whole else "not kept"
    return [
        f"{kept.entry_id}",
        f"  refused    {refused.status} {plain(refused.reason)}: {plain(refused.detail)}",
        f"  source     {plain(refused.source)}",
        f"  account    {plain(refused.account_id) or '(names none)'}",
        f"  received   {to_text(refused.received_at)}, repeated {kept.repeats} times",
        f"  request    {plain(refused.method)} {masked_path(refused.raw_path)}",
        *(f"  header     {plain(name)}: {plain(value)}" for name, value in refused.headers),
        f"  body       {body}",
        *(f"    {line}" for line in masked_body(content_type, refused.body) if refused.is_whole),
    ]


async def replay_quarantined(arguments: argparse.Namespace) -> int:
    """Check again and take in; status 1 if one stays in the quarantine or is not there, 2 for what cannot be meant."""
    problem = _misuse(arguments)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    if arguments.trust:
        print(_TRUST_WARNING, file=sys.stderr)
    taken, left = 0, 0
    async with connected(REQUIRED) as (redis, settings):
        readmission = make_readmission(settings, redis, lambda: time.time_ns() // 1000)
        async for name, kept in _chosen(redis, settings, arguments):
            if kept is None:
                print(f"{name}: no such entry in the quarantine", file=sys.stderr)
                left += 1
                continue
            outcome = await readmission.replay(kept, is_trusted=arguments.trust)
            print(f"{name}: {plain(outcome.text)}")
            taken, left = taken + outcome.is_in, left + (not outcome.is_in)
    print(f"{taken} replayed" + (f", {left} not" if left else ""))
    return 1 if left else 0


def _misuse(arguments: argparse.Namespace) -> str | None:
    """Return what is wrong with the way in which entries were named."""
    if arguments.trust and (arguments.all or not arguments.ids):
        return "--trust needs the ids of the entries that you have looked at, never --all"
    if not arguments.ids and not arguments.all:
        return "name the entries to replay (see `quarantine list`), or say --all"
    if arguments.ids and arguments.all:
        return "name entries or say --all, not both"
    return None


async def _chosen(
    redis: Redis, settings: Settings, arguments: argparse.Namespace
) -> AsyncIterator[tuple[str, Kept | None]]:
    """Yield the entries to replay by id, None for one that is not there."""
    if not arguments.all:
        for entry_id in dict.fromkeys(arguments.ids):
            yield entry_id, await find(redis, settings.keys, entry_id)
        return
    async for kept in list_kept(redis, settings.keys):
        if is_meant(kept, arguments):
            yield kept.entry_id, kept
