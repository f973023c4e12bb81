"""The file of users: what it may contain, who may read it, and when it is read again."""

import os
import resource
from hashlib import sha256
from pathlib import Path

import pytest

from router.console import users
from router.console.roles import Role
from router.console.users import ConsoleToken, ConsoleUser, Users, UsersFile, digest_of, locked, read_users, write_users
from router.core.errors import SettingsError
from tests.console.people import password_hash, users_text

USERS = Users(
    {
        "ann": ConsoleUser(name="ann", role=Role.AGENT, password=password_hash()),
        'a "b" \\ c': ConsoleUser(name='a "b" \\ c', role=Role.VIEWER),
    },
    (ConsoleToken(name="reports", role=Role.VIEWER, sha256=digest_of("secret")),),
)


@pytest.fixture
def path(tmp_path):
    """The place of a file of users."""
    return tmp_path / "users.toml"


def test_what_is_written_is_read(path):
    """Names may have any printable character; only the owner may read the file, and no draft is left."""
    path.write_text("", encoding="utf-8")
    path.chmod(0o644)
    write_users(path, USERS)
    assert read_users(path) == USERS
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file(path):
    """A write that comes to an end halfway raises, replaces nothing, and leaves neither a draft nor an open file."""
    write_users(path, USERS)
    more = Users({name: ConsoleUser(name=name, role=Role.VIEWER) for name in ("n" * 100 + str(i) for i in range(99))})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # in bytes; what is beyond it fails as on a full disk
    open_files = list(Path("/dev/fd").iterdir())
    try:
        with pytest.raises(OSError, match="File too large"):
            write_users(path, more)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(Path("/dev/fd").iterdir()) == open_files
    assert read_users(path) == USERS
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_on_the_disk_before_it_has_its_name(path, monkeypatch):
    """After a power failure there is the old file or all of the new one."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append((os.fstat(file).st_size, path.exists())))
    write_users(path, USERS)
    assert synced == [(path.stat().st_size, False)]


def test_a_generation_makes_another_user_of_the_same_name():
    """Sessions of an earlier record do not fit a later one; a record without a generation keeps its sessions."""
    marks = [ConsoleUser(name="ann", role=Role.AGENT, generation=one).mark for one in ("01", "02")]
    without = ConsoleUser(name="ann", role=Role.AGENT).mark
    assert len({*marks, without}) == 3
    assert without == sha256(b"ann None").hexdigest()


def test_no_secret_is_in_the_file(path):
    """It has the digest of a token."""
    write_users(path, USERS)
    assert '"secret"' not in path.read_text(encoding="utf-8")
    assert read_users(path).find_token("secret").name == "reports"
    assert read_users(path).find_token("Secret") is None


def test_a_missing_file_has_no_users(path):
    """A console without users starts, and lets nobody in."""
    assert read_users(path) == Users()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610])
def test_others_may_neither_read_nor_write_it(path, mode):
    """The message says what to do."""
    write_users(path, USERS)
    path.chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        read_users(path)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('role = "agent"', 'role = "boss"', "user 1 role"),
        ('name = "amara"', 'name = ""', "user 1 name"),
        ('name = "amara"', 'name = "a\\u202eb"', "printable"),
        ('name = "amara"', 'name = "program-viewer"', "several users or tokens are named 'program-viewer'"),
        ("scrypt$", "plain$", "add-user"),
        ("sha256 =", "token =", "token 1"),
        ("[[user]]", "[[users]]", "users"),
        ("[[user]]", "[user", "users.toml"),
    ],
)
def test_mistakes_are_named(path, before, after, words):
    """Each has the file and the place, and repeats no value that may be a secret."""
    path.touch(mode=0o600)
    assert before in users_text()
    path.write_text(users_text().replace(before, after, 1), encoding="utf-8")
    with pytest.raises(SettingsError) as raised:
        read_users(path)
    (problem,) = {text.replace(str(path), "users.toml") for text in raised.value.problems[:1]}
    assert words in problem
    assert "plain$" not in " ".join(raised.value.problems)


def test_it_is_read_again_when_it_has_changed(path):
    """A change counts at the next look; a mistake is reported once and nobody is let in until it is corrected."""
    problems = []
    file = UsersFile(path, problems.append)
    assert file.read() == Users()
    write_users(path, USERS)
    assert file.read() == USERS
    assert file.read() is file.read()
    path.write_text("x", encoding="utf-8")
    assert [file.read(), file.read()] == [Users(), Users()]
    path.write_text("x ", encoding="utf-8")
    assert file.read() == Users()
    assert len(problems) == 1
    write_users(path, USERS)
    assert file.read() == USERS
    path.write_text("x", encoding="utf-8")
    assert file.read() == Users()
    assert len(problems) == 2


def test_a_change_within_its_times_is_seen(path):
    """A change in place with the size and the time of modification of before counts, too."""
    write_users(path, USERS)
    file = UsersFile(path, print)
    assert "ann" in file.read().users
    before = path.stat()
    path.write_text(path.read_text(encoding="utf-8").replace('"ann"', '"bob"'), encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "bob" in file.read().users


def test_a_file_that_could_not_be_read_is_tried_again(path, monkeypatch):
    """What keeps it from being read may end without a change of the file; the problem is reported once."""
    write_users(path, USERS)
    problems = []
    file = UsersFile(path, problems.append)

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(users, "_read_private", refuse)
        assert [file.read(), file.read()] == [Users(), Users()]
    assert file.read() == USERS
    assert problems == [f"{path}: Permission denied"]


@pytest.mark.parametrize("may", [True, False])
def test_the_owner_stays(path, monkeypatch, may):
    """What root writes belongs to the owner of the file before, and to whoever writes it if that is not allowed."""
    write_users(path, USERS)
    given = []

    def give(descriptor, *owner):
        given.append((os.fstat(descriptor).st_mode & 0o777, *owner))
        if not may:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", give)
    owner = (path.stat().st_uid, path.stat().st_gid)
    with locked(path):
        write_users(path, Users())
    assert given == [(0o600, *owner)]
    assert read_users(path) == Users()


def test_the_lock_leaves_nothing_behind(path):
    """A file of its own would belong to whoever ran the first command, and might keep the right user out."""
    with locked(path):
        assert list(path.parent.iterdir()) == []
        write_users(path, USERS)
    assert list(path.parent.iterdir()) == [path]


def test_whoever_waits_for_the_lock_gets_it(path, monkeypatch):
    """It is tried again until the one before is done; then the next one is free at once."""
    held = locked(path)
    held.__enter__()
    monkeypatch.setattr(users, "sleep", lambda _: held.__exit__(None, None, None))
    with locked(path):
        write_users(path, USERS)
    with locked(path):
        assert read_users(path) == USERS
