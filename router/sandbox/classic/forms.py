"""Request forms of the classic API as frozen models: CamelCase names, parts of an object after a dot.

Unknown fields are ignored. Lengths and formats are checked here, each with its code; members checks whether a member
fits into its conversation. (No `from __future__ import annotations`: pydantic evaluates them.)
"""

import re
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router.core.errors import UnreadableError
from router.core.lenient_json import load_json
from router.core.signing.form import parse_form
from router.core.timestamps import to_microseconds
from router.sandbox.bodies import MAX_COUNT, refuse_body
from router.sandbox.classic.errors import refuse
from router.sandbox.errors import RefusalError, invalid

if TYPE_CHECKING:
    from aiohttp import web

MAX_NAME: Final = 256
MAX_MEMBER_ATTRIBUTES: Final = 4 * 1024
MAX_CONVERSATION_ATTRIBUTES: Final = 16 * 1024
#: As a field's value it removes the present one.
NULL: Final = "null"
_FORM: Final = "application/x-www-form-urlencoded"
_NUMBER: Final = r"(\d{1,10})"
_DURATION: Final = re.compile(rf"P(?:{_NUMBER}D)?(?:T(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?", re.ASCII)
#: The longest timer, in seconds: 36,500 days.
_MAX_DURATION: Final = 36_500 * 86_400
_MEDIA_SID: Final = re.compile(r"ME[0-9a-fA-F]{32}")
_CONTENT_SID: Final = re.compile(r"HX[0-9a-fA-F]{32}")
_MAX_VARIABLES: Final = 100
_MAX_VARIABLE_NAME: Final = 16
_SECONDS: Final = (86_400, 3_600, 60, 1)


