"""The console of `dev`: its users, its token for programs, and the link that signs in whoever started it.

The users are an operator, `dev`, and everybody in roster.toml; none has a password: `python -m router console link
NAME` prints a link. Users that somebody adds to the file of the state directory are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.console.links import make_link
from router.console.roles import Role
from router.console.users import (
    ConsoleToken,
    ConsoleUser,
    Users,
    digest_of,
    locked,
    read_users,
    users_path,
    write_users,
)
from router.streams.store.sign_ins import SignIns

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from router.settings.model import Settings
    from router.streams.client.connection import Redis

#: The operator, and the name of the token.
OPERATOR: Final = "dev"
_TOKEN: Final = "dev.env"  # noqa: S105 - a name
#: Seconds for which the printed link may be used.
LINK_LIFE: Final = 86_400


def write_dev_users(path: Path, token: str, identities: Iterable[str]) -> None:
    """Write the users' file; raises SettingsError if there is one with a mistake."""
    own = [ConsoleUser(name=OPERATOR, role=Role.OPERATOR)]
    own += [ConsoleUser(name=name, role=Role.AGENT) for name in identities if name != OPERATOR]
    with locked(path):
        known = read_users(path)
        tokens = [one for one in known.tokens if one.name != _TOKEN]
        tokens.append(ConsoleToken(name=_TOKEN, role=Role.OPERATOR, sha256=digest_of(token)))
        write_users(path, Users({one.name: one for one in own} | known.users, tuple(tokens)))


async def make_dev_link(redis: Redis, settings: Settings) -> str:
    """Return a link that signs in the operator of the users' file. Raises RedisError and SettingsError."""
    user = read_users(users_path(settings)).users[OPERATOR]
    return await make_link(SignIns(redis, settings.keys), settings.console_url or "", user, LINK_LIFE)
