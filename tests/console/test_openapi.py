"""The OpenAPI document describes every page of the table."""

import json
import re

import pytest

from router.console.openapi import make_document
from router.console.pages import Page
from router.console.roles import Role
from router.console.table import PAGES
from tests.console.people import bearer


async def test_the_document_is_served(visitors):
    """A program gets the document with all routes, their roles and how to authenticate."""
    visitor = await visitors()
    status, headers, text = await visitor.get("/openapi.json", headers=bearer(Role.VIEWER))
    document = json.loads(text)
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert document["openapi"] == "3.1.0"
    rows = {(page.method.lower(), re.sub(r":[^{}]*\}", "}", page.path)) for page in PAGES}
    found = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert found == rows | {("get", "/openapi.json")}
    assert document["paths"]["/account"]["get"]["security"] == [{"token": []}]
    assert document["paths"]["/sign-in"]["post"]["security"] == []


def test_every_reference_has_its_schema():
    """Whatever a model refers to is in the document, and the names of operations are unique."""
    document = make_document(PAGES)
    text = json.dumps(document)
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert names <= set(document["components"]["schemas"])
    operations = [each["operationId"] for methods in document["paths"].values() for each in methods.values()]
    assert len(operations) == len(set(operations))


def test_parts_of_the_path_are_parameters():
    """A part in braces is a required parameter, whatever pattern the route has for it."""
    page = Page("GET", r"/things/{thing_id:\d+}", None, Role.VIEWER, "A thing")
    document = make_document([page])
    (parameter,) = document["paths"]["/things/{thing_id}"]["get"]["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("thing_id", "path", True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.method} {page.path}")
def test_live_pages_are_marked(page):
    """The row of a handler that answers with server-sent events says so."""
    assert page.is_live == (page.handler.__annotations__["return"] == "Live")
