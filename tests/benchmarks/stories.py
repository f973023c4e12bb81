"""Milliseconds of a search for a story, by each kind of key, with many events behind it.

`python -m tests.benchmarks.stories` fills a server of its own, by the writer that the processes use, with a million
events over a week: ten for each conversation and day, some of one customer. Then it searches for others each time, so
that nothing is found because it was found before.
"""

from __future__ import annotations

import argparse
import random
import time
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from router.core.stories import DAY, EVENT_LINE, Story, event_id, to_json_bytes
from router.operations.stories import StorySearch
from router.process.loop import run
from router.process.stories import make_story_index
from router.settings.load import load
from router.streams.store.stories import StoryWriter
from tests.benchmarks.processes import running_processes, settings_of
from tests.benchmarks.report import table
from tests.support.accounts import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.settings.model import Settings
    from router.streams.client.connection import Redis

#: Events of a conversation in a day, days, and lines that are written at once.
OF_LIST: Final = 10
DAYS: Final = 7
BATCH: Final = 500
#: The bound of a search, in ms.
TARGET: Final = 50.0


def conversation_of(number: int) -> str:
    """Return the conversation of an event."""
    return f"conv_conversation_{number // OF_LIST:026d}"


def sid_of(number: int) -> str:
    """Return the id of an event's message."""
    return f"SM{number:032x}"


def key_of(number: int) -> str:
    """Return the idempotency key of an event."""
    return f"{ACCOUNT}:messaging:{sid_of(number)}"


def customer_of(number: int) -> str:
    """Return the number of an event's customer."""
    return f"+1555{number // OF_LIST % 10_000_000:07d}"


KEYS: Final[dict[str, Callable[[int], str]]] = {
    "MessageSid": sid_of,
    "idempotency key": key_of,
    "event id": lambda number: event_id(key_of(number)),
    "conversation": conversation_of,
    "participant": lambda number: conversation_of(number).replace("conversation", "participant"),
    "address": customer_of,
    "an unknown MessageSid": lambda number: sid_of(number + (1 << 64)),
    "an unknown address": lambda number: f"+4420{number % 100_000_000:08d}",
}


def line_of(number: int, at: int, writer: StoryWriter) -> bytes:
    """Return the line of a known customer's message, as the worker writes it."""
    conversation, key = conversation_of(number), key_of(number)
    participant = conversation.replace("conversation", "participant")
    head = (EVENT_LINE, event_id(key), at, at, f"{at // 1000}-0", writer.process, "", ["communication.received"])
    text = ("known", "the customer is already announced", "+155***01", conversation, participant, "ai-agent")
    digests = writer.digests_of(f"SMS|{customer_of(number)}|+15557650000")
    more = (*text, "published", key, {}, ACCOUNT, digests)
    return to_json_bytes((*head, sid_of(number), "messaging", "message.received", *more))


async def fill(redis: Redis, settings: Settings, events: int) -> None:
    """Write the events, the oldest first."""
    now, at, index = time.time_ns() // 1000, 0, make_story_index(settings, redis)
    writer = StoryWriter(
        redis,
        settings.keys,
        life=settings.story_ttl,
        secret=settings.story_secrets[0],
        process="worker",
        clock=lambda: at,
    )
    for first in range(0, events, BATCH):
        at = now - (DAYS - 1) * DAY + (DAYS - 1) * DAY * first // events
        for number in range(first, min(first + BATCH, events)):
            partition = settings.keys.partition_of(conversation_of(number))
            writer.lines[partition].append(line_of(number, at, writer))
        await writer.flush()
        await index.drain()


async def measure(search: StorySearch, events: int, searches: int) -> dict[str, list[float]]:
    """Return the milliseconds of searches by each key."""
    entropy, taken = random.Random(16), {}
    for name, query_of in KEYS.items():
        taken[name] = times = []
        for _ in range(searches):
            query = query_of(entropy.randrange(events))
            begun = time.perf_counter()
            story: Story = await search.find(query)
            times.append((time.perf_counter() - begun) * 1000)
            if story.found is name.startswith("an unknown"):
                raise SystemExit(f"{name}: {query} was {'' if story.found else 'not '}found")
    return taken


async def main(events: int, searches: int, partitions: int) -> int:
    """Print the table; the exit status is 1 if a median is above the target."""
    async with running_processes() as (server, redis, _):
        environment: dict[str, Any] = settings_of(server.url) | {"ROUTER_PARTITIONS": str(partitions)}
        settings = load(environment=environment)
        await fill(redis, settings, events)
        size = (await redis.info("memory"))["used_memory"]
        taken = await measure(StorySearch(redis, settings), events, searches)
    rows = [("ms of a search by", "median", "largest")]
    rows += [(name, f"{median(times):.1f}", f"{max(times):.1f}") for name, times in taken.items()]
    print("\n".join([f"{events:,} events, {size / events:.0f} bytes of Redis each", *table(rows)]))  # noqa: T201 - a tool talks to a person
    return int(max(map(median, taken.values())) > TARGET)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.stories", description=__doc__.split("\n\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="events (default: %(default)s)")
    parser.add_argument("--searches", type=int, default=50, help="searches by each key (default: %(default)s)")
    parser.add_argument("--partitions", type=int, default=1, help="partitions (default: %(default)s)")
    arguments = parser.parse_args()
    raise SystemExit(run(main(arguments.events, arguments.searches, arguments.partitions)))
