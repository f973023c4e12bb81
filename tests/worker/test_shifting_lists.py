"""Lists whose pages shift while they are read: no participant is added twice, overlooked or taken for gone."""

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
async def long_list(make_harness):
    """A harness with one conversation whose customer is the first of the fourth page; the API allows duplicates."""
    harness = await make_harness(list_page_limit=PAGE, page_tokens="count", duplicate_address="allow")
    conversation = (await harness.capture(customerType=None))["conversation"]
    path = f"/v2/Conversations/{conversation['id']}/Participants"
    participants = [("CUSTOMER", "SMS", CUSTOMER)]
    participants += [("HUMAN_AGENT", "CHAT", f"user-{number}") for number in range(PAGE * PAGES)]
    for kind, channel, address in participants:
        await harness.api("POST", path, {"type": kind, "addresses": [{"channel": channel, "address": address}]})
    return harness


def shift(harness, change="removal"):
    """Let the list change once, when the page before the customer's has been read."""
    harness.fault(method="GET", route=ROUTE, times=PAGES - 1)
    harness.fault(method="GET", route=ROUTE, times=1, churn=change)


async def all_addresses(harness):
    """The addresses of all participants of the one conversation, read while nothing changes."""
    (conversation,) = await harness.conversations()
    token, found = "", []
    while token is not None:
        page = await harness.api("GET", f"/v2/Conversations/{conversation['id']}/Participants?pageToken={token}")
        found += [one["addresses"][0]["address"] for one in page["participants"]]
        token = page["meta"]["nextToken"]
    return found


@pytest.mark.parametrize("change", ["removal", "addition"])
async def test_a_customer_is_not_added_twice(long_list, change):
    """A customer whose page shifted is not added again, even if the API allows duplicates."""
    shift(long_list, change)
    assert await long_list.settle(long_list.sms()) == [DONE]
    (entry,) = await long_list.entries()
    assert (entry.data.origin, entry.data.address) == ("found", CUSTOMER)
    assert (await all_addresses(long_list)).count(CUSTOMER) == 1


async def test_an_author_is_not_overlooked(long_list):
    """A communication whose author's page shifted is published."""
    (conversation,) = await long_list.conversations()
    shift(long_list)
    author = {"channel": "SMS", "address": CUSTOMER}
    customer = {"id": None, "conversationId": conversation["id"], "addresses": [author]}
    assert await long_list.settle(spoken(long_list, customer, author=author)) == [DONE]
    assert await long_list.types() == ["joined"]
    assert len(await long_list.communications()) == 1


async def test_a_participant_is_not_taken_for_gone(long_list):
    """A sweep fetches an announced participant that the list lacks before it would publish a departure."""
    sweeps = Sweeps(long_list)
    (conversation,) = await long_list.conversations()
    customer = participant_of(conversation, "CUSTOMER")
    assert await sweeps.settle(long_list.callback("PARTICIPANT_ADDED", customer)) == [Result.JOINED]
    shift(long_list)
    assert await sweeps.sweep() == 1
    calls = await long_list.calls()
    assert (calls[LIST], calls["GET /v2/Conversations/{conversation}/Participants/{participant}"]) == (PAGES + 1, 1)
    assert await long_list.types() == ["joined"]
