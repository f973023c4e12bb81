"""Erasing a customer from a ledger: no address, name or word is left, and nobody is announced twice."""

import orjson

from router.core.addresses import Address
from router.core.erasing import ErasedCustomer, read_customer
from router.core.keys import Target
from router.core.ledger.erasing import erase_from, participants_of
from router.core.ledger.ledger import Ledger
from router.core.ledger.marker import Result
from router.core.policy import Decision
from router.core.routing.holding import read_holding
from tests.core.builders import CONVERSATION, make_fact, make_participant
from tests.support.accounts import ACCOUNT

PHONE, OTHER = Address("SMS", "+15551230001"), Address("SMS", "+15551230002")
HOME = (ACCOUNT, CONVERSATION)


def make_ledger(*participants, target=Target.HUMAN_AGENT):
    """Return a ledger in which these are announced, as it is read after the commit."""
    ledger = Ledger("router", ACCOUNT, CONVERSATION, {})
    for number, address in enumerate(participants, 1):
        participant = make_participant(f"p{number}", address, name=f"Name {number}")
        decision = Decision(target, "a rule")
        assert ledger.take_participant(make_fact(participant, 5, decision=decision)).result is Result.JOINED
    return Ledger("router", ACCOUNT, CONVERSATION, dict(ledger.fields))


def erase(ledger, text="+15551230001"):
    customer = read_customer(text)
    own = participants_of(ledger, customer)
    homes = frozenset({HOME} if own.is_only else ())
    erase_from(ledger, ErasedCustomer(customer.keys | own.keys, own.ids, homes))
    return own


def test_nothing_is_left_of_the_only_customer():
    """Neither in the fields' names nor in their values; the marker, the holder and the epoch are."""
    ledger = make_ledger(PHONE)
    assert "5551230001" in str(ledger.fields)
    own = erase(ledger)
    assert (own.ids, own.is_only) == ({"p1"}, True)
    assert "5551230001" not in str(ledger.fields)
    assert "Name 1" not in str(ledger.fields)
    marker = ledger.marker("p1")
    assert (marker.is_announced, marker.addresses, marker.digest) == (True, (), "")
    assert read_holding(ledger.fields["holding"]).request.reason == "(erased)"
    ledger.changes.clear()
    erase_from(ledger, ErasedCustomer(own.keys, own.ids, frozenset({HOME})))
    assert not ledger.changes, "once more changes nothing"


def test_another_customer_stays():
    """In a conversation of several."""
    ledger = make_ledger(PHONE, OTHER, target=Target.AI_AGENT)
    own = erase(ledger)
    assert (own.ids, own.is_only) == ({"p1"}, False)
    assert ledger.marker("p2").addresses == (OTHER.key,)
    assert ledger.announced_at(OTHER) == "p2"
    assert ledger.announced_at(PHONE) is None


def test_the_customer_is_not_announced_again():
    """A report of what was known changes nothing but the address; an older one nothing at all."""
    ledger = make_ledger(PHONE, target=Target.AI_AGENT)
    erase(ledger)
    stale = Ledger("router", ACCOUNT, CONVERSATION, dict(ledger.fields))
    participant = make_participant("p1", PHONE, name="Name 1")
    assert stale.take_participant(make_fact(participant, 3)).result is Result.STALE
    assert not stale.entries
    back = Ledger("router", ACCOUNT, CONVERSATION, dict(ledger.fields))
    assert back.take_participant(make_fact(participant, 5)).result is Result.UPDATED
    assert [entry.type for entry in back.entries] == ["participant.updated"]
    assert back.announced_at(PHONE) == "p1"


def test_a_turn_loses_what_the_customer_said():
    """And keeps what another one did."""
    ledger = make_ledger(PHONE, OTHER, target=Target.AI_AGENT)
    lines = [f"1 {orjson.dumps({'subject': name, 'data': {}}).decode()}\n" for name in ("p1", "p2")]
    ledger.fields["turn"] = "".join(lines)
    erase(ledger)
    assert ledger.fields["turn"] == lines[1]
    ledger = make_ledger(PHONE, target=Target.AI_AGENT)
    ledger.fields["turn"] = lines[0]
    erase(ledger)
    assert "turn" not in ledger.fields
