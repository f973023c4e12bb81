"""The routing policy: total, the first match wins, and rules that can never decide are found."""

from datetime import UTC, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.keys import Target
from router.core.policy import ALL_DAYS, Decision, Hours, Policy, canonical_recipient, covers
from router.core.values import replace
from tests.core.builders import CUSTOMER, DESK, NOON, make_facts, make_rule

BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("conditions", "facts", "reason"),
    [
        pytest.param({}, {}, "rule", id="none"),
        pytest.param({"sources": frozenset({"messaging"})}, {}, "rule (source)", id="source"),
        pytest.param({"sources": frozenset({"voice"})}, {}, None, id="other-source"),
        pytest.param({"channels": frozenset({"SMS", "RCS"})}, {}, "rule (channel)", id="channel"),
        pytest.param({"channels": frozenset({"VOICE"})}, {}, None, id="other-channel"),
        pytest.param({"participant_types": frozenset({"CUSTOMER"})}, {}, "rule (participant_type)", id="type"),
        pytest.param({"participant_types": frozenset({"AGENT"})}, {}, None, id="other-type"),
        pytest.param({"recipients": frozenset({DESK.value})}, {"recipient": DESK}, "rule (recipient)", id="recipient"),
        pytest.param(
            {"recipients": frozenset({DESK.value})},
            {"recipient": Address("WHATSAPP", "whatsapp:+1 555 765 0001")},
            "rule (recipient)",
            id="recipient-in-another-spelling",
        ),
        pytest.param({"recipients": frozenset({DESK.value})}, {"recipient": CUSTOMER}, None, id="other-recipient"),
        pytest.param({"recipients": frozenset({DESK.value})}, {}, None, id="recipient-not-known"),
        pytest.param(
            {"configuration_ids": frozenset({"conv_configuration_1"})},
            {"configuration_id": "conv_configuration_1"},
            "rule (configuration_id)",
            id="configuration",
        ),
        pytest.param({"configuration_ids": frozenset({"x"})}, {}, None, id="configuration-not-known"),
        pytest.param({"accounts": frozenset({"AC1", "AC2"})}, {"account_id": "AC2"}, "rule (account)", id="account"),
        pytest.param({"accounts": frozenset({"AC1"})}, {"account_id": "AC2"}, None, id="other-account"),
        pytest.param({"customer_prefixes": ("+1415", "+49")}, {}, "rule (customer_prefix)", id="prefix"),
        pytest.param(
            {"customer_prefixes": ("+1415",)},
            {"customer": Address("WHATSAPP", "whatsapp:14155550101")},
            "rule (customer_prefix)",
            id="prefix-of-the-canonical-form",
        ),
        pytest.param({"customer_prefixes": ("+49",)}, {}, None, id="other-prefix"),
        pytest.param({"hours": Hours("UTC", start=time(9), end=time(17))}, {}, "rule (hours)", id="hours"),
        pytest.param({"hours": Hours("UTC", start=time(13), end=time(17))}, {}, None, id="other-hours"),
        pytest.param(
            {
                "sources": frozenset({"messaging"}),
                "channels": frozenset({"SMS"}),
                "customer_prefixes": ("+1",),
                "hours": Hours("UTC"),
            },
            {},
            "rule (source, channel, customer_prefix, hours)",
            id="all-of-several",
        ),
        pytest.param(
            {"sources": frozenset({"messaging"}), "customer_prefixes": ("+49",)}, {}, None, id="one-of-several"
        ),
    ],
)
def test_conditions(conditions, facts, reason):
    """A rule decides if all its conditions hold, the reason names them, and an unknown fact does not hold."""
    policy = Policy(Target.HUMAN_AGENT, (make_rule(**conditions),))
    expected = Decision(Target.AI_AGENT, reason) if reason else Decision(Target.HUMAN_AGENT, "default")
    assert policy.decide(make_facts(**facts)) == expected


def test_a_rule_may_ignore():
    """A rule without a target gives the participant to nobody."""
    policy = Policy(Target.AI_AGENT, (make_rule("nobody", target=None),))
    assert policy.decide(make_facts()) == Decision(None, "nobody")


