"""Query parameters and bodies checked against what the row of a page says, before its handler runs.

So the OpenAPI document and the pages cannot differ in what they take, and a handler need not check the form of a
number again. An unknown parameter is ignored; an empty one counts as not given, as forms of pages send it, but from a
program an empty number or choice is a mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_origin

from pydantic import ValidationError

from router.console.answers import wants_json
from router.console.roles import ConsoleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from router.console.pages import Page, Parameter
    from router.console.request import ConsoleRequest


async def check_input(page: Page, request: ConsoleRequest) -> None:
    """Raise ConsoleError (400) unless the parameters and the body are of the form that the page declares."""
    is_strict = wants_json(request.raw)
    problems = [problem for one in page.query if (problem := _problem_of(one, request.query, is_strict=is_strict))]
    if page.body is not None and not page.checks_body:
        problems += _problems_of_body(page.body, await request.form())
    if problems:
        raise ConsoleError(400, "; ".join(problems) + ".")


def _problem_of(parameter: Parameter, query: Mapping[str, str], *, is_strict: bool) -> str:
    text, schema = query.get(parameter.name, ""), parameter.schema
    is_text = schema.get("type") == "string" and "enum" not in schema
    if not text and (is_text or not is_strict or parameter.name not in query):
        return f"{parameter.name} is missing" if parameter.is_required else ""
    if schema.get("type") == "integer":
        return _problem_of_number(parameter.name, text, schema)
    if "enum" in schema and text not in schema["enum"]:
        return f"{parameter.name} must be one of {', '.join(map(str, schema['enum']))}"
    if len(text) > schema.get("maxLength", len(text)):
        return f"{parameter.name} must have at most {schema['maxLength']} characters"
    return ""


def _problem_of_number(name: str, text: str, schema: Mapping[str, Any]) -> str:
    is_number = text.removeprefix("-").isdecimal() and text.isascii() and len(text) < 20  # noqa: PLR2004 - of 64 bits
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    if not is_number:
        return f"{name} must be a whole number"
    if lowest is not None and int(text) < lowest:
        return f"{name} must be {lowest} at least"
    if highest is not None and int(text) > highest:
        return f"{name} must be {highest} at most"
    return ""


def _problems_of_body(model: type[BaseModel], given: Mapping[str, Any]) -> list[str]:
    """Return the problems of a body; a form names a value of a list once or more, and leaves out an empty list."""
    lists = {
        name
        for name, field in model.model_fields.items()
        if get_origin(field.annotation) in {list, tuple, set, frozenset}
    }
    values = {name: [one] if name in lists and isinstance(one, str) else one for name, one in given.items()}
    try:
        model.model_validate(values)
    except ValidationError as error:
        return [f"{'.'.join(map(str, one['loc'])) or 'the body'}: {one['msg']}" for one in error.errors()]
    return []
