"""The control plane under /v2/ControlPlane: configurations, and the operations of writes that are answered 202.

A display name is unique, and so is the classic service of a bridge. Open conversations keep the settings with which
they were opened (switch: `pin_configuration`), also when their configuration is deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.sandbox.bodies import json_response, read_body
from router.sandbox.errors import conflict, not_found
from router.sandbox.middlewares import STATE
from router.sandbox.v2.bodies import NewConfiguration, PatchConfigurationBody, ReplaceConfiguration
from router.sandbox.v2.configurations import change_configuration, find_configuration, make_settings
from router.sandbox.v2.operations import OPERATIONS, once, status_url
from router.sandbox.v2.paging import take_page
from router.sandbox.v2.records import ConfigurationRecord
from router.sandbox.v2.routes import page_query

if TYPE_CHECKING:
    from pydantic import BaseModel

    from router.sandbox.bodies import B, Wire
    from router.sandbox.state import SandboxState
    from router.sandbox.v2.records import OperationRecord

CONFIGURATIONS: Final = "/v2/ControlPlane/Configurations"
_CONFIGURATION: Final = f"{CONFIGURATIONS}/{{configuration}}"


async def post_configuration(request: web.Request) -> web.Response:
    """POST Configurations: 202; `related` of the operation has the id."""
    body, state = await _body(request, NewConfiguration), request.app[STATE]

    def write() -> OperationRecord:
        wire = body.model_dump(mode="json", by_alias=True, exclude_unset=True)
        _refuse_taken(state, wire)
        moment = state.clock.moment()
        configuration_id = state.make_id("conv_configuration", moment)
        record = ConfigurationRecord(configuration_id, moment, moment, 1, make_settings(configuration_id, wire))
        state.configurations.add(record)
        return state.start_operation({"configurationId": record.id})

    return once(request, write)


async def put_configuration(request: web.Request) -> web.Response:
    """PUT Configurations/{id}: 202; fields that the body omits are cleared."""
    return _change(request, await _body(request, ReplaceConfiguration), is_replaced=True)


async def patch_configuration(request: web.Request) -> web.Response:
    """PATCH Configurations/{id}: 202; only fields in the body change, channel settings channel by channel."""
    return _change(request, await _body(request, PatchConfigurationBody), is_replaced=False)


async def delete_configuration(request: web.Request) -> web.Response:
    """DELETE Configurations/{id}: 202."""
    state = request.app[STATE]

    def write() -> OperationRecord:
        record = _configuration(request)
        state.configurations.remove(record.id)
        return state.start_operation({"configurationId": record.id})

    return once(request, write)


async def list_configurations(request: web.Request) -> web.Response:
    """GET Configurations, optionally of one `memoryStoreId`."""
    state, store = request.app[STATE], request.query.get("memoryStoreId")
    page = take_page(
        state.configurations.ordered,
        page_query(request, "configurations"),
        None if store is None else lambda each: each.settings.wire.get("memoryStoreId") == store,
    )
    return json_response(page.to_wire("configurations", lambda each: each.to_wire(state.text)))


async def get_configuration(request: web.Request) -> web.Response:
    """GET Configurations/{id}."""
    return json_response(_configuration(request).to_wire(request.app[STATE].text))


async def get_operation(request: web.Request) -> web.Response:
    """GET Operations/{id}."""
    state, operation_id = request.app[STATE], request.match_info["operation"]
    operation = state.operations.get(operation_id)
    if operation is None:
        raise not_found("Operation", operation_id)
    is_done = state.clock.now() >= operation.completes_at
    wire: Wire = {
        "operationId": operation.id,
        "status": "COMPLETED" if is_done else "PENDING",
        "createdAt": state.text(operation.moment),
        "completedAt": state.text(operation.completes_at) if is_done else None,
        "statusUrl": status_url(request, operation),
        "related": operation.related,
        "error": None,
    }
    return json_response(wire)


async def _body(request: web.Request, model: type[B]) -> B:
    return await read_body(request, model, form_status=request.app[STATE].options.form_status)


def _configuration(request: web.Request) -> ConfigurationRecord:
    return find_configuration(request.app[STATE].configurations, request.match_info["configuration"])


def _change(request: web.Request, body: BaseModel, *, is_replaced: bool) -> web.Response:
    state = request.app[STATE]

    def write() -> OperationRecord:
        record = _configuration(request)
        wire = body.model_dump(mode="json", by_alias=True, exclude_unset=True)
        _refuse_taken(state, wire, record.id)
        change_configuration(record, wire, state.clock.moment(), is_replaced=is_replaced)
        for conversation in state.conversations:
            state.schedule(conversation)
        return state.start_operation({"configurationId": record.id})

    return once(request, write)


def _refuse_taken(state: SandboxState, wire: Wire, own_id: str | None = None) -> None:
    """Raise RefusalError (409) if another configuration has the display name, or bridges the classic service."""
    for name, label in (("displayName", "Display name"), ("conversationsV1Bridge", "Classic service")):
        for each in state.configurations:
            if wire.get(name) is not None and each.id != own_id and each.settings.wire.get(name) == wire[name]:
                raise conflict(f"{label} is used by configuration {each.id}", each.id)


ROUTES: Final = (
    web.post(CONFIGURATIONS, post_configuration),
    web.get(CONFIGURATIONS, list_configurations),
    web.get(_CONFIGURATION, get_configuration),
    web.put(_CONFIGURATION, put_configuration),
    web.patch(_CONFIGURATION, patch_configuration),
    web.delete(_CONFIGURATION, delete_configuration),
    web.get(f"{OPERATIONS}/{{operation}}", get_operation),
)
