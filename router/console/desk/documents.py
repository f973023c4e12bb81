"""`POST /v1/commands`: a command as a program sends it, written to the commands stream of its conversation.

The body is the CloudEvent that the stream has (docs/handoff.md), as JSON. It is checked as the worker checks it, so
that a program hears at once what would become a dead letter. 202 says that the command is on the stream; what it does,
or that it is refused, is told by entries, as for every other command.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from router.console.desk.models import CommandAccepted, CommandDocument
from router.console.pages import ConsoleError, Page, Role, View
from router.core.errors import UnusableError
from router.core.formats import OtherFormatError
from router.core.printable import masked_key
from router.core.routing.commands import (
    Command,
    CommandError,
    HolderCommand,
    OfferCommand,
    PresenceCommand,
    read_command,
)

if TYPE_CHECKING:
    from router.console.desk.room import DeskRoom
    from router.console.request import ConsoleRequest

#: What `curl -d` says of every document.
_OF_CURL: Final = "application/x-www-form-urlencoded"
TYPES: Final = frozenset({"application/json", "application/cloudevents+json"})


async def submit(request: ConsoleRequest) -> View:
    """Write a command; raises ConsoleError."""
    body = await request.raw.read()
    if request.raw.content_type not in {*TYPES, _OF_CURL}:
        raise ConsoleError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The content type must be {' or '.join(sorted(TYPES))}.")
    room = request.ports.desk
    try:
        command = read_command({b"command": body}, room.sealer)
        problems = find_problems(command, room)
    except CommandError as error:
        problems = error.problems
    except (UnusableError, OtherFormatError) as error:  # the latter: sealed with a key that is not here
        problems = (str(error),)
    if problems:
        request.note("commands", "unreadable")
        return View({"error": "This is no command.", "problems": list(problems)}, HTTPStatus.BAD_REQUEST)
    check_caller(request, command)
    request.note(command.subject or "presence", command.type)
    partition = await room.sender.write(command)
    return View({"id": command.id, "partition": partition}, HTTPStatus.ACCEPTED)


def find_problems(command: Command, room: DeskRoom) -> tuple[str, ...]:
    """Return why the worker would make a dead letter of a command that can be read."""
    data, problems = command.data, []
    account = data.account
    if isinstance(data, OfferCommand):
        home = data.home
        if home is None:
            problems.append("offer: is no offer's id")
        elif data.account not in {None, home[0]}:
            problems.append("account: is not that of the offer")
        account = home[0] if home else account
    if account is not None and account not in room.accounts:
        problems.append(f"account: {masked_key(account[:40])} is not configured here")
    if isinstance(data, PresenceCommand) and data.agent not in room.team.members:
        problems.append("agent: is not in the roster")
    return tuple(problems)


def check_caller(request: ConsoleRequest, command: Command) -> None:
    """Raise ConsoleError unless the caller may send a command: agents only in their own name, operators any."""
    if request.role is Role.OPERATOR:
        return
    data = command.data
    if not isinstance(data, HolderCommand | OfferCommand | PresenceCommand):
        raise ConsoleError(HTTPStatus.FORBIDDEN, f"{command.type} is for the role operator.")
    if data.agent != request.user:
        raise ConsoleError(HTTPStatus.FORBIDDEN, "The role agent may act for its own agent only.")


PAGES: Final = (
    Page(
        "POST",
        "/v1/commands",
        submit,
        Role.AGENT,
        "Commands",
        body=CommandDocument,
        answer=CommandAccepted,
        checks_body=True,
        other_statuses=(202,),
    ),
)
