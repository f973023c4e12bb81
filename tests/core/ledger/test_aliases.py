"""Aliases in the ledger: further addresses of an announced participant, which leave and come back with it."""

import pytest

from router.core.addresses import Address
from router.core.ledger.aliases import find_announced, learn_aliases
from router.core.ledger.fields import FieldNotReadError
from router.core.ledger.marker import Result, address_field
from tests.core.builders import make_participant
from tests.core.committed import CommittedState

PHONE = Address("WHATSAPP", "whatsapp:+15551230001")
USER, OTHER_USER = (Address("WHATSAPP", f"whatsapp:US.{number}") for number in (1, 2))
ANA = make_participant("p1", PHONE)
BEN = make_participant("p2", USER)


@pytest.fixture
def state():
    """A conversation in which a customer is announced at the phone."""
    state = CommittedState()
    assert state.see(ANA, 1) is Result.JOINED
    return state


def learn(state, *addresses, participant_id="p1"):
    ledger = state.open()
    learn_aliases(ledger, participant_id, addresses)
    state.commit(ledger)
    return ledger.changes


def announced(state, address):
    return state.fields.get(address_field(address.key))


def test_an_alias_is_learned_once(state):
    """An alias leads to the participant; learning it again changes nothing."""
    assert learn(state, PHONE, USER)
    assert announced(state, USER) == "p1"
    assert not learn(state, USER, PHONE)
    assert find_announced(state.open(), OTHER_USER, [USER]) == "p1"


def test_nobody_else_is_announced_at_an_alias(state):
    """Another participant at the id is the same customer."""
    learn(state, PHONE, USER)
    assert state.see(BEN, 2) is Result.IGNORED
    assert state.types == ["participant.joined"]


def test_an_alias_is_not_taken_from_another_participant(state):
    """Who is announced at an address stays there."""
    assert state.see(BEN, 2) is Result.JOINED
    assert not learn(state, PHONE, USER)
    assert announced(state, USER) == "p2"


def test_a_new_id_replaces_the_old_one(state):
    """A phone belongs to the user whose id was told with it last."""
    learn(state, PHONE, USER)
    learn(state, PHONE, OTHER_USER)
    assert (announced(state, USER), announced(state, OTHER_USER)) == (None, "p1")


def test_aliases_leave_and_come_back(state):
    """A stay ends for all addresses, and the next one begins with all of them."""
    learn(state, PHONE, USER)
    assert state.see(make_participant("p1", PHONE, name="Ana"), 2) is Result.UPDATED
    assert announced(state, USER) == "p1"
    assert state.lose(ANA, 3) is Result.LEFT
    assert (announced(state, PHONE), announced(state, USER)) == (None, None)
    assert state.see(ANA, 4) is Result.JOINED
    assert (announced(state, PHONE), announced(state, USER)) == ("p1", "p1")


def test_who_is_not_announced_has_no_aliases(state):
    """Nothing is learned about a participant that is not known, or that was not announced."""
    assert not learn(state, PHONE, USER, participant_id="p3")


def test_fields_that_were_not_read(state):
    """A decision is never made on an address that was not read."""
    ledger = state.open(known=frozenset({"p:p1"}))
    with pytest.raises(FieldNotReadError):
        learn_aliases(ledger, "p1", [PHONE, USER])
