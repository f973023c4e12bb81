"""Commands of agents and programs: the documents of the commands stream, checked.

An entry has the fields `type`, `id` and `command`, a CloudEvent whose `type` is the command's with the prefix
`command.`, and whose `data` has the shapes below. docs/handoff.md has the table.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from router.core.errors import UnusableError
from router.core.lenient_json import is_deeper, parse_json
from router.core.policy import MAX_PRIORITY
from router.core.printable import masked_key
from router.core.routing.holding import MAX_CONTEXT, MAX_DEPTH, MAX_SUMMARY, measure_context
from router.core.sealed_texts import COMMAND as SEALED_COMMAND
from router.core.sealed_texts import SEALED, open_texts, seal_document
from router.core.sealing import NO_KEYS, SealedKind
from router.core.values import Value, replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.core.sealing import Sealer

#: Begins the type of a command's CloudEvent.
PREFIX: Final = "command."
#: Seconds of presence that a command without `life` gives, and the most.
LIFE: Final = 60
MAX_LIFE: Final = 86_400
#: Characters of a text to the customer: what Twilio takes of a message body.
#: https://www.twilio.com/docs/messaging/api/message-resource
MAX_TEXT: Final = 1600
_MAX_ID: Final = 255

Name = Annotated[str, StringConstraints(min_length=1, max_length=_MAX_ID)]
Skills = Annotated[tuple[Name, ...], Field(max_length=50)]
Epoch = Annotated[int, Field(ge=0, le=1 << 53)]


class CommandData(BaseModel):
    """The data that all commands may have; without `account` the default account is meant."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    account: Name | None = None


class ConversationCommand(CommandData):
    """A command about a conversation."""

    conversation: Name


class HolderCommand(ConversationCommand):
    """A command of the agent who holds, in the epoch that they know."""

    agent: Name
    epoch: Epoch


class RequestHandoff(ConversationCommand):
    """`handoff.request`."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SUMMARY)]
    summary: Annotated[str, StringConstraints(max_length=MAX_SUMMARY)] | None = None
    context: dict[str, Any] | None = None
    skills: Annotated[Skills, Field(strict=False)] = ()
    agent: Name | None = None
    queue: Name | None = None
    priority: Annotated[int, Field(ge=0, le=MAX_PRIORITY)] = 0
    epoch: Epoch | None = None


class OfferCommand(CommandData):
    """`offer.accept` and `offer.decline`."""

    offer: Name
    agent: Name

    @property
    def home(self) -> tuple[str, str] | None:
        """The account and the conversation that an offer's id names; None if it is no such id."""
        account, slash, rest = self.offer.partition("/")
        conversation, _, number = rest.rpartition("/")
        return (account, conversation) if slash and conversation and number else None


class Say(HolderCommand):
    """`conversation.say`."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]


class ReleaseConversation(HolderCommand):
    """`conversation.release`."""

    note: Annotated[str, StringConstraints(max_length=MAX_SUMMARY)] | None = None


class TransferTo(BaseModel):
    """The destination of a transfer: an agent, a queue, or anybody with the skills."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    agent: Name | None = None
    queue: Name | None = None
    skills: Annotated[Skills, Field(strict=False)] = ()


class TransferConversation(HolderCommand):
    """`conversation.transfer`."""

    to: TransferTo
    note: Annotated[str, StringConstraints(max_length=MAX_SUMMARY)] | None = None


class Finish(HolderCommand):
    """`conversation.finish`."""


class PresenceCommand(CommandData):
    """`agent.available`, `agent.away` and `agent.offline`; presence lapses after `life` seconds."""

    agent: Name
    life: Annotated[int, Field(ge=1, le=MAX_LIFE)] = LIFE
    skills: Annotated[Skills, Field(strict=False)] | None = None
    channels: Annotated[tuple[Name, ...], Field(strict=False, max_length=20)] | None = None


COMMANDS: Final[dict[str, type[CommandData]]] = {
    "handoff.request": RequestHandoff,
    "offer.accept": OfferCommand,
    "offer.decline": OfferCommand,
    "conversation.say": Say,
    "conversation.release": ReleaseConversation,
    "conversation.transfer": TransferConversation,
    "conversation.finish": Finish,
    "agent.available": PresenceCommand,
    "agent.away": PresenceCommand,
    "agent.offline": PresenceCommand,
}
DataT = TypeVar("DataT", bound=CommandData)


class CommandError(UnusableError):
    """A command with several mistakes; `problems` lists them, and the text has all of them after `begin`."""

    def __init__(self, begin: str, problems: tuple[str, ...]) -> None:
        super().__init__(f"{begin}{'; '.join(problems)}")
        self.problems = problems


