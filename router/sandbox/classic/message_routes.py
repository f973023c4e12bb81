"""Messages and their delivery receipts under /v1, as routes handles them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from router.sandbox.bodies import json_response
from router.sandbox.classic.errors import MESSAGE_NOT_FOUND, missing, refuse
from router.sandbox.classic.events import media_field, message_fields
from router.sandbox.classic.forms import MessageForm, read_form
from router.sandbox.classic.messages import (
    change_message,
    check_change,
    check_message,
    find_author,
    media_of,
    remove_message,
    write_message,
)
from router.sandbox.classic.paging import page_wire, read_query
from router.sandbox.classic.requests import ask, conversation_of, mark_of, origin_of, urls_of
from router.sandbox.middlewares import STATE

if TYPE_CHECKING:
    from router.sandbox.classic.records import ClassicMessageRecord, Fields

_MESSAGES: Final = "/Conversations/{conversation}/Messages"
_MESSAGE: Final = f"{_MESSAGES}/{{message}}"
_RECEIPTS: Final = f"{_MESSAGE}/Receipts"
_ORDERS: Final = frozenset({"asc", "desc"})


async def post_message(request: web.Request) -> web.Response:
    """POST Messages."""
    form, urls, state = await read_form(request, MessageForm), urls_of(request), request.app[STATE]
    check_message(conversation_of(request), form)
    fields: Fields = {
        "ConversationSid": conversation_of(request).id,
        "Body": None if form.content_sid else form.body,
        "Author": form.author,
        "Attributes": form.attributes,
        "Media": media_field(media_of(form)),
    }
    form = form.model_copy(update=await ask(request, "onMessageAdd", fields))
    conversation = conversation_of(request)
    check_message(conversation, form)
    member = find_author(conversation, form.author) if form.author else None
    message = write_message(state, conversation, form, member, origin_of(request))
    return json_response(message.to_wire(state.options.account_sid, urls), 201)


async def list_messages(request: web.Request) -> web.Response:
    """GET Messages, the oldest first unless Order is desc."""
    urls, conversation = urls_of(request), conversation_of(request)
    account_sid, order = request.app[STATE].options.account_sid, request.query.get("Order", "asc")
    if order not in _ORDERS:
        raise refuse(20001, "Order is asc or desc")
    url = f"{urls.conversation(request.match_info['conversation'])}/Messages"
    query = read_query(request.query, url, "messages", {"Order": request.query.get("Order")})
    return json_response(
        page_wire(
            conversation.messages.ordered,
            query,
            mark_of,
            lambda each: each.to_wire(account_sid, urls),
            is_descending=order == "desc",
        )
    )


async def get_message(request: web.Request) -> web.Response:
    """GET Messages/{IM}."""
    urls = urls_of(request)
    return json_response(_message(request).to_wire(request.app[STATE].options.account_sid, urls))


async def update_message(request: web.Request) -> web.Response:
    """POST Messages/{IM}."""
    form, urls, state = await read_form(request, MessageForm), urls_of(request), request.app[STATE]
    check_change(conversation_of(request), _message(request), form)
    wanted = {"Body": form.body, "Author": form.author, "Attributes": form.attributes}
    given: Fields = {name: value for name, value in wanted.items() if value is not None}
    changes = await ask(request, "onMessageUpdate", _fields(request, "onMessageUpdate") | given)
    form = form.model_copy(update=changes)
    message = _message(request)
    change_message(state, conversation_of(request), message, form, origin_of(request))
    return json_response(message.to_wire(state.options.account_sid, urls))


async def delete_message(request: web.Request) -> web.Response:
    """DELETE Messages/{IM}."""
    urls_of(request)
    await ask(request, "onMessageRemove", _fields(request, "onMessageRemove"))
    remove_message(request.app[STATE], conversation_of(request), _message(request), origin_of(request))
    return web.Response(status=204)


async def list_receipts(request: web.Request) -> web.Response:
    """GET Receipts of a message."""
    urls, message = urls_of(request), _message(request)
    account_sid = request.app[STATE].options.account_sid
    query = read_query(request.query, f"{urls.message(message)}/Receipts", "delivery_receipts", {})
    return json_response(
        page_wire(message.receipts.ordered, query, mark_of, lambda each: each.to_wire(account_sid, urls))
    )


async def get_receipt(request: web.Request) -> web.Response:
    """GET Receipts/{DY} of a message."""
    urls, message, sid = urls_of(request), _message(request), request.match_info["receipt"]
    receipt = message.receipts.get(sid)
    if receipt is None:
        raise missing(
            20404, f"/Conversations/{message.conversation_sid}/Messages/{message.id}/Receipts/{sid}", "generic"
        )
    return json_response(receipt.to_wire(request.app[STATE].options.account_sid, urls))


def _message(request: web.Request) -> ClassicMessageRecord:
    """Return the message that the path names; raises RefusalError (404)."""
    conversation, sid = conversation_of(request), request.match_info["message"]
    message = conversation.messages.get(sid)
    if message is None:
        path = f"/Conversations/{conversation.id}/Messages/{sid}"
        raise missing(MESSAGE_NOT_FOUND, path, request.app[STATE].options.classic_not_found)
    return message


def _fields(request: web.Request, event_type: str) -> Fields:
    return message_fields(_message(request), event_type, conversation_of(request).messaging_service_sid)


#: Method, path below the default service's or a service's root, and handler.
MESSAGES: Final = (
    ("POST", _MESSAGES, post_message),
    ("GET", _MESSAGES, list_messages),
    ("GET", _MESSAGE, get_message),
    ("POST", _MESSAGE, update_message),
    ("DELETE", _MESSAGE, delete_message),
    ("GET", _RECEIPTS, list_receipts),
    ("GET", f"{_RECEIPTS}/{{receipt}}", get_receipt),
)