@pytest.mark.parametrize(
    ("rules", "facts", "is_open"),
    [
        pytest.param([], {}, False, id="no-rules"),
        pytest.param([{"recipients": frozenset({DESK.value})}], {}, True, id="recipient-not-known"),
        pytest.param([{"recipients": frozenset({DESK.value})}], {"recipient": CUSTOMER}, False, id="recipient-known"),
        pytest.param([{"configuration_ids": frozenset({"a"})}], {}, True, id="configuration-not-known"),
        pytest.param(
            [{"configuration_ids": frozenset({"a"})}], {"configuration_id": "b"}, False, id="other-configuration"
        ),
        pytest.param([{"configuration_ids": frozenset({"a"})}], {"configuration_id": ""}, False, id="empty-is-known"),
        pytest.param(
            [{"recipients": frozenset({DESK.value}), "channels": frozenset({"VOICE"})}], {}, False, id="fails-anyway"
        ),
        pytest.param(
            [{"channels": frozenset({"SMS"})}, {"recipients": frozenset({DESK.value})}], {}, False, id="decided-before"
        ),
        pytest.param(
            [{"channels": frozenset({"VOICE"})}, {"recipients": frozenset({DESK.value})}],
            {},
            True,
            id="not-decided-before",
        ),
        pytest.param(
            [{"configuration_ids": frozenset({"a"})}, {"recipients": frozenset({DESK.value})}],
            {"configuration_id": ""},
            True,
            id="asked-by-a-later-rule",
        ),
    ],
)
def test_is_open(rules, facts, is_open):
    """A decision is open if the first rule that could match depends on an unknown fact."""
    policy = Policy(None, tuple(make_rule(**conditions) for conditions in rules))
    assert policy.is_open(make_facts(**facts)) is is_open


@pytest.mark.parametrize(
    ("hours", "now", "holds"),
    [
        pytest.param(Hours("UTC"), "2026-01-07T00:00:00", True, id="no-bounds"),
        pytest.param(Hours("UTC", start=time(9), end=time(17)), "2026-01-07T09:00:00", True, id="start-is-in"),
        pytest.param(Hours("UTC", start=time(9), end=time(17)), "2026-01-07T17:00:00", False, id="end-is-out"),
        pytest.param(Hours("UTC", start=time(9), end=time(17)), "2026-01-07T08:59:59", False, id="before"),
        pytest.param(Hours("UTC", frozenset({2})), "2026-01-07T23:59:59", True, id="wednesday"),
        pytest.param(Hours("UTC", frozenset({2})), "2026-01-08T00:00:00", False, id="thursday"),
        pytest.param(Hours("UTC", frozenset({2}), time(9), time(17)), "2026-01-08T10:00:00", False, id="other-day"),
        pytest.param(Hours("UTC", start=time(18)), "2026-01-07T23:00:00", True, id="until-midnight"),
        pytest.param(Hours("UTC", start=time(18)), "2026-01-08T00:00:00", False, id="past-midnight"),
        pytest.param(Hours("UTC", frozenset({4}), time(22), time(6)), "2026-01-09T23:00:00", True, id="friday-night"),
        pytest.param(Hours("UTC", frozenset({4}), time(22), time(6)), "2026-01-10T05:59:00", True, id="saturday-early"),
        pytest.param(Hours("UTC", frozenset({4}), time(22), time(6)), "2026-01-10T06:00:00", False, id="saturday-six"),
        pytest.param(Hours("UTC", frozenset({4}), time(22), time(6)), "2026-01-09T05:00:00", False, id="friday-early"),
        pytest.param(
            Hours("UTC", frozenset({4}), time(22), time(6)), "2026-01-10T23:00:00", False, id="saturday-night"
        ),
        pytest.param(
            Hours("UTC", frozenset({6}), time(22), time(6)), "2026-01-05T03:00:00", True, id="sunday-to-monday"
        ),
        pytest.param(
            Hours("UTC", frozenset({2}), time(9), time(9)), "2026-01-08T08:00:00", True, id="24-hours-from-nine"
        ),
        pytest.param(
            Hours("UTC", frozenset({2}), time(9), time(9)), "2026-01-08T09:00:00", False, id="24-hours-are-over"
        ),
        pytest.param(Hours(BERLIN, start=time(9), end=time(17)), "2026-01-07T08:00:00", True, id="winter-in-berlin"),
        pytest.param(Hours(BERLIN, start=time(9), end=time(17)), "2026-07-08T07:00:00", True, id="summer-in-berlin"),
        pytest.param(Hours(BERLIN, start=time(9), end=time(17)), "2026-07-08T15:00:00", False, id="summer-end"),
        pytest.param(Hours(BERLIN, frozenset({3})), "2026-01-07T23:30:00", True, id="day-in-the-time-zone"),
        # clocks go from 02:00 to 03:00 on 29 March 2026 and from 03:00 to 02:00 on 25 October 2026
        pytest.param(
            Hours(BERLIN, start=time(2), end=time(3)), "2026-03-29T00:59:59", False, id="before-the-lost-hour"
        ),
        pytest.param(Hours(BERLIN, start=time(2), end=time(3)), "2026-03-29T01:00:00", False, id="after-the-lost-hour"),
        pytest.param(Hours(BERLIN, start=time(2), end=time(3)), "2026-10-25T00:30:00", True, id="first-double-hour"),
        pytest.param(Hours(BERLIN, start=time(2), end=time(3)), "2026-10-25T01:30:00", True, id="second-double-hour"),
        pytest.param(
            Hours("America/St_Johns", start=time(9), end=time(10)), "2026-01-07T12:30:00", True, id="half-hour"
        ),
    ],
)
def test_hours(hours, now, holds):
    """A window uses its own time zone, includes its start, excludes its end and may cross midnight."""
    assert hours.holds(datetime.fromisoformat(now).replace(tzinfo=UTC)) is holds


