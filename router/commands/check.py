"""`python -m router check`: tells whether everything is right, before it is started.

Every line is `ok`, `warn` (works, but a promise of the README does not hold as it stands) or `FAIL`; the exit status is
1 if one failed. Secrets are shown as dots.
"""

from __future__ import annotations

import time
from typing import Any, Final

from router.commands.check_accounts import check_apis, check_credentials, check_rules
from router.commands.check_streams import check_streams
from router.commands.findings import Finding
from router.configured import load_policy, load_voice
from router.core.accounts_file import CREDENTIALS
from router.core.errors import PolicyError, SettingsError
from router.mail_settings import describe_proof
from router.settings import Settings, load
from router.streams.connection import Redis, RedisError, connect

#: Everything that the four processes of the Procfile need together.
REQUIRED: Final = (
    "redis_url",
    "twilio_account_sid",
    "twilio_auth_token",
    CREDENTIALS,
    "twilio_conversation_configuration_id",
    "public_base_url",
)
#: Streams with entry-level idempotency of the client are not needed; XAUTOCLAIM and its kin came with this version.
OLDEST_REDIS: Final = (7, 0)


async def check(*, is_offline: bool = False) -> int:
    """Print the effective configuration and all findings; returns 1 if one failed, 2 if settings are wrong."""
    settings = load()
    for name, value in settings.masked().items():
        print(f"  {name}={value}")
    findings = [*_check_settings(settings), *_check_policy(settings), *_check_voice(settings)]
    if not is_offline:
        findings += await _check_redis(settings)
        findings += await check_apis(settings)
    for finding in findings:
        print(f"{finding.level:<5} {finding.subject}: {finding.text}")
    failed = sum(finding.level == "FAIL" for finding in findings)
    warned = sum(finding.level == "warn" for finding in findings)
    print(f"{len(findings)} checked, {failed} failed, {warned} warnings")
    return 1 if failed else 0


def _check_settings(settings: Settings) -> list[Finding]:
    findings = []
    try:
        load(require=REQUIRED)
        findings.append(Finding("ok", "settings", "all that the processes need is set"))
    except SettingsError as error:
        findings += [Finding("FAIL", "settings", problem) for problem in error.problems]
    if settings.public_base_url and settings.public_base_url.startswith("http://"):
        findings.append(Finding("warn", "PUBLIC_BASE_URL", "is http: anybody on the way can read and repeat webhooks"))
    if settings.shadow:
        text = f"lets in webhooks of {', '.join(settings.shadow)} that nobody signed: whoever knows the URL can post"
        findings.append(Finding("warn", "ROUTER_SHADOW", text))
    return [*findings, *check_credentials(settings), _check_mails(settings)]


def _check_mails(settings: Settings) -> Finding:
    """Say what proves mails: to take none is a choice, to take them by credentials alone is the weaker one."""
    proof = describe_proof(settings)
    texts = {
        "off": "off: all are refused without ROUTER_EMAIL_PUBLIC_KEYS or ROUTER_EMAIL_CREDENTIALS",
        "credentials": "taken by credentials, which prove who calls and not what was sent: prefer a signature",
    }
    level = "warn" if proof == "credentials" else "ok"
    return Finding(level, "mails", texts.get(proof, f"taken by {proof}"))


def _check_policy(settings: Settings) -> list[Finding]:
    try:
        policy = load_policy(settings)
    except PolicyError as error:
        return [Finding("FAIL", "routing", problem) for problem in error.problems]
    except OSError as error:
        return [Finding("FAIL", "routing", f"{error.filename}: {error.strerror}")]
    found = Finding("ok", "routing", f"{len(policy.rules)} rules, default {policy.default or 'ignore'}")
    return [found, *check_rules(settings, policy)]


def _check_voice(settings: Settings) -> list[Finding]:
    try:
        templates = load_voice(settings)
    except SettingsError as error:
        return [Finding("FAIL", "voice", problem) for problem in error.problems]
    notes = [Finding("ok", "voice", note) for note in templates.notes]
    return notes or [Finding("ok", "voice", f"{len(templates.templates)} templates")]


async def _check_redis(settings: Settings) -> list[Finding]:
    if settings.redis_url is None:
        return []
    redis = connect(settings.redis)
    try:
        begun = time.perf_counter()
        await redis.ping()
        ms = (time.perf_counter() - begun) * 1000
        return [
            Finding("ok", "REDIS_URL", f"answers in {ms:.1f} ms"),
            *await _check_promises(redis),
            *await check_streams(redis, settings),
        ]
    except (RedisError, OSError) as error:
        return [Finding("FAIL", "REDIS_URL", f"{type(error).__name__}: {error}")]
    finally:
        await redis.aclose()


async def _check_promises(redis: Redis) -> list[Finding]:
    """Name each server setting that makes a promise false."""
    try:
        info: dict[str, Any] = await redis.info()
        config = await _read_config(redis)
    except RedisError as error:
        return [Finding("warn", "Redis", f"its settings cannot be read ({error}): check persistence by hand")]
    version = str(info.get("redis_version", "0.0"))
    findings = [_judge("version", f"{version}", _is_recent(version), "is too old: 7.0 or newer is needed", fail=True)]
    durable = config.get("appendonly") == "yes"
    text = "is off: a restart of Redis loses what was answered 2xx; set appendonly yes"
    findings.append(_judge("appendonly", config.get("appendonly", "?"), durable, text))
    if durable:
        fsync = config.get("appendfsync", "?")
        text = "a power failure (not a crash of Redis) loses up to a second of webhooks that were answered 2xx"
        findings.append(_judge("appendfsync", fsync, fsync == "always", f"is {fsync}: {text}"))
    eviction = config.get("maxmemory-policy", "?")
    text = f"is {eviction}: Redis may throw away streams and markers when memory is short; set noeviction"
    is_safe = eviction == "noeviction" or config.get("maxmemory") == "0"
    findings.append(_judge("maxmemory-policy", eviction, is_safe, text))
    return findings


async def _read_config(redis: Redis) -> dict[str, str]:
    raw: Any = await redis.config_get("*")
    return {_text(name): _text(value) for name, value in raw.items()}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _is_recent(version: str) -> bool:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    return numbers >= OLDEST_REDIS


def _judge(subject: str, good: str, is_good: bool, bad: str, *, fail: bool = False) -> Finding:  # noqa: FBT001 - a verdict
    name = f"Redis {subject}"
    return Finding("ok", name, good) if is_good else Finding("FAIL" if fail else "warn", name, bad)
