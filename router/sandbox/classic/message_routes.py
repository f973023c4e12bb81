"""The routes of classic messages: write one, list them in either order, read one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.sandbox.classic.errors import missing, refuse
from router.sandbox.classic.forms import MessageForm, read_form
from router.sandbox.classic.messages import author_of, check_message, write_message
from router.sandbox.classic.paging import page_wire, read_query
from router.sandbox.classic.requests import ask, conversation_of, mark, origin_of, view_of
from router.sandbox.middlewares import STATE, json_response

if TYPE_CHECKING:
    from aiohttp import web

    from router.sandbox.classic.records import ClassicMessageRecord

MESSAGE_NOT_FOUND: Final = 50500
_MESSAGES: Final = "/Conversations/{conversation}/Messages"
_ORDERS: Final = frozenset({"asc", "desc"})
_LAST: Final = 10**20


async def post_message(request: web.Request) -> web.Response:
    """POST Messages."""
    form, view, state = await read_form(request, MessageForm), view_of(request), request.app[STATE]
    check_message(conversation_of(request), form)
    asked = {"ConversationSid": conversation_of(request).id, "Body": form.body, "Author": form.author}
    form = form.model_copy(update=await ask(request, "onMessageAdd", asked))
    conversation = conversation_of(request)
    check_message(conversation, form)
    member = author_of(conversation, form.author) if form.author else None
    message = write_message(state, conversation, form, member, origin_of(request))
    return json_response(message.to_wire(state.options.account_sid, view), 201)


async def list_messages(request: web.Request) -> web.Response:
    """GET Messages, the oldest first unless Order is desc."""
    view, conversation = view_of(request), conversation_of(request)
    account_sid, order = request.app[STATE].options.account_sid, request.query.get("Order", "asc")
    if order not in _ORDERS:
        raise refuse(20001, "Order is asc or desc")
    is_back = order == "desc"
    records = conversation.messages.ordered[::-1] if is_back else conversation.messages.ordered
    url = f"{view.conversation(request.match_info['conversation'])}/Messages"
    query = read_query(request.query, url, "messages", {"Order": request.query.get("Order")})

    def place(message: ClassicMessageRecord) -> str:
        return f"{_LAST - message.moment:020d}" if is_back else mark(message)

    return json_response(page_wire(records, query, place, lambda each: each.to_wire(account_sid, view)))


async def get_message(request: web.Request) -> web.Response:
    """GET Messages/{IM}."""
    view, conversation, sid = view_of(request), conversation_of(request), request.match_info["message"]
    message = conversation.messages.get(sid)
    if message is None:
        path = f"/Conversations/{conversation.id}/Messages/{sid}"
        raise missing(MESSAGE_NOT_FOUND, path, request.app[STATE].options.classic_not_found)
    return json_response(message.to_wire(request.app[STATE].options.account_sid, view))


#: Method, path below a service, handler.
TABLE: Final = (
    ("POST", _MESSAGES, post_message),
    ("GET", _MESSAGES, list_messages),
    ("GET", f"{_MESSAGES}/{{message}}", get_message),
)