class FormBody(BaseModel):
    """A form of the classic API."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    #: The parameters that may be repeated, each of which is a list; of others the first one counts.
    REPEATED: ClassVar[frozenset[str]] = frozenset()


class MemberForm(FormBody):
    """The form that creates or updates a Participant; an update ignores the address."""

    identity: str | None = Field(default=None, alias="Identity")
    address: str | None = Field(default=None, alias="MessagingBinding.Address")
    proxy_address: str | None = Field(default=None, alias="MessagingBinding.ProxyAddress")
    projected_address: str | None = Field(default=None, alias="MessagingBinding.ProjectedAddress")
    attributes: str | None = Field(default=None, alias="Attributes")
    role_sid: str | None = Field(default=None, alias="RoleSid", pattern=r"^RL[0-9a-fA-F]{32}$")
    date_created: str | None = Field(default=None, alias="DateCreated")
    date_updated: str | None = Field(default=None, alias="DateUpdated")
    last_read_message_index: str | None = Field(
        default=None, alias="LastReadMessageIndex", pattern=r"^([0-9]{1,10}|null)$"
    )
    last_read_timestamp: str | None = Field(default=None, alias="LastReadTimestamp")


class ConversationForm(FormBody):
    """The form that creates or updates a conversation."""

    friendly_name: str | None = Field(default=None, alias="FriendlyName", max_length=MAX_NAME)
    unique_name: str | None = Field(default=None, alias="UniqueName", max_length=MAX_NAME)
    attributes: str | None = Field(default=None, alias="Attributes")
    messaging_service_sid: str | None = Field(default=None, alias="MessagingServiceSid", pattern=r"^MG[0-9a-fA-F]{32}$")
    state: str | None = Field(default=None, alias="State", pattern=r"^(active|inactive|closed)$")
    inactive: str | None = Field(default=None, alias="Timers.Inactive")
    closed: str | None = Field(default=None, alias="Timers.Closed")
    date_created: str | None = Field(default=None, alias="DateCreated")
    date_updated: str | None = Field(default=None, alias="DateUpdated")
    email_address: str | None = Field(default=None, alias="Bindings.Email.Address")
    email_name: str | None = Field(default=None, alias="Bindings.Email.Name")


class MessageForm(FormBody):
    """The form that creates or updates a message; an update ignores media and content."""

    body: str | None = Field(default=None, alias="Body")
    author: str | None = Field(default=None, alias="Author", max_length=MAX_NAME)
    attributes: str | None = Field(default=None, alias="Attributes")
    media_sid: str | None = Field(default=None, alias="MediaSid")
    content_sid: str | None = Field(default=None, alias="ContentSid")
    content_variables: str | None = Field(default=None, alias="ContentVariables")
    subject: str | None = Field(default=None, alias="Subject", max_length=MAX_NAME)
    date_created: str | None = Field(default=None, alias="DateCreated")
    date_updated: str | None = Field(default=None, alias="DateUpdated")


class ScopedWebhookForm(FormBody):
    """The form that creates or updates a webhook of a conversation; an update ignores target and replay."""

    REPEATED: ClassVar = frozenset({"Configuration.Filters", "Configuration.Triggers"})

    target: str | None = Field(default=None, alias="Target")
    url: str | None = Field(default=None, alias="Configuration.Url")
    method: str | None = Field(default=None, alias="Configuration.Method", pattern=r"^(?i:get|post)$")
    filters: tuple[str, ...] | None = Field(default=None, alias="Configuration.Filters")
    triggers: tuple[str, ...] | None = Field(default=None, alias="Configuration.Triggers")
    flow_sid: str | None = Field(default=None, alias="Configuration.FlowSid")
    replay_after: str | None = Field(default=None, alias="Configuration.ReplayAfter", pattern=r"^[0-9]{1,10}$")


class ServiceWebhooksForm(FormBody):
    """The form that updates the webhooks of the service or account."""

    REPEATED: ClassVar = frozenset({"Filters"})

    method: str | None = Field(default=None, alias="Method", pattern=r"^(?i:get|post)$")
    filters: tuple[str, ...] | None = Field(default=None, alias="Filters")
    pre_webhook_url: str | None = Field(default=None, alias="PreWebhookUrl")
    post_webhook_url: str | None = Field(default=None, alias="PostWebhookUrl")
    target: str | None = Field(default=None, alias="Target", pattern=r"^(webhook|flex)$")


F = TypeVar("F", bound=FormBody)


async def read_form(request: "web.Request", model: type[F]) -> F:
    """Read the form of `request`; raises RefusalError, 415 for another Content-Type, 400 for a wrong field."""
    raw = await request.read()
    if raw and request.content_type != _FORM:
        raise RefusalError(415, f"Content-Type {request.content_type} is not supported, use {_FORM}")
    fields: dict[str, str | list[str]] = {}
    try:
        for raw_name, raw_value in parse_form(raw):
            name, value = raw_name.decode(), raw_value.decode()
            if name in model.REPEATED:
                fields[name] = [*fields.get(name, ()), value]
            else:
                fields.setdefault(name, value)
        return model.model_validate(fields)
    except (UnicodeDecodeError, UnreadableError) as error:
        raise invalid("body", "is not a form in UTF-8") from error
    except ValidationError as error:
        raise refuse_body(error) from error


def check_attributes(text: str | None, limit: int) -> None:
    """Raise RefusalError for attributes that are too long (50303) or not JSON (50304)."""
    if text is None:
        return
    if len(text.encode()) > limit:
        raise refuse(50303, f"Attributes are over {limit} bytes")
    try:
        load_json(orjson.loads, text)
    except orjson.JSONDecodeError as error:
        raise refuse(50304, "Attributes are not valid JSON") from error


def check_media(media_sid: str | None, content_sid: str | None, variables: str | None) -> None:
    """Raise RefusalError for SIDs in another form (50510, 50526), and for wrong variables of the content."""
    if media_sid and not _MEDIA_SID.fullmatch(media_sid):
        raise refuse(50510, "MediaSid is not the SID of a medium")
    if content_sid and not _CONTENT_SID.fullmatch(content_sid):
        raise refuse(50526, "ContentSid is not the SID of a content template")
    if not variables:
        return
    try:
        values = load_json(orjson.loads, variables)
    except orjson.JSONDecodeError as error:
        raise refuse(50527, "ContentVariables are not valid JSON") from error
    if not isinstance(values, dict):
        raise refuse(50527, "ContentVariables are not a JSON object")
    if len(values) > _MAX_VARIABLES:
        raise refuse(50529, f"ContentVariables has over {_MAX_VARIABLES} variables")
    if any(len(name) > _MAX_VARIABLE_NAME for name in values):
        raise refuse(50540, f"The name of a content variable is over {_MAX_VARIABLE_NAME} characters")
    if any(len(str(value)) > MAX_NAME for value in values.values()):
        raise refuse(50541, f"The value of a content variable is over {MAX_NAME} characters")


def check_identity(identity: str | None) -> None:
    """Raise RefusalError for an identity that is too long (50207) or blank (50211)."""
    if identity is not None and len(identity) > MAX_NAME:
        raise refuse(50207, f"Identity is over {MAX_NAME} characters")
    if identity is not None and not identity.strip():
        raise refuse(50211, "Identity is not acceptable")


def read_duration(text: str, minimum: int, code: int) -> int | None:
    """Return an ISO 8601 duration in µs, None for an empty one; RefusalError with `code` below `minimum` seconds."""
    if not text:
        return None
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise invalid("Timers", f"{text} is not an ISO 8601 duration")
    seconds = sum(int(part or 0) * unit for part, unit in zip(match.groups(), _SECONDS, strict=True))
    if seconds > _MAX_DURATION:
        raise invalid("Timers", "is over 36,500 days")
    if seconds < minimum:
        raise refuse(code, f"Timer is under {minimum} seconds")
    return seconds * 1_000_000


def read_index(text: str | None, name: str = "LastReadMessageIndex") -> int | None:
    """Return an index of a message, None for none and for `null`; raises RefusalError (400) for one over 31 bits."""
    index = None if text is None or text == NULL else int(text)
    if index is not None and index > MAX_COUNT:
        raise invalid(name, f"is over {MAX_COUNT}")
    return index


def read_date(text: str | None, default: int, name: str = "DateCreated") -> int:
    """Return the time (µs) that an import gives in the field `name`, or `default`; raises RefusalError (400)."""
    if text is None:
        return default
    time = to_microseconds(text)
    if time is None:
        raise invalid(name, f"{text} is not a time in ISO 8601")
    return time
