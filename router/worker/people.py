"""The part of the worker that serves people: commands, offers, deadlines, and what the API must do for them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from router import metrics
from router.agents.effects import Effects, NotYetError, ReplyOutcome, Ticket
from router.agents.joiners import Joiners
from router.agents.joins import JoinOutcome
from router.agents.people import PersonActions
from router.core.entries import EntryParticipant
from router.core.errors import RequestError
from router.core.keys import COMMANDER
from router.core.printable import masked_key
from router.core.routing.commands import COMMANDS, HolderCommand, Say, read_closed
from router.core.routing.holding import Why
from router.core.routing.wishes import cards_to_enroll, channel_of
from router.core.stories import StageName, event_id
from router.logs import describe, log
from router.process.apis import make_limits, make_replication
from router.streams.client.gathering import make_gathering_client
from router.streams.consuming.consumer import StreamConsumer
from router.streams.consuming.story_notes import StoryNotes
from router.streams.delivery import Done, Later, StreamRef
from router.streams.store.desk import Desk
from router.streams.store.stories import StoryAbout
from router.streams.store.subject_order import UnnamedOrder
from router.streams.store.timers import Timers
from router.worker.commander import Commander, command_subject
from router.worker.floor import FloorPath
from router.worker.floor_loop import FloorLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from router.agents.effects import Effect
    from router.core.keys import Keys
    from router.core.ledger.ledger import Ledger
    from router.core.routing.commands import Command
    from router.core.routing.holding import Holding
    from router.core.routing.team import Team
    from router.process.apis import Apis
    from router.settings.model import Settings
    from router.streams.client.clock import RedisClock
    from router.streams.client.connection import Redis
    from router.streams.delivery import Delivery, Verdict
    from router.streams.store.ledgers import Store
    from router.streams.store.stories import StoryWriter


#: Seconds of the first and of the longest wait for a command that another worker holds.
_TURN: Final = 0.05
_SOON: Final = 0.5
#: The outcomes after which a text has reached the customer, by a ReplyOutcome.
_SENT: Final = frozenset({ReplyOutcome.SENT, ReplyOutcome.FOUND})
#: The refusals that answer a text which was not sent, by a ReplyOutcome or a JoinOutcome.
_REFUSALS: Final[dict[str, Why]] = {
    ReplyOutcome.STALE: Why.STALE_EPOCH,
    JoinOutcome.CLOSED: Why.CLOSED,
    JoinOutcome.GONE: Why.CLOSED,
}


class Actions:
    """Performs the commands that need the API, once each by the command's id."""

    def __init__(
        self,
        people: PersonActions,
        store: Store,
        effects: Effects,
        keys: Keys,
        team: Team,
        clock: Callable[[], int],
        stories: StoryWriter | None = None,
    ) -> None:
        self._clock = clock
        self._stories = stories
        self._people = people
        self._store = store
        self._effects = effects
        self._keys = keys
        self._team = team

    async def is_begun(self, command: Command) -> bool:
        """Return whether the command was accepted before, so that its text may be sent, or the conversation closed."""
        step = "say" if isinstance(command.data, Say) else "close"
        return await self._effect(command).is_begun(step)

    async def say(self, command: Command, account_id: str, delivery: Delivery, holding: Holding) -> Verdict | Why:
        """Send a text of the agent who holds."""
        data = command.data
        if not isinstance(data, Say) or holding.customer is None:
            return Why.CANNOT_SEND
        customer = EntryParticipant.model_validate(holding.customer)
        effect = self._effect(command)
        ticket = Ticket(account_id, data.conversation, data.epoch)
        said_at = int(delivery.entry_id.partition("-")[0]) * 1000
        ledger = await self._store.read_whole(account_id, data.conversation)
        member, ours = self._team.member(data.agent), ledger.recipient(channel_of(holding))
        try:
            how = await self._people.say(ticket, member, customer, data.text, effect, said_at=said_at, ours=ours)
        except NotYetError as error:
            return Later(str(error), error.delay, is_unsure=True, is_usual=True)
        except RequestError as error:  # a repeat cannot help, and whoever wrote it must hear that it was not sent
            return _refuse(data.conversation, error, Why.CANNOT_SEND)
        _log_sent(command.id, data.conversation, data.agent, how)
        if self._stories is not None and how in _SENT:
            about = StoryAbout(event_id(command.id), account_id, conversation=data.conversation)
            partition = self._keys.partition_of(data.conversation)
            self._stories.add_stage(partition, about, StageName.SENT, f"{command.type} of {masked_key(data.agent)}")
        return Done() if how in _SENT else _REFUSALS.get(how, Why.CANNOT_SEND)

    async def notify(self, ledger: Ledger, holding: Holding, name: str, text: str) -> None:
        """Send a text to a waiting customer, once by `name`; raises errors after which it can be tried again."""
        channel, customer = channel_of(holding), holding.customer
        ours = ledger.recipient(channel)
        if customer is None or ours is None:
            return
        effect = self._effects.of(self._keys.partition_of(ledger.conversation_id), name)
        shown = EntryParticipant.model_validate(customer)
        ticket = Ticket(ledger.account_id, ledger.conversation_id, holding.epoch)
        how = await self._people.notify(ticket, shown, ours, text, effect, said_at=self._clock())
        _log_sent(name, ledger.conversation_id, None, how)

    async def close(self, command: Command, account_id: str, _: Delivery, __: Holding) -> Verdict | Why:
        """Close the conversation of the agent who holds."""
        data = command.data
        if isinstance(data, HolderCommand):
            ticket = Ticket(account_id, data.conversation, data.epoch)
            try:
                how = await self._people.close(ticket, self._effect(command))
            except RequestError as error:  # as in `say`
                return _refuse(data.conversation, error, Why.CANNOT_CLOSE)
            _log_sent(command.id, data.conversation, data.agent, how)
            if how == ReplyOutcome.STALE:
                return Why.STALE_EPOCH
        return Done()

    def _effect(self, command: Command) -> Effect:
        return self._effects.of(self._keys.partition_of(command.subject), command.id)


