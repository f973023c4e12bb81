"""Refused webhooks: listed with filters, opened, replayed and dropped; one at once, all that match in a job."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from router.console.operations.bulk_jobs import DROP, DRY_RUN, BulkForm, BulkKind, start_bulk
from router.console.operations.models import JobAnswer, KeptAnswer, OutcomeAnswer, QuarantineAnswer, TrustForm
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
from router.core.errors import AccountError, RouteError, SignatureError
from router.core.printable import masked
from router.operations.quarantine import (
    KeptView,
    count_kept,
    drop_kept,
    find_kept,
    is_wanted,
    replay_kept,
    searched,
    select_kept,
)
from router.operations.redaction import masked_path, plain, shown_body
from router.operations.signature_advice import advise, request_of
from router.receiver.replay import QuarantineReplay, ReplayOutcome
from router.streams.store.quarantine import list_kept, remove

if TYPE_CHECKING:
    from router.console.job_runner import JobSteps, Work
    from router.console.request import ConsoleRequest
    from router.core.refused import Refused
    from router.operations.selection import Selection

_NAME: Final = re.compile(r"\d{1,19}-\d{1,19}", re.ASCII)
#: The reasons that the signature, or the URL that it covers, has to do with.
_SIGNED: Final = frozenset({SignatureError.reason, RouteError.reason, AccountError.reason})
#: One explanation at a time: each keeps a processor busy for about a second, and anybody may open the page.
_THREAD: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="advice")
_GONE: Final = "There is no such webhook in the quarantine: it was replayed, dropped, or displaced by newer ones."


async def list_page(request: ConsoleRequest) -> View:
    """Show the refused webhooks that match, oldest first."""
    query, ports = request.query, request.ports
    cursor, limit = query.get("cursor", ""), read_limit(query)
    if cursor and not _NAME.fullmatch(cursor):
        raise ConsoleError(400, "cursor must be the `next` of a page before.")
    unmasked = request.sees_unmasked
    selection, shown = without_reason(read_selection(query, ports.clock()), unmasked=unmasked)
    items: list[dict[str, Any]] = []
    looked_at, last, following = 0, "", None
    since, until, sealer = selection.since_ms, selection.until_ms, ports.settings.sealer
    async for one in list_kept(ports.redis, ports.keys, after=cursor, since=since, until=until, sealer=sealer):
        if len(items) == limit or looked_at == MOST_LOOKED_AT:
            following = last
            break
        looked_at, last = looked_at + 1, one.entry_id
        if is_wanted(selection, one):
            item = KeptView(one).to_json(unmasked=unmasked)
            items += [item] if shown in searched(item["reason"], item["detail"], shown).casefold() else []
    counts = await count_kept(ports.redis, ports.keys)
    extra = {
        "filters": read_filters(query),
        "limit": query.get("limit", ""),
        "reasons": {name: number for name, number in counts.items() if number},
    }
    return View(page_of(items, following), extra=extra)


async def show_one(request: ConsoleRequest) -> View:
    """Show a refused webhook with its request, and what a replay would do."""
    view = await _find(request)
    refused, unmasked = view.kept.refused, request.sees_unmasked
    missing = _missing(request)
    preview = ReplayOutcome(is_accepted=False, text=missing) if missing else await _replays(request).preview(view.kept)
    advice = [] if missing or preview.is_accepted else await _advise(request, refused)
    data = {
        "webhook": view.to_json(unmasked=unmasked),
        "request": _show_request(refused, unmasked=unmasked),
        "replay": {"is_accepted": preview.is_accepted, "text": _shown(preview.text, unmasked=unmasked)},
        "advice": [_shown(line, unmasked=unmasked) for line in advice],
    }
    return View(data)


async def _advise(request: ConsoleRequest, refused: Refused) -> list[str]:
    """Return why a signature does not match and what to change; computed in a thread, as it takes a while."""
    if refused.reason not in _SIGNED or not refused.is_whole:
        return []
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(_THREAD, advise, request_of(refused), request.ports.settings)
    return [plain(line) for line in found.lines]


def _show_request(refused: Refused, *, unmasked: bool) -> dict[str, Any]:
    content_type = next((value for name, value in refused.headers if name.lower() == "content-type"), "")
    body = refused.body.decode("utf-8", "backslashreplace") if unmasked and refused.is_whole else None
    return {
        "path": plain(refused.raw_path) if unmasked else masked_path(refused.raw_path),
        "headers": [{"name": name, "value": _shown(value, unmasked=unmasked)} for name, value in refused.headers],
        "lines": shown_body(content_type, refused.body, unmasked=unmasked) if refused.is_whole else [],
        "raw": body,
    }


def _shown(text: str, *, unmasked: bool) -> str:
    """Return a text that quotes the request: a proxy repeats its URL in a header, and a reason its account."""
    return text if unmasked else masked(text, has_ids=False)


async def replay_one(request: ConsoleRequest) -> View:
    """Check a webhook once more and accept it; with `trust`, whatever its signature is."""
    view, form = await _find(request), await request.form()
    is_trusted = form.get("trust") == "yes"
    about = f"refused webhook {view.name}" + (", trusted" if is_trusted else "")
    request.note(about)
    outcome = await _replays(request).replay(view.kept, is_trusted=is_trusted)
    request.note(about, outcome.text)
    if not outcome.is_accepted:
        raise ConsoleError(409, f"It stays in the quarantine: {outcome.text}.")
    return View({"id": view.name, "text": outcome.text, "event_id": ""})


async def drop_one(request: ConsoleRequest) -> View:
    """Remove a webhook for good."""
    view = await _find(request)
    request.note(f"refused webhook {view.name}")
    await remove(request.ports.redis, request.ports.keys, view.kept)
    return View({"id": view.name, "text": "dropped", "event_id": ""})


async def _find(request: ConsoleRequest) -> KeptView:
    view = await find_kept(request.ports.redis, request.ports.keys, request.parts["id"], request.ports.settings.sealer)
    if view is None:
        raise ConsoleError(404, _GONE)
    return view


def _missing(request: ConsoleRequest) -> str:
    """Return why webhooks cannot be checked with the console's settings, empty if they can."""
    settings = request.ports.settings
    names = {
        "PUBLIC_BASE_URL": settings.public_base_url,
        "TWILIO_AUTH_TOKEN": any(account.tokens for account in settings.accounts),
    }
    missing = [name for name, value in names.items() if not value]
    return f"it cannot be checked: {' and '.join(missing)} is not set for the console" if missing else ""


