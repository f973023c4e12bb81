"""`python -m router dead-letters list|replay`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from router.commands.connected import connected
from router.core.addresses import mask
from router.core.entries import ParticipantData, read_entry
from router.core.printable import masked
from router.core.timestamps import to_text
from router.operations.redaction import masked_subject, plain, shown_content
from router.process.terminal import complain, show, show_json
from router.streams.store.dead_letters import list_letters, replay_all

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from router.streams.store.dead_letters import DeadLetter


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


#: How the values of these fields are shown; those of all others hold ids, types and times.
_MASKED: Final[dict[bytes, Callable[[bytes], Any]]] = {
    b"body": shown_content,
    b"event": shown_content,
    b"subject": lambda value: masked_subject(_text(value)),
}


async def run_dead_letters(arguments: argparse.Namespace) -> int:
    """Run the action that was asked for; returns the exit status."""
    if arguments.action == "list":
        return await list_dead_letters(is_json=arguments.json, unmasked=arguments.unmasked)
    return await replay_dead_letters(arguments.ids, is_all=arguments.all)


async def list_dead_letters(*, is_json: bool = False, unmasked: bool = False) -> int:
    """Print all dead letters: id, time, origin, deliveries, reason. With `is_json` also their fields.

    Private values are masked unless an operator wants them `unmasked`.
    """
    count = 0
    async with connected() as (redis, settings):
        async for letter in list_letters(redis, settings.keys):
            count += 1
            if is_json:
                show_json(_as_object(letter, unmasked=unmasked), unmasked=unmasked)
            else:
                show(*_as_lines(letter, unmasked=unmasked), unmasked=unmasked)
    if not is_json:
        show(f"{count} dead letters" if count != 1 else "1 dead letter")
    return 0


def _name(letter: DeadLetter) -> str:
    """Return the id by which operators name a dead letter: `partition:entry id`."""
    return f"{letter.partition}:{letter.letter_id}"


def _as_lines(letter: DeadLetter, *, unmasked: bool) -> list[str]:
    content = _text(letter.fields.get(b"key", letter.fields.get(b"type", b"")))
    origin = f"{letter.group}  {letter.stream} {letter.entry_id}"
    reason = letter.reason if unmasked else masked(letter.reason, has_ids=False)
    lines = [f"{_name(letter)}  {letter.failed_at}  {origin}  {content}", f"    after {letter.deliveries}: {reason}"]
    return lines + [f"    {about}" for about in [_about(letter, unmasked=unmasked)] if about]


def _about(letter: DeadLetter, *, unmasked: bool) -> str:
    """Return conversation, customer and message of an entry of a participants stream; empty for anything else."""
    try:
        data = read_entry(letter.fields.get(b"event", b"")).data
    except ValidationError:
        return ""
    found = {"conversation": data.conversation.id}
    if isinstance(data, ParticipantData):
        address = data.address if unmasked else mask(data.address)
        found |= {"customer": data.participant.id, "address": f"{data.channel} {address}"}
    found["message"] = data.cause.resource_id or ""
    return "  ".join(f"{name} {plain(value)}" for name, value in found.items() if value)


def _as_object(letter: DeadLetter, *, unmasked: bool) -> dict[str, Any]:
    """Return a letter for JSON; of its content, unless `unmasked`, the names and what is not private."""
    fields: dict[str, Any] = {}
    for name, value in letter.fields.items():
        show_value = _text if unmasked else _MASKED.get(name, _text)
        fields[_text(name)] = show_value(value)
    names = ("stream", "entry_id", "group", "consumer", "deliveries", "failed_at")
    shown = {"id": _name(letter), **{name: getattr(letter, name) for name in names}}
    reason = letter.reason if unmasked else masked(letter.reason, has_ids=False)
    return {**shown, "reason": reason, "fields": fields}


async def replay_dead_letters(ids: Sequence[str], *, is_all: bool = False) -> int:
    """Put dead letters back on their streams; status 1 if one of `ids` does not exist."""
    if not ids and not is_all:
        complain("name the dead letters to replay (see `dead-letters list`), or give --all")
        return 2
    wanted, count = set(ids), 0
    async with connected() as (redis, settings):
        async for letter in list_letters(redis, settings.keys):
            name = _name(letter)
            if not is_all and name not in wanted and letter.letter_id not in wanted:
                continue
            wanted -= {name, letter.letter_id}
            replayed_at = to_text(time.time_ns() // 1000)
            [entry_id] = await replay_all(redis, settings.keys, [letter], replayed_at=replayed_at)
            show(f"{name}: " + (f"back on {letter.stream} as {entry_id}" if entry_id else "already gone"))
            count += entry_id is not None
    for name in sorted(wanted):
        complain(f"{name}: no such dead letter")
    show(f"{count} replayed")
    return 1 if wanted else 0
