"""The users and tokens of the console: a TOML file that only its owner may read, read again when it has changed.

    [[user]]
    name = "NAME"                  # of an agent: the identity in roster.toml
    role = "agent"                 # or operator, viewer
    password = "scrypt$..."        # made by `python -m router console add-user`; without one: links and the proxy only
    generation = "..."             # random, made anew by each `add-user`, which ends the sessions before

    [[token]]
    name = "reports"
    role = "viewer"
    sha256 = "..."                 # made by `python -m router console add-token`

A file that others may read, or that has a mistake, lets nobody in, and the log says why.
"""

from __future__ import annotations

import fcntl
import hmac
import os
import stat
import tomllib
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from router.console.passwords import is_hash
from router.console.roles import Role
from router.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from router.settings.model import Settings

#: Characters of the longest name.
LONGEST_NAME: Final = 128
#: Seconds to wait for another command that is changing the file, and between two attempts.
_LOCK_PATIENCE: Final = 10.0
_LOCK_PAUSE: Final = 0.05
#: Permissions of others than the owner.
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def digest_of(token: str) -> str:
    """Return the digest of a token, which the file keeps: the tokens are random, so no slow hash is needed."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def check_name(name: str) -> str:
    """Return a name; raises ValueError if it is none."""
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise ValueError(f"must have 1 to {LONGEST_NAME} printable characters, and no space at an end")
    return name


def _check_hash(text: str) -> str:
    if not is_hash(text):
        raise ValueError("must be a hash made by `python -m router console add-user`")
    return text


class ConsoleUser(BaseModel):
    """A person who may sign in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, AfterValidator(check_name)]
    role: Role
    password: Annotated[str, AfterValidator(_check_hash)] | None = None
    generation: Annotated[str, Field(pattern="^[0-9a-f]{1,64}$")] | None = None

    @property
    def mark(self) -> str:
        """A digest of the record without its role: a session of an earlier record has another, and has ended."""
        parts = (self.name, str(self.password), *([self.generation] if self.generation else []))
        return sha256(" ".join(parts).encode()).hexdigest()


class ConsoleToken(BaseModel):
    """A program that may call with a bearer token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, AfterValidator(check_name)]
    role: Role
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _UsersDocument(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user: list[ConsoleUser] = []
    token: list[ConsoleToken] = []


@dataclass(frozen=True, slots=True)
class Users:
    """The users by name, and the tokens."""

    users: dict[str, ConsoleUser] = field(default_factory=dict)
    tokens: tuple[ConsoleToken, ...] = ()

    def find_token(self, token: str) -> ConsoleToken | None:
        """Return the record of a token, None if there is none; every record is compared, in constant time."""
        digest = digest_of(token)
        found = [one for one in self.tokens if hmac.compare_digest(one.sha256, digest)]
        return found[0] if found else None


def read_users(path: Path) -> Users:
    """Read the file; raises SettingsError with every problem. A missing file has no users."""
    try:
        document = _UsersDocument(**tomllib.loads(_read_private(path)))
    except FileNotFoundError:
        return Users()
    except ValidationError as error:
        raise SettingsError([_problem(path, one["loc"], one["msg"]) for one in error.errors()]) from error
    except OSError as error:
        raise SettingsError([f"{path}: {error.strerror}"]) from error
    except (ValueError, RecursionError) as error:
        raise SettingsError([f"{path}: {error}"]) from error
    names = [*(one.name for one in document.user), *(one.name for one in document.token)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SettingsError([f"{path}: several users or tokens are named '{name}'" for name in repeated])
    return Users({one.name: one for one in document.user}, tuple(document.token))


def _read_private(path: Path) -> str:
    """Return the text of a file that nobody but its owner may read; raises SettingsError if others may."""
    with path.open(encoding="utf-8") as file:
        mode = os.fstat(file.fileno()).st_mode
        if mode & _OTHERS:
            raise SettingsError([f"{path}: others may read it (mode {mode & 0o777:o}): chmod 600 {path}"])
        return file.read()


def _problem(path: Path, place: tuple[int | str, ...], message: str) -> str:
    """Return a problem by its place; the value is not repeated, it may be a secret."""
    where = " ".join(str(part + 1) if isinstance(part, int) else part for part in place)
    return f"{path}: {where}: {message.removeprefix('Value error, ')}"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep others from changing the file while the block reads and writes it.

    Its folder is locked: a lock file would belong to whoever made it. Raises OSError, after _LOCK_PATIENCE too.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(folder, path)
        yield
    finally:
        os.close(folder)


def _lock(folder: int, path: Path) -> None:
    ends_at = monotonic() + _LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if monotonic() >= ends_at:
                text = f"another command has been changing it for {_LOCK_PATIENCE:.0f} s: try again"
                raise BlockingIOError(error.errno, text, str(path)) from error
        else:
            return
        sleep(_LOCK_PAUSE)


def _keep_owner(descriptor: int, path: Path) -> None:
    """Give an open file to the owner of the users' file: root may write it for another user."""
    with suppress(FileNotFoundError, PermissionError):
        known = path.stat()
        os.fchown(descriptor, known.st_uid, known.st_gid)


def write_users(path: Path, users: Users) -> None:
    """Replace the file as a whole or not at all, readable by its owner only, who stays the same where that is possible.

    Comments are lost. Raises OSError.
    """
    records = [("user", one.model_dump(exclude_none=True)) for one in users.users.values()]
    records += [("token", one.model_dump()) for one in users.tokens]
    text = _HEAD + "".join(_table(name, record) for name, record in records)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            _keep_owner(descriptor, path)
            file.write(text.encode())
            file.flush()
            os.fsync(descriptor)  # before the rename: after a power failure there is the old file or all of the new one
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _table(name: str, record: dict[str, str]) -> str:
    return f"\n[[{name}]]\n" + "".join(f"{key} = {_quoted(text)}\n" for key, text in record.items())


def _quoted(text: str) -> str:
    """Return a printable text as TOML."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_HEAD: Final = "# Users and tokens of the console, written by `python -m router console add-user` and `add-token`.\n"


def users_path(settings: Settings) -> Path:
    """Return the path of the users' file."""
    return settings.config_dir / settings.console_users  # an absolute path stays itself


class UsersFile:
    """The users' file, read again whenever it has changed; `report` gets the problems of a wrong one, once each."""

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self.path = path
        self._report = report
        self._seen: tuple[int, ...] = ()
        self._users = Users()
        self._reported = ""

    def read(self) -> Users:
        """Return the present users; none while the file is wrong."""
        seen = self._look()
        if seen != self._seen:
            try:
                self._users, problem = read_users(self.path), ""
            except SettingsError as error:
                self._users, problem = Users(), "; ".join(error.problems)
                if isinstance(error.__cause__, OSError):
                    seen = ()  # may end without a change of the file: too many open files, rights of its folder
            self._seen = seen
            if problem and problem != self._reported:
                self._report(problem)
            self._reported = problem
        return self._users

    def _look(self) -> tuple[int, ...]:
        try:
            found = self.path.stat()
        except OSError:
            return (0,)
        times = (found.st_mtime_ns, found.st_ctime_ns)
        return (*times, found.st_size, found.st_ino, found.st_mode, found.st_uid)
