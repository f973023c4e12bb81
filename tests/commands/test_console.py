"""`console add-user`, `add-token`, `link`, `list` and `remove`: the file of the console's users."""

import fcntl
import io
import re

import pytest

from router.__main__ import main
from router.console import users
from router.console.passwords import is_right
from router.console.roles import Role
from router.console.users import ConsoleUser, Users, read_users, write_users
from router.core.keys import Keys
from router.streams.store.sign_ins import SignIns
from tests.harness.commands import run_command

PASSWORD = "a long enough password"


@pytest.fixture
def path(tmp_path, environment):
    """The file of users that the commands work with."""
    path = tmp_path / "console-users.toml"
    environment.setenv("ROUTER_CONSOLE_USERS", str(path))
    return path


@pytest.fixture
def type_in(monkeypatch):
    """Type passwords, one after the other."""

    def type_in(*passwords):
        given = list(passwords)
        monkeypatch.setattr("getpass.getpass", lambda prompt: given.pop(0))

    return type_in


async def test_a_user_is_added_with_a_password(path, type_in, capsys):
    """The file is made, for its owner only, and has the hash and the role."""
    type_in(PASSWORD, PASSWORD)
    assert main(["console", "add-user", "ann", "--role", "agent"]) == 0
    user = read_users(path).users["ann"]
    assert user.role is Role.AGENT
    assert await is_right(PASSWORD, user.password)
    assert PASSWORD not in path.read_text(encoding="utf-8")
    assert capsys.readouterr().out == f"added ann (agent) in {path}\n"


