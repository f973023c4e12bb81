"""Commands of agents and programs: each is applied once by its id, in the partition of its conversation.

A command that came to another partition is passed on. One that cannot be read, or names an account that is not
configured, becomes a dead letter; one that is refused is answered by `command.refused`, with the present epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router import metrics
from router.core.errors import UnusableError
from router.core.events import COMMANDS_SOURCE, Cause
from router.core.formats import OtherFormatError
from router.core.keys import Target
from router.core.printable import masked_key
from router.core.routing.command_inputs import input_of
from router.core.routing.commands import (
    Finish,
    OfferCommand,
    PresenceCommand,
    RequestHandoff,
    Say,
    read_closed,
    read_command,
)
from router.core.routing.holding import Why
from router.core.routing.wishes import card_of
from router.core.sealing import NO_KEYS, SealedError
from router.core.stories import event_id
from router.logs import log
from router.streams.delivery import Done, Later, Poison
from router.worker.floor import RacesLostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from router.core.keys import Keys
    from router.core.ledger.ledger import Ledger
    from router.core.routing.commands import Command
    from router.core.routing.holding import Holding
    from router.core.routing.inputs import Input
    from router.core.routing.team import Team
    from router.core.sealing import Sealer
    from router.streams.client.connection import Redis
    from router.streams.delivery import Delivery, Verdict
    from router.streams.store.desk import Desk
    from router.worker.floor import FloorPath, FloorResult

if TYPE_CHECKING:
    #: Performs what a command needs of the API: the command, the account, its delivery, and the floor of now.
    #: Returns a verdict, or why the command is refused after all.
    Action = Callable[[Command, str, Delivery, Holding], Awaitable[Verdict | Why]]

#: Seconds of the wait after lost races, and of the first one for a process of another release.
_STEP_BACK: Final = 0.5
_OTHER_RELEASE: Final = 2.0


class Commander:
    """Applies commands. `accounts` are the configured ones, the default first.

    `speak` and `close` perform what needs the API: a text to the customer, and the closing of a conversation.
    `is_begun` tells whether a command was accepted before and has begun to do that.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        keys: Keys,
        floor: FloorPath,
        desk: Desk,
        team: Callable[[], Team],
        accounts: Collection[str],
        speak: Action,
        close: Action,
        is_begun: Callable[[Command], Awaitable[bool]],
        wake: Callable[[], None],
        sealer: Sealer = NO_KEYS,
    ) -> None:
        self._sealer = sealer
        self._redis = redis
        self._keys = keys
        self._floor = floor
        self._desk = desk
        self._team = team
        self._accounts = tuple(accounts)
        self._speak = speak
        self._close = close
        self._is_begun = is_begun
        self._wake = wake

    async def attempt(self, delivery: Delivery) -> Verdict:
        """Apply one command; on Done it is applied, passed on, or refused with an answer."""
        try:
            command = read_command(delivery.fields, self._sealer)
            verdict = await self._take(command, delivery)
        except UnusableError as error:
            return Poison(str(error))
        except RacesLostError as error:
            return Later(str(error), _STEP_BACK)
        except OtherFormatError as error:
            return Later(str(error), _OTHER_RELEASE, is_usual=not isinstance(error, SealedError))
        return verdict

    async def _take(self, command: Command, delivery: Delivery) -> Verdict:
        partition = self._keys.partition_of(command.subject) if command.subject else 0
        if partition != delivery.stream.partition:
            # Before the XACK: a process that dies in between passes it on twice, and its id is taken once.
            fields: dict[Any, Any] = dict(delivery.fields)
            await self._redis.xadd(self._keys.commands(partition), fields)
            return Done()
        data = command.data
        account_id = data.account or self._accounts[0]
        if isinstance(data, OfferCommand) and data.home is not None:
            account_id = data.home[0]
            if data.account not in {None, account_id}:
                raise UnusableError(f"{command.type}: account: is not that of the offer")
        if account_id not in self._accounts:
            raise UnusableError(f"{command.type}: account: {masked_key(account_id[:40])} is not configured here")
        if isinstance(data, PresenceCommand):
            return await self._note_presence(command, data, delivery)
        if isinstance(data, OfferCommand) and data.home is None:
            raise UnusableError(f"{command.type}: offer: is no offer's id")
        return await self._decide(command, account_id, delivery)

    async def _decide(self, command: Command, account_id: str, delivery: Delivery) -> Verdict:
        data, conversation_id = command.data, command.subject
        event, sent_at = event_id(command.id), _time_of(delivery)
        cause = Cause(COMMANDS_SOURCE, command.type, conversation_id, command.id, sent_at, event)
        action = {Say: self._speak, Finish: self._close}.get(type(data))

        async def apply(decide: Callable[[Holding], Input | Why | None]) -> FloorResult:
            return await self._floor.apply(
                account_id,
                conversation_id,
                decide,
                cause,
                command_id=command.id,
                on_refused=lambda ledger, why: self._refuse(ledger, command, why, cause),
            )

        # What was accepted and begun is not judged again by a floor that has changed since: its step decides.
        is_begun = action is not None and await self._is_begun(command)
        if is_begun:
            result = await self._floor.find(account_id, conversation_id)
        else:
            result = await apply(lambda floor: input_of(command, account_id, floor, self._team(), self._floor.now))
        verdict: Verdict = Done()
        # One of these that is known without being begun was refused: it stays so.
        holding = result.holding if result.refused is None and (is_begun or not result.is_repeated) else None
        if action is not None and holding is not None:
            answer = await action(command, account_id, delivery, holding)
            if isinstance(answer, Why):
                why = answer
                result = await apply(lambda _: why)
            else:
                verdict = answer
        if result.refused is None and result.holding is not None and not result.is_repeated:
            self._count(command, "done")
        elif result.refused is not None:
            self._count(command, "refused")
        log(
            "command",
            type=command.type,
            event_id=event,
            id=masked_key(command.id),
            conversation=masked_key(conversation_id),
            account=account_id,
            epoch=result.epoch,
            result=str(result.refused or ("repeated" if result.is_repeated else "done")),
        )
        return verdict

    def _refuse(self, ledger: Ledger, command: Command, why: Why, cause: Cause) -> None:
        # Both may ask for a person: the AI agent's consumers, and people.
        targets = tuple(Target) if isinstance(command.data, RequestHandoff) else (Target.HUMAN_AGENT,)
        shown = {"type": command.type, "data": command.raw}
        ledger.refuse(cause, targets, {"command": shown, "command_id": command.id, "why": str(why), "detail": ""})

    async def _note_presence(self, command: Command, data: PresenceCommand, delivery: Delivery) -> Verdict:
        """Note who is available, away or offline: until the life of the command is over, from when it was sent."""
        # An entry's time may be ahead of now if the clock of Redis was set back: its ids never go back.
        sent_at = _time_of(delivery) // 1000
        until = min(sent_at, self._floor.now) + data.life * 1000
        member = self._team().members.get(data.agent)
        if member is None and not await self._desk.keep(data.agent, until):
            raise UnusableError(f"{command.type}: agent: '{masked_key(data.agent[:80])}' is not in the roster")
        if command.type == "agent.offline":
            await self._desk.leave(data.agent, sent_at=sent_at, command_id=command.id)
        elif member is not None:
            card = card_of(member, data.skills, data.channels)
            is_away = command.type == "agent.away"
            await self._desk.arrive(card, until, is_away=is_away, sent_at=sent_at, command_id=command.id)
        self._wake()
        self._count(command, "done")
        return Done()

    def _count(self, command: Command, result: str) -> None:
        metrics.count("router_commands", command.type, result)


def _time_of(delivery: Delivery) -> int:
    """Return when a command was written, in µs since 1970."""
    return int(delivery.entry_id.partition("-")[0]) * 1000


def command_subject(delivery: Delivery) -> str:
    """Return the subject within which commands keep their order; never raises."""
    try:
        command = read_closed(delivery.fields)
    except UnusableError:
        return delivery.entry_id
    data: Any = command.data
    return command.subject or f"agent:{getattr(data, 'agent', '')}"
