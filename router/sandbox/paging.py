"""One page of an ordered list, with tokens that survive concurrent writes; v2 and classic name their own parameters.

A token names a position between two records by a mark of one of them, not a count: a record that exists throughout is
neither lost nor returned twice, however many others come and go.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DEFAULT_SIZE: Final = 50

T = TypeVar("T")
Mark = TypeVar("Mark", int, str)


@dataclass(frozen=True, slots=True)
class PagePosition(Generic[Mark]):
    """A position in a list: the page begins after the record with `mark` or, if `is_back`, ends before it."""

    mark: Mark
    is_back: bool = False


@dataclass(frozen=True, slots=True)
class PageItems(Generic[T]):
    """The records of a page in the order shown, and whether there are others before and after them."""

    items: list[T]
    has_before: bool
    has_after: bool


def cut_page(
    records: Sequence[T],
    position: PagePosition[Mark] | None,
    size: int,
    mark_of: Callable[[T], Mark],
    accepts: Callable[[T], bool] | None = None,
    *,
    is_descending: bool = False,
) -> PageItems[T]:
    """Return a page of the `records` that `accepts` is true for; they are in ascending order of their marks.

    `is_descending` shows the list in reverse order.
    """
    is_back = position is not None and position.is_back
    found = list(islice(_walk(records, position, mark_of, accepts, is_down=is_descending != is_back), size + 1))
    has_more, items = len(found) > size, found[:size]
    if not items:
        return PageItems([], has_before=False, has_after=False)
    if is_back:
        items.reverse()
        after = PagePosition(mark_of(items[-1]))
        return PageItems(items, has_more, _has_any(_walk(records, after, mark_of, accepts, is_down=is_descending)))
    before = PagePosition(mark_of(items[0]))
    return PageItems(items, _has_any(_walk(records, before, mark_of, accepts, is_down=not is_descending)), has_more)


def _walk(
    records: Sequence[T],
    position: PagePosition[Mark] | None,
    mark_of: Callable[[T], Mark],
    accepts: Callable[[T], bool] | None,
    *,
    is_down: bool,
) -> Iterator[T]:
    """Yield the records beyond the position: lower marks if `is_down`, else higher ones."""
    if is_down:
        start = len(records) if position is None else bisect_left(records, position.mark, key=mark_of)
        indexes = range(start - 1, -1, -1)
    else:
        start = 0 if position is None else bisect_right(records, position.mark, key=mark_of)
        indexes = range(start, len(records))
    for index in indexes:
        if accepts is None or accepts(records[index]):
            yield records[index]


def _has_any(records: Iterator[T]) -> bool:
    return any(True for _ in records)


def encode_token(*values: object) -> str:
    """Return an opaque page token of JSON values, URL-safe."""
    return urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")


def decode_token(token: str) -> Any:
    """Return the JSON values of a token, or any other JSON; raises ValueError if there is none in it."""
    return orjson.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
