"""Actions of people at the desk: answer offers, reply, pass on, give back, finish, and say that they are away.

Each is a command, as any program sends it (docs/handoff.md). A page waits a moment for the answer: what was done leads
on, what was refused is shown with its reason beside what was written, and what nobody has answered yet can be sent
again without being done twice.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ValidationError

from router.console.desk.models import (
    ActionForm,
    DeskForm,
    NoteForm,
    OfferForm,
    PresenceForm,
    PresenceView,
    ReplyForm,
    SentView,
    TransferForm,
)
from router.console.desk.pages import (
    CONVERSATION,
    DESK,
    make_form_id,
    open_conversation,
    problem,
    read_conversation,
    read_desk,
)
from router.console.desk.sending import make_command_id
from router.console.pages import ConsoleError, Page, Redirect, Role, View
from router.core.errors import UnusableError
from router.core.routing.command_answers import CommandAnswer, CommandState
from router.core.routing.commands import OfferCommand
from router.core.routing.wishes import own_agent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.console.pages import Answer
    from router.console.request import ConsoleRequest

KEPT: Final = "desk-kept.html"
_UNSURE: Final = "Redis has not confirmed it. Send it again in a moment: it is done once, however often you send it."
_SIGNED_OUT: Final = "You are signed out. Sign in in another tab of this browser, and then send it from here again."
_SIGNED_IN: Final = "You have signed in anew. Press Try again once more."
#: What is said of what has failed before the handler.
_REASONS: Final[dict[int, str]] = {HTTPStatus.UNAUTHORIZED: _SIGNED_OUT, HTTPStatus.SERVICE_UNAVAILABLE: _UNSURE}
_UNKNOWN: Final = "Nothing is known of this conversation any more."
_STATUSES: Final = {CommandState.REFUSED: HTTPStatus.CONFLICT, CommandState.PENDING: HTTPStatus.ACCEPTED}
_FormT = TypeVar("_FormT", bound=DeskForm)
#: The fields that people write, which a refused form keeps.
_WRITTEN: Final = ("text", "note")
#: Problems that people cause, by the type that pydantic gives them; its words are for all others.
_PROBLEMS: Final = {"string_too_short": "it is empty"}
#: The fields that say to whom it is passed on.
_TARGET: Final = ("agent", "queue", "skills")


async def _read(request: ConsoleRequest, model: type[_FormT]) -> _FormT:
    """Return the form, checked; raises ConsoleError with every problem of it."""
    given = await request.form()
    fields = {name: _as_written(one) for name, one in given.items()}
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise ConsoleError(HTTPStatus.BAD_REQUEST, describe_problems(error)) from error


def describe_problems(error: ValidationError) -> str:
    """Return the problem of each field, without its text, which may be a customer's."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    words = [(".".join(map(str, one["loc"])) or "form", _PROBLEMS.get(one["type"], one["msg"])) for one in found]
    return " ".join(f"{field}: {problem}." for field, problem in words)


def _as_written(given: Any) -> Any:
    """Return a field with the line ends that people meant: browsers send CR and LF."""
    return given.replace("\r\n", "\n").strip() if isinstance(given, str) else given


async def _send(request: ConsoleRequest, kind: str, data: Mapping[str, Any], form_id: str) -> CommandAnswer:
    """Send a command of the caller, and note it for the audit stream."""
    command_id = make_command_id(request.user, kind, data, form_id or make_form_id())
    about = str(data.get("conversation") or data.get("offer"))
    request.note(about, kind)
    try:
        answer = await request.ports.desk.sender.send(request.user, kind, command_id, data)
    except UnusableError as error:  # a text of characters that no command may have
        raise ConsoleError(HTTPStatus.BAD_REQUEST, str(error)) from error
    request.note(about, f"{kind} {answer.why or answer.state}")
    return answer


