"""`python -m router dead-letters list|replay`."""

from __future__ import annotations

import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import orjson

from router.core.timestamps import to_text
from router.settings.load import load
from router.streams.client.connection import Redis, connect
from router.streams.store.dead_letters import DeadLetter, list_letters, replay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from router.settings.model import Settings


@asynccontextmanager
async def _connected() -> AsyncIterator[tuple[Redis, Settings]]:
    settings = load(require=["redis_url"])
    redis = connect(settings.redis)
    try:
        yield redis, settings
    finally:
        await redis.aclose()


async def list_dead_letters(*, is_json: bool = False) -> int:
    """Print all dead letters: id, when, where from, how often tried, why. With `is_json` their raw fields too."""
    count = 0
    async with _connected() as (redis, settings):
        async for letter in list_letters(redis, settings.keys):
            count += 1
            print(_as_json(letter) if is_json else _as_line(letter))
    if not is_json:
        print(f"{count} dead letters" if count != 1 else "1 dead letter")
    return 0


def _as_line(letter: DeadLetter) -> str:
    what = letter.fields.get(b"key", letter.fields.get(b"type", b"")).decode("utf-8", "backslashreplace")
    where = f"{letter.group}  {letter.stream} {letter.entry_id}"
    head = f"{letter.partition}:{letter.letter_id}  {letter.failed_at}  {where}  {what}"
    return f"{head}\n    after {letter.deliveries}: {letter.reason}"


def _as_json(letter: DeadLetter) -> str:
    fields = {name.decode(): value.decode("utf-8", "backslashreplace") for name, value in letter.fields.items()}
    names = ("stream", "entry_id", "group", "consumer", "reason", "deliveries", "failed_at")
    shown = {"id": f"{letter.partition}:{letter.letter_id}", **{name: getattr(letter, name) for name in names}}
    return orjson.dumps({**shown, "fields": fields}).decode()


async def replay_dead_letters(ids: Sequence[str], *, is_all: bool = False) -> int:
    """Put letters back on their streams; status 1 if one that was named is not there."""
    if not ids and not is_all:
        print("name the letters to replay (see `dead-letters list`), or say --all", file=sys.stderr)
        return 2
    wanted, count = set(ids), 0
    async with _connected() as (redis, settings):
        async for letter in list_letters(redis, settings.keys):
            name = f"{letter.partition}:{letter.letter_id}"
            if not is_all and name not in wanted and letter.letter_id not in wanted:
                continue
            wanted -= {name, letter.letter_id}
            entry_id = await replay(redis, settings.keys, letter, replayed_at=to_text(time.time_ns() // 1000))
            print(f"{name}: " + (f"back on {letter.stream} as {entry_id}" if entry_id else "was gone already"))
            count += entry_id is not None
    for name in sorted(wanted):
        print(f"{name}: no such dead letter", file=sys.stderr)
    print(f"{count} replayed")
    return 1 if wanted else 0
