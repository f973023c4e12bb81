"""`python -m router simulate KIND ...`: send signed webhooks to a receiver, and show what comes of them.

Where to send and what to sign with comes from the environment, or from the dev.env of a running `dev`. The same command
again sends the same MessageSid: a repeat, which must not double anything. Several kinds make a scenario about one
customer. The kinds stand in router.simulator.kinds, the order of sending in router.simulator.plan.
"""

from __future__ import annotations

import secrets
import sys
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

from router.core.addresses import mask
from router.core.entries import ParticipantData
from router.core.errors import SettingsError
from router.core.keys import Keys
from router.settings.environment import own_environment, read_dotenv
from router.simulator.aftermath import Aftermath
from router.simulator.scenario import make_acts, play
from router.streams.client.connection import connect

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from router.core.entries import Entry
    from router.simulator.scenario import Act
    from router.streams.client.connection import Redis

_NEEDED: Final = ("ROUTER_URL", "PUBLIC_BASE_URL", "TWILIO_AUTH_TOKEN", "TWILIO_ACCOUNT_SID")
#: Seeds that are made up have so many digits at most: people type them again.
_SEEDS: Final = 1_000_000


async def simulate(arguments: argparse.Namespace) -> int:
    """Send, and say what came of it; status 1 if any answer was not 200.

    Raises SettingsError naming every variable that is missing, or the option that is wrong.
    """
    environment = _environment(arguments)
    acts = make_acts(arguments, environment)
    redis = connect(environment["REDIS_URL"]) if environment.get("REDIS_URL") and not arguments.no_wait else None
    try:
        return await _play(arguments, environment, acts, redis)
    except OSError as error:
        print(f"no answer from {environment['ROUTER_URL']}: {error}", file=sys.stderr)
        return 1
    finally:
        if redis is not None:
            await redis.aclose()


def _environment(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the variables that count: those of this process before dev.env's."""
    environment = read_dotenv(Path(arguments.state_dir) / "dev.env") | own_environment()
    if arguments.url:
        environment["ROUTER_URL"] = arguments.url
    environment.setdefault("PUBLIC_BASE_URL", environment.get("ROUTER_URL", ""))
    hint = "start `python -m router dev` first, or set it (ROUTER_URL is where the receiver listens)"
    problems = [f"{name} is not set: {hint}" for name in _NEEDED if not environment.get(name)]
    if arguments.seed is not None and not arguments.shuffle:
        problems.append("--seed: is of the order that --shuffle makes")
    if arguments.sid and arguments.new:
        problems.append("--sid and --new: either one names the message")
    if problems:
        raise SettingsError(problems)
    return environment


async def _play(
    arguments: argparse.Namespace, environment: dict[str, str], acts: list[Act], redis: Redis | None
) -> int:
    keys = Keys(environment.get("ROUTER_NAMESPACE", "router"), int(environment.get("ROUTER_PARTITIONS", "1")))
    aftermath = await Aftermath.begin(redis, keys) if redis else None
    repeats = [redis is not None and await _is_seen(redis, keys, environment, act) for act in acts]
    await play(acts, arguments, environment, seed=_seed(arguments))
    total = _tell(acts, repeats)
    if aftermath is not None and HTTPStatus.OK in total:
        await _show(aftermath, acts)
    return 0 if set(total) == {HTTPStatus.OK} else 1


def _tell(acts: Sequence[Act], repeats: Sequence[bool]) -> Counter[int]:
    """Print how each webhook was answered, how often; returns the answers to all of them."""
    for act, is_repeat in zip(acts, repeats, strict=True):
        counts = [f"{count} x {status}" if count > 1 else str(status) for status, count in act.statuses.items()]
        said = f"{act.name} {act.webhook.resource_id} -> {act.webhook.path}: {', '.join(counts)}"
        print(said + (" (a repeat)" if is_repeat else ""), *act.told, sep="\n  ")
    total = sum((act.statuses for act in acts), Counter[int]())
    if len(acts) > 1:
        print("all:", ", ".join(f"{count} x {status}" for status, count in sorted(total.items())))
    return total


def _seed(arguments: argparse.Namespace) -> int | None:
    """Return the seed of a shuffled order, and print it: with it the same order can be had again."""
    if not arguments.shuffle:
        return None
    seed = secrets.randbelow(_SEEDS) if arguments.seed is None else int(arguments.seed)
    print(f"in random order, --seed {seed}")
    return seed


async def _is_seen(redis: Redis, keys: Keys, environment: dict[str, str], act: Act) -> bool:
    """Tell whether this event has been taken in before; callbacks carry the time, so each is a new one."""
    names = act.kind.keys(act.webhook, environment["TWILIO_ACCOUNT_SID"])
    claims = [keys.seen(partition, name) for partition in range(keys.partitions) for name in names]
    return any([await redis.exists(claim) for claim in claims])


async def _show(aftermath: Aftermath, acts: Sequence[Act]) -> None:
    """Print the entries that the webhooks caused, or why there is none."""
    customers = {(act.customer.channel, act.customer.value) for act in acts}
    caused = await aftermath.collect({act.webhook.resource_id for act in acts}, customers)
    for entry in caused:
        print("  " + describe(entry))
    if not caused:
        known = await aftermath.known(customers)
        for entry in known:
            print("  nothing doubled; what is there: " + describe(entry))
        if not known:
            print(f"  no entry {aftermath.how_long}: the worker's log says why")


def describe(entry: Entry) -> str:
    """Return an entry in one line for people, addresses masked: who, how we know, where, who takes it and why."""
    data, words = entry.data, [f"{entry.type:<22}"]
    if isinstance(data, ParticipantData):
        ours = f"-> {mask(data.recipient.address)}" if data.recipient else ""
        words.append(f"{data.channel:<8} {mask(data.address):<20} {ours:<23}")
        words.append(f"{getattr(data, 'origin', ''):<9} {data.participant.id}")
    words.append(f"in {data.conversation.id}")
    words.append(f"taken by {data.target}, because: {data.reason}")
    return "  ".join(words)