async def answer_offer(request: ConsoleRequest) -> Answer:
    """Accept or decline an offer."""
    form = await _read(request, OfferForm)
    kind = f"offer.{form.answer}"
    data = {"offer": form.offer, "agent": request.user}
    answer = await _send(request, kind, data, form.form)
    home = OfferCommand(**data).home
    shown = {"answer": answer.to_json()}
    is_done = answer.state is CommandState.DONE
    if is_done and kind == "offer.decline":
        return Redirect(f"/desk?done={kind}", shown)
    if home is not None and kind == "offer.accept" and (is_done or await _is_own(request, home[1])):
        return Redirect(f"/desk/conversations/{home[1]}", shown)
    data = await read_desk(request, problem(answer.explanation)) | shown | _error(answer)
    return View(data, _STATUSES[answer.state], DESK)


async def _is_own(request: ConsoleRequest, conversation_id: str) -> bool:
    """Return whether the caller has a conversation, as far as it can be read."""
    with suppress(ConsoleError):
        opened = await request.ports.desk.reader.find(conversation_id)
        return opened is not None and own_agent(opened.holding) == request.user
    return False


def _error(answer: CommandAnswer) -> dict[str, str]:
    """Return why something was refused, as all errors say it to programs; nothing if it was not."""
    return {"error": answer.explanation} if answer.state is CommandState.REFUSED else {}


async def reply(request: ConsoleRequest) -> Answer:
    """Send a text to the customer."""
    return await _act(request, "conversation.say", ReplyForm, lambda form: {"text": form.text})


async def release(request: ConsoleRequest) -> Answer:
    """Give the conversation back to the AI agent."""
    return await _act(request, "conversation.release", NoteForm, lambda form: {"note": form.note or None})


async def transfer(request: ConsoleRequest) -> Answer:
    """Ask others to take the conversation."""
    return await _act(request, "conversation.transfer", TransferForm, _transfer_data)


def _transfer_data(form: TransferForm) -> dict[str, Any]:
    skills = form.skills.replace(",", " ").split()
    to = {"agent": form.agent, "queue": form.queue, "skills": skills}
    return {"to": {name: one for name, one in to.items() if one}, "note": form.note or None}


async def finish(request: ConsoleRequest) -> Answer:
    """Close the conversation."""
    return await _act(request, "conversation.finish", ActionForm, lambda _: {})


async def _act(
    request: ConsoleRequest, kind: str, model: type[_FormT], data_of: Callable[[_FormT], dict[str, Any]]
) -> Answer:
    """Do something in the conversation of the path; what is refused keeps what was written (all else: `_keep`)."""
    attempt = _Attempt(request, kind, await request.form())
    try:
        form = await _read(request, model)
        opened = await request.ports.desk.reader.find(attempt.conversation_id)
        if opened is None:
            return attempt.keep(HTTPStatus.NOT_FOUND, _UNKNOWN)
        account_id, conversation_id = opened.name
        about = {"account": account_id, "conversation": conversation_id, "agent": request.user}
        data = {**about, "epoch": form.model_dump()["epoch"], **data_of(form)}
        answer = await _send(request, kind, data, form.form)
        if answer.state is CommandState.DONE:
            request.ports.desk.note_said(opened.name)
            return Redirect(_AFTER[kind].format(conversation=conversation_id), {"answer": answer.to_json()})
        return await attempt.show(answer)
    except ConsoleError as error:
        return attempt.keep(error.status, error.message)


