"""Dead letters: listed with filters, opened, replayed and dropped; one at once, all that match in a job."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from router.console.operations.bulk_jobs import DROP, DRY_RUN, BulkForm, BulkKind, start_bulk
from router.console.operations.models import JobAnswer, LetterAnswer, LettersAnswer, OutcomeAnswer
from router.console.operations.parts import (
    FILTER_PARAMETERS,
    MOST_LOOKED_AT,
    page_of,
    read_filters,
    read_limit,
    read_selection,
    without_reason,
)
from router.console.pages import ConsoleError, Page, Redirect, Role, View
from router.core.bulk import BulkProgress
from router.core.stored_fields import open_stored
from router.core.timestamps import to_text
from router.operations.contents import show_fields
from router.operations.dead_letters import (
    LetterView,
    can_replay,
    count_letters,
    drop_letters,
    find,
    replay_letters,
    select_letters,
    view_letter,
)
from router.operations.previews import LetterPreviews
from router.streams.store.dead_letters import drop, list_letters, replay_all

if TYPE_CHECKING:
    from router.console.job_runner import JobSteps, Work
    from router.console.request import ConsoleRequest
    from router.operations.selection import Selection

_NAME: Final = re.compile(r"(\d{1,5}):\d{1,19}-\d{1,19}", re.ASCII)
_GONE: Final = "There is no such dead letter: it was replayed, or dropped."


async def list_page(request: ConsoleRequest) -> View:
    """Show the dead letters that match, oldest first."""
    query = request.query
    cursor, limit = _read_cursor(request), read_limit(query)
    unmasked = request.sees_unmasked
    selection, shown = without_reason(read_selection(query, request.ports.clock()), unmasked=unmasked)
    redis, keys = request.ports.redis, request.ports.keys
    items: list[dict[str, Any]] = []
    looked_at, last, following = 0, "", None
    since, until = selection.since_ms, selection.until_ms
    async for letter in list_letters(redis, keys, after=cursor, since=since, until=until):
        if len(items) == limit or looked_at == MOST_LOOKED_AT:
            following = last
            break
        looked_at, last = looked_at + 1, letter.name
        view = view_letter(letter)
        if selection.takes(letter.reason, view.facts, stream=letter.stream, group=letter.group):
            item = view.to_json(unmasked=unmasked)
            items += [item] if shown in item["reason"].casefold() else []
    extra = {"filters": read_filters(query), "limit": query.get("limit", ""), "total": await count_letters(redis, keys)}
    return View(page_of(items, following), extra=extra)


def _read_cursor(request: ConsoleRequest) -> str:
    """Return the name behind which the page begins; raises ConsoleError."""
    cursor = request.query.get("cursor", "")
    found = _NAME.fullmatch(cursor)
    if cursor and (found is None or int(found[1]) >= request.ports.keys.partitions):
        raise ConsoleError(400, "cursor must be the `next` of a page before.")
    return cursor


async def show_one(request: ConsoleRequest) -> View:
    """Show a dead letter with all that its entry holds, and what a replay would do."""
    view = await _find(request)
    preview = await LetterPreviews(request.ports.redis, request.ports.settings).preview(view)
    unmasked = request.sees_unmasked
    content, _ = open_stored(view.letter.fields, request.ports.settings.sealer)
    return View(
        {
            "letter": view.to_json(unmasked=unmasked),
            "fields": show_fields(content, unmasked=unmasked),
            "replay": preview.to_json(),
        }
    )


async def replay_one(request: ConsoleRequest) -> View:
    """Put the entry of a letter back on its stream."""
    view = await _find(request)
    request.note(f"dead letter {view.name}")
    ports = request.ports
    if not can_replay(ports.keys, view.letter):
        raise ConsoleError(409, "It cannot be replayed: it does not say which of our streams it is from.")
    (result,) = await replay_all(ports.redis, ports.keys, [view.letter], replayed_at=to_text(ports.clock()))
    if isinstance(result, Exception):
        raise result
    if result is None:
        raise ConsoleError(409, _GONE)
    text = f"back on {view.letter.stream} as {result}"
    request.note(f"dead letter {view.name}", text)
    return View({"id": view.name, "text": text, "event_id": view.facts.event_id})


async def drop_one(request: ConsoleRequest) -> View:
    """Remove a letter for good."""
    view = await _find(request)
    request.note(f"dead letter {view.name}")
    await drop(request.ports.redis, request.ports.keys, [view.letter])
    return View({"id": view.name, "text": "dropped", "event_id": view.facts.event_id})


async def _find(request: ConsoleRequest) -> LetterView:
    view = await find(request.ports.redis, request.ports.keys, request.parts["id"])
    if view is None:
        raise ConsoleError(404, _GONE)
    return view


async def act_on_all(request: ConsoleRequest) -> Redirect:
    """Start a dry run, a replay or a drop of everything that matches."""
    return await start_bulk(request, _BULK)


def _dry_run(request: ConsoleRequest, selection: Selection) -> Work:
    redis, keys = request.ports.redis, request.ports.keys

    async def work(steps: JobSteps) -> None:
        previews = LetterPreviews(redis, request.ports.settings)
        progress = BulkProgress(await count_letters(redis, keys))
        async for view in select_letters(redis, keys, selection, progress=progress, on_progress=steps.note_progress):
            preview = await previews.preview(view)
            steps.count(preview.text, preview.kind)
            steps.note_progress(progress)
        steps.note_progress(progress)

    return work


def _replay(request: ConsoleRequest, selection: Selection) -> Work:
    ports = request.ports

    async def work(steps: JobSteps) -> None:
        await replay_letters(
            ports.redis,
            ports.keys,
            selection,
            now=ports.clock(),
            on_outcome=steps.note_outcome,
            on_progress=steps.note_progress,
        )

    return work


def _drop(request: ConsoleRequest, selection: Selection) -> Work:
    redis, keys = request.ports.redis, request.ports.keys

    async def work(steps: JobSteps) -> None:
        await drop_letters(redis, keys, selection, on_outcome=steps.note_outcome, on_progress=steps.note_progress)

    return work


_BULK: Final = BulkKind("dead-letters", {DRY_RUN: _dry_run, "replay": _replay, DROP: _drop})

PAGES: Final = (
    Page(
        "GET",
        "/dead-letters",
        list_page,
        Role.VIEWER,
        "Dead letters",
        "operations/dead_letters.html",
        navigation="Dead letters",
        query=FILTER_PARAMETERS,
        answer=LettersAnswer,
    ),
    Page("POST", "/dead-letters", act_on_all, Role.OPERATOR, "Act on dead letters", body=BulkForm, answer=JobAnswer),
    Page(
        "GET",
        "/dead-letters/{id}",
        show_one,
        Role.VIEWER,
        "Dead letter",
        "operations/dead_letter.html",
        answer=LetterAnswer,
    ),
    Page(
        "POST",
        "/dead-letters/{id}/replay",
        replay_one,
        Role.OPERATOR,
        "Replay",
        "operations/outcome.html",
        answer=OutcomeAnswer,
    ),
    Page(
        "POST",
        "/dead-letters/{id}/drop",
        drop_one,
        Role.OPERATOR,
        "Drop",
        "operations/outcome.html",
        answer=OutcomeAnswer,
    ),
)
