"""The rules of all accounts, with plain values: what an event needs, and how long a route is trusted."""

from dataclasses import dataclass

import pytest

from router.core.events import Change, Disregarded, ParticipantReported, Version
from router.core.judging.context import AccountRules
from router.core.judging.routes import Route
from router.core.judging.rules import EventRules
from router.core.ledger.ledger import Ledger
from router.core.ledger.marker import Result
from router.settings.policy_file import read_policy
from tests.core.builders import CONVERSATION, CUSTOMER, make_cause, make_message, make_participant
from tests.core.judging.events import NOW, make_work
from tests.support.accounts import ACCOUNT
from tests.support.policies import NOBODY, PLAIN

TTL = 60


@dataclass
class AccountState:
    own: frozenset[str] = frozenset()


class Bench:
    """Rules, the clock and the account's state that they judge by, and events for them."""

    def __init__(self, policy=PLAIN):
        self.now = NOW
        self.state = AccountState()
        rules = AccountRules(read_policy(policy), configuration_id="cc", route_ttl=TTL * 1_000_000)
        self.rules = EventRules({ACCOUNT: rules}, rules, clock=lambda: self.now)

    def apply(self, work):
        return self.rules.apply(work, self.state)

    def is_doubtful(self, work):
        return self.rules.is_doubtful(work, self.state)

    def message(self):
        return make_work(make_message(), begun=self.now)

    def reported(self, change, **participant):
        event = ParticipantReported(make_cause(), ACCOUNT, change, make_participant(**participant), Version(1, 1))
        return make_work(event, make_ledger(), begun=self.now)

    def routed(self, *, kind="CUSTOMER", announced=True, **fields):
        """A message with a route that was confirmed just now, and a ledger."""
        work = self.message()
        work.route = Route(CONVERSATION, "p1", kind, self.now)
        work.ledger = make_ledger(**fields | ({f"a:{CUSTOMER.key}": "p1"} if announced else {}))
        return work


def make_ledger(**fields):
    return Ledger("router", ACCOUNT, CONVERSATION, fields)


@pytest.fixture
def bench():
    return Bench()


def test_a_message_needs_the_conversation_of_its_route(bench):
    """A message needs no conversation without a route, else the customer's address in the ledger of the route's."""
    assert bench.rules.needed(bench.message()) is None
    conversation_id, fields = bench.rules.needed(bench.routed())
    assert conversation_id == CONVERSATION
    assert f"a:{CUSTOMER.key}" in fields


def test_a_message_needs_the_api_unless_its_sender_is_announced(bench):
    """Without a route, in a closed conversation or without an announced sender, the API must be asked."""
    assert bench.apply(bench.message()) is None
    assert bench.apply(bench.routed(status="CLOSED")) is None
    assert bench.apply(bench.routed(announced=False)) is None
    assert bench.apply(bench.routed()).result is Result.KNOWN


def test_a_route_is_trusted_until_its_ttl_has_passed(bench):
    """A route is trusted for ROUTER_ROUTE_TTL after its confirmation, and not a microsecond longer."""
    work = bench.routed()
    bench.now += TTL * 1_000_000 - 1
    assert bench.apply(work).result is Result.KNOWN
    bench.now += 1
    assert bench.apply(work) is None


def test_a_route_is_trusted_while_callbacks_about_its_conversation_arrive(bench):
    """A route is trusted for ROUTER_ROUTE_TTL after a callback about its own conversation, and not longer."""
    work = bench.routed(told=str(bench.now + TTL * 1_000_000))
    silent = bench.routed()
    bench.now += TTL * 2_000_000 - 1
    assert bench.apply(silent) is None, "no callback was about this conversation"
    assert bench.apply(work).result is Result.KNOWN
    bench.now += 1
    assert bench.apply(work) is None


def test_only_a_message_on_trust_is_uncertain(bench):
    """The claim of a message whose conversation is trusted to be open is not certain; a confirmed one's is."""
    trusted, confirmed = bench.routed(), bench.routed()
    bench.apply(trusted)
    bench.rules.apply_confirmed(confirmed, bench.state, confirmed.route)
    claims = [claim.is_certain for work in (trusted, confirmed) for claim in work.ledger.claims.values()]
    assert claims == [False, True]


def test_a_sender_who_is_an_agent_in_its_conversation_is_ignored(bench):
    """The policy decides about an unannounced sender by the participant type of the route."""
    outcome = bench.apply(bench.routed(kind="HUMAN_AGENT", announced=False))
    assert outcome.result is Result.IGNORED


def test_a_message_without_a_target_is_ignored_before_anything_is_read():
    """A message that the policy ignores needs neither route nor ledger."""
    bench = Bench(NOBODY)
    work = bench.message()
    assert bench.apply(work).result is Result.IGNORED
    assert not work.is_wanted


def test_a_disregarded_event_needs_no_ledger(bench):
    """A disregarded event is ignored for the reason that the parser gave."""
    work = make_work(Disregarded(make_cause(), ACCOUNT, "unknown event type SOMETHING_NEW"))
    assert bench.rules.needed(work) is None
    assert bench.apply(work).reason == "unknown event type SOMETHING_NEW"


def test_a_new_participant_waits_for_its_creator(bench):
    """A new participant that a worker is creating waits for it; a removal does not."""
    work, gone = bench.reported(Change.ADDED), bench.reported(Change.REMOVED)
    work.is_being_created = gone.is_being_created = True
    assert bench.apply(work) is None
    assert bench.apply(gone).result is Result.NOTED
    work.is_being_created = False
    assert bench.apply(work).result is Result.JOINED
    assert [entry.type for entry in work.published] == ["participant.joined"]


@pytest.mark.parametrize(
    ("kind", "own", "is_doubtful"),
    [("CUSTOMER", (), False), ("AGENT", (), True), (None, (), True), ("AGENT", (CUSTOMER,), False)],
)
def test_only_a_participant_who_may_be_ours_is_doubtful(bench, kind, own, is_doubtful):
    """Only a participant that is no CUSTOMER, at an address that is not known to be ours, is doubtful."""
    bench.state.own = frozenset(address.key for address in own)
    assert bench.is_doubtful(bench.reported(Change.ADDED, type=kind)) is is_doubtful
    assert not bench.is_doubtful(bench.message())
