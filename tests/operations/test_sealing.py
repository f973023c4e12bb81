"""Sealed data without its key: found by `check` and `dev`, and said by what shows it."""

from __future__ import annotations

import os
import time
from functools import partial

from router.core.aes_gcm import make_sealer
from router.core.keys import Keys
from router.core.refused import Bounds, Refused
from router.core.routing.commands import write_command
from router.core.sealing import NO_KEYS, SealedKind
from router.core.stored_fields import open_stored
from router.operations.sealing import find_unopened
from router.streams.store.quarantine import keep, list_kept, remove

KEYS = Keys(partitions=2)
SEALER, OTHER = (make_sealer([bytes([number]) * 32], partial(os.urandom, 12)) for number in (1, 2))
REFUSED = Refused(
    source="messaging",
    reason="signature",
    detail="not +15551230001's",
    status=403,
    received_at=time.time_ns() // 1000,
    method="POST",
    raw_path=b"/webhooks/messaging?Body=secret",
    headers=(("X-Real", "secret"),),
    account_id="AC1",
    body=b"Body=secret",
    is_whole=True,
)


async def test_both_ends_of_each_stream_are_looked_at(redis):
    """With the right keys nothing is found, without each stream that has sealed entries is named with the setting."""
    body = SEALER.seal_body(b"Body=secret", SealedKind.INBOUND)
    for number in range(200):
        await redis.xadd(KEYS.inbound(1), {"body": b"Body=plain", "n": number})
    await redis.xadd(KEYS.inbound(1), {"body": body})
    command = write_command("handoff.request", "1", {"reason": "secret"}, source="/x", sealer=SEALER)
    await redis.xadd(KEYS.commands(0), command)
    await keep(redis, KEYS, REFUSED, Bounds(10, 10_000, 60), SEALER)
    assert await find_unopened(redis, KEYS, SEALER) == {}
    for sealer in (NO_KEYS, OTHER):
        found = await find_unopened(redis, KEYS, sealer)
        assert set(found) == {KEYS.inbound(1), KEYS.commands(0), KEYS.quarantine()}
        assert all("ROUTER_SEAL_KEYS" in problem for problem in found.values())


async def test_a_refused_webhook_rests_sealed(redis):
    """All that came from outside; with the key it is as it came, without it says so, and can be removed."""
    entry_id = await keep(redis, KEYS, REFUSED, Bounds(10, 10_000, 60), SEALER)
    ((_, fields),) = await redis.xrange(KEYS.quarantine())
    assert all(b"secret" not in value and b"5551230001" not in value for value in fields.values())
    (kept,) = [one async for one in list_kept(redis, KEYS, sealer=SEALER)]
    assert (kept.refused, kept.problem) == (REFUSED, "")
    (closed,) = [one async for one in list_kept(redis, KEYS, sealer=OTHER)]
    assert (closed.entry_id, closed.refused.reason, closed.refused.is_whole) == (entry_id, "signature", False)
    assert "ROUTER_SEAL_KEYS" in closed.problem
    assert await keep(redis, KEYS, REFUSED, Bounds(10, 10_000, 60), SEALER) is None, "a repeat, however it is sealed"
    assert await remove(redis, KEYS, closed)


async def test_a_body_from_outside_that_looks_sealed_is_shown_as_it_is(redis):
    """Anybody can send such bytes to a route; only the router says that it has sealed them."""
    forged = SEALER.seal_body(b"x", SealedKind.QUARANTINE)
    refused = Refused(**{name: getattr(REFUSED, name) for name in REFUSED.__slots__} | {"body": forged})
    await keep(redis, KEYS, refused, Bounds(10, 10_000, 60))
    (kept,) = [one async for one in list_kept(redis, KEYS)]
    assert (kept.refused.body, kept.problem) == (forged, "")


def test_what_cannot_be_opened_is_shown_without_its_private_values():
    """Neither the sealed bytes nor an error takes the place of an entry."""
    body = SEALER.seal_body(b"Body=secret", SealedKind.INBOUND)
    command = write_command("conversation.say", "1", {"agent": "a", "text": "secret"}, source="/x", sealer=SEALER)
    fields = {name.encode(): text.encode() for name, text in command.items()} | {b"body": body}
    shown, problem = open_stored(fields, SEALER)
    assert (shown[b"body"], problem) == (b"Body=secret", "")
    assert b'"text": "secret"' in shown[b"command"]
    shown, problem = open_stored(fields, NO_KEYS)
    assert shown[b"body"] == b""
    assert b'"text": "(sealed)"' in shown[b"command"]
    assert "ROUTER_SEAL_KEYS" in problem
    for junk in (b'{"sealed": 1}', b'"sealed"', b'{"sealed": {}, "data": []}', b'\xff"sealed"'):
        assert open_stored({b"event": junk}, SEALER) == ({b"event": junk}, "")
