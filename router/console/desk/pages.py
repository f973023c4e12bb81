"""Pages for people who answer customers: the desk with offers and conversations, one conversation, and their news.

Everybody sees their own offers and conversations. A conversation can be opened by whoever has it, is asked about it, or
has had it, and by operators. What is done there is in router.console.desk.actions.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import ExitStack, aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

from router.console.desk.models import DeskAnswer, OpenConversationAnswer
from router.console.desk.news import ANSWER, CONNECTION, LISTS, OFFER, TRANSCRIPT
from router.console.desk.transcripts import FRESH
from router.console.identity import Way
from router.console.pages import ConsoleError, Live, LiveEvent, Page, Parameter, Role, View
from router.streams.client.connection import RedisError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from router.console.desk.news import Bell, Conversation
    from router.console.desk.reading import OpenedConversation
    from router.console.desk.room import DeskRoom
    from router.console.request import ConsoleRequest

DESK: Final = "desk.html"
CONVERSATION: Final = "desk-conversation.html"
#: Seconds between two updates of one page, however much happens.
PAUSE: Final = 0.3
#: Seconds after a change at which the transcript is read once more: a text of ours has no entry that tells of it, and
#: an AI agent answers some time after the customer has written. The lists are read once more.
_LOOKS: Final = (FRESH + 0.5, 10.0, 30.0)
#: Seconds after which a page connects anew. One that is gone without a word, behind a proxy that does not notice, does
#: not, and the person's presence ends.
CONNECTED: Final = 300.0
#: Seconds for the page to do so, before this connection ends.
_GOODBYE: Final = 10.0
#: The event that asks a page to connect anew.
RECONNECT: Final = "reconnect"
#: What is said on the desk after an action.
DONE: Final[dict[str, str]] = {
    "offer.decline": "Declined. The next person is asked.",
    "conversation.release": "Given back to the AI agent.",
    "conversation.transfer": "Others are asked. You keep the conversation until somebody accepts.",
    "conversation.finish": "The conversation was closed.",
}


def make_form_id() -> str:
    """Return the hidden id of a new form."""
    return secrets.token_hex(16)


def done(text: str) -> dict[str, str]:
    """Return a notice that something was done."""
    return {"kind": "done", "text": text}


def problem(text: str) -> dict[str, str]:
    """Return a notice that something could not be done."""
    return {"kind": "problem", "text": text}


async def read_desk(request: ConsoleRequest, notice: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the data of the desk."""
    own = await request.ports.desk.reader.read_own(request.user, is_unmasked=request.sees_unmasked)
    return own | {"notice": notice, "form": make_form_id()}


async def open_conversation(request: ConsoleRequest, conversation_id: str) -> OpenedConversation:
    """Return a conversation that the caller may open; raises ConsoleError."""
    opened = await request.ports.desk.reader.find(conversation_id)
    if opened is None:
        raise ConsoleError(404, "Nothing is known of this conversation.")
    if request.role is not Role.OPERATOR and not opened.concerns(request.user):
        raise ConsoleError(403, "This conversation is not yours.")
    return opened


async def read_conversation(
    request: ConsoleRequest,
    opened: OpenedConversation,
    *,
    notice: dict[str, str] | None = None,
    draft: dict[str, str] | None = None,
    target: dict[str, str] | None = None,
    form_id: str | None = None,
) -> dict[str, Any]:
    """Return the data of a conversation's page; `draft` and `target`: written and chosen in its forms and not sent."""
    team = request.ports.desk.team
    return await _read_transcript(request, opened) | {
        "is_whole": _asks_for_all(request),
        "notice": notice,
        "draft": {"text": "", "note": ""} | (draft or {}),
        "target": target or {},
        "form": form_id or make_form_id(),
        "people": await request.ports.desk.reader.read_others(request.user),
        "queues": sorted({"default", *team.queues}),
        "skills": sorted({skill for one in team.members.values() for skill in one.skills}),
    }


async def _read_transcript(request: ConsoleRequest, opened: OpenedConversation) -> dict[str, Any]:
    return await request.ports.desk.reader.read_conversation(
        opened, request.user, is_unmasked=request.sees_unmasked, is_whole=_asks_for_all(request)
    )


def _asks_for_all(request: ConsoleRequest) -> bool:
    """Return whether all lines of the transcript are asked for; a page that shows them connects with the same."""
    return "all" in request.query


async def _note_load(request: ConsoleRequest) -> None:
    """Note that a person who loads a page is present, even without JavaScript; a program says so by commands."""
    room = request.ports.desk
    if request.caller.way is not Way.TOKEN and request.user in room.team.members:
        await room.presence.load(request.user)


async def show_desk(request: ConsoleRequest) -> View:
    """Show offers, conversations and presence."""
    await _note_load(request)
    text = DONE.get(request.query.get("done", ""))
    return View(await read_desk(request, done(text) if text else None))


async def show_conversation(request: ConsoleRequest) -> View:
    """Show a conversation with its transcript and the forms to act on it."""
    opened = await open_conversation(request, request.parts["conversation"])
    await _note_load(request)
    text = DONE.get(request.query.get("done", ""))
    return View(await read_conversation(request, opened, notice=done(text) if text else None))


