"""`python -m router dead-letters list|replay`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import orjson

from router.commands.connected import connected
from router.core.timestamps import to_text
from router.streams.store.dead_letters import list_letters, replay

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from router.streams.store.dead_letters import DeadLetter


async def run_dead_letters(arguments: argparse.Namespace) -> int:
    """Run the action that was asked for; returns the exit status."""
    if arguments.action == "list":
        return await list_dead_letters(is_json=arguments.json)
    return await replay_dead_letters(arguments.ids, is_all=arguments.all)


async def list_dead_letters(*, is_json: bool = False) -> int:
    """Print all dead letters: id, time, origin, deliveries, reason. With `is_json` also their raw fields."""
    count = 0
    async with connected() as (redis, settings):
        async for letter in list_letters(redis, settings.keys):
            count += 1
            print(_as_json(letter) if is_json else _as_line(letter))
    if not is_json:
        print(f"{count} dead letters" if count != 1 else "1 dead letter")
    return 0


def _name(letter: DeadLetter) -> str:
    """Return the id by which operators name a dead letter: `partition:entry id`."""
    return f"{letter.partition}:{letter.letter_id}"


def _as_line(letter: DeadLetter) -> str:
    content = letter.fields.get(b"key", letter.fields.get(b"type", b"")).decode("utf-8", "backslashreplace")
    origin = f"{letter.group}  {letter.stream} {letter.entry_id}"
    head = f"{_name(letter)}  {letter.failed_at}  {origin}  {content}"
    return f"{head}\n    after {letter.deliveries}: {letter.reason}"


def _as_json(letter: DeadLetter) -> str:
    fields = {name.decode(): value.decode("utf-8", "backslashreplace") for name, value in letter.fields.items()}
    names = ("stream", "entry_id", "group", "consumer", "reason", "deliveries", "failed_at")
    shown = {"id": _name(letter), **{name: getattr(letter, name) for name in names}}
    return orjson.dumps({**shown, "fields": fields}).decode()


async def replay_dead_letters(ids: Sequence[str], *, is_all: bool = False) -> int:
    """Put dead letters back on their streams; status 1 if one of `ids` does not exist."""
    if not ids and not is_all:
        print("name the dead letters to replay (see `dead-letters list`), or give --all", file=sys.stderr)
        return 2
    wanted, count = set(ids), 0
    async with connected() as (redis, settings):
        async for letter in list_letters(redis, settings.keys):
            name = _name(letter)
            if not is_all and name not in wanted and letter.letter_id not in wanted:
                continue
            wanted -= {name, letter.letter_id}
            entry_id = await replay(redis, settings.keys, letter, replayed_at=to_text(time.time_ns() // 1000))
            print(f"{name}: " + (f"back on {letter.stream} as {entry_id}" if entry_id else "already gone"))
            count += entry_id is not None
    for name in sorted(wanted):
        print(f"{name}: no such dead letter", file=sys.stderr)
    print(f"{count} replayed")
    return 1 if wanted else 0
