"""Effects that happen once per entry, although an entry may be delivered more than once: claim, do, mark.

The handling of an entry consists of named steps, stored in Redis under (group, entry id) for LIFE. Guarantee: a step
that is marked done is never done again, over redeliveries, restarts and replays of dead letters, and its value is kept.
A step that was begun and not marked is in doubt: it is done again with a `Doubt`, because only the step itself can find
out whether it had its effect.

Known gaps: a process may die between an effect and its mark, so the step must look for the effect; a process that hangs
longer than its heartbeat and resumes inside a step may do it at the same time as its successor; an entry redelivered
after LIFE is new. With ROUTER_REDIS_WAIT a step begins once the replicas have it; without, a failover may forget it.

A text is sent once per entry or command (`Effect.send`). If it is unknown whether it was sent (the process died or was
stopped, the answer was lost), the conversation is searched for it before it is sent again. Known gaps: a text that
needs longer than SETTLE to reach the API and be recorded is sent twice; the holder may change between the check of the
ticket and the API's acceptance (docs/guarantees.md).
"""

from __future__ import annotations

import time
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from router import metrics
from router.core.entries import SOURCE_PREFIX
from router.core.errors import ApiError, RouterError, UnusableError, had_no_effect
from router.core.routing.commands import Command, check_data, write_command
from router.core.sealing import NO_KEYS, SealedKind
from router.core.values import Value
from router.streams.client.scripts import NO_REPLICATION, Replication, confirm, load_script, run_confirmed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from router.core.keys import Keys
    from router.core.sealing import Sealer
    from router.streams.client.connection import Redis

#: Seconds for which the steps of an entry are stored (7 days).
LIFE: Final = 7 * 86_400
#: The name of the step that stands for the entry as a whole.
ENTRY: Final = "entry"
#: Seconds in which a message must appear among the communications, or it counts as not sent.
SETTLE: Final = 10.0
#: Seconds after the step was begun in which the message may be sent: well before a successor stops waiting for it.
SEND_WITHIN: Final = SETTLE / 2
#: The steps whose values are texts, which are blanked once nobody needs them.
TEXT_STEPS: Final = ("reply", "asked")
#: Begins the state of a step that is done: with its value in the clear, or sealed.
_DONE: Final = frozenset({b"d", b"s"})
#: Characters of the longest id of a command.
_MAX_ID: Final = 255


class NotYetError(RouterError):
    """It is not known yet whether a step had its effect: look again after `delay` seconds. Not a failure."""

    def __init__(self, message: str, *, delay: float) -> None:
        super().__init__(message)
        self.delay = delay


class StaleEpochError(RouterError):
    """Somebody else holds the conversation by now: the step is not begun, or was begun `begun_for` seconds ago."""

    def __init__(self, message: str, *, begun_for: float | None = None) -> None:
        super().__init__(message)
        self.begun_for = begun_for


class Ticket(Value):
    """The epoch in which a step was prepared: it is begun while the conversation is still in it, else never.

    With a `target`, that must hold the conversation too: entries about it reach both targets.
    """

    account_id: str
    conversation_id: str
    epoch: int
    target: str = ""


class ReplyOutcome(StrEnum):
    """The outcome of an answer, for the log."""

    SENT = "sent"
    FOUND = "found"  # an earlier try had sent it
    SILENT = "silent"  # the reply gave no text
    HANDOFF = "handoff"  # the reply gave no text and asked for a person
    CANNOT_SEND = "channel cannot send"
    OPT_OUT = "opt-out keyword"  # Twilio has answered it, and refuses further messages after STOP
    IN_TURN = "in-turn"  # the turn that it is part of is answered
    STALE = "stale-epoch"  # somebody else holds the conversation by now


class OutgoingText(Protocol):
    """A text to be sent, of a v2 or a classic conversation (router.agents.texts)."""

    async def send(self) -> None:
        """Send it; raises ApiError."""

    async def is_recorded(self) -> bool:
        """Return whether the conversation contains it."""


class Doubt(Value):
    """The step was begun `age` seconds ago and may have had its effect."""

    age: float


class _FirstTry(Value):
    """The step was not begun before; `state` is its field in Redis now."""

    state: bytes


class _Finished(Value):
    """The step is done."""

    value: str


