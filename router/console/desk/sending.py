"""Commands of people on the page: written once each, and answered while the page waits, if that is soon.

The id of a command is made of the person, of its data, and of the hidden id of the form: a double click and a form that
is sent twice are one command, and a form with another text is another one. The answer comes from the entries of the
human-agent stream; of a text and of a closing, which no entry tells, from the worker's note that it is done
(router.agents.effects): while the page waits, and then for WATCH seconds, to tell the person late.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from router.agents.effects import Effects, ReplyOutcome
from router.agents.joins import JoinOutcome
from router.core.keys import COMMANDER
from router.core.routing.command_answers import CommandAnswer, CommandState
from router.core.routing.commands import Command, OfferCommand, check_data, write_command
from router.core.sealing import SealedError
from router.streams.client.connection import RedisError
from router.streams.client.scripts import NO_REPLICATION, NotReplicatedError, confirm
from router.tasks import end

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.core.keys import Keys
    from router.core.sealing import Sealer
    from router.streams.client.connection import Redis
    from router.streams.client.scripts import Replication

#: Seconds for which a page waits for the answer to what was done on it.
PATIENCE: Final = 4.0
#: Answers that are remembered, for forms that are sent twice.
MAX_ANSWERS: Final = 10_000
#: Seconds between two looks at the worker's note: at first, and at most.
_FIRST_LOOK: Final = 0.05
_LONGEST_LOOK: Final = 0.4
#: Seconds for which that note is looked for once the page waits no more, and between two of these looks at first and at
#: most; how many commands are looked for at once.
WATCH: Final = 600.0
_FIRST_WATCH: Final = 1.0
_LONGEST_WATCH: Final = 15.0
MAX_WATCHED: Final = 500
#: The steps of commands that no entry answers, and the values by which they are done.
_STEPS: Final[dict[str, tuple[str, frozenset[str]]]] = {
    "conversation.say": ("say", frozenset({ReplyOutcome.SENT, ReplyOutcome.FOUND})),
    "conversation.finish": ("close", frozenset({JoinOutcome.CLOSED, JoinOutcome.GONE})),
}


def make_command_id(user: str, kind: str, data: Mapping[str, Any], form_id: str) -> str:
    """Return the id of a command; nobody can make the id of another person's, and another text has another id."""
    name = "\0".join((user, kind, form_id, json.dumps(data, sort_keys=True)))
    return f"desk-{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


@dataclass(frozen=True, slots=True)
class SentCommand:
    """A command of a person; `conversation`: the account and the id, if it names any."""

    user: str
    kind: str
    conversation: tuple[str, str] | None

    @property
    def page(self) -> tuple[str, str] | None:
        """The conversation whose page it was sent from; None: the desk, which answers offers."""
        return None if self.kind.startswith("offer.") else self.conversation


