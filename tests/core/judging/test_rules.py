"""Judging by what is committed, with plain values: which conversation an event needs, how long a route is trusted."""

import orjson
import pytest

from router.core.errors import RouterError, UnreadableError
from router.core.judging.context import AccountRules
from router.core.judging.routes import Route
from router.core.judging.rules import EventRules
from router.core.ledger.ledger import Ledger
from router.core.ledger.marker import Result
from router.settings.policy_file import read_policy
from router.simulator.messages import message
from router.streams.delivery import Delivery, StreamRef
from router.worker.account_cache import AccountCache
from router.worker.work import begin, read_inbound, subject_of
from tests.support.accounts import ACCOUNT, CUSTOMER, OURS
from tests.support.policies import NOBODY, PLAIN
from tests.worker.test_account_cache import FakeStore

HERE = "conv_conversation_1"
TTL = 60


class Bench:
    """A judge, its clock, and events for it."""

    def __init__(self, policy=PLAIN):
        self.now = 1_767_787_200_000_000
        self.accounts = AccountCache(FakeStore(), always_own=frozenset(), clock=lambda: self.now)
        rules = AccountRules(read_policy(policy), configuration_id="cc", route_ttl=TTL * 1_000_000)
        self.rules = EventRules({ACCOUNT: rules}, rules, clock=lambda: self.now)

    def begin(self, body, source="messaging"):
        fields = {b"source": source.encode(), b"account": ACCOUNT.encode(), b"body": body, b"received_at": b"1"}
        return begin(self.rules, self.accounts, Delivery(StreamRef(0, "s"), "1-0", fields))

    def apply(self, work):
        return self.rules.apply(work, self.accounts.state(ACCOUNT))

    def is_doubtful(self, work):
        return self.rules.is_doubtful(work, self.accounts.state(ACCOUNT))

    def sms(self):
        sms = message("sms", account_sid=ACCOUNT, sender=CUSTOMER, recipient=OURS, body="hi")
        return self.begin(sms.body)

    def told(self, event_type, **data):
        body = {"eventType": event_type, "timestamp": "2026-01-01T00:00:00Z", "data": {"id": "x1"} | data}
        return self.begin(orjson.dumps(body), "conversations")

    def routed(self, work, *, kind="CUSTOMER", announced=True, **fields):
        """Give a work a route that was confirmed just now, and a ledger."""
        work.route = Route(HERE, "p1", kind, self.now)
        if announced:
            fields |= {f"a:SMS|{CUSTOMER}": "p1"}
        work.ledger = Ledger("router", ACCOUNT, HERE, dict(fields))
        return work


@pytest.fixture
async def bench():
    bench = Bench()
    await bench.accounts.know([ACCOUNT])
    return bench


async def test_message_needs_the_conversation_of_its_route(bench):
    """Without a route no conversation is known; with one its ledger is needed, for the customer's address."""
    work = bench.sms()
    assert bench.rules.needed(work) is None
    conversation_id, fields = bench.rules.needed(bench.routed(work))
    assert conversation_id == HERE
    assert f"a:SMS|{CUSTOMER}" in fields


async def test_message_is_asked_for_until_its_customer_is_announced(bench):
    """No route, a closed conversation or an unannounced customer: the API must be asked."""
    assert bench.apply(bench.sms()) is None
    assert bench.apply(bench.routed(bench.sms(), status="CLOSED")) is None
    assert bench.apply(bench.routed(bench.sms(), announced=False)) is None
    assert bench.apply(bench.routed(bench.sms())).result is Result.KNOWN


async def test_route_is_trusted_for_its_time(bench):
    """Until ROUTER_ROUTE_TTL has passed, and not a moment longer."""
    work = bench.routed(bench.sms())
    bench.now += TTL * 1_000_000 - 1
    assert bench.apply(work).result is Result.KNOWN
    bench.now += 1
    assert bench.apply(work) is None


async def test_route_is_trusted_while_callbacks_tell(bench):
    """A conversation that callbacks told of is trusted as long as callbacks of its account keep coming."""
    work = bench.routed(bench.sms(), told="1")
    silent = bench.routed(bench.sms())
    bench.now += TTL * 5_000_000
    bench.accounts.note_callback(ACCOUNT)
    assert bench.apply(work).result is Result.KNOWN
    assert bench.apply(silent) is None, "nobody ever told of this conversation"