class _Attempt:
    """Something that was tried in a conversation, with what was written for it."""

    def __init__(self, request: ConsoleRequest, kind: str, given: Mapping[str, Any]) -> None:
        self._request = request
        self._kind = kind
        self._form_id = str(given.get("form") or "")
        self._epoch = str(given.get("epoch") or "")
        self._draft = {name: str(given.get(name) or "") for name in _WRITTEN}
        self._target = {name: str(given[name]) for name in _TARGET if given.get(name)}
        self.conversation_id = request.parts["conversation"]

    @property
    def is_filled_in(self) -> bool:
        """Whether anything was written or chosen."""
        return any(self._draft.values()) or bool(self._target)

    async def show(self, answer: CommandAnswer) -> View:
        """Show the conversation as it is now, with why it was refused, or that nobody has answered, and the draft.

        A form that was not answered keeps its id: sent again, it is the same command.
        """
        status = _STATUSES[answer.state]
        is_pending = answer.state is CommandState.PENDING
        try:
            opened = await open_conversation(self._request, self.conversation_id)
        except ConsoleError:  # it is somebody else's by now
            return self.keep(status, answer.explanation, answer)
        data = await read_conversation(
            self._request,
            opened,
            notice=problem(answer.explanation),
            draft=self._draft,
            target=self._target,
            form_id=self._form_id if is_pending else None,
        )
        return View(data | {"answer": answer.to_json()} | _error(answer), status, CONVERSATION)

    def keep(self, status: int, text: str, answer: CommandAnswer | None = None, *, csrf: str = "") -> View:
        """Show what was written and why it was not sent, without the conversation.

        `csrf` is the token of the form itself, for a caller who is not known.
        """
        data = {
            "notice": problem(text),
            "draft": self._draft,
            "form": self._form_id or make_form_id(),
            "epoch": self._epoch,
            "conversation": self.conversation_id,
            "action": _NAMES[self._kind],
            "target": self._target,
            "answer": answer.to_json() if answer else None,
        }
        error = {"error": text} if status >= HTTPStatus.BAD_REQUEST else {}
        return View(data | error, status, KEPT, extra={"csrf": csrf})


async def _keep(kind: str, request: ConsoleRequest, status: int, reason: str) -> View:
    """Show what was written, after something has failed outside of the handler; raises ConsoleError if nothing was."""
    attempt = _Attempt(request, kind, await request.form())
    if not attempt.is_filled_in:
        raise ConsoleError(status, reason)
    is_of_session_before = status == HTTPStatus.FORBIDDEN and bool(request.user)  # by the form's CSRF token
    text = _SIGNED_IN if is_of_session_before else _REASONS.get(status, reason)
    return attempt.keep(status, text, csrf=await request.given_csrf())


async def set_presence(request: ConsoleRequest) -> Answer:
    """Say that the caller is away, or back."""
    form, room = await _read(request, PresenceForm), request.ports.desk
    if request.user not in room.team.members:
        raise ConsoleError(HTTPStatus.FORBIDDEN, "You are not in the roster (config/roster.toml).")
    request.note(request.user, form.state)
    await room.presence.set_away(request.user, is_away=form.state == "away")
    return Redirect("/desk", {"state": form.state})


#: Where each action leads once it is done.
_AFTER: Final[dict[str, str]] = {
    "conversation.say": "/desk/conversations/{conversation}#reply",
    "conversation.release": "/desk?done=conversation.release",
    "conversation.transfer": "/desk/conversations/{conversation}?done=conversation.transfer",
    "conversation.finish": "/desk?done=conversation.finish",
}
_ACTIONS: Final = {
    "conversation.say": ("reply", reply, ReplyForm, "Reply"),
    "conversation.release": ("release", release, NoteForm, "Give back"),
    "conversation.transfer": ("transfer", transfer, TransferForm, "Pass on"),
    "conversation.finish": ("finish", finish, ActionForm, "Finish"),
}
_NAMES: Final = {kind: name for kind, (name, *_) in _ACTIONS.items()}

PAGES: Final = (
    Page(
        "POST",
        "/desk/offers",
        answer_offer,
        Role.AGENT,
        "Desk",
        DESK,
        body=OfferForm,
        answer=SentView,
        other_statuses=(202,),
    ),
    Page("POST", "/desk/presence", set_presence, Role.AGENT, "Desk", DESK, body=PresenceForm, answer=PresenceView),
    *(
        Page(
            "POST",
            f"/desk/conversations/{{conversation}}/{name}",
            handler,
            Role.AGENT,
            title,
            CONVERSATION,
            body=form,
            answer=SentView,
            checks_body=True,
            keep=partial(_keep, kind),
            other_statuses=(202,),
        )
        for kind, (name, handler, form, title) in _ACTIONS.items()
    ),
)
