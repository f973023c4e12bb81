"""`python -m router check`: checks configuration and surroundings before a start.

Each finding is `ok`, `warn` (it works, but a promise of the README does not hold) or `FAIL`; one FAIL makes the exit
status 1. Secrets are printed as dots.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from router.commands.check.accounts import check_apis, check_credentials, check_rules
from router.commands.check.redis import Finding, judge_redis
from router.commands.check.spool import check_spool
from router.commands.check.streams import check_streams
from router.core.errors import PolicyError, SettingsError
from router.logs import describe_fully
from router.process.terminal import show
from router.settings.accounts_file import CREDENTIALS
from router.settings.files import load_policy, load_voice
from router.settings.load import load
from router.streams.client.clock import RedisClock
from router.streams.client.connection import Redis, RedisError, connect
from router.streams.client.servers import read_deployment
from router.streams.client.url import parse_redis_url
from router.streams.store.partitions import ensure_partitions

if TYPE_CHECKING:
    import argparse

    from router.settings.model import Settings

#: The settings that the processes of the Procfile need together.
REQUIRED: Final = (
    "redis_url",
    "twilio_account_sid",
    "twilio_auth_token",
    CREDENTIALS,
    "twilio_conversation_configuration_id",
    "public_base_url",
)


async def check(arguments: argparse.Namespace) -> int:
    """Print the effective configuration and all findings; returns 1 if one is FAIL. Raises SettingsError."""
    settings = load()
    for name, value in settings.masked().items():
        show(f"  {name}={value}")
    findings = [*_check_settings(settings), *_check_policy(settings), *_check_voice(settings), *check_spool(settings)]
    if not arguments.offline:
        findings += await _check_redis(settings)
        findings += await check_apis(settings)
    for finding in findings:
        show(f"{finding.level:<5} {finding.subject}: {finding.text}")
    failed = sum(finding.level == "FAIL" for finding in findings)
    warned = sum(finding.level == "warn" for finding in findings)
    show(f"{len(findings)} checked, {failed} failed, {warned} warnings")
    return 1 if failed else 0


def _check_settings(settings: Settings) -> list[Finding]:
    findings = []
    try:
        load(require=REQUIRED)
        findings.append(Finding("ok", "settings", "everything that the processes need is set"))
    except SettingsError as error:
        findings += [Finding("FAIL", "settings", problem) for problem in error.problems]
    if settings.public_base_url and settings.public_base_url.startswith("http://"):
        findings.append(
            Finding("warn", "PUBLIC_BASE_URL", "is http: anybody on the network path can read and repeat webhooks")
        )
    if settings.shadow:
        text = f"accepts unsigned webhooks of {', '.join(settings.shadow)}: anybody who knows the URL can send them"
        findings.append(Finding("warn", "ROUTER_SHADOW", text))
    return [*findings, *check_credentials(settings), _check_mails(settings)]


def _check_mails(settings: Settings) -> Finding:
    """Name the proof that mails need: refusing all is a valid choice, credentials alone are the weaker proof."""
    proof = settings.mail_proof
    texts = {
        "off": "off: all are refused without ROUTER_EMAIL_PUBLIC_KEYS or ROUTER_EMAIL_CREDENTIALS",
        "credentials": "accepted by credentials, which prove the caller but not the content: prefer a signature",
    }
    text = texts.get(proof, f"accepted by {proof}")
    return Finding("warn" if proof == "credentials" else "ok", "mails", text)


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
    kind = parse_redis_url(settings.redis).kind
    redis = connect(settings.redis)
    try:
        begun = time.perf_counter()
        await redis.ping()
        findings = [Finding("ok", "REDIS_URL", f"answers in {(time.perf_counter() - begun) * 1000:.1f} ms")]
        facts = await read_deployment(redis)
        findings += judge_redis(facts, wait=settings.redis_wait, kind=kind, partitions=settings.keys.partitions)
        return [*findings, *await _check_streams(redis, settings)]
    except (RedisError, OSError) as error:
        return [Finding("FAIL", "REDIS_URL", describe_fully(error))]
    finally:
        await redis.aclose()


async def _check_partitions(redis: Redis, settings: Settings) -> Finding:
    try:
        await ensure_partitions(redis, settings.keys)
    except SettingsError as error:
        return Finding("FAIL", "partitions", "; ".join(error.problems))
    return Finding("ok", "partitions", str(settings.partitions))


async def _check_streams(redis: Redis, settings: Settings) -> list[Finding]:
    """Return the findings about the streams; a failure here leaves those about the servers valid."""
    clock = RedisClock(settings.keys.inbound(0))
    try:
        await clock.measure(redis)
        found = await check_streams(redis, settings, clock=clock.seconds)
        return [await _check_partitions(redis, settings), *found]
    except (RedisError, OSError) as error:
        return [Finding("FAIL", "streams", describe_fully(error))]