async def test_a_user_is_changed(path, type_in, monkeypatch, capsys):
    """A second time the role and the password are replaced; a script writes the password to standard input."""
    type_in(PASSWORD, PASSWORD)
    main(["console", "add-user", "ann", "--role", "agent"])
    monkeypatch.setattr("sys.stdin", io.StringIO("another long password\n"))
    assert main(["console", "add-user", "ann", "--role", "viewer", "--password-stdin"]) == 0
    user = read_users(path).users["ann"]
    assert user.role is Role.VIEWER
    assert await is_right("another long password", user.password)
    assert "changed ann (viewer)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("passwords", "words"),
    [
        (("short", "short"), "a password has 15 to 1024 characters"),
        ((PASSWORD, PASSWORD + "!"), "the two passwords differ"),
        (("x" * 1025, "x" * 1025), "a password has 15 to 1024 characters"),
        (("é" * 513, "é" * 513), "a password has 15 to 1024 characters, fewer if they are not all ASCII"),
    ],
    ids=["short", "different", "long", "long in bytes"],
)
def test_a_bad_password_changes_nothing(path, type_in, passwords, words, capsys):
    """The reason is one line, the status 1, and there is no file."""
    type_in(*passwords)
    assert main(["console", "add-user", "ann", "--role", "agent"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not path.exists()


def test_a_user_may_have_no_password(path, capsys):
    """Such a user signs in by links or a proxy."""
    assert main(["console", "add-user", "ann", "--role", "agent", "--no-password"]) == 0
    assert read_users(path).users["ann"].password is None
    capsys.readouterr()
    assert main(["console", "list"]) == 0
    assert capsys.readouterr().out == "user   agent     ann  no password\n"


def test_each_call_ends_the_sessions_of_a_user_without_a_password(path):
    """Adding the user once more, before or after a removal, makes another record of it, which fits no session."""
    marks = []
    for before in ((), (), ("remove", "ann")):
        assert not before or main(["console", *before]) == 0
        assert main(["console", "add-user", "ann", "--role", "agent", "--no-password"]) == 0
        marks.append(read_users(path).users["ann"].mark)
    assert len(set(marks)) == 3


def test_a_token_is_printed_once(path, capsys):
    """The file has its digest only, and a second call replaces it."""
    assert main(["console", "add-token", "reports", "--role", "viewer"]) == 0
    first = capsys.readouterr().out.strip()
    assert read_users(path).find_token(first).name == "reports"
    assert first not in path.read_text(encoding="utf-8")
    assert main(["console", "add-token", "reports", "--role", "operator"]) == 0
    second = capsys.readouterr().out.strip()
    assert read_users(path).find_token(first) is None
    assert read_users(path).find_token(second).role is Role.OPERATOR


def test_names_belong_to_users_or_tokens(path, capsys):
    """A name that the other kind has is refused, and so is one that cannot be printed."""
    main(["console", "add-token", "reports", "--role", "viewer"])
    assert main(["console", "add-user", "reports", "--role", "viewer", "--no-password"]) == 1
    assert main(["console", "add-user", "a\u202eb", "--role", "viewer", "--no-password"]) == 2
    assert "NAME must have" in capsys.readouterr().err
    assert list(read_users(path).users) == []


def test_what_is_removed_is_gone(path, capsys):
    """Users and tokens alike; a name that does not exist is an error."""
    main(["console", "add-user", "ann", "--role", "viewer", "--no-password"])
    main(["console", "add-token", "reports", "--role", "viewer"])
    assert [main(["console", "remove", name]) for name in ("ann", "reports", "ann")] == [0, 0, 1]
    assert path.read_text(encoding="utf-8").count("[[") == 0
    assert "there is no user or token 'ann'" in capsys.readouterr().err


def test_nothing_comes_back_that_is_removed_meanwhile(path, monkeypatch):
    """The file is read once the password has been typed, so users and tokens that are gone by then stay gone."""
    main(["console", "add-user", "bob", "--role", "viewer", "--no-password"])
    main(["console", "add-token", "reports", "--role", "viewer"])

    def typed_slowly(_):
        main(["console", "remove", "bob"])
        main(["console", "remove", "reports"])
        return PASSWORD

    monkeypatch.setattr("getpass.getpass", typed_slowly)
    assert main(["console", "add-user", "ann", "--role", "agent"]) == 0
    assert (list(read_users(path).users), read_users(path).tokens) == (["ann"], ())


@pytest.mark.parametrize("action", ["add-user", "add-token", "remove"])
def test_a_change_waits_for_the_one_before(path, monkeypatch, action):
    """Each reads the file only once nobody else is changing it, and keeps what was changed while it waited."""
    options = {
        "add-user": ["ann", "--role", "viewer", "--no-password"],
        "add-token": ["reports", "--role", "viewer"],
        "remove": ["cy"],
    }
    bob, cy = (ConsoleUser(name=name, role=Role.VIEWER) for name in ("bob", "cy"))
    write_users(path, Users({"cy": cy}))

    def wait(lock, operation):
        assert operation == fcntl.LOCK_EX | fcntl.LOCK_NB
        write_users(path, Users({"bob": bob, "cy": cy}))

    monkeypatch.setattr("fcntl.flock", wait)
    assert main(["console", action, *options[action]]) == 0
    assert "bob" in read_users(path).users


def test_a_change_that_does_not_end_is_said(path, monkeypatch, capsys):
    """One line with status 1; nothing is changed."""
    monkeypatch.setattr(users, "_LOCK_PATIENCE", 0.0)
    with users.locked(path):
        assert main(["console", "add-token", "reports", "--role", "viewer"]) == 1
    assert f"{path}: another command has been changing it" in capsys.readouterr().err
    assert not path.exists()


def test_a_file_with_a_mistake_is_not_overwritten(path, capsys):
    """The mistake is named with status 2, and the file stays."""
    path.touch(mode=0o600)
    path.write_text("[[user]]\nname = 1\n", encoding="utf-8")
    assert main(["console", "add-user", "ann", "--role", "viewer", "--no-password"]) == 2
    assert path.read_text(encoding="utf-8") == "[[user]]\nname = 1\n"
    assert "user 1 name" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_named(path, environment, capsys):
    """One line with status 1."""
    environment.setenv("ROUTER_CONSOLE_USERS", str(path / "nowhere" / "users.toml"))
    assert main(["console", "add-token", "reports", "--role", "viewer"]) == 1
    assert "No such file or directory" in capsys.readouterr().err


async def test_a_link_is_for_a_user_of_the_file(path, redis_url, redis, capsys):
    """It leads to the console and can be used; for nobody else one is made."""
    main(["console", "add-user", "ann", "--role", "agent", "--no-password"])
    environment = {"REDIS_URL": redis_url, "ROUTER_CONSOLE_URL": "https://console.example.com"}
    status, output = await run_command("console", "link", "ann", environment=environment)
    token = re.fullmatch(r"https://console\.example\.com/sign-in/link\?token=([0-9a-f]{64})\n", output)
    ann = read_users(path).users["ann"]
    assert (status, await SignIns(redis, Keys()).take_link(token[1])) == (0, ("ann", ann.mark))
    status, output = await run_command("console", "link", "bob", environment=environment)
    assert (status, "there is no user 'bob'" in output) == (1, True)
