"""Log lines of the processes as happenings of `dev`: what the streams do not tell.

The table has a row for each event that is worth a line of its own words. Of all others warnings and errors are shown
with their reason, so that no outage passes unseen; the rest stays in the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from router.core.timestamps import to_microseconds
from router.dev.happening import Happening, LineKind
from router.dev.known import without_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Fields = Mapping[str, Any]

#: Event sources by the name that people give them.
_SOURCES: Final = {"messaging": "message", "conversations": "callback", "voice": "call", "email": "mail"}
#: Sources of what customers do: what became of it is shown in every case.
_CUSTOMERS: Final = frozenset({"messaging", "voice", "email"})
#: Results of events whose entries are shown.
_PUBLISHED: Final = frozenset({"joined", "updated", "left", "closed"})
#: Results of entries that the shipped consumers have nothing to do for, or whose effect is shown.
_QUIET_RESULTS: Final = frozenset({"ignored", "repeated", "waiting", "offered", "elsewhere"})
#: The result of an entry that became a dead letter, which has a line.
_GIVEN_UP: Final = "given-up"
_JOINS: Final = frozenset({"joined", "adopted"})
_LOUD: Final = frozenset({"warning", "error"})
#: Why somebody could not sign in, by the result of the attempt.
_SIGN_INS: Final = {"wrong": "the name or the password is wrong"}
#: Fields that say why, in the order of their weight.
_REASONS: Final = ("reason", "problem", "error", "message", "note")
_OK: Final = 200


def tell_line(line: bytes) -> Happening | None:
    """Return a log line as a happening, None if there is nothing to show; never raises."""
    try:
        fields: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("event"), str):
        return None
    return _TELLERS.get(fields["event"], _tell_other)(fields)


def _make(fields: Fields, kind: LineKind, who: str, text: str, **more: Any) -> Happening:
    key, conversation = (str(fields.get(name) or "") for name in ("key", "conversation"))
    customer = without_prefix(str(fields.get("address") or ""))
    at = to_microseconds(str(fields.get("time"))) or 0
    event, entry = (str(fields.get(name) or "") for name in ("event_id", "entry"))
    ids = {"event": event, "conversation": conversation, "entry": entry}
    return Happening(at, kind, who, text, customer=customer, key=key, conversation=conversation, ids=ids, **more)


def _tell_webhook(fields: Fields) -> Happening | None:
    source = str(fields.get("source"))
    who, result, reason = _SOURCES.get(source, source), fields.get("result"), fields.get("reason")
    if fields.get("status") != _OK:
        why = f"{result}: {reason}" if reason else str(result)
        return _make(
            fields, LineKind.REFUSED, who, f"answered {fields.get('status')}, {why}", same=f"refused {who} {why}"
        )
    if result == "duplicate":
        key = fields.get("key")
        return _make(fields, LineKind.REPEAT, who, "again: nothing is published twice", same=f"again {key}")
    if result == "spooled":
        text = "is in the spool on disk until Redis takes it"
        return _make(fields, LineKind.WAITS, who, text, same=f"spooled {who}")
    return None


def _tell_event(fields: Fields) -> Happening | None:
    source, result = str(fields.get("source")), str(fields.get("result"))
    if result in _PUBLISHED or fields.get("communication") == "published":
        return None
    text = f"{fields.get('type')}: {result}, because {fields.get('reason')}"
    is_detail = source not in _CUSTOMERS
    return _make(fields, LineKind.NOTE, _SOURCES.get(source, source), text, is_detail=is_detail)


def _tell_waiting(fields: Fields) -> Happening:
    who = str(fields.get("source") or fields.get("group"))
    return _make(fields, LineKind.WAITS, _SOURCES.get(who, who), f"waits: {fields.get('reason')}")


def _tell_failed(fields: Fields) -> Happening:
    who = str(fields.get("source") or fields.get("group"))
    text = f"failed and is tried again: {fields.get('reason')}"
    return _make(fields, LineKind.WAITS, _SOURCES.get(who, who), text)


def _tell_consumed(fields: Fields) -> Happening | None:
    """Show what a consumer did, unless its effect has a line: an answer, a new holder."""
    handler, result, reply = str(fields.get("handler")), str(fields.get("result")), fields.get("reply")
    if result == _GIVEN_UP:
        return None
    is_loud = str(fields.get("level")) in _LOUD
    is_classic = str(fields.get("conversation")).startswith("CH")  # its webhooks tell nothing of what the API sends
    has_effect = result in _JOINS and ((reply == "sent" and not is_classic) or fields.get("agent"))
    is_detail = not is_loud and (result in _QUIET_RESULTS or bool(has_effect))
    words = [result, f"reply: {reply}" if reply else "", str(fields.get("error") or "")]
    text = f"{fields.get('type')}: {', '.join(filter(None, words))}"
    return _make(fields, LineKind.TROUBLE if is_loud else LineKind.NOTE, handler, text, is_detail=is_detail)


def _tell_command_sent(fields: Fields) -> Happening:
    """Show what the API did for a person; a text that was sent has a line, and so has a closed conversation."""
    return _make(fields, LineKind.NOTE, str(fields.get("agent")), str(fields.get("result")), is_detail=True)


def _tell_restart(fields: Fields) -> Happening:
    text = f"ended with status {fields.get('status')}, and is started again"
    return _make(fields, LineKind.TROUBLE, str(fields.get("name")), text)


def _tell_spool_begun(fields: Fields) -> Happening:
    text = f"Redis takes no events, they go to the spool on disk: {fields.get('reason')}"
    return _make(fields, LineKind.TROUBLE, str(fields.get("process")), text)


def _tell_sign_in(fields: Fields) -> Happening | None:
    """Show who could not sign in to the console."""
    if str(fields.get("level")) not in _LOUD:
        return None
    result = str(fields.get("result"))
    text = f"{fields.get('user')} could not sign in: {_SIGN_INS.get(result, result)}"
    return _make(fields, LineKind.TROUBLE, "console", text)


def _tell_redis_failed(fields: Fields) -> Happening:
    return _make(fields, LineKind.TROUBLE, str(fields.get("process")), f"Redis: {fields.get('error')}")


def _well(words: str) -> Callable[[Fields], Happening]:
    """Return a teller for what has become well again."""
    return lambda fields: _make(fields, LineKind.WELL, str(fields.get("process")), words)


def _nothing(_: Fields) -> None:
    """Show nothing: an entry or a dead letter tells it."""


def _tell_other(fields: Fields) -> Happening | None:
    if str(fields.get("level")) not in _LOUD:
        return None
    why = next((str(fields[name]) for name in _REASONS if fields.get(name)), "")
    lane = f" {fields['lane']}" if fields.get("lane") else ""
    text = f"{fields['event']}{lane}{f': {why}' if why else ''}"
    return _make(fields, LineKind.TROUBLE, str(fields.get("process")), text)


_TELLERS: Final[dict[str, Callable[[Fields], Happening | None]]] = {
    "webhook": _tell_webhook,
    "event": _tell_event,
    "event.waiting": _tell_waiting,
    "event.failed": _tell_failed,
    "event.dead": _nothing,
    "consumed": _tell_consumed,
    "command.sent": _tell_command_sent,
    "console.sign_in": _tell_sign_in,
    "process.restarted": _tell_restart,
    "redis.failed": _tell_redis_failed,
    "spool.begun": _tell_spool_begun,
    "spool.drained": _well("all events of the spool are in Redis"),
    "reading.resumed": _well("reads again"),
    "lane.opened": _well("the account and channel work again, and what waited for them goes on"),
    "budget.recovered": _well("events succeed again"),
}
