"""The parts of one worker that decide who holds a conversation, with commands as agents send them."""

from dataclasses import dataclass, field

import orjson

from router.core.addresses import Address
from router.core.entries import read_entry
from router.core.keys import Keys, Target
from router.core.policy import Decision
from router.core.routing.queues import Queue
from router.core.routing.team import Team, TeamMember
from router.streams.delivery import Delivery, Done, StreamRef
from router.streams.store.desk import Desk
from router.streams.store.ledgers import Store
from router.streams.store.timers import Timers
from router.worker.commander import Commander
from router.worker.floor import FloorPath
from router.worker.floor_loop import FloorLoop
from tests.core.builders import CONVERSATION, make_cause, make_fact, make_participant
from tests.support.accounts import ACCOUNT

PHONE = Address("SMS", "+15551230001")
START = 1_800_000_000_000
PEOPLE = {
    "dana": TeamMember("dana", "Dana", 2, ("german",), wrap_up=5),
    "eli": TeamMember("eli", "Eli", 2),
}


@dataclass
class Place:
    """The parts of one worker, with a clock that the test sets (ms)."""

    redis: object
    keys: Keys
    now: int = START
    team: Team = field(default_factory=lambda: Team(PEOPLE, {"default": Queue(ring=20, patience=60)}))
    number: int = 0
    spoken: list = field(default_factory=list)
    notices: dict = field(default_factory=dict)
    kind: type[Store] = Store

    def __post_init__(self):
        self.store = self.kind(self.redis, self.keys, marker_ttl=5000, clock=lambda: self.now * 1000)
        self.desk = Desk(self.redis, self.keys, clock=lambda: self.now)
        self.timers = timers = Timers(self.redis, self.keys, clock=lambda: self.now)
        self.floor = FloorPath(
            store=self.store,
            desk=self.desk,
            timers=timers,
            team=lambda: self.team,
            clock=lambda: self.now * 1000,
            notify=self.notify,
        )
        self.loop = FloorLoop(floor=self.floor, desk=self.desk, timers=timers, partitions=self.keys.partitions)
        self.commander = self.make_commander(self.speak, self.speak, self.has_spoken)

    def make_commander(self, speak, close, is_begun):
        return Commander(
            redis=self.redis,
            keys=self.keys,
            floor=self.floor,
            desk=self.desk,
            team=lambda: self.team,
            accounts=(ACCOUNT,),
            speak=speak,
            close=close,
            is_begun=is_begun,
            wake=lambda: None,
        )

    async def speak(self, command, *_):
        self.spoken.append(command.id)
        return Done()

    async def has_spoken(self, command):
        return command.id in self.spoken

    def cause(self):
        return make_cause(received_at=self.now * 1000)

    async def notify(self, _, __, name, text):
        self.notices[name] = text

    async def announce(self, target=Target.AI_AGENT, conversation_id=CONVERSATION):
        """Announce a customer in a conversation that `target` holds."""
        ledger = self.store.make_ledger(ACCOUNT, conversation_id)
        participant = make_participant("p1", PHONE)
        ledger.take_participant(make_fact(participant, 1, decision=Decision(target, "a rule"), cause=self.cause()))
        assert await self.store.commit([ledger]) == [True]

    async def send(self, kind, command_id=None, partition=0, **data):
        """Take a command as the worker does; return the verdict."""
        self.number += 1
        command_id = command_id or f"command-{self.number}"
        document = {"specversion": "1.0", "id": command_id, "type": f"command.{kind}", "source": "/test", "data": data}
        fields = {b"type": kind.encode(), b"id": command_id.encode(), b"command": orjson.dumps(document)}
        stream = StreamRef(partition, self.keys.commands(partition))
        verdict = await self.commander.attempt(Delivery(stream, f"{self.now}-{self.number}", fields))
        await self.quiet()
        return verdict

    async def quiet(self):
        """Wait until customers who wait have been told."""
        await self.floor.notices.idle()

    async def told(self, target, *kinds, conversation_id=CONVERSATION):
        """Return the entries for a target, of some types or all."""
        stream = self.keys.participants(self.keys.partition_of(conversation_id), target)
        entries = [read_entry(row[b"event"]) for _, row in await self.redis.xrange(stream)]
        return [entry for entry in entries if not kinds or entry.type in kinds]

    async def types(self, target=Target.HUMAN_AGENT):
        return [entry.type for entry in await self.told(target)]

    async def last(self, kind, target=Target.HUMAN_AGENT):
        return (await self.told(target, kind))[-1].data

    async def later(self, seconds):
        """Let time pass, and do what is due then."""
        self.now += int(seconds * 1000)
        await self.loop.round()
        await self.quiet()


async def ask(place, **data):
    return await place.send("handoff.request", conversation=CONVERSATION, reason="wants a person", **data)


async def hold(place, agent="dana"):
    """Let an agent take the conversation from the AI agent; return the epoch."""
    await place.announce()
    await place.send("agent.available", agent=agent)
    await ask(place)
    made = await place.last("offer.made")
    await place.send("offer.accept", offer=made.offer.id, agent=agent)
    return (await place.last("holder.changed")).epoch
