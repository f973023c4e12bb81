"""Sign-in links: whoever has one is signed in as its user, once, and without a password."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.console.users import ConsoleUser
    from router.streams.store.sign_ins import SignIns


async def make_link(sign_ins: SignIns, url: str, user: ConsoleUser, life: int) -> str:
    """Return a link to the console at `url` that signs a user in, within `life` seconds. Raises RedisError."""
    token = secrets.token_hex(32)
    await sign_ins.add_link(token, user.name, user.mark, life)
    return f"{url}/sign-in/link?token={token}"
