"""The table of all pages: everything that the console answers, except static files and /healthz."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.console import desk, operations, signing_in

if TYPE_CHECKING:
    from router.console.pages import Page

PAGES: Final[tuple[Page, ...]] = (*desk.PAGES, *operations.PAGES, *signing_in.PAGES)
