"""Lists whose pages shift while others come and go: nobody is added twice, overlooked or taken for gone."""

import pytest

from router.core.ledger.marker import Result
from router.streams.delivery import Done
from tests.support.accounts import CUSTOMER
from tests.worker.harness import LIST
from tests.worker.payloads import participant_of, spoken
from tests.worker.sweeps import Sweeps

DONE = Done()
ROUTE = LIST.removeprefix("GET ")
PAGE, PAGES = 20, 3


@pytest.fixture
async def crowded(make_harness):
    """A harness with one conversation, in which the customer is the first of the fourth page; duplicates are let in."""
    harness = await make_harness(list_page_limit=PAGE, page_tokens="count", duplicate_address="allow")
    conversation = (await harness.capture(customerType=None))["conversation"]
    path = f"/v2/Conversations/{conversation['id']}/Participants"
    people = [("CUSTOMER", "SMS", CUSTOMER)]
    people += [("HUMAN_AGENT", "CHAT", f"user-{number}") for number in range(PAGE * PAGES)]
    for kind, channel, address in people:
        await harness.api("POST", path, {"type": kind, "addresses": [{"channel": channel, "address": address}]})
    return harness


def shift(harness, change="removal"):
    """Let the list change once, when the page before the customer's has been read."""
    harness.fault(method="GET", route=ROUTE, times=PAGES - 1)
    harness.fault(method="GET", route=ROUTE, times=1, churn=change)


async def everybody(harness):
    """The addresses of all participants of the one conversation, read while nothing changes."""
    (conversation,) = await harness.conversations()
    token, found = "", []
    while token is not None:
        page = await harness.api("GET", f"/v2/Conversations/{conversation['id']}/Participants?pageToken={token}")
        found += [one["addresses"][0]["address"] for one in page["participants"]]
        token = page["meta"]["nextToken"]
    return found


@pytest.mark.parametrize("change", ["removal", "addition"])
async def test_customer_is_not_added_twice(crowded, change):
    """Somebody goes or comes between two pages, and even an API that refuses no duplicate gets none."""
    shift(crowded, change)
    assert await crowded.settle(crowded.sms()) == [DONE]
    (entry,) = await crowded.entries()
    assert (entry.data.origin, entry.data.address) == ("found", CUSTOMER)
    assert (await everybody(crowded)).count(CUSTOMER) == 1


async def test_author_is_not_overlooked(crowded):
    """A communication whose author is known by address alone is heard, and not ignored for a page that shifted."""
    (conversation,) = await crowded.conversations()
    shift(crowded)
    author = {"channel": "SMS", "address": CUSTOMER}
    customer = {"id": None, "conversationId": conversation["id"], "addresses": [author]}
    assert await crowded.settle(spoken(crowded, customer, author=author)) == [DONE]
    assert await crowded.types() == ["joined"]
    assert len(await crowded.communications()) == 1


async def test_nobody_is_taken_for_gone(crowded):
    """A sweep that misses the customer in the list asks for it before it says that it has left."""
    sweeps = Sweeps(crowded)
    (conversation,) = await crowded.conversations()
    customer = participant_of(conversation, "CUSTOMER")
    assert await sweeps.settle(crowded.callback("PARTICIPANT_ADDED", customer)) == [Result.JOINED]
    shift(crowded)
    assert await sweeps.sweep() == 1
    calls = await crowded.calls()
    assert (calls[LIST], calls["GET /v2/Conversations/{conversation}/Participants/{participant}"]) == (PAGES + 1, 1)
    assert await crowded.types() == ["joined"]