class Effect:
    """The steps of one entry of a group, in a partition. With keys, `sealer` seals their values, which may be texts."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        partition: int,
        *,
        group: str,
        entry_id: str,
        replication: Replication = NO_REPLICATION,
        sealer: Sealer = NO_KEYS,
    ) -> None:
        self._sealer = sealer
        self._redis = redis
        self._key = keys.effect(partition, group, entry_id)
        self._group = group
        self._entry_id = entry_id
        self._keys = keys
        self._fence = keys.fence(partition)
        self._replication = replication

    async def outcome(self) -> str | None:
        """Return the outcome of the entry, None if it is not finished."""
        return await self.value(ENTRY)

    async def value(self, step: str) -> str | None:
        """Return the value of a step, None if it is not done. Raises SealedError."""
        state: Any = await self._redis.hget(self._key, step)
        return self._open(state) if state and state[:1] in _DONE else None

    async def is_begun(self, step: str) -> bool:
        """Return whether a step was begun, and may have had its effect."""
        return bool(await self._redis.hexists(self._key, step))

    async def end(self, outcome: str) -> None:
        """Mark the entry as finished: its redeliveries do nothing, so that the texts of its steps need not be kept."""
        await load_script("finish").run(self._redis, [self._key], [ENTRY, LIFE, f"d{outcome}", *TEXT_STEPS])

    async def once(self, step: str, do: Callable[[Doubt | None], Awaitable[str]], ticket: Ticket | None = None) -> str:
        """Do a step unless it is done, and return its value.

        `do` gets a Doubt if an earlier try may have had the effect, else None. If it raises, the step stays begun,
        unless the error is an answer of the API that excludes an effect. Raises StaleEpochError if the step is not done
        and the conversation of the `ticket` is in another epoch, by the same script that begins the step.
        """
        begun = await self._begin(step, ticket)
        if isinstance(begun, _Finished):
            return begun.value
        try:
            value = await do(begun if isinstance(begun, Doubt) else None)
        except ApiError as error:
            if isinstance(begun, _FirstTry) and had_no_effect(error):
                await load_script("forget").run(self._redis, [self._key], [step, begun.state])
            raise
        await self._finish(step, value)
        return value

    async def finish(self, step: str, value: str) -> None:
        """Mark a step as done without doing it: its effect was found, or it only keeps a value. The first one stays."""
        await self._finish(step, value)

    async def again(self, step: str, ticket: Ticket | None = None) -> str | None:
        """Begin a step in doubt again, after its effect was not found: its age counts from now.

        If another process has done it meanwhile, return its value: it must not be done again.
        """
        begun = await self._begin(step, ticket, is_again=True)
        return begun.value if isinstance(begun, _Finished) else None

    async def holds(self, ticket: Ticket) -> bool:
        """Return whether the conversation is still in the epoch of a ticket, and held by its target."""
        name = self._keys.conversation(ticket.account_id, ticket.conversation_id)
        found: Any = await self._redis.hmget(name, ["epoch", "target"])
        epoch, target = (one.decode() if one is not None else None for one in found)
        return int(epoch or 0) == ticket.epoch and (not ticket.target or target in {None, ticket.target})

    async def send(
        self,
        message: OutgoingText,
        ticket: Ticket | None,
        *,
        step: str = "send",
        settle: float = SETTLE,
        clock: Callable[[], float] = time.monotonic,
    ) -> str:
        """Send a text unless it was sent, or its holder has lost the conversation; returns a ReplyOutcome.

        `settle` and `clock` are in seconds. Raises NotYetError while an earlier try may still appear, and ApiError.
        """
        begun_at = clock()  # from before the step is begun

        async def send(doubt: Doubt | None) -> str:
            started = begun_at
            if doubt is not None:
                if await _is_sent(message, doubt.age, settle):
                    return ReplyOutcome.FOUND
                started = clock()
                if (value := await self.again(step, ticket)) is not None:
                    return value
            if clock() - started > SEND_WITHIN:
                raise NotYetError("sending was begun too long ago: another process may have sent it", delay=SEND_WITHIN)
            await message.send()
            return ReplyOutcome.SENT

        try:
            return await self.once(step, send, ticket)
        except StaleEpochError as error:
            age = error.begun_for  # by an earlier try, while its agent held the conversation
            if age is not None and await _is_sent(message, age, settle):
                await self.finish(step, ReplyOutcome.FOUND)
                return ReplyOutcome.FOUND
            metrics.count("router_stale_texts", step)
            return ReplyOutcome.STALE

    async def command(self, kind: str, data: Mapping[str, Any], *, step: str = "") -> str:
        """Write a command once, to the commands stream of its conversation, and return its id.

        `kind` and `data` are those of docs/handoff.md, such as "handoff.request" and {"conversation": ..., "reason":
        ...}. The id follows from the entry's, the group and `step`, which tells apart several commands of one kind. A
        process that dies in between may write it twice; its id is taken once. Raises UnusableError if it is no command.
        """
        try:
            known = orjson.loads(orjson.dumps({name: value for name, value in data.items() if value is not None}))
        except TypeError as error:
            raise UnusableError(f"{kind}: is not JSON: {error}") from error
        checked = check_data(kind, known)
        command_id = f"{self._entry_id}:{self._group}:{step or kind}"
        if len(command_id) > _MAX_ID:
            command_id = sha256(command_id.encode("utf-8", "surrogatepass")).hexdigest()
        subject = Command(kind, command_id, checked, known).subject
        stream = self._keys.commands(self._keys.partition_of(subject) if subject else 0)
        source = f"{SOURCE_PREFIX}{self._keys.namespace}/{self._group}"
        fields: dict[Any, Any] = dict(write_command(kind, command_id, known, source=source, sealer=self._sealer))

        async def write(_: Doubt | None) -> str:
            await self._redis.xadd(stream, fields)
            if self._replication.replicas:
                await confirm(self._redis, stream, self._replication)
            return command_id

        return await self.once(f"command:{step or kind}", write)

    async def _begin(
        self, step: str, ticket: Ticket | None, *, is_again: bool = False
    ) -> _FirstTry | _Finished | Doubt:
        args: list[Any] = [step, LIFE, "1" if is_again else "0", self._keys.partitions]
        names = [self._key, self._fence]
        if ticket is not None:
            names.append(self._keys.conversation(ticket.account_id, ticket.conversation_id))
            args += [ticket.epoch, ticket.target]
        word, detail = await run_confirmed(self._redis, load_script("begin"), names, args, self._replication)
        if word == b"stale":
            raise StaleEpochError(f"the conversation is in epoch {int(detail)} by now")
        if word == b"late":
            raise StaleEpochError("the conversation is in another epoch by now", begun_for=max(0, int(detail)) / 1000)
        if word == b"done":
            return _Finished(self._open(detail))
        return _FirstTry(detail) if word == b"new" else Doubt(max(0, int(detail)) / 1000)

    async def _finish(self, step: str, value: str) -> None:
        state = f"d{value}"
        if self._sealer.has_keys and step != ENTRY:
            state = f"s{self._sealer.seal_text(value, SealedKind.EFFECT)}"
        await load_script("finish").run(self._redis, [self._key], [step, LIFE, state])

    def _open(self, state: bytes) -> str:
        """Return the value of a step that is done; raises SealedError, TamperedError."""
        text = state[1:].decode()
        return text if state[:1] == b"d" else self._sealer.open_text(text, SealedKind.EFFECT)


async def _is_sent(message: OutgoingText, age: float, settle: float) -> bool:
    """Return whether a text, perhaps sent `age` seconds ago, was sent; raises NotYetError if it may still appear."""
    if await message.is_recorded():
        return True
    if age < settle:
        raise NotYetError("a message that may have been sent has not appeared", delay=settle - age)
    return False


class Effects:
    """The effects of one consumer group."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        group: str,
        replication: Replication = NO_REPLICATION,
        sealer: Sealer = NO_KEYS,
    ) -> None:
        self._sealer = sealer
        self._redis = redis
        self._keys = keys
        self._group = group
        self._replication = replication

    def of(self, partition: int, entry_id: str) -> Effect:
        """Return the effect of an entry by its CloudEvents id, which is the same over redeliveries and replays."""
        return Effect(
            self._redis,
            self._keys,
            partition,
            group=self._group,
            entry_id=entry_id,
            replication=self._replication,
            sealer=self._sealer,
        )
