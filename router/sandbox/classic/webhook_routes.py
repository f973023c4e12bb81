"""The webhooks of a conversation, and those of the service, under /v1, as routes handles them.

The account has the same webhooks as its one service. They are the switches `classic_pre_webhook_url`,
`classic_post_webhook_url`, `classic_webhook_method` and `classic_webhook_filters`, which an update changes.
https://www.twilio.com/docs/conversations-classic/api/webhook-configuration-resource
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from pydantic import ValidationError

from router.sandbox.bodies import json_response, refuse_body
from router.sandbox.classic.errors import WEBHOOK_NOT_FOUND, missing, refuse
from router.sandbox.classic.forms import ScopedWebhookForm, ServiceWebhooksForm, read_form
from router.sandbox.classic.paging import page_wire, read_query
from router.sandbox.classic.requests import conversation_of, mark_of, urls_of
from router.sandbox.classic.scoped_webhooks import MAX_WEBHOOKS, add_webhook, change_webhook
from router.sandbox.classic.webhooks import EVENTS
from router.sandbox.middlewares import STATE

if TYPE_CHECKING:
    from router.sandbox.bodies import Wire
    from router.sandbox.classic.records import ResourceUrls, ScopedWebhookRecord
    from router.sandbox.state import SandboxState

_WEBHOOKS: Final = "/Conversations/{conversation}/Webhooks"
_WEBHOOK: Final = f"{_WEBHOOKS}/{{webhook}}"
_SETTINGS: Final = "/Configuration/Webhooks"


async def post_webhook(request: web.Request) -> web.Response:
    """POST Webhooks of a conversation."""
    form, urls, state = await read_form(request, ScopedWebhookForm), urls_of(request), request.app[STATE]
    webhook = add_webhook(state, conversation_of(request), form)
    return json_response(webhook.to_wire(state.options.account_sid, urls), 201)


async def list_webhooks(request: web.Request) -> web.Response:
    """GET Webhooks of a conversation."""
    urls, conversation = urls_of(request), conversation_of(request)
    account_sid = request.app[STATE].options.account_sid
    url = f"{urls.conversation(request.match_info['conversation'])}/Webhooks"
    query = read_query(request.query, url, "webhooks", {}, MAX_WEBHOOKS)
    return json_response(
        page_wire(conversation.webhooks.ordered, query, mark_of, lambda each: each.to_wire(account_sid, urls))
    )


async def get_webhook(request: web.Request) -> web.Response:
    """GET Webhooks/{WH} of a conversation."""
    urls = urls_of(request)
    return json_response(_webhook(request).to_wire(request.app[STATE].options.account_sid, urls))


async def update_webhook(request: web.Request) -> web.Response:
    """POST Webhooks/{WH} of a conversation."""
    form, urls, state = await read_form(request, ScopedWebhookForm), urls_of(request), request.app[STATE]
    webhook = _webhook(request)
    change_webhook(state, conversation_of(request), webhook, form)
    return json_response(webhook.to_wire(state.options.account_sid, urls))


async def delete_webhook(request: web.Request) -> web.Response:
    """DELETE Webhooks/{WH} of a conversation."""
    urls_of(request)
    conversation_of(request).webhooks.remove(_webhook(request).id)
    return web.Response(status=204)


async def get_settings(request: web.Request) -> web.Response:
    """GET /Configuration/Webhooks of the service or account."""
    urls = urls_of(request)
    return json_response(_settings_wire(request.app[STATE], urls))


async def update_settings(request: web.Request) -> web.Response:
    """POST /Configuration/Webhooks: only given parameters change, and an empty one removes a URL or all filters."""
    form, urls, state = await read_form(request, ServiceWebhooksForm), urls_of(request), request.app[STATE]
    changes: dict[str, Any] = {}
    for name in ("pre_webhook_url", "post_webhook_url"):
        if (url := getattr(form, name)) is not None:
            changes[f"classic_{name}"] = url or None
    if form.method is not None:
        changes["classic_webhook_method"] = form.method.upper()
    if form.filters is not None:
        changes["classic_webhook_filters"] = tuple(each for each in form.filters if each)
        if unknown := set(changes["classic_webhook_filters"]) - EVENTS:
            raise refuse(20001, f"Filters: {min(unknown)} is not an event")
    try:
        state.use(state.options.with_switches(changes))
    except ValidationError as error:
        raise refuse_body(error) from error
    if urls.service_sid is None:
        state.classic.webhook_target = form.target or state.classic.webhook_target
    return json_response(_settings_wire(state, urls))


def _settings_wire(state: SandboxState, urls: ResourceUrls) -> Wire:
    options = state.options
    target: Wire = {"target": state.classic.webhook_target} if urls.service_sid is None else {}
    return {
        "account_sid": options.account_sid,
        **urls.service_wire(),
        "pre_webhook_url": options.classic_pre_webhook_url,
        "post_webhook_url": options.classic_post_webhook_url,
        "method": options.classic_webhook_method,
        "filters": list(options.classic_webhook_filters),
        **target,
        "url": f"{urls.root}{_SETTINGS}",
    }


def _webhook(request: web.Request) -> ScopedWebhookRecord:
    """Return the webhook that the path names; raises RefusalError (404)."""
    conversation, sid = conversation_of(request), request.match_info["webhook"]
    webhook = conversation.webhooks.get(sid)
    if webhook is None:
        path = f"/Conversations/{conversation.id}/Webhooks/{sid}"
        raise missing(WEBHOOK_NOT_FOUND, path, request.app[STATE].options.classic_not_found)
    return webhook


#: Method, path below the default service's or a service's root, and handler.
WEBHOOKS: Final = (
    ("POST", _WEBHOOKS, post_webhook),
    ("GET", _WEBHOOKS, list_webhooks),
    ("GET", _WEBHOOK, get_webhook),
    ("POST", _WEBHOOK, update_webhook),
    ("DELETE", _WEBHOOK, delete_webhook),
    ("GET", _SETTINGS, get_settings),
    ("POST", _SETTINGS, update_settings),
)
