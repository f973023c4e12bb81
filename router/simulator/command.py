"""`python -m router simulate KIND ...`: send signed webhooks to a receiver, and show the entries that follow.

The environment, or the dev.env of a running `dev`, names the receiver and the signing secrets. The same command again
sends the same MessageSid: a duplicate, which must not cause a second entry. Several kinds make a scenario about one
customer.
"""

from __future__ import annotations

import secrets
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

from router.core.errors import SettingsError
from router.core.keys import Keys
from router.logs import describe_fully
from router.process.terminal import complain, show
from router.settings.environment import child_environment, own_environment, read_dotenv
from router.settings.load import load
from router.simulator.builders import event_keys_of, keys_of
from router.simulator.entry_text import describe, is_told_twice
from router.simulator.fates import FateReader
from router.simulator.load import run_load
from router.simulator.outcome import OutcomeReader
from router.simulator.own_ids import prepare
from router.simulator.scenario import capture_messages, make_steps, send_steps
from router.streams.client.connection import RedisError, connect
from router.streams.store.watch import read_time

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from router.core.entries import Entry
    from router.settings.model import Settings
    from router.simulator.messages import SimulatedWebhook
    from router.simulator.scenario import ScenarioStep
    from router.streams.client.connection import Redis

_NEEDED: Final = ("ROUTER_URL", "PUBLIC_BASE_URL", "TWILIO_AUTH_TOKEN", "TWILIO_ACCOUNT_SID")
#: Generated seeds are below this: people type them again.
_SEEDS: Final = 1_000_000
#: Answers to webhooks that are kept in the quarantine.
_REFUSALS: Final = frozenset({400, 403, 413, 415})
_HINT: Final = "is `make run` running?"


async def simulate(arguments: argparse.Namespace) -> int:
    """Send the scenario and print the outcome; status 1 if a response was not 200.

    Raises SettingsError that names every missing variable, or the wrong option.
    """
    environment = _read_environment(arguments)
    make_steps(arguments, environment)  # raises before anything is sent
    redis = connect(environment["REDIS_URL"]) if environment.get("REDIS_URL") and not arguments.no_wait else None
    try:
        run = _run if arguments.customers is None else run_load
        return await run(arguments, environment, redis)
    except OSError as error:
        complain(f"no response from {environment['ROUTER_URL']}: {describe_fully(error)}; {_HINT}")
        return 1
    except RedisError as error:
        complain(f"no response from Redis (REDIS_URL): {describe_fully(error)}; {_HINT}")
        return 1
    finally:
        if redis is not None:
            await redis.aclose()