@pytest.mark.parametrize(
    ("earlier", "later", "is_covered"),
    [
        pytest.param({}, {}, True, id="anything"),
        pytest.param({}, {"channels": frozenset({"SMS"})}, True, id="anything-over-something"),
        pytest.param({"channels": frozenset({"SMS"})}, {}, False, id="something-over-anything"),
        pytest.param(
            {"channels": frozenset({"SMS", "RCS"})}, {"channels": frozenset({"SMS"})}, True, id="more-over-less"
        ),
        pytest.param(
            {"channels": frozenset({"SMS"})}, {"channels": frozenset({"SMS", "RCS"})}, False, id="less-over-more"
        ),
        pytest.param({"channels": frozenset({"SMS"})}, {"sources": frozenset({"voice"})}, False, id="other-condition"),
        pytest.param({"customer_prefixes": ("+4",)}, {"customer_prefixes": ("+49", "+44")}, True, id="shorter-prefix"),
        pytest.param({"customer_prefixes": ("+49",)}, {"customer_prefixes": ("+4",)}, False, id="longer-prefix"),
        pytest.param({"customer_prefixes": ("+49",)}, {}, False, id="prefix-over-anything"),
        pytest.param({"hours": Hours("UTC")}, {}, False, id="hours-over-always"),
        pytest.param(
            {"hours": Hours("UTC", start=time(9))}, {"hours": Hours("UTC", start=time(9))}, True, id="same-hours"
        ),
        pytest.param({}, {"hours": Hours("UTC", start=time(9))}, True, id="always-over-hours"),
    ],
)
def test_covers(earlier, later, is_covered):
    """A rule covers a later one if each of its conditions is at least as wide."""
    assert covers(make_rule("earlier", **earlier), make_rule("later", **later)) is is_covered


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        pytest.param("+1 (555) 765-0001", "+15557650001", id="phone"),
        pytest.param("whatsapp:+15557650001", "+15557650001", id="whatsapp"),
        pytest.param("WhatsApp:15557650001", "+15557650001", id="whatsapp-any-case"),
        pytest.param("tel:+1-555-765-0001", "+15557650001", id="tel-uri"),
        pytest.param("RCS:Harbor_Desk", "Harbor_Desk", id="rcs-agent"),
        pytest.param("Desk <Desk@Example.com>", "desk@example.com", id="mailbox"),
        pytest.param("sip:Desk@voice.example", "sip:Desk@voice.example", id="sip"),
        pytest.param("SIPS:Desk@voice.example", "SIPS:Desk@voice.example", id="sips"),
        pytest.param("messenger:7012345678901234", "messenger:7012345678901234", id="messenger"),
        pytest.param("55501", "55501", id="short-code"),
    ],
)
def test_recipients_in_rules(text, canonical):
    """An address in a rule has the canonical form of the channel that its form implies."""
    assert canonical_recipient(text) == canonical


