"""The events that wait: each with its reason, since when, and what is behind it."""

from __future__ import annotations

import pytest

from router.core.stories import event_id
from router.operations import waiting
from router.operations.selection import Selection
from router.operations.waiting import list_waiting, look_through_waiting
from tests.operations.conftest import SUBJECT
from tests.support.accounts import ACCOUNT, CUSTOMER, OURS

pytestmark = pytest.mark.real
OTHER = f"SMS|+15551230002|{OURS}"


async def found(redis, keys, **wanted):
    return [event async for event in list_waiting(redis, keys, Selection(**wanted))]


async def test_nothing_waits(redis, keys):
    """Not even a stream is there."""
    assert await found(redis, keys) == []


async def test_an_event_says_why_and_since_when(redis, keys, deployment):
    """And which it is; what is behind it of the same customer says so."""
    first, second = await deployment.park("k1", "k2", since=1_767_787_200_000)
    events = await found(redis, keys)
    assert [(one.entry_id, one.is_first) for one in events] == [(first, True), (second, False)]
    event = events[0]
    assert (event.stream, event.group, event.event_id) == (keys.inbound(0), "resolver", event_id("k1"))
    assert (event.reason, event.tries, event.since) == ("the API is away", 3, 1_767_787_200_000_000)
    assert event.due > event.since
    assert (event.facts.account, event.facts.address) == (ACCOUNT, CUSTOMER)
    shown = event.to_json()
    assert (shown["since"], CUSTOMER in str(shown)) == ("2026-01-07T12:00:00.000Z", False)
    assert event.to_json(unmasked=True)["address"] == CUSTOMER


async def test_the_order_of_a_customer_holds_over_pages(redis, keys, deployment, monkeypatch):
    """Only the first event of each is the next one, wherever a page ends."""
    monkeypatch.setattr(waiting, "_PAGE", 2)
    await deployment.park(*[f"a{number}" for number in range(5)])
    await deployment.park("b", subject=OTHER)
    events = await found(redis, keys)
    assert len(events) == 6
    assert [one.facts.key for one in events if one.is_first] == ["a0", "b"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"reason": "api"}, {"k1", "k2"}),
        ({"reason": "call"}, {"k3"}),
        ({"event": "k2"}, {"k2"}),
        ({"event": event_id("k3")}, {"k3"}),
        ({"group": "other"}, set()),
        ({"stream": "inbound", "account": ACCOUNT}, {"k1", "k2", "k3"}),
        ({"stream": "commands"}, set()),
        ({"since": 2_000_000}, {"k3"}),
        ({"until": 2_000_000}, {"k1", "k2"}),
    ],
)
async def test_filters_select_events(redis, keys, deployment, wanted, expected):
    """By reason, event, group, stream, account, and since when they wait."""
    await deployment.park("k1", "k2", since=1_000)
    await deployment.park("k3", reason="waits for its call", subject=OTHER, since=2_000)
    assert {one.facts.key for one in await found(redis, keys, **wanted)} == expected


async def test_an_entry_that_is_gone_is_listed_without_facts(redis, keys, deployment):
    """Somebody deleted it by hand; its record is still there."""
    (entry_id,) = await deployment.park("k1", subject=SUBJECT)
    await redis.xdel(keys.inbound(0), entry_id)
    (event,) = await found(redis, keys)
    assert (event.entry_id, event.event_id, event.to_json()["account"]) == (entry_id, "", "")


@pytest.mark.parametrize("page", [2, 100])
async def test_those_before_a_place_are_not_read(redis, keys, deployment, monkeypatch, page):
    """The rest has the same order, and says the same of each."""
    monkeypatch.setattr(waiting, "_PAGE", page)
    await deployment.park(*[f"a{number}" for number in range(3)])
    await deployment.park("b1", "b2", subject=OTHER)
    await deployment.park("c1", group="other")
    everything = await found(redis, keys)
    for skip in range(len(everything) + 2):
        found_behind = [one async for one in look_through_waiting(redis, keys, Selection(), skip=skip)]
        assert found_behind == everything[skip:]


async def test_other_streams_and_groups_are_not_looked_through(redis, keys, deployment):
    """What does not match otherwise is: the caller bounds the number."""
    await deployment.park("k1", "k2")
    await deployment.park("k3", group="other")
    for wanted, number in (({"group": "resolver"}, 2), ({"stream": "commands"}, 0), ({"event": "k2"}, 5)):
        seen = [one async for one in look_through_waiting(redis, keys, Selection(**wanted))]
        assert len(seen) == number
