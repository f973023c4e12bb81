"""JSON bodies: requests are read once, at the edge, into frozen models; responses are made on the spot.

Fields that a model does not name are ignored, as the API's description allows. A body that does not fit its model is
refused with a 400 that names the field. (No `from __future__ import annotations`: pydantic evaluates them.)
"""

from math import isfinite
from typing import Annotated, Any, Final, TypeVar

import orjson
from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from router.core.lenient_json import load_json
from router.core.timestamps import to_microseconds
from router.sandbox.errors import RefusalError, invalid

_JSON_TYPES: Final = frozenset({"application/json", "text/json"})

#: The largest value of a count, of minutes and of an index: 31 bits, as the API's int32.
MAX_COUNT: Final = 0x7FFF_FFFF
#: The longest time that a switch or the admin API takes, in seconds: about 317 years.
MAX_SECONDS: Final = 1e10
_INT64: Final = range(-(1 << 63), 1 << 63)

#: A JSON object of the API.
Wire = dict[str, Any]


def _check_numbers(value: Any) -> Any:
    """Return JSON whose numbers can all be written again; raises ValueError for others. Parsing bounds its depth."""
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_numbers(each)
    if isinstance(value, int) and value not in _INT64:
        raise ValueError("a whole number is over 64 bits")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("a number is too large")
    return value


def _check_time(text: str) -> str:
    if to_microseconds(text) is None:
        raise ValueError("is not a time in ISO 8601")
    return text


#: JSON of any form, which is kept as it came.
FreeJson = Annotated[Any, AfterValidator(_check_numbers)]
#: A time in ISO 8601, which is kept as it came.
TimeText = Annotated[str, AfterValidator(_check_time)]
Text = Annotated[str, StringConstraints(min_length=1)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+")]


class Body(BaseModel):
    """A JSON object with camelCase names."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="ignore")


B = TypeVar("B", bound=BaseModel)


async def read_body(request: web.Request, model: type[B], *, form_status: int) -> B:
    """Read the JSON body of `request` into `model`.

    Raises RefusalError: `form_status` for a Content-Type other than JSON, 400 for a body that does not fit.
    """
    if request.content_type not in _JSON_TYPES and not request.content_type.endswith("+json"):
        raise RefusalError(form_status, f"Content-Type {request.content_type} is not supported, use application/json")
    return parse_body(await request.read(), model)


def parse_body(raw: bytes, model: type[B]) -> B:
    """Parse JSON into `model`, with U+FFFD for half of a surrogate pair, which JSON allows and pydantic refuses.

    Raises RefusalError (400) that names the first wrong field, also for bodies that are not UTF-8.
    """
    try:
        found: B = load_json(model.model_validate_json, raw.decode())
    except UnicodeDecodeError as error:
        raise invalid("body", "is not UTF-8") from error
    except ValidationError as error:
        raise refuse_body(error) from error
    return found


def refuse_body(error: ValidationError) -> RefusalError:
    """Return the 400 for the first problem that pydantic found."""
    first = error.errors(include_url=False, include_context=False)[0]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    return invalid(field or "body", first["msg"])


def json_response(body: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a response with a JSON body."""
    return web.Response(
        body=orjson.dumps(body), status=status, headers=headers, content_type="application/json", charset="utf-8"
    )