# --- properties -----------------------------------------------------------------------------------

SOURCES, CHANNELS, TYPES = ("messaging", "voice"), ("SMS", "WHATSAPP", "FAX"), ("CUSTOMER", "AGENT")
NUMBERS, PREFIXES = ("+14155550101", "+4930555010", "55501"), ("+", "+1", "+14", "+49", "")
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
HOURS = st.builds(
    Hours,
    st.sampled_from(["UTC", BERLIN, "Asia/Kathmandu"]),
    st.one_of(st.just(ALL_DAYS), st.frozensets(st.integers(0, 6), min_size=1)),
    st.sampled_from([time(0), time(9), time(22)]),
    st.sampled_from([time(0), time(9), time(17)]),
)


def _some(values):
    return st.one_of(st.none(), st.none(), st.frozensets(st.sampled_from(values), min_size=1))


RULES = st.builds(
    make_rule,
    name=st.just("rule"),
    target=st.sampled_from([None, *Target]),
    sources=_some(SOURCES),
    channels=_some(CHANNELS),
    participant_types=_some(TYPES),
    recipients=_some(NUMBERS),
    customer_prefixes=st.one_of(st.none(), st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=3).map(tuple)),
    configuration_ids=_some(("a", "b")),
    accounts=_some(("AC1", "AC2")),
    hours=st.one_of(st.none(), HOURS),
)
ADDRESSES = st.builds(Address, st.sampled_from(CHANNELS), st.one_of(st.sampled_from(NUMBERS), st.text()))
FACTS = st.builds(
    make_facts,
    source=st.one_of(st.sampled_from(SOURCES), st.text()),
    channel=st.one_of(st.sampled_from(CHANNELS), st.text()),
    participant_type=st.one_of(st.sampled_from(TYPES), st.text()),
    customer=ADDRESSES,
    recipient=st.one_of(st.none(), ADDRESSES),
    configuration_id=st.sampled_from([None, "a", "b", ""]),
    account_id=st.sampled_from([None, "AC1", "AC2"]),
    now=MOMENTS,
)
RULE_LISTS = st.lists(RULES, max_size=6).map(
    lambda rules: tuple(make_rule(**(_fields(rule) | {"name": f"r{index}"})) for index, rule in enumerate(rules))
)


def _fields(rule):
    return {name: getattr(rule, name) for name in rule.__slots__ if name not in {"line", "given"}}


def _holds(rule, facts):
    """Evaluate a rule independently of the policy, condition by condition."""
    asked = [
        rule.sources is None or facts.source in rule.sources,
        rule.channels is None or facts.channel in rule.channels,
        rule.participant_types is None or facts.participant_type in rule.participant_types,
        rule.recipients is None or (facts.recipient is not None and facts.recipient.canonical in rule.recipients),
        rule.configuration_ids is None or facts.configuration_id in rule.configuration_ids,
        rule.accounts is None or facts.account_id in rule.accounts,
        rule.customer_prefixes is None
        or any(facts.customer.canonical.startswith(prefix) for prefix in rule.customer_prefixes),
        rule.hours is None or rule.hours.holds(facts.now),
    ]
    return all(asked)


@given(RULE_LISTS, st.sampled_from([None, *Target]), FACTS)
def test_first_matching_rule_decides(rules, default, facts):
    """Any policy has a decision for any facts: that of the first matching rule, else the default."""
    decision = Policy(default, rules).decide(facts)
    first = next((rule for rule in rules if _holds(rule, facts)), None)
    assert decision.target == (first.target if first else default)
    assert decision.reason.partition(" ")[0] == (first.name if first else "default")