class Command(Value):
    """A command that was read: `raw` is its data as it came, for the answer to a refused one.

    `sealed`: its private values, in whose places are placeholders as long as they are not opened.
    """

    type: str
    id: str
    data: CommandData
    raw: dict[str, Any]
    sealed: Any = None

    @property
    def subject(self) -> str:
        """Return the conversation, within which order is kept and which decides the partition; empty for presence."""
        if isinstance(self.data, ConversationCommand):
            return self.data.conversation
        if isinstance(self.data, OfferCommand):
            home = self.data.home
            return home[1] if home else ""
        return ""


def write_command(
    kind: str, command_id: str, data: dict[str, Any], *, source: str, sealer: Sealer = NO_KEYS
) -> dict[str, str]:
    """Return the fields of an entry; `source` is a URI reference that names the sender.

    With keys, `sealer` seals texts and context.
    """
    document: dict[str, Any] = {
        "specversion": "1.0",
        "id": command_id,
        "type": PREFIX + kind,
        "source": source,
        "datacontenttype": "application/json",
        "data": data,
    }
    if sealer.has_keys:
        document = seal_document(document, SEALED_COMMAND, sealer, SealedKind.COMMAND)
    return {"type": kind, "id": command_id, "command": json.dumps(document)}


def read_command(fields: Mapping[bytes, bytes], sealer: Sealer = NO_KEYS) -> Command:
    """Read the fields of an entry; raises UnusableError, which says what is wrong with them.

    Raises SealedError if `sealer` lacks the key of a sealed one.
    """
    command = read_closed(fields)
    if command.sealed is None:
        return command
    raw = open_texts(command.sealed, command.raw, sealer, SealedKind.COMMAND)
    return replace(command, data=check_data(command.type, raw), raw=raw, sealed=None)


def read_closed(fields: Mapping[bytes, bytes]) -> Command:
    """Read the fields of an entry without opening it, for ids and types; raises UnusableError."""
    return _read(fields.get(b"command", b""), _text(fields, b"type"), _text(fields, b"id"))


@lru_cache(maxsize=256)  # an entry is read for its order, and again when its turn has come
def _read(text: bytes, given_kind: str, given_id: str) -> Command:
    try:
        document = parse_json(text)
    except ValueError as error:
        raise UnusableError(f"the field 'command' is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("data"), dict):
        raise UnusableError("the field 'command' is not a CloudEvent with an object as data")
    kind = given_kind or str(document.get("type", "")).removeprefix(PREFIX)
    _check_kind(kind)
    named = document.get("type")
    if named is not None and named not in {kind, PREFIX + kind}:
        raise UnusableError(f"the entry's type is '{kind}' and its CloudEvent's '{masked_key(str(named)[:80])}'")
    command_id = given_id or document.get("id")
    raw = document["data"]
    if is_deeper(raw, MAX_DEPTH + 1):  # the answer to a refused command has all of it
        raise UnusableError(f"{kind}: data is nested deeper than {MAX_DEPTH + 1} levels")
    if not isinstance(command_id, str) or not 0 < len(command_id) <= _MAX_ID:
        wrong = f"a command needs an id of 1 to {_MAX_ID} characters"
        raise CommandError("", (wrong, *_problems_of(kind, raw)))
    return Command(kind, command_id, check_data(kind, raw), raw, document.get(SEALED))


def _problems_of(kind: str, raw: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        check_data(kind, raw)
    except CommandError as error:
        return error.problems
    except UnusableError as error:
        return (str(error),)
    return ()


def check_data(kind: str, raw: Mapping[str, Any]) -> CommandData:
    """Return the data of a command, checked; raises UnusableError, which says what is wrong with it."""
    _check_kind(kind)
    try:
        data = COMMANDS[kind].model_validate(raw)
    except ValidationError as error:
        raise CommandError(f"{kind}: ", _describe(error)) from error
    if isinstance(data, RequestHandoff) and data.context is not None:
        size = measure_context(data.context)
        if size is None:
            raise UnusableError(f"{kind}: context: is nested deeper than {MAX_DEPTH} levels")
        if size > MAX_CONTEXT:
            raise UnusableError(f"{kind}: context: has {size} bytes of JSON, {MAX_CONTEXT} are allowed")
    return data


def _check_kind(kind: str) -> None:
    if kind not in COMMANDS:
        raise UnusableError(f"'{masked_key(kind[:80])}' is not a command (known: {', '.join(COMMANDS)})")


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode("utf-8", "replace")


def _describe(error: ValidationError) -> tuple[str, ...]:
    """Describe the fault of each field, without the values, which may be a customer's."""
    return tuple(
        f"{'.'.join(map(str, one['loc'])) or 'data'}: {one['msg']}"
        for one in error.errors(include_url=False, include_input=False)
    )
