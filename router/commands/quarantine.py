"""`python -m router quarantine list|show|replay|drop`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from router.commands.connected import connected
from router.commands.selecting import BulkReport, preview_drop, selection_of, wrong_bulk
from router.core.bulk import EntryOutcome
from router.core.printable import masked
from router.core.timestamps import to_text
from router.operations.quarantine import drop_kept, find_kept, replay_kept, select_kept
from router.operations.redaction import masked_path, plain, shown_body
from router.process.terminal import complain, show, show_bytes, show_json
from router.receiver.replay import QuarantineReplay
from router.receiver.serve import REQUIRED

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine

    from router.streams.store.quarantine import Kept

_TRUST_WARNING = (
    "WARNING: --trust accepts webhooks whose signature does not match, although anybody can have sent them.",
    "Account, content type and body are still checked. Look at each with `quarantine show` first.",
)


async def run_quarantine(arguments: argparse.Namespace) -> int:
    """Run the action that was asked for; returns the exit status."""
    return await _ACTIONS[arguments.action](arguments)


async def list_quarantine(arguments: argparse.Namespace) -> int:
    """Print the entries that match without their bodies, for people or (`json`) for programs."""
    reasons: Counter[str] = Counter()
    async with connected() as (redis, settings):
        async for view in select_kept(redis, settings.keys, selection_of(arguments), sealer=settings.sealer):
            reasons[view.kept.refused.reason] += 1
            if arguments.json:
                show_json(_as_object(view.kept, unmasked=arguments.unmasked), unmasked=arguments.unmasked)
            else:
                show(*_as_lines(view.kept, unmasked=arguments.unmasked), unmasked=arguments.unmasked)
            if reasons.total() == arguments.limit:
                break
    if not arguments.json:
        shown = ", ".join(f"{count} {plain(reason)}" for reason, count in sorted(reasons.items()))
        show(f"{reasons.total()} in the quarantine" + (f": {shown}" if shown else ""))
    return 0


def _as_lines(kept: Kept, *, unmasked: bool) -> list[str]:
    refused = kept.refused
    again = f"  repeated {kept.repeats} times" if kept.repeats else ""
    kind = f"{plain(refused.source)}  {refused.status} {plain(refused.reason)}"
    account = _quoted(refused.account_id, unmasked=unmasked) or "-"
    head = f"{kept.entry_id}  {to_text(refused.received_at)}  {kind}  {account}{again}"
    event = f"  event {plain(refused.event_id)}" if refused.event_id else ""
    return [head, f"    {_quoted(refused.detail, unmasked=unmasked)}{event}"]


def _quoted(text: str, *, unmasked: bool) -> str:
    """Return a text that may quote what a stranger gave for an id: a number is masked with and without its plus."""
    return plain(text) if unmasked else masked(plain(text), has_ids=False)


def _as_object(kept: Kept, *, unmasked: bool) -> dict[str, Any]:
    shown = asdict(kept.refused) | {"path": _path(kept, unmasked=unmasked), "size": kept.refused.size}
    shown = {name: value for name, value in shown.items() if name not in {"body", "raw_path", "headers"}}
    if not unmasked:
        shown |= {name: masked(shown[name], has_ids=False) for name in ("account_id", "detail")}
    return {"id": kept.entry_id, "repeats": kept.repeats} | shown


def _path(kept: Kept, *, unmasked: bool) -> str:
    return plain(kept.refused.raw_path) if unmasked else masked_path(kept.refused.raw_path)


async def show_quarantined(arguments: argparse.Namespace) -> int:
    """Print one entry, private values masked; with `raw`, write the request to that file (`-`: standard output)."""
    async with connected() as (redis, settings):
        view = await find_kept(redis, settings.keys, arguments.id, settings.sealer)
    if view is None:
        complain(f"{plain(arguments.id)}: no such entry in the quarantine (any more): replayed, dropped, or too old")
        return 1
    kept = view.kept
    if arguments.raw is not None:
        try:
            _write_request(kept, arguments.raw)
        except (OSError, ValueError) as error:
            complain(f"{arguments.raw}: cannot be written: {error}")
            return 1
    elif arguments.json:
        headers = {"headers": [list(one) for one in kept.refused.headers]}
        body = {"body": _body_lines(kept, unmasked=arguments.unmasked)}
        show_json(_as_object(kept, unmasked=arguments.unmasked) | headers | body, unmasked=arguments.unmasked)
    else:
        show(*_describe(kept, unmasked=arguments.unmasked), unmasked=arguments.unmasked)
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


def _describe(kept: Kept, *, unmasked: bool) -> list[str]:
    refused = kept.refused
    body = f"{len(refused.body)} bytes" if refused.is_whole else "not kept"
    return [
        f"{kept.entry_id}",
        f"  refused    {refused.status} {plain(refused.reason)}: {_quoted(refused.detail, unmasked=unmasked)}",
        f"  source     {plain(refused.source)}",
        f"  account    {_quoted(refused.account_id, unmasked=unmasked) or '(names none)'}",
        *([f"  event      {plain(refused.event_id)}"] if refused.event_id else []),
        f"  received   {to_text(refused.received_at)}, repeated {kept.repeats} times",
        f"  request    {plain(refused.method)} {_path(kept, unmasked=unmasked)}",
        *(f"  header     {plain(name)}: {plain(value)}" for name, value in refused.headers),
        f"  body       {kept.problem or body}",
        *(f"    {line}" for line in _body_lines(kept, unmasked=unmasked)),
    ]


def _body_lines(kept: Kept, *, unmasked: bool) -> list[str]:
    refused = kept.refused
    content_type = next((value for name, value in refused.headers if name.lower() == "content-type"), "")
    return shown_body(content_type, refused.body, unmasked=unmasked) if refused.is_whole else []


async def replay_quarantined(arguments: argparse.Namespace) -> int:
    """Check entries again and accept them; status 1 if one stays or does not exist, 2 for wrong usage."""
    problem = _wrong_trust(arguments) or wrong_bulk(arguments, "entries")
    if problem:
        complain(problem)
        return 2
    if arguments.trust:
        complain(*_TRUST_WARNING)
    report = BulkReport(arguments, "would be replayed" if arguments.dry_run else "replayed")
    async with connected(REQUIRED) as (redis, settings):
        replay, selection = QuarantineReplay(settings, redis), selection_of(arguments)
        if arguments.dry_run:
            async for view in select_kept(redis, settings.keys, selection, sealer=settings.sealer):
                result = await replay.preview(view.kept, is_trusted=arguments.trust)
                report.outcome(EntryOutcome(view.name, is_done=result.is_accepted, text=result.text))
        else:
            await replay_kept(
                redis,
                settings.keys,
                selection,
                replay,
                is_trusted=arguments.trust,
                sealer=settings.sealer,
                on_outcome=report.outcome,
                on_progress=report.progress,
            )
    return report.finish("entry in the quarantine")


def _wrong_trust(arguments: argparse.Namespace) -> str | None:
    if arguments.trust and (arguments.all or not arguments.ids):
        return "--trust needs the ids of entries that you have looked at, and never --all"
    return None


async def drop_quarantined(arguments: argparse.Namespace) -> int:
    """Remove entries for good; without --yes only their number is shown, with status 2."""
    if (problem := wrong_bulk(arguments, "entries")) is not None:
        complain(problem)
        return 2
    async with connected() as (redis, settings):
        selection = selection_of(arguments)
        if arguments.yes and not arguments.dry_run:
            report = BulkReport(arguments, "dropped")
            await drop_kept(
                redis,
                settings.keys,
                selection,
                sealer=settings.sealer,
                on_outcome=report.outcome,
                on_progress=report.progress,
            )
            return report.finish("entry in the quarantine")
        names = [view.name async for view in select_kept(redis, settings.keys, selection, sealer=settings.sealer)]
    return preview_drop(arguments, names, "entry in the quarantine")


_ACTIONS: Final[dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, int]]]] = {
    "list": list_quarantine,
    "show": show_quarantined,
    "replay": replay_quarantined,
    "drop": drop_quarantined,
}
