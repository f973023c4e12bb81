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
from router.settings.environment import own_environment, read_dotenv
from router.simulator.builders import keys_of
from router.simulator.entry_text import describe, is_told_twice
from router.simulator.outcome import OutcomeReader
from router.simulator.scenario import capture_messages, make_steps, send_steps
from router.streams.client.connection import RedisError, connect

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from router.simulator.messages import SimulatedWebhook
    from router.simulator.scenario import ScenarioStep
    from router.streams.client.connection import Redis

_NEEDED: Final = ("ROUTER_URL", "PUBLIC_BASE_URL", "TWILIO_AUTH_TOKEN", "TWILIO_ACCOUNT_SID")
#: Generated seeds are below this: people type them again.
_SEEDS: Final = 1_000_000
_HINT: Final = "is `make run` running?"


async def simulate(arguments: argparse.Namespace) -> int:
    """Send the scenario and print the outcome; status 1 if a response was not 200.

    Raises SettingsError that names every missing variable, or the wrong option.
    """
    environment = _read_environment(arguments)
    steps = make_steps(arguments, environment)
    redis = connect(environment["REDIS_URL"]) if environment.get("REDIS_URL") and not arguments.no_wait else None
    try:
        return await _run(arguments, environment, steps, redis)
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
    if arguments.sid and arguments.new:
        problems.append("--sid and --new: give one of them")
    if problems:
        raise SettingsError(problems)
    return environment


async def _run(
    arguments: argparse.Namespace, environment: dict[str, str], steps: list[ScenarioStep], redis: Redis | None
) -> int:
    keys = Keys(environment.get("ROUTER_NAMESPACE", "router"), int(environment.get("ROUTER_PARTITIONS", "1")))
    outcome = await OutcomeReader.begin(redis, keys) if redis else None
    account_sid = environment["TWILIO_ACCOUNT_SID"]
    duplicates = [redis is not None and await _is_seen(redis, keys, account_sid, step.webhook) for step in steps]
    await send_steps(steps, arguments, environment, seed=_choose_seed(arguments))
    total = _print_responses(steps, duplicates)
    if outcome is not None and HTTPStatus.OK in total:
        await _print_outcome(outcome, steps)
    if arguments.capture == "sandbox":  # after the router, which so opens the conversation, whatever runs
        show(*(f"  {report}" for report in await capture_messages(steps, environment)))
    return 0 if set(total) == {HTTPStatus.OK} else 1


def _print_responses(steps: Sequence[ScenarioStep], duplicates: Sequence[bool]) -> Counter[int]:
    """Print the statuses of each webhook's responses, with counts; returns those of all webhooks."""
    for step, is_duplicate in zip(steps, duplicates, strict=True):
        counts = [f"{count} x {status}" if count > 1 else str(status) for status, count in step.statuses.items()]
        line = f"{step.kind} {step.webhook.resource_id} -> {step.webhook.path}: {', '.join(counts)}"
        is_shown = is_duplicate and HTTPStatus.OK in step.statuses
        show(line + (" (a duplicate)" if is_shown else ""), *(f"  {report}" for report in step.reports))
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


async def _print_outcome(outcome: OutcomeReader, steps: Sequence[ScenarioStep]) -> None:
    """Print the entries that the webhooks caused; if there is none, the ones that were there before."""
    customers = {(step.customer.channel, step.customer.value) for step in steps}
    caused = await outcome.collect({step.webhook.resource_id for step in steps}, customers)
    for entry in caused:
        if not is_told_twice(entry):
            show("  " + describe(entry))
    if not caused:
        known = await outcome.find_known(customers)
        for entry in known:
            show("  nothing was published twice; already published: " + describe(entry))
        if not known:
            show(f"  no entry {outcome.waited}: see the worker's log for the reason")
