"""Grouping keys: which conversations may not be open at the same time, under the three grouping types.

The live API's key is not documented. Chosen here: a key pairs one *customer-side* address (of a CUSTOMER or UNKNOWN
participant) with one *anchor* of the same channel. Anchors are the business addresses with which the conversation
was opened on that channel: those of agents, UNKNOWN ones where no agent was named (as passive capture may leave them),
or the empty anchor if the customer was alone. The first agent on a channel without an agent becomes an anchor too.
Agents added later do not, so that a consumer that joins never changes which conversation the customer's next POST
/Conversations collides with. A conversation owns the keys of all its participants on all channels. A pair has no
direction, since the API speaks of a set.

    ..._AND_CHANNEL_TYPE    the pair and the channel
    ..._ADDRESSES           the pair: SMS and WhatsApp of the same two numbers are one conversation
    GROUP_BY_PROFILE        the profile of a CUSTOMER; without one its address, whatever our side is. A customer known
                            only by address collides with one known by profile, and the reverse; two different
                            profiles at one address do not collide. An UNKNOWN has only its pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from router.core.resources import AGENT_TYPES, ParticipantType

if TYPE_CHECKING:
    from collections.abc import Iterable

Key = tuple[str, ...]
#: channel to {anchor: whether it is an agent's}; the empty anchor "" is no address
ChannelAnchors = dict[str, dict[str, bool]]

BY_PROFILE: Final = "GROUP_BY_PROFILE"
BY_ADDRESSES: Final = "GROUP_BY_PARTICIPANT_ADDRESSES"
BY_ADDRESSES_AND_CHANNEL: Final = "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE"


class GroupingMember(NamedTuple):
    """A participant as grouping compares it: type, profile, and addresses as (channel, canonical value)."""

    type: str
    profile_id: str | None
    addresses: tuple[tuple[str, str], ...]


class GroupingKeys(NamedTuple):
    """The keys of a participant: its conversation holds the `owned` ones; no other may hold a `claimed` one."""

    owned: frozenset[Key]
    claimed: frozenset[Key]


NO_KEYS: Final = GroupingKeys(frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Anchors:
    """The business addresses of a conversation by channel; an immutable value."""

    channels: ChannelAnchors

    def admit(self, members: Iterable[GroupingMember]) -> Anchors:
        """Return the anchors after `members` were added at once; the same object if they change nothing."""
        arrivals: dict[str, list[tuple[str, str]]] = {}
        for member in members:
            for channel, address in member.addresses:
                arrivals.setdefault(channel, []).append((member.type, address))
        changed = {}
        for channel, arrived in arrivals.items():
            before = self.channels.get(channel)
            after = _arrive(before, arrived)
            if after != before:
                changed[channel] = after
        return Anchors(self.channels | changed) if changed else self

    def pin(self, channel: str, address: str) -> Anchors:
        """Return the anchors with our own `address` on `channel`, which captured traffic names."""
        before = self.channels.get(channel, {})
        return self if before.get(address) else Anchors(self.channels | {channel: before | {address: True}})

    def replace(self, old: GroupingMember, new: GroupingMember) -> Anchors:
        """Return the anchors after a participant was replaced; an address that it gave up is an anchor no longer."""
        gone = set(old.addresses) - set(new.addresses) if old.type != ParticipantType.CUSTOMER else set()
        channels = dict(self.channels)
        for channel, address in gone:
            left = {anchor: is_agent for anchor, is_agent in channels.get(channel, {}).items() if anchor != address}
            channels.pop(channel, None)
            if left:
                channels[channel] = left
        changed = self if channels == self.channels else Anchors(channels)
        return changed.admit((new,))


NO_ANCHORS: Final = Anchors({})


def _arrive(before: dict[str, bool] | None, arrived: list[tuple[str, str]]) -> dict[str, bool]:
    agents = {address: True for kind, address in arrived if kind in AGENT_TYPES}
    unknown = {address: False for kind, address in arrived if kind == ParticipantType.UNKNOWN}
    if before is None:
        return agents or (unknown if len({address for _, address in arrived}) > 1 else {}) or {"": False}
    if agents and not any(before.values()):
        return before | agents
    if unknown and set(before) == {""}:
        return before | unknown
    return before


def keys_of(member: GroupingMember, anchors: Anchors, grouping: str) -> GroupingKeys:
    """Return the keys of a participant in a conversation with these anchors."""
    if member.type in AGENT_TYPES:
        return NO_KEYS
    pairs = _pairs(member, anchors)
    if grouping == BY_PROFILE:
        return _by_profile(member, pairs)
    if grouping == BY_ADDRESSES:
        keys: frozenset[Key] = frozenset(("pair", one, other) for _, one, other in pairs)
    else:
        keys = frozenset(("channel", *pair) for pair in pairs)
    return GroupingKeys(keys, keys)


def _pairs(member: GroupingMember, anchors: Anchors) -> set[tuple[str, str, str]]:
    """Return (channel, one, other) for each own address and other anchor; the empty anchor only if it is alone."""
    pairs = set()
    for channel, own in member.addresses:
        known = anchors.channels.get(channel, {"": False})
        others = [each for each in known if each != own and (each or own not in known)]
        pairs |= {(channel, *sorted((own, other))) for other in others}
    return pairs  # type: ignore[return-value] # mypy does not see that two sorted values are two


def _by_profile(member: GroupingMember, pairs: set[tuple[str, str, str]]) -> GroupingKeys:
    plain = {("pair", one, other) for _, one, other in pairs}
    known = {("known-pair", one, other) for _, one, other in pairs}
    if member.type == ParticipantType.UNKNOWN:
        return GroupingKeys(frozenset(plain), frozenset(plain | known))
    by_address: set[Key] = {("address", address) for _, address in member.addresses}
    by_known: set[Key] = {("known", address) for _, address in member.addresses}
    if member.profile_id is None:
        return GroupingKeys(frozenset(by_address | plain), frozenset(by_address | by_known | plain))
    profile: set[Key] = {("profile", member.profile_id)}
    return GroupingKeys(frozenset(profile | by_known | known), frozenset(profile | by_address | plain))
