"""The admin API under /sandbox: it does what no client of the public API can do, and shows what happened.

POST  /sandbox/capture                          passive capture of a message or call (see v2/capture)
POST  /sandbox/classic/inbound                  a message to a classic conversation (see classic/inbound)
POST  /sandbox/participants/{c}/{p}/remove      Twilio removes a participant
GET, PATCH /sandbox/options                     the switches (see options); given profiles are added
PATCH /sandbox/configurations/{configuration}   callbacks, channel settings and texts of a configuration
POST  /sandbox/clock                            {advanceSeconds}: time passes, timers run
GET   /sandbox/requests                         counts of the public API's requests, by method and route template
GET   /sandbox/callbacks                        counts of status callbacks, by result
GET, POST, DELETE /sandbox/faults               see faults
POST  /sandbox/reset                            the initial state: data, switches, faults, counts
"""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web
from pydantic import Field, RootModel, ValidationError

from router.sandbox.bodies import MAX_SECONDS, Body, json_response, parse_body, refuse_body
from router.sandbox.classic.conversations import run_classic_timers
from router.sandbox.errors import RefusalError, invalid
from router.sandbox.faults import Fault
from router.sandbox.middlewares import COUNTS, FAULTS, STATE
from router.sandbox.v2.bodies import ConfigurationChange
from router.sandbox.v2.capture import CaptureBody, capture
from router.sandbox.v2.configurations import change_configuration, find_configuration
from router.sandbox.v2.conversations import full_wire, run_timers
from router.sandbox.v2.participants import remove_participant


class _Switches(RootModel[dict[str, Any]]):
    """A JSON object of switches."""


class _Advance(Body):
    """The body of POST /sandbox/clock."""

    advance_seconds: float = Field(ge=0.0, le=MAX_SECONDS)


async def post_capture(request: web.Request) -> web.Response:
    """Capture a message or call: 201 if it opened a conversation, else 200."""
    state, body = request.app[STATE], parse_body(await request.read(), CaptureBody)
    captured = capture(state, body)
    communication = captured.communication.to_wire(state.text) if captured.communication else None
    wire = {
        "isNew": captured.is_new,
        "conversation": full_wire(state, captured.conversation),
        "communication": communication,
    }
    return json_response(wire, 201 if captured.is_new else 200)


async def post_removal(request: web.Request) -> web.Response:
    """Remove a participant."""
    state = request.app[STATE]
    conversation = state.find_open(request.match_info["conversation"])
    participant = state.find_participant(conversation, request.match_info["participant"])
    remove_participant(state, conversation, participant)
    return json_response(state.participant_wire(participant))


async def get_options(request: web.Request) -> web.Response:
    """Show the switches."""
    return json_response(request.app[STATE].options.switches())


async def patch_options(request: web.Request) -> web.Response:
    """Change switches."""
    state, changes = request.app[STATE], parse_body(await request.read(), _Switches).root
    try:
        options = state.options.with_switches(changes)
    except ValidationError as error:
        raise refuse_body(error) from error
    except ValueError as error:
        raise RefusalError(400, str(error)) from error
    state.use(options)
    for conversation in state.conversations:
        state.schedule(conversation)
    return json_response(options.switches())


async def patch_configuration(request: web.Request) -> web.Response:
    """Change a configuration, as the account's owner would."""
    state, change = request.app[STATE], parse_body(await request.read(), ConfigurationChange)
    record = find_configuration(state.configurations, request.match_info["configuration"])
    wire = change.model_dump(mode="json", by_alias=True, exclude_unset=True)
    change_configuration(record, wire, state.clock.moment())
    for conversation in state.conversations:
        state.schedule(conversation)
    return json_response(record.to_wire(state.text))


async def post_clock(request: web.Request) -> web.Response:
    """Let time pass."""
    state = request.app[STATE]
    advance = parse_body(await request.read(), _Advance).advance_seconds
    try:
        state.clock.advance(advance)
    except ValueError as error:
        raise invalid("advanceSeconds", str(error)) from error
    run_timers(state)
    run_classic_timers(state)
    for deliverer in (state.status_callbacks, state.classic_webhooks):
        deliverer.wake()
    return json_response({"now": state.text(state.clock.now())})


async def get_requests(request: web.Request) -> web.Response:
    """Show the counts of requests by route."""
    counts = request.app[COUNTS]
    return json_response({"requests": dict(counts), "total": counts.total()})


async def get_callbacks(request: web.Request) -> web.Response:
    """Show the counts of status callbacks by result."""
    callbacks = request.app[STATE].status_callbacks
    names = ("delivered", "failed", "dropped", "attempts")
    return json_response({name: callbacks.counts[name] for name in names} | {"pending": callbacks.pending})


async def get_faults(request: web.Request) -> web.Response:
    """Show the armed faults."""
    return json_response({"faults": request.app[FAULTS].to_wire()})


async def post_fault(request: web.Request) -> web.Response:
    """Arm a fault."""
    fault = parse_body(await request.read(), Fault)
    request.app[FAULTS].arm(fault)
    return json_response(fault.model_dump(mode="json", by_alias=True), 201)


async def delete_faults(request: web.Request) -> web.Response:
    """Disarm all faults, or those with the text `containing`."""
    request.app[FAULTS].clear(request.query.get("containing"))
    return web.Response(status=204)


async def post_reset(request: web.Request) -> web.Response:
    """Return to the initial state."""
    request.app[FAULTS].clear()
    request.app[COUNTS].clear()
    request.app[STATE].reset()
    return web.Response(status=204)


async def get_health(request: web.Request) -> web.Response:
    """Report that the sandbox is up."""
    return json_response({"status": "ok", "conversations": len(request.app[STATE].conversations)})


ROUTES: Final = (
    web.get("/healthz", get_health),
    web.post("/sandbox/capture", post_capture),
    web.post("/sandbox/participants/{conversation}/{participant}/remove", post_removal),
    web.get("/sandbox/options", get_options),
    web.patch("/sandbox/options", patch_options),
    web.patch("/sandbox/configurations/{configuration}", patch_configuration),
    web.post("/sandbox/clock", post_clock),
    web.get("/sandbox/requests", get_requests),
    web.get("/sandbox/callbacks", get_callbacks),
    web.get("/sandbox/faults", get_faults),
    web.post("/sandbox/faults", post_fault),
    web.delete("/sandbox/faults", delete_faults),
    web.post("/sandbox/reset", post_reset),
)