async def follow(request: ConsoleRequest) -> Live:
    """Send the news of the desk, and of one conversation, to a page that is open; while it is, a person is present."""
    conversation_id = request.query.get("conversation")
    opened = await open_conversation(request, conversation_id) if conversation_id else None
    return Live(_Updates(request, opened.name if opened else None).events(), keeps_session=True)


class _Updates:
    """The events of one connected page; what has not changed is not sent again."""

    def __init__(self, request: ConsoleRequest, conversation: Conversation | None) -> None:
        self._request = request
        self._room: DeskRoom = request.ports.desk
        self._conversation = conversation
        self._sent: dict[str, Any] = {}

    async def events(self) -> AsyncGenerator[LiveEvent, None]:
        """Send events until the page is gone."""
        identity = self._request.user
        with ExitStack() as stack:
            if identity in self._room.team.members:
                stack.enter_context(self._room.presence.page(identity))
            bell = stack.enter_context(self._room.news.listen(identity, self._conversation))
            bell.ring(CONNECTION, LISTS, TRANSCRIPT)
            looks: list[float] = []
            untold: set[str] = set()
            ends_at = time.monotonic() + CONNECTED
            while (now := time.monotonic()) < ends_at:
                changed = await _wait(bell, min([ends_at, *looks]) - now)
                if changed & {TRANSCRIPT, LISTS}:
                    looks = self._plan_looks()
                elif not changed:
                    looks = looks[1:]
                untold |= changed or {TRANSCRIPT, LISTS}
                try:
                    async with aclosing(self._make(bell, untold)) as events:
                        async for event in events:
                            yield event
                except (RedisError, OSError):
                    looks = looks or self._plan_looks()  # the hub tells that Redis is away; it may be back by then
                await asyncio.sleep(PAUSE)
            yield LiveEvent({"word": RECONNECT}, name=RECONNECT, template="desk-word.html")
            await asyncio.sleep(_GOODBYE)

    def _plan_looks(self) -> list[float]:
        now = time.monotonic()
        return [now + one for one in (_LOOKS if self._conversation else _LOOKS[:1])]

    async def _make(self, bell: Bell, names: set[str]) -> AsyncGenerator[LiveEvent, None]:
        """Make the events of names and take these away one by one: a read that fails leaves those that were not told.

        What needs no read comes first.
        """
        if CONNECTION in names:
            state = "up" if self._request.ports.hub.is_up else "down"
            yield LiveEvent({"word": state}, name=CONNECTION, template="desk-word.html")
        if OFFER in names:
            yield LiveEvent({"word": "offer"}, name=OFFER, template="desk-word.html")
        while bell.late:
            yield LiveEvent(bell.late.pop(0), name=ANSWER, template="desk-answer.html")
        names -= {CONNECTION, OFFER, ANSWER}
        failure: Exception | None = None
        for name, read in ((TRANSCRIPT, self._read_transcript), (LISTS, self._read_lists)):
            if name not in names:
                continue
            try:
                events = await read()
            except (RedisError, OSError) as error:  # the other one may be in another partition, which is there
                failure = error
                continue
            for event in events:
                yield event
            names.discard(name)
        if failure is not None:
            raise failure

    async def _read_lists(self) -> list[LiveEvent]:
        return self._news(LISTS, "desk-lists.html", await read_desk(self._request))

    async def _read_transcript(self) -> list[LiveEvent]:
        """Return the transcript of a page that shows one; nothing if nothing is known of the conversation any more."""
        if self._conversation is None:
            return []
        try:
            opened = await open_conversation(self._request, self._conversation[1])
            shown = await _read_transcript(self._request, opened)
        except ConsoleError:
            return []
        return self._news(TRANSCRIPT, "desk-transcript.html", shown)

    def _news(self, name: str, template: str, data: dict[str, Any]) -> list[LiveEvent]:
        """Return an event unless the page shows the same already."""
        seen = {key: one for key, one in data.items() if key != "form"}
        seen["offers"] = [{**one, "seconds_left": None} for one in data.get("offers", ())]
        if self._sent.get(name) == seen:
            return []
        self._sent[name] = seen
        return [LiveEvent(data, name=name, template=template)]


async def _wait(bell: Bell, seconds: float) -> set[str]:
    """Return the names of what has changed, none if nothing has within so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await bell.wait()
    return set()


_DONE_PARAMETER: Final = Parameter("done", "what was just done, for the notice on the page")
_ALL_PARAMETER: Final = Parameter("all", "all lines of the transcript, and not only the newest")
PAGES: Final = (
    Page(
        "GET",
        "/desk",
        show_desk,
        Role.AGENT,
        "Desk",
        DESK,
        navigation="Desk",
        query=(_DONE_PARAMETER,),
        answer=DeskAnswer,
    ),
    Page(
        "GET",
        "/desk/events",
        follow,
        Role.AGENT,
        "News of the desk",
        is_live=True,
        query=(Parameter("conversation", "also the news of this conversation"), _ALL_PARAMETER),
    ),
    Page(
        "GET",
        "/desk/conversations/{conversation}",
        show_conversation,
        Role.AGENT,
        "Conversation",
        CONVERSATION,
        query=(_DONE_PARAMETER, _ALL_PARAMETER),
        answer=OpenConversationAnswer,
    ),
)
