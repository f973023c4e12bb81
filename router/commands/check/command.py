"""`python -m router check`: checks configuration and surroundings before a start.

Each finding is `ok`, `warn` (it works, but a promise of the README does not hold) or `FAIL`: a process would not start,
or could not work. What a process refuses at its start is found by the code that it loads its configuration with. The
exit status is 2 if a setting is wrong, 1 if there is another FAIL. Secrets are printed as dots.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from router.commands.check.accounts import check_apis, check_credentials, check_rules
from router.commands.check.console import check_console
from router.commands.check.ports import check_ports
from router.commands.check.redis import Finding, judge_redis
from router.commands.check.sealing import check_sealing
from router.commands.check.spool import check_spool
from router.commands.check.streams import check_streams
from router.commands.check.team import check_team, show_team
from router.core.errors import PolicyError, SettingsError
from router.core.voice.templates import REJECTING
from router.logs import describe_fully
from router.process.terminal import show, show_json
from router.settings.accounts_file import CREDENTIALS
from router.settings.environment import own_environment
from router.settings.files import load_policy, load_voice, unknown_queues
from router.settings.load import load_partly
from router.simulator.mail_command import KEY_FILE, load_key
from router.streams.client.clock import RedisClock
from router.streams.client.connection import Redis, RedisError, connect
from router.streams.client.servers import read_deployment
from router.streams.client.url import parse_redis_url
from router.streams.store.partitions import ensure_partitions

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

    from router.core.routing.team import Team
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


#: The levels of findings, in the order of the report.
LEVELS: Final = ("FAIL", "warn", "ok")


async def run_check(arguments: argparse.Namespace, check_starts: Callable[[Settings], Awaitable[list[Finding]]]) -> int:
    """Print all findings, then the effective configuration; returns the exit status.

    `check_starts` makes what the consumers make at their start.
    """
    settings, problems = load_partly(require=REQUIRED)
    routing, team = _check_routing(settings)
    known = {finding.text for finding in routing}
    findings = [
        *_check_settings(settings, problems),
        *routing,
        *_check_voice(settings, team),
        *check_console(settings, team),
        *(finding for finding in await check_starts(settings) if finding.text not in known),
        *_check_simulator(),
        *check_spool(settings),
        *await check_ports(settings, is_offline=arguments.offline),
    ]
    if not arguments.offline:
        findings += await _check_redis(settings)
        findings += await check_apis(settings)
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    counts = Counter(finding.level for finding in findings)
    status = (2 if load_partly()[1] else 1) if counts["FAIL"] else 0
    shown = settings.masked() | show_team(team)
    if arguments.json:
        _print_json(status, findings, shown)
    else:
        show(*(f"{finding.level:<5} {finding.subject}: {finding.text}" for finding in findings))
        show(f"{len(findings)} checked, {counts['FAIL']} failed, {counts['warn']} warnings", "", "settings:")
        show(*(f"  {name}={value}" for name, value in shown.items()))
    return status


def _print_json(status: int, findings: list[Finding], shown: dict[str, str]) -> None:
    """Print the report for programs; `level` is ok, warn or fail."""
    rows = [{"level": one.level.lower(), "subject": one.subject, "text": one.text} for one in findings]
    show_json({"status": status, "findings": rows, "settings": shown})


def _check_settings(settings: Settings, problems: list[str]) -> list[Finding]:
    findings = [Finding("FAIL", "settings", problem) for problem in problems]
    if not problems:
        findings.append(Finding("ok", "settings", "everything that the processes need is set"))
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


def _check_routing(settings: Settings) -> tuple[list[Finding], Team]:
    """Return the findings about rules, queues and people, each mistake once, and the team."""
    policy, found = None, []
    try:
        policy = load_policy(settings)
        found = [Finding("ok", "routing", f"{len(policy.rules)} rules, default {policy.default or 'ignore'}")]
        found += check_rules(settings, policy)
    except PolicyError as error:
        found = [Finding("FAIL", "routing", problem) for problem in error.problems]
    of_team, team = check_team(settings, policy)
    texts = {finding.text for finding in found}
    return [*found, *(one for one in of_team if one.text not in texts)], team


def _check_voice(settings: Settings, team: Team) -> list[Finding]:
    try:
        templates = load_voice(settings)
    except SettingsError as error:
        return [Finding("FAIL", "voice", problem) for problem in error.problems]
    level = "warn" if templates is REJECTING else "ok"
    notes = [Finding(level, "voice", note) for note in templates.notes]
    if team.members:  # else the team's files are wrong, which is a finding of its own
        notes += [Finding("warn", "voice", note) for note in unknown_queues(templates, team)]
    return notes or [Finding("ok", "voice", f"{len(templates.templates)} templates")]


def _check_simulator() -> list[Finding]:
    """Check the key that `simulate email` signs with, if one is set."""
    path = own_environment().get(KEY_FILE)
    if not path:
        return []
    try:
        load_key(path)
        return [Finding("ok", "simulate", "a private key can be read, which signs mails")]
    except SettingsError as error:
        return [Finding("FAIL", "simulate", problem) for problem in error.problems]


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
        found += await check_sealing(redis, settings)
        return [await _check_partitions(redis, settings), *found]
    except (RedisError, OSError) as error:
        return [Finding("FAIL", "streams", describe_fully(error))]
