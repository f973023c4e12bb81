"""Copies of a known customer are what the store reads of any other."""

from __future__ import annotations

import pytest

from router.core.judging.routes import Route
from router.core.keys import Keys
from router.streams.store.ledgers import Store
from tests.benchmarks.frame import BenchmarkError
from tests.benchmarks.known import TEMPLATE, Copies, _pair, digits_of
from tests.support.accounts import ACCOUNT

pytestmark = pytest.mark.real


async def test_copies_differ_in_the_number_only(redis):
    """Each has a conversation of its own with the same fields, and a route that leads there; none is written twice."""
    store = Store(redis, Keys(), marker_ttl=60)
    with pytest.raises(BenchmarkError, match="no route"):
        await Copies.of(store)
    digits = digits_of(TEMPLATE)
    ledger = store.make_ledger(ACCOUNT, f"conv_{digits}")
    ledger.put("target", "ai-agent")
    ledger.put(f"a:SMS|+{digits}", f"participant_{digits}")
    assert await store.commit([ledger]) == [True]
    await store.write_routes([(ACCOUNT, _pair(TEMPLATE), Route(f"conv_{digits}", f"participant_{digits}", "", 7))])
    copies = await Copies.of(store)
    await copies.write(17, 2)
    for number in (17, 18):
        (route,) = await store.read_routes([(ACCOUNT, _pair(number))])
        assert route == Route(f"conv_{digits_of(number)}", f"participant_{digits_of(number)}", "", 7)
        found = await store.read_whole(ACCOUNT, route.conversation_id)
        assert found.get("target") == "ai-agent"
        assert found.get(f"a:SMS|+{digits_of(number)}") == route.participant_id
    with pytest.raises(BenchmarkError, match="are known"):
        await copies.write(18, 1)