async def test_customer_who_is_an_agent_there_is_ignored(bench):
    """The route says what the participant is, and the policy what that means."""
    outcome = bench.apply(bench.routed(bench.sms(), kind="HUMAN_AGENT", announced=False))
    assert outcome.result is Result.IGNORED


async def test_message_that_nobody_wants_is_ignored_before_anything_is_read():
    """The policy needs nothing but the message."""
    bench = Bench(NOBODY)
    work = bench.sms()
    assert bench.apply(work).result is Result.IGNORED
    assert not work.is_wanted


async def test_disregarded_event_needs_nothing(bench):
    """A type that is not known needs no ledger and ends with its reason."""
    work = bench.told("SOMETHING_NEW")
    assert bench.rules.needed(work) is None
    assert bench.apply(work).reason == "unknown event type SOMETHING_NEW"


async def test_new_participant_waits_while_somebody_creates_it(bench):
    """Whoever creates it knows why; a removal and a participant that is known already do not wait."""
    data = {
        "id": "p1",
        "conversationId": HERE,
        "type": "CUSTOMER",
        "addresses": [{"channel": "SMS", "address": CUSTOMER}],
    }
    work = bench.told("PARTICIPANT_ADDED", **data)
    work.ledger, work.is_being_created = Ledger("router", ACCOUNT, HERE, {}), True
    assert bench.apply(work) is None
    gone = bench.told("PARTICIPANT_REMOVED", **data)
    gone.ledger, gone.is_being_created = Ledger("router", ACCOUNT, HERE, {}), True
    assert bench.apply(gone).result is Result.NOTED
    work.is_being_created = False
    assert bench.apply(work).result is Result.JOINED
    assert [entry.type for entry in work.published] == ["participant.joined"]


@pytest.mark.parametrize(
    ("kind", "own", "is_doubtful"),
    [("CUSTOMER", (), False), ("AGENT", (), True), (None, (), True), ("AGENT", (CUSTOMER,), False)],
)
async def test_doubtful_is_who_may_be_ours_by_now(bench, kind, own, is_doubtful):
    """Only somebody who is no customer, at an address that is not known to be ours, makes the account be read again."""
    bench.accounts._accounts[ACCOUNT].own = frozenset(f"SMS|{address}" for address in own)
    data = {"conversationId": HERE, "type": kind, "addresses": [{"channel": "SMS", "address": CUSTOMER}]}
    assert bench.is_doubtful(bench.told("PARTICIPANT_ADDED", **data)) is is_doubtful
    assert not bench.is_doubtful(bench.sms())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"source": b"fax"},
        {b"source": b"voice"},
        {b"source": b"\xff"},
        {b"source": b"messaging", b"body": b"\xff=%ff"},
        {b"source": b"messaging", b"body": b"From=%2B1"},
        {b"source": b"conversations", b"body": b"[" * 100_000},
        {b"source": b"conversations", b"received_at": b"\xd9\xa1", b"body": b"{}"},
    ],
)
async def test_unreadable_entries_say_so(bench, fields):
    """Whatever is in an entry, beginning with it ends well or in an error that makes a dead letter."""
    with pytest.raises(RouterError) as caught:
        begin(bench.rules, bench.accounts, Delivery(StreamRef(0, "s"), "1-0", fields))
    assert isinstance(caught.value, UnreadableError)


@pytest.mark.parametrize("received", [b"", b"x", b"-1", b"1.5", "²".encode(), b"9" * 5000], ids=lambda value: value[:4])
def test_time_of_receipt_that_is_no_number_is_nothing(received):
    """A field that somebody spoiled is 0, never an exception."""
    entry = read_inbound(Delivery(StreamRef(0, "s"), "1-0", {b"received_at": received}))
    assert entry.received_at == 0


def test_subject_of_a_delivery_is_its_field():
    """Entries of one subject are worked on in order."""
    assert subject_of(Delivery(StreamRef(0, "s"), "1-0", {b"subject": b"a|b"})) == "a|b"
