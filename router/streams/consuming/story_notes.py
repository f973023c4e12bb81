"""The part of a consumer in the stories of its entries: that one waits or was given up, and lines of finished ones."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.stories import StageName
    from router.streams.delivery import Delivery
    from router.streams.store.stories import StoryAbout, StoryWriter


class StoryNotes:
    """Tells the stories of a consumer's entries; `about` reads the event of one, and may raise for one that is none.

    The lines that the work adds to `writer` go out with the next acknowledgement, before it.
    """

    def __init__(self, writer: StoryWriter, about: Callable[[Delivery], StoryAbout]) -> None:
        self.writer = writer
        self._about = about

    def tell(self, delivery: Delivery, group: str, stage: StageName, detail: str) -> None:
        """Tell a stage of an entry's event in the background; never raises."""
        place = (delivery.stream.key, delivery.entry_id, group)
        with contextlib.suppress(Exception):  # an entry that cannot be read has no event; its dead letter is kept
            self.writer.tell(delivery.stream.partition, self._about(delivery), stage, detail, place=place)
