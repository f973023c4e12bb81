"""Pages for people who talk with customers: PAGES lists the rows of all modules here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.console.desk import actions, documents, pages

if TYPE_CHECKING:
    from router.console.pages import Page

PAGES: Final[tuple[Page, ...]] = (*pages.PAGES, *actions.PAGES, *documents.PAGES)
