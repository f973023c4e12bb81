"""Paging: sizes, tokens, order, and lists that change during a traversal."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.sandbox.errors import RefusalError
from router.sandbox.indexes import Timeline
from router.sandbox.v2.paging import read_query, take_page
from tests.sandbox.harness import make_participant


@dataclass
class Row:
    id: str
    moment: int


def timeline(count):
    rows = Timeline()
    for number in range(count):
        rows.add(Row(str(number), number * 10))
    return rows


def query(size, token, is_descending):
    given_query = {name: value for name, value in (("pageSize", size), ("pageToken", token)) if value is not None}
    return read_query({name: str(value) for name, value in given_query.items()}, "rows", is_descending=is_descending)


@given(
    count=st.integers(0, 40),
    size=st.integers(1, 12),
    is_descending=st.booleans(),
    changes=st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=30),
)
def test_a_traversal_under_concurrent_writes(count, size, is_descending, changes):
    """Whatever is added or removed between pages, a record that exists throughout is returned exactly once."""
    rows, changes = timeline(count), list(changes)
    staying, seen, token = {row.id for row in rows}, [], None
    created = count
    while True:
        page = take_page(rows.ordered, query(size, token, is_descending))
        seen += [row.id for row in page.items]
        token = page.next_token
        if token is None:
            break
        for is_new, place in (changes.pop() for _ in range(min(3, len(changes)))):
            if is_new:
                rows.add(Row(str(created), created * 10))
                created += 1
            elif rows.get(str(place)) is not None:
                rows.remove(str(place))
                staying.discard(str(place))
    assert len(seen) == len(set(seen))
    assert staying <= set(seen)


@given(count=st.integers(0, 40), size=st.integers(1, 12), is_descending=st.booleans(), odd_only=st.booleans())
def test_pages_backwards_are_the_pages_forwards(count, size, is_descending, odd_only):
    """previousToken leads back to the page before, with and without a filter."""
    rows = timeline(count)
    accepts = (lambda row: int(row.id) % 2 == 1) if odd_only else None
    forwards, token = [], None
    while token is not None or not forwards:
        page = take_page(rows.ordered, query(size, token, is_descending), accepts)
        forwards.append(page)
        token = page.next_token
    backwards = [forwards[-1]]
    while (token := backwards[-1].previous_token) is not None:
        backwards.append(take_page(rows.ordered, query(size, token, is_descending), accepts))
    assert [page.items for page in reversed(backwards)] == [page.items for page in forwards]


@pytest.mark.parametrize("size", ["0", "1001", "-1", "ten", "", "1e3", "٣", "99999999999"])
def test_sizes_out_of_range(size):
    """A page size that is not 1 to 1000 is a 400 that names it."""
    with pytest.raises(RefusalError, match="pageSize") as caught:
        read_query({"pageSize": size}, "rows", is_descending=True)
    assert caught.value.status == 400


@pytest.mark.parametrize("token", ["x", "bm8", "W10", "e30", "WyJvdGhlciIsMSxmYWxzZV0", "%%%", "ü", "a" * 5000])
def test_bad_tokens(token):
    """A token that is not one of this list is a 400 that names it."""
    with pytest.raises(RefusalError, match="pageToken") as caught:
        read_query({"pageToken": token}, "rows", is_descending=True)
    assert caught.value.status == 400


async def test_the_default_page(sandbox):
    """50 items, newest first, meta with key and the size returned, a token of URL-safe base64; other names ignored."""
    for number in range(51):
        await sandbox.open(make_participant("AGENT", str(number)))
    page = (await sandbox.get("/v2/Conversations?PageSize=3&Whatever=1")).body
    assert {name: page["meta"][name] for name in ("key", "pageSize", "previousToken")} == {
        "key": "conversations",
        "pageSize": 50,
        "previousToken": None,
    }
    assert urlsafe_b64decode(page["meta"]["nextToken"] + "==")
    addresses = [each["participants"][0]["addresses"][0]["address"] for each in page["conversations"]]
    assert addresses == [str(number) for number in range(50, 0, -1)]
    last = (await sandbox.get(f"/v2/Conversations?pageToken={page['meta']['nextToken']}")).body
    assert (last["meta"]["pageSize"], last["meta"]["nextToken"]) == (1, None)
    assert (await sandbox.get("/v2/Conversations?pageSize=1001")).status == 400
    assert (await sandbox.get("/v2/Conversations?pageToken=nonsense")).status == 400


async def test_ascending_by_switch(start):
    """The oldest comes first by switch."""
    sandbox = await start(list_order="ascending")
    made = [(await sandbox.open(make_participant("AGENT", str(number))))["id"] for number in range(3)]
    listed = (await sandbox.get("/v2/Conversations")).body["conversations"]
    assert [each["id"] for each in listed] == made


async def test_tokens_belong_to_one_list(sandbox):
    """A token of one conversation's participants is refused by another list."""
    first, second = [
        await sandbox.open(*[make_participant("AGENT", f"{place}{n}") for n in range(3)]) for place in "ab"
    ]
    path = f"/v2/Conversations/{first['id']}/Participants"
    token = (await sandbox.get(f"{path}?pageSize=1")).body["meta"]["nextToken"]
    assert (await sandbox.get(f"{path}?pageSize=1&pageToken={token}")).status == 200
    assert (await sandbox.get(f"/v2/Conversations/{second['id']}/Participants?pageToken={token}")).status == 400


