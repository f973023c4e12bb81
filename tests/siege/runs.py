"""All runs of a siege, in one table."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.siege.budget import dead_letter_budget
from tests.siege.closing import around_the_closing
from tests.siege.door import forged_requests
from tests.siege.figures import Report
from tests.siege.groups import destroyed_groups
from tests.siege.logs import unwritable_log
from tests.siege.mails import mail_bytes
from tests.siege.partitions import repartitioned
from tests.siege.waiting import a_million, mail_alone, one_account, one_customer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.siege.deployment import Start
    from tests.siege.figures import Figure
    from tests.siege.sizes import Size

    #: Runs in a folder, with what starts processes, at a size, and says how far it is.
    Besiege = Callable[[Path, Start, Size, Callable[[str], None]], Awaitable[list[Figure]]]


@dataclass(frozen=True, slots=True)
class Run:
    """One row: what lasts, and the function that shows what comes of it."""

    name: str
    title: str
    besiege: Besiege

    async def run(self, directory: Path, start: Start, size: Size, say: Callable[[str], None]) -> Report:
        """Run it; returns its figures."""
        begun = time.monotonic()
        figures = await self.besiege(directory, start, size, say)
        return Report(self.name, self.title, tuple(figures), time.monotonic() - begun)


RUNS: Final = (
    Run("door", "strangers send forged requests without pause", forged_requests),
    Run("log", "a log that cannot be written", unwritable_log),
    Run("customer", "one customer whose API calls answer 500 for ever", one_customer),
    Run("mail-down", "the API fails for e-mail alone", mail_alone),
    Run("account", "one account of two has no API", one_account),
    Run("million", "a million events wait for one account, one channel, one customer", a_million),
    Run("budget", "the dead-letter budget is spent", dead_letter_budget),
    Run("closing", "messages around the closing of their conversation", around_the_closing),
    Run("partitions", "another number of partitions, under load", repartitioned),
    Run("groups", "the consumer groups are destroyed", destroyed_groups),
    Run("mail-bytes", "mails to many mailboxes", mail_bytes),
)
BY_NAME: Final = {one.name: one for one in RUNS}
