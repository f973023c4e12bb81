"""`check` of ROUTER_SEAL_KEYS: which key seals, and whether the keys open what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.commands.check.redis import Finding
from router.core.sealing import SETTING
from router.operations.sealing import find_unopened

if TYPE_CHECKING:
    from router.settings.model import Settings
    from router.streams.client.connection import Redis


async def check_sealing(redis: Redis, settings: Settings) -> list[Finding]:
    """Return the findings; raises RedisError."""
    sealer = settings.sealer
    unopened = await find_unopened(redis, settings.keys, sealer)
    findings = [Finding("FAIL", stream, f"{problem}; events wait for it") for stream, problem in unopened.items()]
    if sealer.has_keys and not findings:
        first, *others = sealer.key_ids
        also = f", and opens with {', '.join(others)} too" if others else ""
        findings.append(Finding("ok", SETTING, f"seals with the key {first}{also}"))
    return findings
