"""Pages for people who talk with customers: PAGES lists the rows of all modules here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from router.console.pages import Page

PAGES: Final[tuple[Page, ...]] = ()
