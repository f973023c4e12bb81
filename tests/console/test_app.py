"""Pages of the console: for people and programs, and what they say when something is wrong."""

from router.console.roles import Role
from tests.console.people import PEOPLE, bearer


async def test_a_person_signs_in_looks_and_signs_out(visitors):
    """The form leads to the first page of the role, the account page names the user, and signing out ends it."""
    visitor = await visitors()
    status, headers, _ = await visitor.get("/account")
    assert (status, headers["Location"]) == (303, "/sign-in?next=/account")
    assert await visitor.sign_in(PEOPLE[Role.VIEWER]) == 303
    status, _, text = await visitor.get("/account")
    assert status == 200
    assert "<dd>vera</dd>" in text
    status, headers, _ = await visitor.post("/sign-out")
    assert (status, headers["Location"]) == (303, "/sign-in")
    assert (await visitor.get("/account"))[0] == 303


async def test_a_program_gets_json_at_the_same_path(visitors):
    """With a bearer token the same data come as JSON."""
    visitor = await visitors()
    status, headers, text = await visitor.get("/account", headers=bearer(Role.VIEWER) | {"Accept": "*/*"})
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert text == '{"user":"program-viewer","role":"viewer"}'
