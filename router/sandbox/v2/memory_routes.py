"""The part of the Memory API that Twilio's agent SDK calls, under /v1/Stores: profiles by phone number or mailbox.

The profiles are those of the switch `profiles` and of `create_profiles`; every store id names the same store. What an
agent records (observations, summaries) is kept in memory and returned by Recall, the newest first; nothing is inferred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.core.addresses import Channel, canonicalize
from router.sandbox.bodies import json_response, parse_body
from router.sandbox.errors import invalid, not_found
from router.sandbox.middlewares import STATE
from router.sandbox.v2.bodies import NewObservations, NewProfile, NewSummaries, ProfileLookup, Recall

if TYPE_CHECKING:
    from router.sandbox.bodies import Wire
    from router.sandbox.state import SandboxState

_PROFILES: Final = "/v1/Stores/{store}/Profiles"
_PROFILE: Final = f"{_PROFILES}/{{profile}}"
#: Observations and summaries that are kept of one profile.
KEEP_MEMORIES: Final = 100


async def post_lookup(request: web.Request) -> web.Response:
    """POST Profiles/Lookup: the profiles of a phone number or mailbox."""
    state, body = request.app[STATE], parse_body(await request.read(), ProfileLookup)
    name = canonicalize(Channel.EMAIL if body.id_type == "email" else Channel.WHATSAPP, body.value)
    found = state.profiles.get(name)
    return json_response({"normalizedValue": name, "profiles": [found] if found else []})


async def post_profile(request: web.Request) -> web.Response:
    """POST Profiles: 202 with the profile of the first known number or mailbox among the traits, or with a new one."""
    state, body = request.app[STATE], parse_body(await request.read(), NewProfile)
    texts = [value for group in body.traits.values() for value in group.values() if isinstance(value, str) and value]
    names = [canonicalize(Channel.EMAIL if "@" in text else Channel.WHATSAPP, text) for text in texts]
    if not names:
        raise invalid("traits", "has no identifier")
    known = next((state.profiles[name] for name in names if name in state.profiles), None)
    profile_id = known or state.make_id("mem_profile", state.clock.moment())
    state.profiles.update(dict.fromkeys(names, profile_id))
    return json_response({"id": profile_id, "message": "Profile creation accepted", "createdAt": None}, 202)


async def get_profile(request: web.Request) -> web.Response:
    """GET Profiles/{id}: its numbers and mailboxes as traits."""
    state, profile_id = request.app[STATE], request.match_info["profile"]
    contact = {"email" if "@" in name else "phone": name for name in _names(state, profile_id)}
    return json_response({"id": profile_id, "createdAt": state.text(state.now()), "traits": {"Contact": contact}})


async def post_recall(request: web.Request) -> web.Response:
    """POST Profiles/{id}/Recall: what was recorded of the profile, the newest first."""
    state, body = request.app[STATE], parse_body(await request.read(), Recall)
    _names(state, request.match_info["profile"])
    kept = state.memories.get(request.match_info["profile"], {})
    return json_response(
        {
            "observations": kept.get("observations", [])[::-1][: body.observations_limit],
            "summaries": kept.get("summaries", [])[::-1][: body.summaries_limit],
            "communications": [],
            "meta": {"queryTime": 0},
        }
    )


async def post_observations(request: web.Request) -> web.Response:
    """POST Profiles/{id}/Observations: 202."""
    body = parse_body(await request.read(), NewObservations)
    rows = [each.model_dump(mode="json", by_alias=True, exclude_unset=True) for each in body.observations]
    _keep(request, "observations", "mem_observation", rows)
    return _accepted("Observations")


async def post_summaries(request: web.Request) -> web.Response:
    """POST Profiles/{id}/ConversationSummaries: 202."""
    body = parse_body(await request.read(), NewSummaries)
    rows = [each.model_dump(mode="json", by_alias=True, exclude_unset=True) for each in body.summaries]
    _keep(request, "summaries", "mem_summary", rows)
    return _accepted("Summaries")


def _accepted(what: str) -> web.Response:
    """Return a 202 whose times are null: npm's client reads absent ones as now."""
    times = dict.fromkeys(("occurredAt", "createdAt", "updatedAt"))
    return json_response({"message": f"{what} creation accepted", **times}, 202)


def _names(state: SandboxState, profile_id: str) -> list[str]:
    """Return the numbers and mailboxes of a profile; raises RefusalError (404)."""
    names = [name for name, known in state.profiles.items() if known == profile_id]
    if not names:
        raise not_found("Profile", profile_id)
    return names


def _keep(request: web.Request, kind: str, prefix: str, rows: list[Wire]) -> None:
    state, profile_id = request.app[STATE], request.match_info["profile"]
    _names(state, profile_id)
    kept = state.memories.setdefault(profile_id, {}).setdefault(kind, [])
    for row in rows:
        moment = state.clock.moment()
        at = state.text(moment)
        kept.append({"source": "api", **row, "id": state.make_id(prefix, moment), "createdAt": at, "updatedAt": at})
    del kept[:-KEEP_MEMORIES]


ROUTES: Final = (
    web.post(f"{_PROFILES}/Lookup", post_lookup),
    web.post(_PROFILES, post_profile),
    web.get(_PROFILE, get_profile),
    web.post(f"{_PROFILE}/Recall", post_recall),
    web.post(f"{_PROFILE}/Observations", post_observations),
    web.post(f"{_PROFILE}/ConversationSummaries", post_summaries),
)
