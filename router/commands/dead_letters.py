"""`python -m router dead-letters list|show|replay|drop`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from router.commands.connected import connected
from router.commands.selecting import BulkReport, preview_drop, selection_of, wrong_bulk
from router.core.bulk import BulkProgress, EntryOutcome
from router.core.stored_fields import open_stored
from router.operations.contents import show_fields
from router.operations.dead_letters import count_letters, drop_letters, find, replay_letters, select_letters
from router.operations.previews import LetterPreviews
from router.operations.redaction import masked_subject, plain, shown_content
from router.process.terminal import CommandFailedError, complain, show, show_bytes, show_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine, Mapping

    from router.operations.dead_letters import LetterView
from router.operations.previews import ReplayPreview


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


#: How the values of these fields are shown; those of all others hold ids, types and times.
_MASKED: Final[dict[bytes, Callable[[bytes], Any]]] = {
    b"body": shown_content,
    b"event": shown_content,
    b"command": shown_content,
    b"subject": lambda value: masked_subject(_text(value)),
}
#: The fields of which one holds what an entry is about.
_DOCUMENTS: Final = (b"event", b"command", b"body")


async def run_dead_letters(arguments: argparse.Namespace) -> int:
    """Run the action that was asked for; returns the exit status."""
    return await _ACTIONS[arguments.action](arguments)


async def list_dead_letters(arguments: argparse.Namespace) -> int:
    """Print the dead letters that match: id, time, origin, deliveries, reason, and with --json their fields.

    Private values are masked unless an operator wants them unmasked.
    """
    count = 0
    async with connected() as (redis, settings):
        async for view in select_letters(redis, settings.keys, selection_of(arguments)):
            count += 1
            content, problem = open_stored(view.letter.fields, settings.sealer)
            if arguments.json:
                shown = _as_object(view, content, unmasked=arguments.unmasked) | {"problem": problem}
                show_json(shown, unmasked=arguments.unmasked)
            else:
                show(*_as_lines(view, unmasked=arguments.unmasked), unmasked=arguments.unmasked)
                show(*([f"    {problem}"] if problem else []))
            if count == arguments.limit:
                break
    if not arguments.json:
        show(f"{count} dead letters" if count != 1 else "1 dead letter")
    return 0


def _as_lines(view: LetterView, *, unmasked: bool) -> list[str]:
    letter = view.letter
    content = _text(letter.fields.get(b"key", letter.fields.get(b"type", b"")))
    origin = f"{letter.group}  {letter.stream} {letter.entry_id}"
    lines = [
        f"{view.name}  {letter.failed_at}  {origin}  {content}",
        f"    after {letter.deliveries}: {view.reason(unmasked=unmasked)}",
    ]
    return lines + [f"    {about}" for about in [_about(view, unmasked=unmasked)] if about]


def _about(view: LetterView, *, unmasked: bool) -> str:
    """Return event, conversation, customer and message, as far as they are known."""
    facts = view.facts.to_json(unmasked=unmasked)
    found = {
        "event": facts["event_id"],
        "conversation": facts["conversation"],
        "customer": facts["participant"],
        "address": f"{facts['channel']} {facts['address']}" if facts["address"] else "",
        "message": facts["resource_id"],
    }
    return "  ".join(f"{name} {plain(value)}" for name, value in found.items() if value)


def _as_object(view: LetterView, content: Mapping[bytes, bytes], *, unmasked: bool) -> dict[str, Any]:
    """Return a letter for JSON; of its content, unless `unmasked`, the names and what is not private."""
    fields: dict[str, Any] = {}
    for name, value in content.items():
        show_value = _text if unmasked else _MASKED.get(name, _text)
        fields[_text(name)] = show_value(value)
    return {**view.to_json(unmasked=unmasked), "fields": fields}


async def show_dead_letter(arguments: argparse.Namespace) -> int:
    """Print one letter decoded, and what a replay would do; with --raw, write its document or body to a file."""
    async with connected() as (redis, settings):
        view = await find(redis, settings.keys, arguments.id)
        preview = None if view is None else await LetterPreviews(redis, settings).preview(view)
    if view is None or preview is None:
        complain(f"{plain(arguments.id)}: no such dead letter")
        return 1
    content, problem = open_stored(view.letter.fields, settings.sealer)
    if problem:
        complain(problem)
    if arguments.raw is not None:
        _write(next((content[name] for name in _DOCUMENTS if name in content), b""), arguments.raw)
        return 0
    fields = show_fields(content, unmasked=arguments.unmasked)
    if arguments.json:
        shown = view.to_json(unmasked=arguments.unmasked) | {"replay": preview.to_json(), "fields": fields}
        show_json(shown, unmasked=arguments.unmasked)
    else:
        show(*_describe(view, preview, fields, unmasked=arguments.unmasked), unmasked=arguments.unmasked)
    return 0


def _write(content: bytes, path: str) -> None:
    try:
        if path == "-":
            show_bytes(content)
            return
        Path(path).write_bytes(content)
    except (OSError, ValueError) as error:
        raise CommandFailedError(f"{path}: cannot be written: {error}") from error
    show(f"{path}: {len(content)} bytes, nothing masked")


def _describe(view: LetterView, preview: ReplayPreview, fields: list[dict[str, Any]], *, unmasked: bool) -> list[str]:
    letter = view.letter
    lines = [
        view.name,
        f"  given up   {letter.failed_at} by {letter.consumer} ({letter.group}), after {letter.deliveries} attempts",
        f"  reason     {view.reason(unmasked=unmasked)}",
        f"  entry      {letter.entry_id} of {letter.stream}",
    ]
    names = {"kind": "kind", "account": "account", "event_id": "event", "conversation": "in"}
    facts = view.facts.to_json(unmasked=unmasked)
    lines += [f"  {label:<10} {facts[name]}" for name, label in names.items() if facts[name]]
    lines.append(f"  replay     {preview.text}")
    for field in fields:
        first, *rest = field["lines"] or [""]
        if rest:
            lines += [f"  {field['name']}", *(f"    {line}" for line in field["lines"])]
        else:
            lines.append(f"  {field['name']:<10} {first}")
    return lines


async def replay_dead_letters(arguments: argparse.Namespace) -> int:
    """Put dead letters back on their streams; status 1 if one stays, or one of the ids does not exist."""
    if (problem := wrong_bulk(arguments, "dead letters")) is not None:
        complain(problem)
        return 2
    report = BulkReport(arguments, "would be replayed" if arguments.dry_run else "replayed")
    async with connected() as (redis, settings):
        selection = selection_of(arguments)
        if arguments.dry_run:
            previews = LetterPreviews(redis, settings)
            progress = BulkProgress(len(selection.ids) or await count_letters(redis, settings.keys))
            async for view in select_letters(redis, settings.keys, selection, progress=progress):
                preview = await previews.preview(view)
                outcome = EntryOutcome(view.name, is_done=preview.can_replay, text=preview.text)
                progress.note(outcome)
                report.outcome(outcome)
                report.progress(progress)
        else:
            await replay_letters(
                redis,
                settings.keys,
                selection,
                now=time.time_ns() // 1000,
                on_outcome=report.outcome,
                on_progress=report.progress,
            )
    return report.finish("dead letter")


async def drop_dead_letters(arguments: argparse.Namespace) -> int:
    """Remove dead letters for good; without --yes only their number is shown, with status 2."""
    if (problem := wrong_bulk(arguments, "dead letters")) is not None:
        complain(problem)
        return 2
    async with connected() as (redis, settings):
        selection = selection_of(arguments)
        if arguments.yes and not arguments.dry_run:
            report = BulkReport(arguments, "dropped")
            await drop_letters(redis, settings.keys, selection, on_outcome=report.outcome, on_progress=report.progress)
            return report.finish("dead letter")
        names = [view.name async for view in select_letters(redis, settings.keys, selection)]
    return preview_drop(arguments, names, "dead letter")


_ACTIONS: Final[dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, int]]]] = {
    "list": list_dead_letters,
    "show": show_dead_letter,
    "replay": replay_dead_letters,
    "drop": drop_dead_letters,
}