@given(RULE_LISTS, FACTS)
def test_covered_rules_never_decide(rules, facts):
    """A rule that an earlier one covers never decides."""
    reason = Policy(None, rules).decide(facts).reason.partition(" ")[0]
    for index, later in enumerate(rules):
        if any(covers(earlier, later) for earlier in rules[:index]):
            assert reason != later.name


@given(RULE_LISTS, FACTS, ADDRESSES, st.sampled_from(["a", "b", ""]))
def test_a_closed_decision_does_not_change(rules, facts, recipient, configuration_id):
    """If a decision is not open, learning recipient and configuration does not change it."""
    policy = Policy(None, rules)
    learned = replace(
        facts,
        recipient=facts.recipient or recipient,
        configuration_id=configuration_id if facts.configuration_id is None else facts.configuration_id,
    )
    assert policy.is_open(facts) or policy.decide(learned) == policy.decide(facts)
    assert not policy.is_open(learned)


@given(RULE_LISTS, FACTS)
def test_an_open_decision_can_change(rules, facts):
    """If a decision is open, some recipient or configuration changes it."""
    policy = Policy(None, rules)
    if policy.is_open(facts):
        recipients = [facts.recipient] if facts.recipient else [Address("SMS", one) for one in NUMBERS]
        configurations = [facts.configuration_id] if facts.configuration_id is not None else ["a", "b"]
        learned = [replace(facts, recipient=one, configuration_id=two) for one in recipients for two in configurations]
        assert any(policy.decide(each) != policy.decide(facts) for each in learned)


@given(RULES)
def test_a_rule_covers_itself(rule):
    """The second copy of a rule never decides."""
    assert covers(rule, rule)


@given(RULES, RULES, RULES)
def test_covering_is_transitive(one, other, third):
    """A rule covers everything that its covered rules cover."""
    if covers(one, other) and covers(other, third):
        assert covers(one, third)


@given(HOURS, MOMENTS)
def test_hours_are_total(hours, now):
    """Any window has an answer for any time; a window of all days without bounds is always open."""
    assert hours.holds(now) in {True, False}
    assert Hours(hours.time_zone).holds(now)


def test_default_facts_are_a_wednesday():
    """The default facts of these tests are on a Wednesday, as their tables assume."""
    assert NOON.weekday() == 2


@pytest.mark.parametrize("channel", ["SMS", "VOICE", "RCS", "WHATSAPP"])
@pytest.mark.parametrize("written", ["+15557650001", "15557650001", "+1 (555) 765-0001"])
@pytest.mark.parametrize("in_rule", ["+15557650001", "whatsapp:+15557650001", "15557650001", "tel:+1-555-765-0001"])
def test_recipients_are_compared_by_number(channel, written, in_rule):
    """A rule's recipient is ours on every channel that has numbers, however either is written."""
    rule = make_rule("desk", Target.HUMAN_AGENT, recipients=frozenset({canonical_recipient(in_rule)}))
    facts = make_facts(channel=channel, recipient=Address(channel, written))
    assert Policy(None, (rule,)).decide(facts).target is Target.HUMAN_AGENT


@pytest.mark.parametrize("prefix", ["", "whatsapp:", "WhatsApp: ", "tel:"])
def test_calls_match_rules_by_number(prefix):
    """The prefix with which a call comes is no part of the number, on either side."""
    conditions = {"recipients": frozenset({"+15557650002"}), "customer_prefixes": ("+49",)}
    rule = make_rule("desk", Target.HUMAN_AGENT, **conditions)
    ours, customer = Address("VOICE", f"{prefix}+15557650002"), Address("VOICE", f"{prefix}+4915112345678")
    facts = make_facts(channel="VOICE", customer=customer, recipient=ours)
    assert Policy(None, (rule,)).decide(facts).target is Target.HUMAN_AGENT


def test_a_recipient_without_plus_is_the_number_with_one():
    """A rule may write a number without its plus; a short code has none."""
    assert canonical_recipient("15557650001") == canonical_recipient("whatsapp:+1 555 765 0001") == "+15557650001"
    assert canonical_recipient("12345") == "12345"
