"""Calls: withheld numbers, the form of both ends, and the policy's decision."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.calls import GOING_ON, OVER, call_key, call_party, decide_call
from router.core.keys import Target
from router.core.policy import Policy
from tests.core.builders import RECEIVED_AT, make_rule

OURS = Address("VOICE", "+15557650001")


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "anonymous", "Anonymous", "RESTRICTED", "unavailable", "unknown", "blocked", "private", "client:"),
        *("+266696687", "+7378742833", "+7378742883", "+2562533", "+8656696", "+86282452253", "+464"),
        *("+1266696687", "+12562533", "+18656696", "266696687", "+266 696-687"),
        *("sip:anonymous@anonymous.invalid", "sips:Anonymous@example.com", "sip:+266696687@198.51.100.7:5060"),
        *("sip:Unknown;phone-context=x@example.com", "sip:a1b2@Anonymous.invalid;transport=tls", "sip:@example.com"),
    ],
)
def test_withheld(value):
    """Every form in which Twilio reports a withheld number gives no address."""
    assert call_party(value) is None


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("+14155550101", "+14155550101"),
        (" +14155550101 ", "+14155550101"),
        ("client:ana", "ana"),
        ("Client:ana", "ana"),
        ("client:anonymous", "anonymous"),
        ("sip:ana@example.com", "sip:ana@example.com"),
        ("sip:+14155550101@example.com;transport=tls", "sip:+14155550101@example.com;transport=tls"),
        ("2345", "2345"),
        ("464", "464"),
        ("+8566696", "+8566696"),
        ("+865669612345", "+865669612345"),
        ("+17378742833", "+17378742833"),
        ("7378742833", "7378742833"),
        ("sip:464@example.com", "sip:464@example.com"),
        ("sip:ana@unknown.example", "sip:ana@unknown.example"),
    ],
)
def test_party(value, written):
    """Numbers and SIP URIs stay unchanged; an identity loses its prefix."""
    assert call_party(value) == Address("VOICE", written)


@given(st.text())
def test_party_is_total(value):
    """Any `From` is an address or a withheld number."""
    party = call_party(value)
    assert party is None or (party.channel == "VOICE" and party.value)


def test_states_are_apart():
    """No state of a call is both going on and over."""
    assert not GOING_ON & OVER


def test_key():
    """Every state of a call has its own key, under its account."""
    assert call_key("AC1", "CA1", "ringing") == "AC1:voice:CA1:ringing"


def decide(policy, customer, recipient=OURS):
    return decide_call(
        policy, account_id="AC1", customer=customer, recipient=recipient, configuration_id="c1", now=RECEIVED_AT
    )


def test_a_decision_uses_the_facts_of_the_call():
    """Rules see source, channel, type, both ends, account and configuration."""
    conditions = {
        "sources": frozenset({"voice"}),
        "channels": frozenset({"VOICE"}),
        "participant_types": frozenset({"CUSTOMER"}),
        "recipients": frozenset({"+15557650001"}),
        "customer_prefixes": ("+1415",),
        "configuration_ids": frozenset({"c1"}),
    }
    policy = Policy(None, (make_rule("calls", Target.HUMAN_AGENT, **conditions),))
    assert decide(policy, Address("VOICE", "+14155550101")).target is Target.HUMAN_AGENT
    assert decide(policy, Address("VOICE", "+14155550101"), Address("VOICE", "+15557650002")).target is None


def test_a_caller_without_a_number_has_no_prefix():
    """Rules on the number's beginning do not match a withheld number; others do."""
    prefixed = make_rule("prefix", Target.HUMAN_AGENT, customer_prefixes=("+1",))
    assert decide(Policy(Target.AI_AGENT, (prefixed,)), None).target is Target.AI_AGENT


@pytest.mark.parametrize("value", ["+266696687", "+86282452253", "anonymous", "sip:anonymous@anonymous.invalid"])
def test_a_stand_in_for_a_number_has_no_prefix(value):
    """What stands for a withheld number in a report of the API matches no prefix, on VOICE."""
    rule = make_rule("prefix", Target.HUMAN_AGENT, customer_prefixes=("+2", "+8", "a", "s"))
    policy = Policy(Target.AI_AGENT, (rule,))
    assert decide(policy, Address("VOICE", value)).target is Target.AI_AGENT
    assert decide(policy, Address("SMS", value)).target is Target.HUMAN_AGENT
