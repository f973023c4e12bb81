"""Signing in and out, as people do it: with a form or a link, with and without JavaScript."""

import re

import pytest
from playwright.async_api import expect

from router.console import live
from router.console.links import make_link
from router.console.roles import Role
from tests.console.people import PEOPLE
from tests.support.waiting import until

#: The heading of the page that a role comes to first.
FIRST = {Role.OPERATOR: "Now", Role.VIEWER: "Now", Role.AGENT: "Desk"}


@pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without JavaScript"])
async def test_form(window, javascript):
    """Name and password lead to the page that was asked for; signing out ends the session."""
    one = await window(path="/waiting", java_script_enabled=javascript)
    assert one.path == "/sign-in?next=/waiting"
    await one.sign_in(Role.OPERATOR)
    await one.expect_heading("Waiting events")
    await one.page.get_by_role("button", name="Sign out").click()
    await one.expect_heading("Sign in")
    await one.open("/waiting")
    await one.expect_heading("Sign in")


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.VIEWER])
async def test_each_role_has_its_first_page(window, role):
    """Who signs in without having asked for a page comes to the first one of the role."""
    one = await window(path="/sign-in")
    await one.sign_in(role)
    await one.expect_heading(FIRST[role])
    assert one.path == "/"


@pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without JavaScript"])
async def test_wrong_password(window, javascript):
    """A wrong password is said beside the form, which keeps the name and waits for another password."""
    one = await window(path="/sign-in", java_script_enabled=javascript)
    await one.sign_in(Role.VIEWER, "not this one")
    await expect(one.page.get_by_role("alert")).to_have_text("The name or the password is not right.")
    await expect(one.page.get_by_label("Name")).to_have_value(PEOPLE[Role.VIEWER])
    await expect(one.page.get_by_label("Password")).to_have_value("")
    await expect(one.page.get_by_label("Password")).to_be_focused()
    one.forgive(403)
    await one.sign_in(Role.VIEWER)
    await one.expect_heading("Now")


@pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without JavaScript"])
async def test_link(window, ports, console, javascript):
    """A link signs in after a button was pressed, and once only."""
    link = await make_link(ports.sign_ins, console, ports.users.read().users[PEOPLE[Role.OPERATOR]], 60)
    one = await window(java_script_enabled=javascript)
    await one.page.goto(link)
    await one.page.get_by_role("button", name="Sign in").click()
    await one.expect_heading("Now")
    other = await window(java_script_enabled=javascript)
    await other.page.goto(link)
    await other.page.get_by_role("button", name="Sign in").click()
    await expect(other.page.get_by_role("alert")).to_contain_text("used up")
    other.forgive(403)


async def test_a_session_that_has_ended(window, ports, clock):
    """The next page after the end of a session is the sign-in form, and then the page that was asked for."""
    one = await window(Role.OPERATOR)
    clock.ahead += (ports.settings.console_session + 1) * 1_000_000
    await one.page.get_by_role("link", name="Dead letters", exact=True).first.click()
    await one.expect_heading("Sign in")
    await one.sign_in(Role.OPERATOR)
    await one.expect_heading("Dead letters")


async def test_a_live_page_whose_session_ends(window, ports, clock, monkeypatch):
    """A page that is only looked at goes to the sign-in form by itself once its session has ended."""
    monkeypatch.setattr(live, "SESSION_LOOK", live.LOOK)
    one = await window(Role.OPERATOR, "/tail")
    await until(lambda: ports.hub.listeners)
    clock.ahead += (ports.settings.console_session + 1) * 1_000_000
    await expect(one.page).to_have_url(re.compile("/sign-in"))
    await one.expect_heading("Sign in")
    one.forgive(401)
