"""The people and their queues, as config/roster.toml and config/routing.toml describe them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from router.core.addresses import Address, Channel, is_same
from router.core.routing.queues import DEFAULT_QUEUE, Queue

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Channels on which one conversation takes all of a person, unless the file says otherwise.
WHOLE: Final = frozenset({"VOICE", "VIDEO"})


@dataclass(frozen=True, slots=True)
class TeamMember:
    """One person. `capacity` is in units; `channels` None: all. `addresses` by channel, `wrap_up` in seconds."""

    identity: str
    name: str
    capacity: int
    skills: tuple[str, ...] = ()
    channels: tuple[str, ...] | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)
    wrap_up: float = 0.0


@dataclass(frozen=True, slots=True)
class Team:
    """All people and queues. `units`: what a conversation takes of a person by channel, None: all; missing: 1.

    `is_holder_foreign`: a HUMAN_AGENT whom another system adds holds the conversation; `is_ai_foreign`: an AI_AGENT
    whom another system adds ends a person's turn likewise. `after_foreign`: the queue that the conversation goes to
    once that person is removed, None: the AI agent.
    """

    members: Mapping[str, TeamMember] = field(default_factory=dict)
    queues: Mapping[str, Queue] = field(default_factory=dict)
    units: Mapping[str, int | None] = field(default_factory=dict)
    is_holder_foreign: bool = True
    is_ai_foreign: bool = False
    after_foreign: str | None = None

    def queue(self, name: str) -> Queue:
        """Return a queue; one that was removed from the file goes on with the settings of the default."""
        return self.queues.get(name) or self.queues.get(DEFAULT_QUEUE) or Queue()

    def has_queue(self, name: str) -> bool:
        """Return whether there is such a queue; there always is a default one."""
        return name in self.queues or name == DEFAULT_QUEUE

    def has_skills(self, skills: tuple[str, ...]) -> bool:
        """Return whether one person at least has all of the skills."""
        return any(set(skills) <= set(one.skills) for one in self.members.values())

    def units_of(self, channel: str) -> int | None:
        """Return the units that a conversation on a channel takes of a person, None for all."""
        return self.units.get(channel, None if channel in WHOLE else 1)

    def agent_at(self, address: Address) -> str | None:
        """Return the person who joins at an address: under their identity, or at an address that nobody else has."""
        if address.channel == Channel.CHAT and address.value in self.members:
            return address.value
        found = [
            one.identity
            for one in self.members.values()
            if address.channel in one.addresses
            and is_same(Address(address.channel, one.addresses[address.channel]), address)
        ]
        return found[0] if len(found) == 1 else None

    def member(self, identity: str) -> TeamMember:
        """Return a person; one who was removed from the file has the identity as name and one unit."""
        return self.members.get(identity) or TeamMember(identity, identity, 1)

    def name_of(self, identity: str) -> str:
        """Return a person's name; of one who was removed from the file, the identity."""
        member = self.members.get(identity)
        return member.name if member else identity
