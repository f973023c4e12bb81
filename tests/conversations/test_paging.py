"""Lists of the v2 API: the key of the items, the tokens, the guard against endless lists, each item once."""

import pytest

from router.conversations import ApiResponse
from router.conversations.paging import MAX_IDLE_PAGES, Listing, ListPage, iterate, read_page
from router.core.errors import ServerError
from router.core.resources import Participant

LISTING = Listing("participants", "GET /v2/Conversations/{conversation_id}/Participants")


class Pages:
    """Serves one page after the other and keeps the queries."""

    def __init__(self, *pages):
        self.pages = list(pages)
        self.queries = []

    async def __call__(self, query):
        self.queries.append(dict(query))
        return ApiResponse(200, {}, self.pages[len(self.queries) - 1])


def page(ids, token=None):
    return {"participants": [{"id": each} for each in ids], "meta": {"key": "participants", "nextToken": token}}


async def collect(pages, **options):
    options = {"filters": {}, "page_size": 50} | options
    return [each.id async for each in iterate(pages, Participant, LISTING, **options)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"things": [{"id": "a"}], "meta": {"key": "things"}}, ListPage([{"id": "a"}], None)),
        ({"participants": [{"id": "a"}], "others": []}, ListPage([{"id": "a"}], None)),
        ({"things": [{"id": "a"}], "meta": None}, ListPage([{"id": "a"}], None)),
        ({"things": [{"id": "a"}], "meta": {"key": "gone", "nextToken": "t"}}, ListPage([{"id": "a"}], "t")),
        ({"participants": None, "meta": {"key": "participants", "nextToken": ""}}, ListPage([], None)),
        ({"meta": {"key": "participants"}}, ListPage([], None)),
        ({"participants": [], "meta": {"nextToken": 7}}, ListPage([], "7")),
    ],
    ids=["meta-key", "usual-name", "only-list", "wrong-key", "null-list", "no-list", "number-token"],
)
def test_read_page(data, expected):
    """The items are found by the stated key, by the usual name, or in the only list; an empty token is the end."""
    assert read_page(data, LISTING) == expected


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"id": "conv_conversation_1"},
        {"a": [], "b": []},
        {"participants": ["a"]},
        {"participants": [], "meta": "x"},
        {"participants": {"id": "a"}, "meta": {"key": "participants"}},
    ],
    ids=["empty", "resource", "two-lists", "texts", "meta", "object"],
)
def test_no_page(data):
    """A body without a list is an error, not an empty list."""
    with pytest.raises(ServerError):
        read_page(data, LISTING)


async def test_filters_are_repeated():
    """Every page is requested with the same filters and size, and the token of the page before it."""
    pages = Pages(page("ab", "t/1=="), page("c", "t2"), page(""))
    assert await collect(pages, filters={"status": ["ACTIVE"]}, page_size=2) == ["a", "b", "c"]
    common = {"status": ["ACTIVE"], "pageSize": "2"}
    assert pages.queries == [common, common | {"pageToken": "t/1=="}, common | {"pageToken": "t2"}]


async def test_each_item_once():
    """An item that shifted to the next page is not yielded again."""
    assert await collect(Pages(page("abc", "1"), page("cd", "2"), page("ae"))) == ["a", "b", "c", "d", "e"]


async def test_empty_page_before_the_end():
    """A page without items is not the end of a list."""
    assert await collect(Pages(page("a", "1"), page("", "2"), page("b"))) == ["a", "b"]


@pytest.mark.parametrize("tokens", ["11", "121"], ids=["itself", "circle"])
async def test_repeated_token(tokens):
    """A list that returns to an earlier page is an error."""
    pages = Pages(*(page([str(number)], token) for number, token in enumerate(tokens)))
    with pytest.raises(ServerError, match="does not end"):
        await collect(pages)
    assert len(pages.queries) == len(tokens)


async def test_endless_tokens():
    """A list with ever new tokens and no new items is an error."""
    pages = Pages(*(page("a", f"token-{number}") for number in range(1000)))
    with pytest.raises(ServerError, match="does not end"):
        await collect(pages)
    assert len(pages.queries) == MAX_IDLE_PAGES + 1


@pytest.mark.parametrize(
    ("limit", "ids", "pages_fetched"), [(0, [], 0), (1, ["a"], 1), (2, ["a", "b"], 1), (3, ["a", "b", "c"], 2)]
)
async def test_limit(limit, ids, pages_fetched):
    """At most `limit` items are yielded, and no page after them is fetched."""
    pages = Pages(page("ab", "1"), page("cd"))
    assert await collect(pages, limit=limit) == ids
    assert len(pages.queries) == pages_fetched


@pytest.mark.parametrize("page_size", [0, 1001])
async def test_page_size(page_size):
    """A page size that the API does not allow is refused before anything is sent."""
    pages = Pages()
    with pytest.raises(ValueError, match="1 to 1000"):
        await collect(pages, page_size=page_size)
    assert pages.queries == []