def _refuse(conversation_id: str, error: RequestError, why: Why) -> Why:
    log("command.failed", level="warning", conversation=conversation_id, error=describe(error))
    return why


def _log_sent(name: str, conversation_id: str, agent: str | None, result: str) -> None:
    log(
        "command.sent",
        event_id=event_id(name),
        id=masked_key(name),
        conversation=conversation_id,
        agent=agent,
        result=result,
    )


class People:
    """The commander and its loop, beside the resolver of the same process."""

    def __init__(self, commander: StreamConsumer, loop: FloorLoop, floor: FloorPath, desk: Desk, team: Team) -> None:
        self._floor = floor
        self._commander = commander
        self._loop = loop
        self._desk = desk
        self._team = team

    @contextlib.asynccontextmanager
    async def running(self, beside: StreamConsumer) -> AsyncIterator[None]:
        """Consume with `beside`, and serve people, while the block runs; `beside` fails if the commander does."""
        await self._desk.enroll(cards_to_enroll(self._team))
        async with beside.running(self._commander):
            self._commander.run_beside(self._loop.run(), "floor")
            beside.run_beside(self._watch(), "commander")
            try:
                yield
            finally:
                await self._floor.close()

    async def _watch(self) -> None:
        raise RuntimeError(f"the commander has failed: {await self._commander.failed()}")


def about_command(delivery: Delivery, default: str) -> StoryAbout:
    """Return the event that a command is, for its story; of the account `default` if it names none.

    Raises UnusableError if it is no command.
    """
    command = read_closed(delivery.fields)
    return StoryAbout(event_id(command.id), command.data.account or default, conversation=command.subject or None)


def make_people(
    settings: Settings,
    redis: Redis,
    *,
    store: Store,
    apis: Apis,
    clock: RedisClock,
    team: Team,
    stories: StoryWriter | None = None,
) -> People:
    """Return the part of a worker that serves people."""
    keys = settings.keys
    gathering = make_gathering_client(redis)
    desk = Desk(gathering, keys, clock=clock.milliseconds)
    timers = Timers(gathering, keys, clock=clock.milliseconds)
    effects = Effects(redis, keys, COMMANDER, make_replication(settings), store.sealer)
    people = PersonActions(
        apis=apis, joiners=Joiners(apis, store), api_ahead=lambda account_id: apis.ahead_of(account_id, clock)
    )
    actions = Actions(people, store, effects, keys, team, clock, stories)
    floor = FloorPath(store=store, desk=desk, timers=timers, team=lambda: team, clock=clock, notify=actions.notify)
    loop = FloorLoop(floor=floor, desk=desk, timers=timers, partitions=keys.partitions)
    store.on_wake = timers.on_set = loop.wake_at
    accounts = [api.account.sid for api in apis]
    commander = Commander(
        redis=redis,
        keys=keys,
        floor=floor,
        desk=desk,
        team=lambda: team,
        accounts=accounts,
        speak=actions.say,
        close=actions.close,
        is_begun=actions.is_begun,
        wake=loop.wake,
        sealer=store.sealer,
    )
    order = UnnamedOrder(gathering, keys, COMMANDER, command_subject)

    async def attempt(delivery: Delivery) -> Verdict:
        if await order.is_behind(delivery, consumer.name):
            reason = "another worker has an earlier command of its conversation"
            return Later(reason, _TURN, is_usual=True, is_queued=True, longest=_SOON)
        return await commander.attempt(delivery)

    notes = StoryNotes(stories, lambda delivery: about_command(delivery, accounts[0])) if stories else None
    consumer = _make_consumer(settings, redis, attempt, notes)
    return People(consumer, loop, floor, desk, team)


def _make_consumer(
    settings: Settings, redis: Redis, attempt: Callable[[Delivery], Awaitable[Verdict]], notes: StoryNotes | None
) -> StreamConsumer:
    """Return the consumer of the commands streams."""
    keys = settings.keys
    for kind in COMMANDS:
        metrics.expect("router_commands", kind, "done")
    return StreamConsumer(
        redis=redis,
        url=settings.redis,
        keys=keys,
        streams=[StreamRef(number, keys.commands(number)) for number in range(keys.partitions)],
        group=COMMANDER,
        limits=make_limits(settings),
        attempt=attempt,
        subject=command_subject,
        on_result=lambda result: metrics.count("router_attempts", COMMANDER, result),
        telling=notes,
    )
