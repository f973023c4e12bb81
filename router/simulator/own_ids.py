"""The ids of the open conversation that the router really has with a customer, for callbacks that are to be about it.

A scenario of a message and callbacks is one conversation: the message opens it, and the callbacks that follow name it,
the customer's participant and ours. So the first message is sent ahead of the others. Without a conversation, or where
the command line names one, the ids are those of the command line or made from the addresses.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from router.core.addresses import canonicalize
from router.core.entries import JoinedData
from router.simulator.http import find_json
from router.simulator.kinds import Family
from router.simulator.scenario import make_steps, send_steps
from router.streams.store.watch import find_joined

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from router.core.keys import Keys
    from router.simulator.scenario import ScenarioStep
    from router.streams.client.connection import Redis

#: Families whose webhooks are about a conversation, and those whose webhooks open one.
_ABOUT_ONE: Final = frozenset({Family.CALLBACK, Family.STREAMED_CALLBACK})
_OPENING: Final = frozenset({Family.MESSAGE, Family.STREAMED_MESSAGE})
#: Seconds to wait for the customer of a message that was sent ahead.
PATIENCE: Final = 10.0
_STEP: Final = 0.1


class Scenario(NamedTuple):
    """The steps of a command line, and the positions of those that were sent once already."""

    steps: list[ScenarioStep]
    sent: frozenset[int] = frozenset()


async def prepare(
    arguments: argparse.Namespace, environment: Mapping[str, str], redis: Redis | None, keys: Keys
) -> Scenario:
    """Return the steps with the ids of the customer's conversation; sends the first message if that opens it.

    Raises what sending raises, and RedisError.
    """
    steps = make_steps(arguments, environment)
    about = next((step for step in steps if step.family in _ABOUT_ONE), None)
    if redis is None or about is None or arguments.conversation or arguments.participant:
        return Scenario(steps)
    customer = about.customer
    joined, sent = await find_joined(redis, keys, customer.channel, customer.value, is_open=True), None
    if joined is None:
        opening = (at for at, step in enumerate(steps) if step.family in _OPENING and step.customer == customer)
        sent = next(opening, None)
        if sent is None:
            return Scenario(steps)
        once = {**vars(arguments), "times": 1, "kinds": [steps[sent].kind]}
        await send_steps([steps[sent]], type(arguments)(**once), environment)
        last = time.monotonic() + PATIENCE  # no cancellation, which a client of Redis may lose (router.tasks)
        while joined is None and time.monotonic() < last:
            await asyncio.sleep(_STEP)
            joined = await find_joined(redis, keys, customer.channel, customer.value, is_open=True)
    if joined is not None and isinstance(joined.data, JoinedData):
        arguments.conversation, arguments.participant = joined.data.conversation.id, joined.data.participant.id
        arguments.own_participant = await _find_ours(environment, arguments)
    known = make_steps(arguments, environment)
    if sent is not None:
        known[sent] = steps[sent]
    return Scenario(known, frozenset() if sent is None else frozenset({sent}))


async def _find_ours(environment: Mapping[str, str], arguments: argparse.Namespace) -> str | None:
    """Return the id of our participant in the conversation, None if the sandbox does not tell."""
    url = environment.get("TWILIO_CONVERSATIONS_URL")
    if not url:
        return None
    place = f"{url}/v2/Conversations/{quote(arguments.conversation, safe='')}/Participants"
    user, password = environment.get("TWILIO_API_KEY", ""), environment.get("TWILIO_API_SECRET", "")
    document: dict[str, Any] = await find_json(place, user=user, password=password) or {}
    ours = canonicalize(arguments.channel, arguments.recipient)
    for participant in document.get("participants") or ():
        for address in participant.get("addresses") or ():
            if canonicalize(arguments.channel, str(address.get("address"))) == ours:
                return str(participant["id"])
    return None
