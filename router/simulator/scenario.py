"""A scenario: the webhooks that one command line of `simulate` describes, the plan of sending them, and its execution.

`dev` plays its sample events as scenarios too, each from a command line.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from router.sandbox.options import DEFAULT_CLASSIC_SERVICE_SID, DEFAULT_CONFIGURATION_ID
from router.simulator.builders import FAMILIES, WebhookSpec
from router.simulator.capture import capture_message
from router.simulator.http import SignatureFault
from router.simulator.kinds import KINDS, Family
from router.simulator.messages import scene_id

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Mapping, Sequence

    from router.core.addresses import Address
    from router.simulator.http import Sender
    from router.simulator.messages import SimulatedWebhook


@dataclass(frozen=True, slots=True)
class ScenarioStep:
    """One webhook of a scenario: its kind and family, the request, the customer that it is about, and what is captured.

    Sending it fills `statuses`, the count of responses by status, and `reports`, what Twilio's part led to.
    """

    kind: str
    family: Family
    webhook: SimulatedWebhook
    customer: Address
    message: dict[str, Any] | None = None
    statuses: Counter[int] = field(default_factory=Counter)
    reports: list[str] = field(default_factory=list)


class PlannedSend(NamedTuple):
    """One request: the position of its webhook in the scenario, and the pause in seconds before it."""

    step: int
    pause: float


def make_steps(arguments: argparse.Namespace, environment: Mapping[str, str]) -> list[ScenarioStep]:
    """Build the webhooks of the scenario, in the order of the command line."""
    now = time.time_ns() // 1000
    ends = f"{arguments.channel}|{arguments.sender}|{arguments.recipient}"
    spec = WebhookSpec(
        account_sid=environment["TWILIO_ACCOUNT_SID"],
        configuration_id=environment.get("TWILIO_CONVERSATION_CONFIGURATION_ID", DEFAULT_CONFIGURATION_ID),
        sender=arguments.sender,
        recipient=arguments.recipient,
        conversation_id=arguments.conversation or scene_id("conv_conversation", ends, now),
        participant_id=arguments.participant or scene_id("conv_participant", ends, now),
        now=now - int(arguments.age * 1_000_000),
        body=arguments.body,
        channel=arguments.channel,
        participant_type=arguments.participant_type,
        recipient_id=getattr(arguments, "own_participant", None),
        sid=arguments.sid,
        salt=secrets.token_hex(8) if arguments.new else "",
        service_sid=environment.get("TWILIO_CLASSIC_SERVICE_SID", DEFAULT_CLASSIC_SERVICE_SID),
        arguments=arguments,
    )
    return [_make_step(name, spec) for name in arguments.kinds]


def _make_step(name: str, spec: WebhookSpec) -> ScenarioStep:
    family, _, subject = KINDS[name]
    builder = FAMILIES[family]
    return ScenarioStep(
        name, family, builder.build(subject, spec), builder.customer(subject, spec), builder.message(subject, spec)
    )


def make_plan(count: int, *, times: int = 1, delay: float = 0.0, seed: int | None = None) -> tuple[PlannedSend, ...]:
    """Return the order in which `count` webhooks are sent, each `times` times; equal for an equal `seed`.

    Without a `seed`: in the given order, each followed by its repeats, `delay` seconds before all but the first. With
    one: all of them shuffled, repeats among the others, with random pauses of `delay` on average.
    """
    order = [step for step in range(count) for _ in range(times)]
    if seed is None:
        return tuple(PlannedSend(step, delay if place else 0.0) for place, step in enumerate(order))
    chance = random.Random(seed)  # noqa: S311 # a repeatable order, no secret
    chance.shuffle(order)
    return tuple(
        PlannedSend(step, chance.uniform(0.0, 2 * delay) if place else 0.0) for place, step in enumerate(order)
    )


async def send_steps(
    steps: Sequence[ScenarioStep],
    arguments: argparse.Namespace,
    environment: Mapping[str, str],
    *,
    seed: int | None = None,
    sent: Collection[int] = (),
) -> None:
    """Send all steps as the command line says, shuffled with a `seed`; the steps then know their responses.

    Those in `sent` were sent once already: they are sent once less.
    Raises the first error (OSError where nothing listens) once every request was tried.
    """
    fault = SignatureFault(
        is_tampered=arguments.tamper, has_wrong_token=arguments.wrong_token, is_unsigned=arguments.unsigned
    )
    plan = list(make_plan(len(steps), times=arguments.times, delay=arguments.delay, seed=seed))
    for place in sent:
        plan.remove(next(planned for planned in plan if planned.step == place))
    slots = asyncio.Semaphore(arguments.parallel or 1)
    responses: dict[int, bytes] = {}
    async with AsyncExitStack() as stack:
        senders = await open_senders(stack, environment, steps)

        async def post(number: int) -> None:
            step = steps[number]
            try:
                status, response = await senders[step.family].send(step.webhook, fault)
            finally:
                slots.release()
            step.statuses[status] += 1
            if status == HTTPStatus.OK:
                responses[number] = response

        posts = []
        for planned in plan:
            await asyncio.sleep(planned.pause)
            await slots.acquire()
            posts.append(asyncio.create_task(post(planned.step)))
        results = await asyncio.gather(*posts, return_exceptions=True)
    for error in filter(None, results):
        raise error
    for number, response in responses.items():
        step = steps[number]
        follow = FAMILIES[step.family].follow
        if follow is not None and (report := await follow(environment, step.webhook, response)):
            step.reports.append(report)


async def capture_messages(steps: Sequence[ScenarioStep], environment: Mapping[str, str]) -> list[str]:
    """Have the sandbox capture the messages whose webhooks were accepted, as Twilio does; returns reports."""
    messages = [step.message for step in steps if step.message and HTTPStatus.OK in step.statuses]
    reports = [await capture_message(environment, message) for message in messages]
    return [report for report in reports if report]


async def open_senders(
    stack: AsyncExitStack, environment: Mapping[str, str], steps: Sequence[ScenarioStep]
) -> dict[Family, Sender]:
    """Return the sender of each family; families that are signed alike share one."""
    token = environment["TWILIO_AUTH_TOKEN"].split(",")[0].strip()
    shared: dict[object, Sender] = {}
    for step in steps:
        make = FAMILIES[step.family].sender
        if make not in shared:
            shared[make] = await stack.enter_async_context(make(environment, token))
    return {step.family: shared[FAMILIES[step.family].sender] for step in steps}
