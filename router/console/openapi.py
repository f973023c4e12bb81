"""The OpenAPI 3.1 document of the console, made from the table of its pages.

It describes the JSON for programs (https://spec.openapis.org/oas/v3.1.0). `make api` compares it with the answers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from router import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

    from router.console.pages import Page

_PART: Final = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
_REFERENCE: Final = "#/components/schemas/{model}"
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "what is wrong, for people"}},
}


def make_document(pages: Iterable[Page]) -> dict[str, Any]:
    """Return the document of these pages."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for page in pages:
        path = _PART.sub(r"{\1}", page.path)
        paths.setdefault(path, {})[page.method.lower()] = _operation(page, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Participant Router console",
            "version": __version__,
            "description": "The JSON behind the pages: ask with `Accept: application/json`, or with a bearer token.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(page: Page, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(page),
        "summary": page.title,
        "security": [] if page.is_public else [{"token": []}],
        "responses": {
            **{str(status): _ok(page, schemas) for status in (200, *page.other_statuses)},
            "default": {"description": "an error", "content": _json({"$ref": "#/components/schemas/Error"})},
        },
    }
    if page.role is not None:
        operation["x-role"] = str(page.role)
    parameters = [*_path_parameters(page), *_query_parameters(page)]
    if parameters:
        operation["parameters"] = parameters
    if page.body is not None:
        schema = _schema_of(page.body, schemas)
        content = _json(schema) | {"application/x-www-form-urlencoded": {"schema": schema}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _operation_id(page: Page) -> str:
    """Return a name such as post_dead_letters_replay."""
    words = re.findall(r"\w+", _PART.sub(r"\1", page.path).replace("-", "_")) or ["start"]
    return "_".join([page.method.lower(), *words])


def _ok(page: Page, schemas: dict[str, Any]) -> dict[str, Any]:
    if page.is_live:
        content: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}
    else:
        content = _json({"type": "object"} if page.answer is None else _schema_of(page.answer, schemas))
    return {"description": page.title, "content": content}


def _path_parameters(page: Page) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PART.findall(page.path)
    ]


def _query_parameters(page: Page) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "in": "query",
            "description": one.description,
            "required": one.is_required,
            "schema": dict(one.schema),
        }
        for one in page.query
    ]


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _schema_of(model: type[BaseModel], schemas: dict[str, Any]) -> dict[str, Any]:
    """Return a reference to the schema of a model, which is added to `schemas` with all that it refers to."""
    schema = model.model_json_schema(ref_template=_REFERENCE)
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema
    return {"$ref": _REFERENCE.format(model=model.__name__)}
