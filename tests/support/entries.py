"""Entries of the participants streams for tests: written as the worker writes them, read as consumers read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.entries import draft_entry, read_entry

if TYPE_CHECKING:
    from router.core.entries import Entry, EntryData


#: What anybody can write to a stream, and no reader may fail on: no entry, another document, other types, no text.
NONSENSE: Final = (
    {"nothing": "here"},
    {"type": "participant.joined", "id": "1", "event": "not JSON"},
    {"type": "participant.joined", "id": "1", "event": '{"specversion": "1.0"}'},
    {"type": "participant.joined", "id": "1", "event": "[" * 5000},
    {"type": "participant.joined", "id": "1", "event": b"\xff\xfe\x00"},
    {"type": "x", "event": '{"specversion":"1.0","id":"1","type":"x","source":"s","subject":"s","time":"t","data":{}}'},
    {"type": "", "event": '{"specversion":"1.0","id":1,"type":null,"source":{},"subject":[],"time":1e999,"data":7}'},
)


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
