"""Entries of the participants streams for tests: written as the worker writes them, read as consumers read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.entries import draft_entry, read_entry

if TYPE_CHECKING:
    from router.core.entries import Entry, EntryData


def make_entry(data: EntryData, *, subject: str, distinction: str = "1", occurred_at: int = 0) -> Entry:
    """The entry with this data, in the default namespace."""
    draft = draft_entry(
        data.type,
        data.model_dump(mode="json"),
        namespace="router",
        subject=subject,
        distinction=distinction,
        occurred_at=occurred_at,
    )
    return read_entry(draft.to_fields()["event"])


def fields_of(entry: Entry) -> dict[str, str]:
    """The fields of its stream entry."""
    return {"type": entry.type, "id": entry.id, "event": entry.model_dump_json()}