def _replays(request: ConsoleRequest) -> QuarantineReplay:
    """Return the checker of webhooks with the console's settings; raises ConsoleError if they are incomplete."""
    if missing := _missing(request):
        raise ConsoleError(409, f"{missing[:1].upper()}{missing[1:]}.")
    return QuarantineReplay(request.ports.settings, request.ports.redis, clock=request.ports.clock)


async def act_on_all(request: ConsoleRequest) -> Redirect:
    """Start a dry run, a replay or a drop of everything that matches."""
    return await start_bulk(request, _BULK)


def _dry_run(request: ConsoleRequest, selection: Selection) -> Work:
    redis, keys, replays = request.ports.redis, request.ports.keys, _replays(request)
    sealer = request.ports.settings.sealer

    async def work(steps: JobSteps) -> None:
        progress = BulkProgress(sum((await count_kept(redis, keys)).values()))
        async for view in select_kept(
            redis, keys, selection, progress=progress, sealer=sealer, on_progress=steps.note_progress
        ):
            preview = await replays.preview(view.kept)
            steps.count(preview.text, preview.kind)
            steps.note_progress(progress)
        steps.note_progress(progress)

    return work


def _replay(request: ConsoleRequest, selection: Selection) -> Work:
    redis, keys, replays = request.ports.redis, request.ports.keys, _replays(request)
    sealer = request.ports.settings.sealer

    async def work(steps: JobSteps) -> None:
        await replay_kept(
            redis,
            keys,
            selection,
            replays,
            sealer=sealer,
            on_outcome=steps.note_outcome,
            on_progress=steps.note_progress,
        )

    return work


def _drop(request: ConsoleRequest, selection: Selection) -> Work:
    redis, keys, sealer = request.ports.redis, request.ports.keys, request.ports.settings.sealer

    async def work(steps: JobSteps) -> None:
        await drop_kept(
            redis,
            keys,
            selection,
            sealer=sealer,
            on_outcome=steps.note_outcome,
            on_progress=steps.note_progress,
        )

    return work


_BULK: Final = BulkKind("quarantine", {DRY_RUN: _dry_run, "replay": _replay, DROP: _drop})

PAGES: Final = (
    Page(
        "GET",
        "/quarantine",
        list_page,
        Role.VIEWER,
        "Quarantine",
        "operations/quarantine.html",
        navigation="Quarantine",
        query=FILTER_PARAMETERS,
        answer=QuarantineAnswer,
    ),
    Page("POST", "/quarantine", act_on_all, Role.OPERATOR, "Act on the quarantine", body=BulkForm, answer=JobAnswer),
    Page(
        "GET",
        "/quarantine/{id}",
        show_one,
        Role.VIEWER,
        "Refused webhook",
        "operations/refused.html",
        answer=KeptAnswer,
    ),
    Page(
        "POST",
        "/quarantine/{id}/replay",
        replay_one,
        Role.OPERATOR,
        "Replay",
        "operations/outcome.html",
        body=TrustForm,
        answer=OutcomeAnswer,
    ),
    Page(
        "POST",
        "/quarantine/{id}/drop",
        drop_one,
        Role.OPERATOR,
        "Drop",
        "operations/outcome.html",
        answer=OutcomeAnswer,
    ),
)
