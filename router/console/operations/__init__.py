"""Pages for those who run the router: PAGES lists the rows of all modules here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.console.operations import (
    audit,
    dead_letters,
    decisions,
    jobs,
    quarantine,
    start,
    story,
    streams,
    tail,
    team,
    waiting,
)

if TYPE_CHECKING:
    from router.console.pages import Page

#: In the order of the navigation.
PAGES: Final[tuple[Page, ...]] = (
    *start.PAGES,
    *story.PAGES,
    *tail.PAGES,
    *waiting.PAGES,
    *dead_letters.PAGES,
    *quarantine.PAGES,
    *jobs.PAGES,
    *team.PAGES,
    *decisions.PAGES,
    *streams.PAGES,
    *audit.PAGES,
)
