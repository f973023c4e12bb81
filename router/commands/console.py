"""`python -m router console`: the console as a process, and the file of its users."""

from __future__ import annotations

import getpass
import secrets
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from router.commands.connected import connected
from router.console.links import make_link
from router.console.passwords import LONGEST, SHORTEST, make_hash
from router.console.roles import Role
from router.console.users import (
    ConsoleToken,
    ConsoleUser,
    Users,
    check_name,
    digest_of,
    locked,
    read_users,
    users_path,
    write_users,
)
from router.core.errors import SettingsError
from router.process.output import set_up_log
from router.process.terminal import CommandFailedError, show
from router.settings.load import load
from router.streams.store.sign_ins import SignIns

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from typing import Any

#: Seconds for which a sign-in link may be used.
LINK_LIFE: Final = 3600


def run_console(arguments: argparse.Namespace) -> int | Coroutine[Any, Any, int]:
    """Serve the console, or do what the action says; raises SettingsError and CommandFailedError."""
    if arguments.action is None:
        return _serve(arguments)
    if arguments.action == "link":
        return _make_link(arguments.name)
    path = users_path(load())
    try:
        _ACTIONS[arguments.action](path, arguments)
    except OSError as error:
        raise CommandFailedError(f"{error.filename or path}: {error.strerror}") from error
    return 0


def _serve(arguments: argparse.Namespace) -> Coroutine[Any, Any, int]:
    from router.console.serve import REQUIRED, serve  # noqa: PLC0415 - aiohttp, which the other actions do not need

    overrides = {"console_port": arguments.port, "console_host": arguments.host}
    settings = load(require=REQUIRED, overrides=overrides)
    set_up_log(process="console", log_format=settings.log_format, level=settings.log_level)
    return serve(settings)


async def _make_link(name: str) -> int:
    async with connected() as (redis, settings):
        path = users_path(settings)
        user = read_users(path).users.get(name)
        if user is None:
            raise CommandFailedError(f"there is no user '{name}' in {path}: `console add-user` adds one")
        url = settings.console_url or f"http://{settings.console_host}:{settings.console_port}"
        show(await make_link(SignIns(redis, settings.keys), url, user, LINK_LIFE), unmasked=True)
    return 0


def _add_user(path: Path, arguments: argparse.Namespace) -> None:
    name = _name(arguments.name)
    read_users(path)  # a mistake in it is reported before anybody types
    password = None if arguments.no_password else make_hash(_ask_password(is_piped=arguments.password_stdin))
    generation = secrets.token_hex(16)
    user = ConsoleUser(name=name, role=Role(arguments.role), password=password, generation=generation)
    with locked(path):
        known = read_users(path)
        _refuse_other(name, [one.name for one in known.tokens], "token")
        write_users(path, replace(known, users=known.users | {name: user}))
    show(f"{'changed' if name in known.users else 'added'} {name} ({user.role}) in {path}", unmasked=True)


def _add_token(path: Path, arguments: argparse.Namespace) -> None:
    name, token = _name(arguments.name), secrets.token_urlsafe(32)
    record = ConsoleToken(name=name, role=Role(arguments.role), sha256=digest_of(token))
    with locked(path):
        known = read_users(path)
        _refuse_other(name, known.users, "user")
        write_users(path, replace(known, tokens=(*(one for one in known.tokens if one.name != name), record)))
    show(token, unmasked=True)


def _remove(path: Path, arguments: argparse.Namespace) -> None:
    with locked(path):
        known = read_users(path)
        left = Users(
            {name: one for name, one in known.users.items() if name != arguments.name},
            tuple(one for one in known.tokens if one.name != arguments.name),
        )
        if left == known:
            raise CommandFailedError(f"there is no user or token '{arguments.name}' in {path}")
        write_users(path, left)
    show(f"removed {arguments.name} from {path}", unmasked=True)


def _list(path: Path, _: argparse.Namespace) -> None:
    known = read_users(path)
    rows = [("user", one.name, one.role, "" if one.password else "no password") for one in known.users.values()]
    rows += [("token", one.name, one.role, "") for one in known.tokens]
    show(*(f"{kind:<6} {role:<9} {name}  {note}".rstrip() for kind, name, role, note in rows), unmasked=True)


_ACTIONS: Final[dict[str, Callable[[Path, argparse.Namespace], None]]] = {
    "add-user": _add_user,
    "add-token": _add_token,
    "list": _list,
    "remove": _remove,
}


def _name(text: str) -> str:
    try:
        return check_name(text)
    except ValueError as error:
        raise SettingsError([f"NAME {error}"]) from error


def _refuse_other(name: str, others: Any, kind: str) -> None:
    if name in others:
        raise CommandFailedError(f"'{name}' is a {kind} already: choose another name, or remove it first")


def _ask_password(*, is_piped: bool) -> str:
    """Return a new password; raises CommandFailedError for one that is too short or too long, or typed differently."""
    if is_piped:
        password = sys.stdin.readline().removesuffix("\n")
    else:
        try:
            password = getpass.getpass("Password: ")
            is_same = password == getpass.getpass("Once more: ")
        except EOFError:
            raise CommandFailedError("no password was typed: use --password-stdin without a terminal") from None
        if not is_same:
            raise CommandFailedError("the two passwords differ; nothing was changed")
    if len(password) < SHORTEST or len(password.encode("utf-8", "surrogatepass")) > LONGEST:
        text = (
            f"a password has {SHORTEST} to {LONGEST} characters, fewer if they are not all ASCII; nothing was changed"
        )
        raise CommandFailedError(text)
    return password
