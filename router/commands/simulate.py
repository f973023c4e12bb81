"""`python -m router simulate KIND`: send a signed webhook to a receiver, and show what comes of it.

Where to send and what to sign with comes from the environment, or from the dev.env of a running `dev`. The same command
again sends the same MessageSid: a repeat, which must not double anything.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections import Counter
from contextlib import aclosing
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

from router.core.addresses import Address, mask, parse_address
from router.core.classic import spell
from router.core.entries import ParticipantData
from router.core.errors import SettingsError
from router.core.keys import Keys
from router.inbound.messaging import message_key
from router.sandbox import DEFAULT_CONFIGURATION_ID
from router.sandbox.options import DEFAULT_CLASSIC_SERVICE_SID
from router.sandbox.simulated_classic import CLASSIC_KINDS, ClassicScene, classic_webhook
from router.sandbox.simulator import (
    MESSAGE_KINDS,
    Fault,
    Scene,
    Sender,
    SimulatedWebhook,
    message,
    message_sid,
    scene_callback,
    scene_id,
    streamed,
)
from router.settings import own_environment, read_dotenv
from router.streams.connection import connect
from router.streams.watch import find_joined, last_ids, watch

if TYPE_CHECKING:
    import argparse

    from router.core.entries import Entry
    from router.streams.connection import Redis

#: An SMS, told by an Event Streams sink.
EVENT_STREAM: Final = "event-stream"
#: Seconds to wait for an entry.
PATIENCE = 10.0
_NEEDED = ("ROUTER_URL", "PUBLIC_BASE_URL", "TWILIO_AUTH_TOKEN", "TWILIO_ACCOUNT_SID")


async def simulate(arguments: argparse.Namespace) -> int:
    """Send, and say what came of it; status 1 if any answer was not 200."""
    environment = read_dotenv(Path(arguments.state_dir) / "dev.env") | own_environment()
    if arguments.url:
        environment["ROUTER_URL"] = arguments.url
    environment.setdefault("PUBLIC_BASE_URL", environment.get("ROUTER_URL", ""))
    missing = [name for name in _NEEDED if not environment.get(name)]
    if missing:
        hint = "start `python -m router dev` first, or set it (ROUTER_URL is where the receiver listens)"
        raise SettingsError([f"{name} is not set: {hint}" for name in missing])
    webhook = _webhook(arguments, environment)
    redis = connect(environment["REDIS_URL"]) if environment.get("REDIS_URL") and not arguments.no_wait else None
    try:
        return await _send(arguments, environment, webhook, redis)
    except OSError as error:
        print(f"no answer from {environment['ROUTER_URL']}: {error}", file=sys.stderr)
        return 1
    finally:
        if redis is not None:
            await redis.aclose()


def _is_message(arguments: argparse.Namespace) -> bool:
    return arguments.kind == EVENT_STREAM or arguments.kind in MESSAGE_KINDS


def _webhook(arguments: argparse.Namespace, environment: dict[str, str]) -> SimulatedWebhook:
    account_sid, now = environment["TWILIO_ACCOUNT_SID"], time.time_ns() // 1000
    if _is_message(arguments):
        sid = arguments.sid
        if arguments.new:
            sid = message_sid(arguments.kind, secrets.token_hex(8), arguments.recipient, arguments.body)
        webhook = message(
            "sms" if arguments.kind == EVENT_STREAM else arguments.kind,
            account_sid=account_sid,
            sender=arguments.sender,
            recipient=arguments.recipient,
            body=arguments.body,
            sid=sid,
        )
        if arguments.kind == EVENT_STREAM:
            return streamed(webhook, event_id=f"EZ{webhook.resource_id[2:]}", now=now)
        return webhook
    if arguments.kind in CLASSIC_KINDS:
        return _classic(arguments, environment, now)
    pair = f"{arguments.channel}|{arguments.sender}|{arguments.recipient}"
    scene = Scene(
        account_sid=account_sid,
        configuration_id=environment.get("TWILIO_CONVERSATION_CONFIGURATION_ID", DEFAULT_CONFIGURATION_ID),
        channel=arguments.channel,
        customer=arguments.sender,
        recipient=arguments.recipient,
        conversation_id=arguments.conversation or scene_id("conv_conversation", pair, now),
        participant_id=arguments.participant or scene_id("conv_participant", pair, now),
        participant_type=arguments.participant_type,
        body=arguments.body,
        now=now,
    )
    return scene_callback(arguments.kind, scene)


def _classic(arguments: argparse.Namespace, environment: dict[str, str], now: int) -> SimulatedWebhook:
    """Return a classic webhook; `classic-state-updated` tells that the conversation has closed."""
    is_state = arguments.kind == "classic-state-updated"
    scene = ClassicScene(
        account_sid=environment["TWILIO_ACCOUNT_SID"],
        service_sid=environment.get("TWILIO_CLASSIC_SERVICE_SID", DEFAULT_CLASSIC_SERVICE_SID),
        now=now,
        customer=spell(Address(arguments.channel, arguments.sender)),
        recipient=spell(Address(arguments.channel, arguments.recipient)),
        body=arguments.body,
        state="closed" if is_state else "active",
        conversation_sid=arguments.conversation,
        participant_sid=arguments.participant,
        message_sid=arguments.sid,
    )
    return classic_webhook(arguments.kind, scene)


async def _send(
    arguments: argparse.Namespace, environment: dict[str, str], webhook: SimulatedWebhook, redis: Redis | None
) -> int:
    keys = Keys(environment.get("ROUTER_NAMESPACE", "router"), int(environment.get("ROUTER_PARTITIONS", "1")))
    position = await last_ids(redis, keys) if redis else {}
    is_repeat = redis is not None and await _is_seen(redis, keys, environment, webhook)
    fault = Fault(is_tampered=arguments.tamper, has_wrong_token=arguments.wrong_token, is_unsigned=arguments.unsigned)
    token = environment["TWILIO_AUTH_TOKEN"].split(",")[0].strip()
    sender = Sender(
        receiver_url=environment["ROUTER_URL"], public_base_url=environment["PUBLIC_BASE_URL"], auth_token=token
    )
    async with sender:
        statuses = await _post_all(sender, webhook, fault, times=arguments.times, parallel=arguments.parallel)
    answered = ", ".join(f"{count} x {status}" if count > 1 else str(status) for status, count in statuses.items())
    print(
        f"{arguments.kind} {webhook.resource_id} -> {webhook.path}: {answered}" + (" (a repeat)" if is_repeat else "")
    )
    if redis is not None and HTTPStatus.OK in statuses:
        await _show(arguments, redis, keys, position, webhook, is_repeat=is_repeat)
    return 0 if set(statuses) == {HTTPStatus.OK} else 1


async def _is_seen(redis: Redis, keys: Keys, environment: dict[str, str], webhook: SimulatedWebhook) -> bool:
    """Tell whether this message has been taken in before; callbacks carry the time, so each is a new one."""
    if not webhook.resource_id.startswith(("SM", "MM")):
        return False
    name = message_key(environment["TWILIO_ACCOUNT_SID"], webhook.resource_id)
    claims = [keys.seen(partition, name) for partition in range(keys.partitions)]
    return any([await redis.exists(claim) for claim in claims])


async def _post_all(
    sender: Sender, webhook: SimulatedWebhook, fault: Fault, *, times: int, parallel: int
) -> Counter[int]:
    slots = asyncio.Semaphore(max(1, parallel))

    async def post() -> int:
        async with slots:
            status, _ = await sender.send(webhook, fault)
            return status

    return Counter(await asyncio.gather(*[post() for _ in range(max(1, times))]))


async def _show(
    arguments: argparse.Namespace,
    redis: Redis,
    keys: Keys,
    position: dict[str, str],
    webhook: SimulatedWebhook,
    *,
    is_repeat: bool,
) -> None:
    """Print the entries that the webhook caused, or why there is none."""
    if _is_message(arguments):
        address = parse_address(dict(webhook.pairs).get("From", arguments.sender))
        channel, value = address.channel, address.value
    else:
        channel, value = arguments.channel, arguments.sender
    known = await find_joined(redis, keys, channel, value)
    patience = 1.0 if is_repeat or known else PATIENCE
    entry = await _wait_for(redis, position, webhook.resource_id, patience)
    if entry is not None:
        print("  " + describe(entry))
    elif known is not None:
        print("  nothing doubled; what is there: " + describe(known))
    else:
        print(f"  no entry within {patience:.0f} s: the worker's log says why")


async def _wait_for(redis: Redis, position: dict[str, str], resource_id: str, patience: float) -> Entry | None:
    try:
        async with asyncio.timeout(patience), aclosing(watch(redis, position)) as entries:
            async for entry in entries:
                if entry is not None and entry.data.cause.resource_id == resource_id:
                    return entry
    except TimeoutError:
        pass
    return None


def describe(entry: Entry) -> str:
    """Return an entry in one line for people, addresses masked: who, how we know, where, who takes it and why."""
    data, words = entry.data, [f"{entry.type:<19}"]
    if isinstance(data, ParticipantData):
        ours = f"-> {mask(data.recipient.address)}" if data.recipient else ""
        words.append(f"{data.channel:<8} {mask(data.address):<20} {ours:<23}")
        words.append(f"{getattr(data, 'origin', ''):<9} {data.participant.id}")
    words.append(f"in {data.conversation.id}")
    words.append(f"taken by {data.target}, because: {data.reason}")
    return "  ".join(words)
