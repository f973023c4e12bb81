"""The fake memory store: finds the profile of a customer by phone number or mailbox.

A CUSTOMER gets the profile that is found (switch: a new one if none is), an UNKNOWN is looked up only and becomes a
CUSTOMER if that succeeds, agents are never looked up; a profile that is given is kept. Identities of CHAT are looked
up as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.resources import AGENT_TYPES, ParticipantType

if TYPE_CHECKING:
    from router.core.resources import ParticipantAddress
    from router.sandbox.state import SandboxState


def resolve_profile(
    state: SandboxState, kind: str, given: str | None, addresses: tuple[ParticipantAddress, ...]
) -> tuple[str, str | None]:
    """Return type and profile id of a participant with these addresses."""
    if given is not None or kind in AGENT_TYPES:
        return kind, given
    names = [each.as_address().canonical for each in addresses]
    found = next((profile for name in names if (profile := state.profiles.get(name))), None)
    if found is not None:
        return ParticipantType.CUSTOMER, found
    if kind == ParticipantType.CUSTOMER and names and state.options.create_profiles:
        found = state.make_id("mem_profile", state.clock.moment())
        state.profiles.update(dict.fromkeys(names, found))
    return kind, found
