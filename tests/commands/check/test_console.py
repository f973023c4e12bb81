"""`check` of the console: users who can sign in, and settings with which they should not."""

import pytest

from router.commands.check.console import check_console
from router.console.roles import Role
from router.console.users import ConsoleUser, Users, users_path, write_users
from router.core.routing.team import Team, TeamMember
from tests.console.people import make_settings

PROXIES = {"ROUTER_CONSOLE_PROXIES": "10.0.0.0/24"}
TEAM = Team(members={"ann": TeamMember("ann", "Ann", 1)})


@pytest.fixture
def check(tmp_path):
    """Check a console with these users and settings; returns level and text of each finding."""

    def check(*users, text=None, **changes):
        path = tmp_path / "users.toml"
        settings = make_settings("redis://127.0.0.1:1", ROUTER_CONSOLE_USERS=str(path), **changes)
        assert users_path(settings) == path
        if users:
            write_users(path, Users({one.name: one for one in users}))
        if text is not None:
            path.write_text(text, encoding="utf-8")
        return [(one.level, one.text) for one in check_console(settings, TEAM)]

    return check


def test_a_deployment_without_users_has_no_console(check):
    """That is no problem; the finding says how to add one."""
    ((level, text),) = check()
    assert (level, "add-user" in text) == ("ok", True)


def test_users_are_counted(check):
    """An operator need not be in the roster, an agent must."""
    ann, bob = ConsoleUser(name="ann", role=Role.AGENT), ConsoleUser(name="bob", role=Role.OPERATOR)
    assert check(ann, bob) == [("ok", "2 users, 0 tokens")]
    (warning, _) = check(ConsoleUser(name="cy", role=Role.AGENT))
    assert warning == ("warn", "the agent 'cy' is not in the roster, so nothing is offered to them")


def test_a_wrong_file_fails(check):
    """Each mistake is a finding."""
    ((level, text),) = check(text="[[user]]\n")
    assert (level, "chmod 600" in text) == ("FAIL", True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ROUTER_CONSOLE_URL": "http://console.example.com"} | PROXIES, "ROUTER_CONSOLE_URL is http"),
        ({"ROUTER_CONSOLE_HOST": "0.0.0.0"}, "ROUTER_CONSOLE_URL is not set"),
        ({"ROUTER_CONSOLE_URL": "http://127.0.0.1:8082"}, None),
        ({"ROUTER_CONSOLE_URL": "https://console.example.com", "ROUTER_CONSOLE_HOST": "0.0.0.0"} | PROXIES, None),
        ({"ROUTER_CONSOLE_URL": "https://console.example.com"}, "ROUTER_CONSOLE_PROXIES is not set"),
    ],
)
def test_how_people_reach_it(check, changes, words):
    """Passwords should not cross a network in the clear, and guesses should count for whoever makes them."""
    found = [text for level, text in check(ConsoleUser(name="ann", role=Role.AGENT), **changes) if level == "warn"]
    assert [words in text for text in found] == ([] if words is None else [True])