class CommandSender:
    """Writes commands, and knows the answers to the latest ones. `source` names the console in their documents."""

    def __init__(
        self, redis: Redis, keys: Keys, *, source: str, sealer: Sealer, replication: Replication = NO_REPLICATION
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._source = source
        self._sealer = sealer
        self._replication = replication
        #: Seconds for which a page waits for an answer.
        self.patience = PATIENCE
        self._effects = Effects(redis, keys, COMMANDER, sealer=sealer)
        self._answers: OrderedDict[str, CommandAnswer] = OrderedDict()
        self._waiting: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[CommandAnswer]] = {}
        self._late: OrderedDict[str, SentCommand] = OrderedDict()
        self._watches: dict[str, asyncio.Task[None]] = {}
        #: Gets each command that is sent.
        self.on_send: Callable[[SentCommand], None] = lambda _: None
        #: Gets a command that was not answered in time, and its answer.
        self.on_late: Callable[[SentCommand, CommandAnswer], None] = lambda *_: None

    def take(self, command_id: str, answer: CommandAnswer) -> None:
        """Note an answer; of several the last one counts."""
        self._answers[command_id] = answer
        self._answers.move_to_end(command_id)
        if len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)
        if (waiting := self._waiting.get(command_id)) is not None:
            waiting.set()
        if (late := self._late.pop(command_id, None)) is not None:
            self.on_late(late, answer)

    async def write(self, command: Command) -> int:
        """Write a command to its partition, which is returned, and wait for the replicas. Raises RedisError."""
        partition = self._keys.partition_of(command.subject) if command.subject else 0
        fields: dict[Any, Any] = dict(
            write_command(command.type, command.id, command.raw, source=self._source, sealer=self._sealer)
        )
        stream = self._keys.commands(partition)
        await self._redis.xadd(stream, fields)
        if self._replication.replicas:
            await confirm(self._redis, stream, self._replication)
        return partition

    async def send(self, user: str, kind: str, command_id: str, data: Mapping[str, Any]) -> CommandAnswer:
        """Write a command of a person, unless it was answered before, and wait for its answer.

        Raises UnusableError if it is no command, and RedisError.
        """
        known = {name: one for name, one in data.items() if one is not None}
        command = Command(kind, command_id, check_data(kind, known), known)
        self.on_send(_sent(command, user))
        if (answer := self._answers.get(command_id)) is not None:
            return answer
        task = self._tasks.get(command_id)
        if task is None:
            task = self._tasks[command_id] = asyncio.create_task(self._send(command, user))
            task.add_done_callback(lambda _: self._tasks.pop(command_id, None))
        return await asyncio.shield(task)  # the reader of one form may be gone, and the same form be sent again

    async def close(self) -> None:
        """End what still waits for an answer."""
        await end(*self._tasks.values(), *self._watches.values())

    async def _send(self, command: Command, user: str) -> CommandAnswer:
        waiting = self._waiting[command.id] = asyncio.Event()
        try:
            await self.write(command)
            with suppress(TimeoutError):
                async with asyncio.timeout(self.patience):
                    await self._answered(command, waiting)
        except NotReplicatedError:  # it is on the stream: a worker may do it all the same
            self._note_late(command, user)
            raise
        finally:
            del self._waiting[command.id]
        if (answer := self._answers.get(command.id)) is not None:
            return answer
        self._note_late(command, user)
        return CommandAnswer(CommandState.PENDING)

    def _note_late(self, command: Command, user: str) -> None:
        """Have the person told once a command is answered."""
        self._late[command.id] = _sent(command, user)
        if len(self._late) > MAX_ANSWERS:
            self._late.popitem(last=False)
        if command.type in _STEPS and command.id not in self._watches and len(self._watches) < MAX_WATCHED:
            task = self._watches[command.id] = asyncio.create_task(self._watch(command))
            task.add_done_callback(lambda _: self._watches.pop(command.id, None))

    async def _watch(self, command: Command) -> None:
        """Look for the worker's note of a command that no entry answers, until it is there or WATCH has passed."""
        pause = _FIRST_WATCH
        with suppress(TimeoutError):
            async with asyncio.timeout(WATCH):
                while command.id not in self._answers and not await self._is_done(command):
                    await asyncio.sleep(pause)
                    pause = min(_LONGEST_WATCH, pause * 2)

    async def _answered(self, command: Command, waiting: asyncio.Event) -> None:
        """Return once a command is answered."""
        if command.type not in _STEPS:
            await waiting.wait()
            return
        pause = _FIRST_LOOK
        while not waiting.is_set() and not await self._is_done(command):
            with suppress(TimeoutError):
                await asyncio.wait_for(waiting.wait(), pause)
            pause = min(_LONGEST_LOOK, pause * 2)

    async def _is_done(self, command: Command) -> bool:
        """Return whether the worker's note says that a command is done; then its answer is taken."""
        step, done = _STEPS[command.type]
        effect = self._effects.of(self._keys.partition_of(command.subject), command.id)
        with suppress(RedisError, OSError, SealedError):  # it was written: what became of it is only seen later
            if await effect.value(step) in done:
                self.take(command.id, CommandAnswer(CommandState.DONE))
                return True
        return False


def _sent(command: Command, user: str) -> SentCommand:
    return SentCommand(user, command.type, _conversation_of(command))


def _conversation_of(command: Command) -> tuple[str, str] | None:
    if isinstance(command.data, OfferCommand):
        return command.data.home
    return (command.data.account, command.subject) if command.data.account and command.subject else None
