"""A scenario: the webhooks that one command line of `simulate` describes, and sending them as planned.

`dev` plays its samples by it too, each a command line.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from router.sandbox import DEFAULT_CONFIGURATION_ID
from router.sandbox.options import DEFAULT_CLASSIC_SERVICE_SID
from router.simulator.kinds import KINDS, Order, WebhookKind
from router.simulator.messages import Spoiling, scene_id
from router.simulator.plan import make_plan

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from router.core.addresses import Address
    from router.simulator.messages import Sender, SimulatedWebhook


@dataclass(frozen=True, slots=True)
class Act:
    """One webhook of the scenario: its kind by name and row, the request, and the customer it is about.

    `statuses` counts how it was answered; `told` is what Twilio's part of it led to, in words.
    """

    name: str
    kind: WebhookKind
    webhook: SimulatedWebhook
    customer: Address
    statuses: Counter[int] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)


def make_acts(arguments: argparse.Namespace, environment: Mapping[str, str]) -> list[Act]:
    """Return the webhooks of the scenario, in the order of the command line."""
    now = time.time_ns() // 1000
    pair = f"{arguments.channel}|{arguments.sender}|{arguments.recipient}"
    order = Order(
        account_sid=environment["TWILIO_ACCOUNT_SID"],
        configuration_id=environment.get("TWILIO_CONVERSATION_CONFIGURATION_ID", DEFAULT_CONFIGURATION_ID),
        sender=arguments.sender,
        recipient=arguments.recipient,
        conversation_id=arguments.conversation or scene_id("conv_conversation", pair, now),
        participant_id=arguments.participant or scene_id("conv_participant", pair, now),
        now=now - int(arguments.age * 1_000_000),
        body=arguments.body,
        channel=arguments.channel,
        participant_type=arguments.participant_type,
        sid=arguments.sid,
        salt=secrets.token_hex(8) if arguments.new else "",
        service_sid=environment.get("TWILIO_CLASSIC_SERVICE_SID", DEFAULT_CLASSIC_SERVICE_SID),
        arguments=arguments,
    )
    rows = [(name, KINDS[name]) for name in arguments.kinds]
    return [Act(name, kind, kind.build(order), kind.customer(order)) for name, kind in rows]


async def play(
    acts: Sequence[Act], arguments: argparse.Namespace, environment: Mapping[str, str], *, seed: int | None = None
) -> None:
    """Send all of them as the command line says, shuffled with a `seed`; the acts then know how they were answered.

    Raises the first error (OSError where nobody listens) once everything has been tried.
    """
    fault = Spoiling(
        is_tampered=arguments.tamper, has_wrong_token=arguments.wrong_token, is_unsigned=arguments.unsigned
    )
    plan = make_plan(len(acts), times=arguments.times, delay=arguments.delay, seed=seed)
    slots = asyncio.Semaphore(arguments.parallel)
    answers: dict[int, bytes] = {}
    async with AsyncExitStack() as stack:
        senders = await _senders(stack, environment, acts)

        async def post(which: int) -> None:
            try:
                status, answer = await senders[which].send(acts[which].webhook, fault)
            finally:
                slots.release()
            acts[which].statuses[status] += 1
            if status == HTTPStatus.OK:
                answers[which] = answer

        posts = []
        for send in plan:
            await asyncio.sleep(send.pause)
            await slots.acquire()
            posts.append(asyncio.create_task(post(send.which)))
        results = await asyncio.gather(*posts, return_exceptions=True)
    for error in filter(None, results):
        raise error
    for which, answer in answers.items():
        act = acts[which]
        if act.kind.follow is not None and (words := await act.kind.follow(environment, act.webhook, answer)):
            act.told.append(words)


async def _senders(stack: AsyncExitStack, environment: Mapping[str, str], acts: Sequence[Act]) -> list[Sender]:
    """Return what signs and sends each act; kinds that are signed alike share one."""
    token = environment["TWILIO_AUTH_TOKEN"].split(",")[0].strip()
    shared: dict[object, Sender] = {}
    for act in acts:
        if act.kind.sender not in shared:
            shared[act.kind.sender] = await stack.enter_async_context(act.kind.sender(environment, token))
    return [shared[act.kind.sender] for act in acts]
