"""What forms of all sources have in common once they are text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Mapping


def require(texts: Mapping[str, str], *names: str) -> None:
    """Raise UnreadableError naming every parameter that is missing or blank."""
    missing = [name for name in names if not texts.get(name, "").strip()]
    if missing:
        raise UnreadableError(f"missing or blank: {', '.join(missing)}")