async def test_records_of_one_microsecond(start):
    """Records of one microsecond have an order, so that pages of 1 return each once."""
    sandbox = await start(clock=lambda: 1_700_000_000_000_000)
    made = {(await sandbox.open(make_participant("AGENT", str(number))))["id"] for number in range(9)}
    seen, token = [], ""
    while token is not None:
        page = (await sandbox.get(f"/v2/Conversations?pageSize=1&pageToken={token}")).body
        seen += [each["id"] for each in page["conversations"]]
        token = page["meta"]["nextToken"]
    assert (len(seen), set(seen)) == (9, made)


async def test_pages_have_no_more_than_the_limit(start):
    """By switch a page is smaller than requested, and `meta` has its size."""
    sandbox = await start(list_page_limit=2)
    for number in range(3):
        await sandbox.open(make_participant("AGENT", str(number)))
    page = (await sandbox.get("/v2/Conversations?pageSize=1000")).body
    assert (len(page["conversations"]), page["meta"]["pageSize"]) == (2, 2)
    assert page["meta"]["nextToken"]


@given(count=st.integers(0, 20), size=st.integers(1, 6), is_descending=st.booleans())
def test_counted_pages_are_the_same_while_nobody_writes(count, size, is_descending):
    """With counting tokens, an unchanged list is returned whole, forward and back."""
    rows, tokens = timeline(count), [None]
    expected = [str(number) for number in range(count)][:: -1 if is_descending else 1]
    pages = []
    while len(pages) < len(tokens):
        page = take_page(rows.ordered, replace(query(size, tokens[-1], is_descending), is_counted=True))
        pages.append([row.id for row in page.items])
        tokens += [page.next_token] if page.next_token else []
        before = page.previous_token
        if before:
            back = take_page(rows.ordered, replace(query(size, before, is_descending), is_counted=True))
            assert [row.id for row in back.items] == pages[-2]
    assert [row for page in pages for row in page] == expected


@pytest.mark.parametrize(("tokens", "missed"), [("place", 0), ("count", 1)])
async def test_a_removal_between_two_pages(start, tokens, missed):
    """The first record is removed after its page was read: a position loses no other record, a count loses one."""
    sandbox = await start(page_tokens=tokens, list_page_limit=2)
    conversation = await sandbox.open(*[make_participant("AGENT", str(number)) for number in range(4)])
    path = f"/v2/Conversations/{conversation['id']}/Participants"
    fault = {"method": "GET", "route": "/v2/Conversations/{conversation}/Participants", "churn": "removal", "times": 1}
    await sandbox.post("/sandbox/faults", fault)
    first = (await sandbox.get(path)).body
    second = (await sandbox.get(f"{path}?pageToken={first['meta']['nextToken']}")).body
    seen = {each["id"] for page in (first, second) for each in page["participants"]}
    left = {each["id"] for each in conversation["participants"]} - {first["participants"][0]["id"]}
    assert len(left - seen) == missed