def _read_environment(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the variables of this process, then those of dev.env."""
    environment = read_dotenv(Path(arguments.state_dir) / "dev.env") | own_environment()
    if arguments.url:
        environment["ROUTER_URL"] = arguments.url
    environment.setdefault("PUBLIC_BASE_URL", environment.get("ROUTER_URL", ""))
    hint = "start `python -m router dev` first, or set it (ROUTER_URL is where the receiver listens)"
    problems = [f"{name} is not set: {hint}" for name in _NEEDED if not environment.get(name)]
    if arguments.seed is not None and not arguments.shuffle:
        problems.append("--seed: needs --shuffle")
    problems += _load_problems(arguments)
    if arguments.sid and arguments.new:
        problems.append("--sid and --new: give one of them")
    if problems:
        raise SettingsError(problems)
    return environment


def _load_problems(arguments: argparse.Namespace) -> list[str]:
    """Return the mistakes in the options of a load."""
    if arguments.customers is None:
        return ["--rate: needs --customers"] if arguments.rate else []
    alone = ("sid", "conversation", "participant", "shuffle", "delay", "tamper", "wrong_token", "unsigned")
    given = [f"--{name.replace('_', '-')}" for name in alone if getattr(arguments, name)]
    given += ["--times"] if arguments.times > 1 else []
    return [f"--customers: sends each webhook once and in order, without {', '.join(given)}"] if given else []


async def _run(arguments: argparse.Namespace, environment: dict[str, str], redis: Redis | None) -> int:
    keys = Keys(environment.get("ROUTER_NAMESPACE", "router"), int(environment.get("ROUTER_PARTITIONS", "1")))
    outcome = await OutcomeReader.begin(redis, keys) if redis else None
    account_sid = environment["TWILIO_ACCOUNT_SID"]
    since = 0 if redis is None else await read_time(redis, keys)
    steps, sent = await prepare(arguments, environment, redis, keys)
    duplicates = [
        redis is not None and at not in sent and await _is_seen(redis, keys, account_sid, step.webhook)
        for at, step in enumerate(steps)
    ]
    await send_steps(steps, arguments, environment, seed=_choose_seed(arguments), sent=sent)
    total = _print_responses(steps, duplicates)
    if outcome is not None and redis is not None:
        caused = await outcome.collect(steps) if HTTPStatus.OK in total else []
        fates = FateReader(redis, _settings_of(environment), arguments.state_dir)
        await _print_fates(fates, steps, duplicates, account_sid, since)
        await _print_entries(outcome, steps, caused, has_duplicates=any(duplicates))
    if arguments.capture == "sandbox":  # after the router, which so opens the conversation, whatever runs
        show(*(f"  {report}" for report in await capture_messages(steps, environment)))
    return 0 if set(total) == {HTTPStatus.OK} else 1


def _settings_of(environment: dict[str, str]) -> Settings:
    """Return the settings of the deployment that is simulated for; raises SettingsError."""
    return load(environment=child_environment(environment))


async def _print_fates(
    fates: FateReader, steps: Sequence[ScenarioStep], duplicates: Sequence[bool], account_sid: str, since: int
) -> None:
    """Print what became of each webhook; several are told apart by their ids."""
    for step, is_duplicate in zip(steps, duplicates, strict=True):
        lines = []
        if HTTPStatus.OK in step.statuses and is_duplicate:
            lines = await fates.tell_first(keys_of(step.webhook, account_sid))
        elif HTTPStatus.OK in step.statuses:
            keys = event_keys_of(step.webhook, account_sid)
            lines = await fates.tell(keys) if keys else ["it is answered, and no event follows from it"]
        if any(status in _REFUSALS for status in step.statuses):
            lines += await fates.explain_refusal(step.webhook.body, since)
        name = f"{step.kind} {step.webhook.resource_id}: " if len(steps) > 1 else ""
        show(*(f"  {name}{line}" for line in lines))


def _print_responses(steps: Sequence[ScenarioStep], duplicates: Sequence[bool]) -> Counter[int]:
    """Print the statuses of each webhook's responses, with counts; returns those of all webhooks."""
    for step, is_duplicate in zip(steps, duplicates, strict=True):
        counts = [f"{count} x {status}" if count > 1 else str(status) for status, count in step.statuses.items()]
        line = f"{step.kind} {step.webhook.resource_id} -> {step.webhook.path}: {', '.join(counts)}"
        is_shown = is_duplicate and HTTPStatus.OK in step.statuses
        show(line + (" (a duplicate)" if is_shown else ""))
        show(*(f"  {line.strip()}" for report in step.reports for line in report.splitlines()))
    total = sum((step.statuses for step in steps), Counter[int]())
    if len(steps) > 1:
        show("all: " + ", ".join(f"{count} x {status}" for status, count in sorted(total.items())))
    return total


def _choose_seed(arguments: argparse.Namespace) -> int | None:
    """Return the seed of a shuffled order, and print it: with it the same order can be sent again."""
    if not arguments.shuffle:
        return None
    seed = secrets.randbelow(_SEEDS) if arguments.seed is None else int(arguments.seed)
    show(f"in random order, --seed {seed}")
    return seed


async def _is_seen(redis: Redis, keys: Keys, account_sid: str, webhook: SimulatedWebhook) -> bool:
    """Return whether the receiver took this event in before; callbacks carry the time, so each is a new one."""
    names = keys_of(webhook, account_sid)
    claims = [keys.seen(partition, name) for partition in range(keys.partitions) for name in names]
    return any([await redis.exists(claim) for claim in claims])


async def _print_entries(
    outcome: OutcomeReader, steps: Sequence[ScenarioStep], caused: Sequence[Entry], *, has_duplicates: bool
) -> None:
    """Print the entries that the webhooks caused; if duplicates caused none, the ones that were there before."""
    for entry in caused:
        if not is_told_twice(entry):
            show("  " + describe(entry))
    if not caused and has_duplicates:
        for entry in await outcome.find_known(steps):
            show("  nothing was published twice; already published: " + describe(entry))
