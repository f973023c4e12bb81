"""Bytes of Redis by part: every kind of key belongs to one, and deleting a part gives back what it took."""

from __future__ import annotations

import pytest

from router.core.keys import Keys
from tests.benchmarks.redis_memory import CLAIMS, PARTS, bytes_of_parts, deleted_bytes, part_of
from tests.support.keys import KINDS


@pytest.mark.parametrize(
    ("key", "part"),
    [
        (Keys().seen(0, "AC1:messaging:SM1"), CLAIMS),
        (Keys().communication("AC1", "conv_1", "SM1"), CLAIMS),
        (Keys().latest(0, "AC1", "SMS|+15551230001"), CLAIMS),
        ("router:{0}:something-new:x", CLAIMS),
        (Keys("before").conversation("AC1", "conv_1"), "ledgers"),
        (Keys().route("AC1", "x|y"), "routes"),
        (Keys().participants(0, "ai-agent"), "streams"),
        (Keys().stories(0) + "new", "stories"),
        ("seen:SM1", CLAIMS),
        ("route:+15551230001:+15557650000", "routes"),
        ("straightforward:participants", "streams"),
        ("bull:sms:meta", "streams"),
    ],
)
def test_a_key_belongs_to_a_part(key, part):
    """The kind decides, of ours and of the others; a kind that nobody knows is something that a webhook leaves."""
    assert part_of(key) == part


def test_kinds_that_a_part_lists_exist():
    """A kind that is renamed would be counted as a claim, so the list is compared with the keys of the project."""
    foreign = {"straightforward", "express", "bull"}
    assert PARTS.keys() - foreign <= KINDS | {"confirmation"}


@pytest.mark.real
async def test_deleting_a_part_gives_back_its_bytes(redis):
    """What keys take is about what is estimated, and other parts stay."""
    pipeline = redis.pipeline(transaction=False)
    for number in range(2_000):
        pipeline.set(Keys().seen(0, f"AC1:messaging:SM{number:032x}"), "1", ex=60)
    pipeline.hset(Keys().conversation("AC1", "conv_1"), "rev", "1")
    pipeline.expire(Keys().conversation("AC1", "conv_1"), 60)
    await pipeline.execute()
    parts = await bytes_of_parts(redis)
    taken = await deleted_bytes(redis, CLAIMS)
    assert await redis.dbsize() == 1
    assert parts[CLAIMS] / 2 < taken < parts[CLAIMS] * 3
    assert 0 < parts["ledgers"] < 1_000
    assert parts["stories"] == 0
