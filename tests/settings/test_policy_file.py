"""routing.toml: mistakes stop the start, all of them at once, with line and reason."""

import re
from datetime import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address
from router.core.errors import PolicyError
from router.core.keys import Target
from router.core.policy import ALL_DAYS, Asking, Burst, Hours, Policy, Rule
from router.settings.policy_file import read_policy
from tests.core.builders import make_facts
from tests.support.accounts import ACCOUNT
from tests.support.source import SHIPPED

FILE = SHIPPED / "routing.toml"
PROBLEM = re.compile(r"r\.toml:( |[1-9][0-9]*: )\S")
DEFAULT = '[default]\ntarget = "ai-agent"\n'


def problems_of(text):
    """Return the problems of a policy."""
    with pytest.raises(PolicyError) as caught:
        read_policy(text, "r.toml")
    return caught.value.problems


def rule(*lines, name="one", target="human-agent"):
    """Return a policy with one rule, which starts on line 3; its further lines start on line 6."""
    return f'{DEFAULT}[[rule]]\nname = "{name}"\ntarget = "{target}"\n' + "\n".join(lines)


def test_smallest_policy():
    """A policy needs a default only."""
    assert read_policy('[default]\ntarget = "human-agent"') == Policy(Target.HUMAN_AGENT)


def test_default_may_ignore():
    """The default may be to ignore participants."""
    assert read_policy('[default]\ntarget = "ignore"') == Policy(None)


def test_every_condition():
    """All conditions are read, as texts and as lists, with canonical addresses and the rule's line."""
    text = f"""{DEFAULT}
[[rule]]
name = "all"
target = "ignore"
source = "messaging"
channel = ["SMS", "WHATSAPP"]
participant_type = ["CUSTOMER", "UNKNOWN"]
recipient = ["whatsapp:+1 555 765 0001", "Desk@Example.com"]
customer_prefix = ["+49", "+41"]
configuration_id = "conv_configuration_1"
account = "{ACCOUNT}"
hours = {{ days = ["mon", "sun"], from = "22:00", to = 06:30:00, time_zone = "Europe/Berlin" }}
"""
    expected = Rule(
        name="all",
        line=4,
        target=None,
        sources=frozenset({"messaging"}),
        channels=frozenset({"SMS", "WHATSAPP"}),
        participant_types=frozenset({"CUSTOMER", "UNKNOWN"}),
        recipients=frozenset({"+15557650001", "desk@example.com"}),
        customer_prefixes=("+41", "+49"),
        configuration_ids=frozenset({"conv_configuration_1"}),
        accounts=frozenset({ACCOUNT}),
        hours=Hours("Europe/Berlin", frozenset({0, 6}), time(22), time(6, 30)),
    )
    assert read_policy(text) == Policy(Target.AI_AGENT, (expected,))


def test_what_a_rule_asks_people_for():
    """Queue, skills and priority, of a rule or the default; a skill alone needs no brackets."""
    policy = read_policy(rule('queue = "desk"', 'skills = ["a", "b"]', "priority = 999"))
    assert policy.rules[0].asking == Asking("desk", ("a", "b"), 999)
    assert policy.decide(make_facts()).asking == Asking("desk", ("a", "b"), 999)
    policy = read_policy('[default]\ntarget = "human-agent"\nqueue = "desk"\nskills = "a"\npriority = 0')
    assert policy.decide(make_facts()).asking == Asking("desk", ("a",))
    assert read_policy(rule()).rules[0].asking == Asking()


def test_hours_may_leave_out_days_and_bounds():
    """A window needs a time zone; without days and bounds it is always open."""
    policy = read_policy(rule('hours = { time_zone = "UTC" }'))
    assert policy.rules[0].hours == Hours("UTC", ALL_DAYS, time(0), time(0))


KEYS = (
    "account, burst, channel, configuration_id, customer_prefix, hours, name, participant_type, priority, queue, "
    "recipient, skills, source, target"
)
TARGETS = "ai-agent, human-agent, ignore"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", f"1: the default is missing: write [default] with target = one of {TARGETS}", id="nothing"),
        pytest.param(
            "[[rule]]\nname = 'a'\ntarget = 'ignore'\n\n[default]", "5: the default is missing", id="no-target"
        ),
        pytest.param('[default]\ntarget = "ai"', f"2: target 'ai' is not one of {TARGETS}", id="default-target"),
        pytest.param("[default]\ntarget = 5", "2: target 5 is not one of", id="default-target-type"),
        pytest.param(
            f"{DEFAULT}reason = 'x'",
            "3: unknown key 'reason' in [default] (known: burst, priority, queue, skills, target)",
            id="default-key",
        ),
        pytest.param(
            f"{DEFAULT}[rules]", "3: unknown table or key 'rules' (known: default, people, queue, rule)", id="table"
        ),
        pytest.param(f"{DEFAULT}[[rules]]\nname = 'a'", "3: unknown table or key 'rules'", id="tables"),
        pytest.param(f"{rule()}\n[rulez]\nx = 1", "7: unknown table or key 'rulez'", id="table-below-the-rules"),
        pytest.param(f"{rule()}\n[rulez.x]\ny = 1", "7: unknown table or key 'rulez'", id="dotted-table"),
        pytest.param(f"version = 2\n{DEFAULT}", "1: unknown table or key 'version'", id="key"),
        pytest.param(f"{DEFAULT}[rule]\nname = 'a'", "3: rules are written as [[rule]] tables", id="one-bracket"),
        pytest.param(f"rule = [1]\n{DEFAULT}", "1: rules are written as [[rule]] tables", id="no-tables"),
        pytest.param(rule("chanel = 'SMS'"), f"6: unknown key 'chanel' (known: {KEYS})", id="rule-key"),
        pytest.param(rule('"chanel" = 1'), "6: unknown key 'chanel'", id="quoted-key"),
        pytest.param(f"{DEFAULT}[[rule]]\ntarget = 'ignore'", "3: a rule needs a name", id="no-name"),
        pytest.param(f"{DEFAULT}[[rule]]\nname = 7\ntarget = 'ignore'", "3: a rule needs a name", id="name-type"),
        pytest.param(rule(name=" "), "3: a rule needs a name", id="blank-name"),
        pytest.param(
            f"{DEFAULT}[[rule]]\nname = 'a'", f"3: a rule needs a target: one of {TARGETS}", id="no-rule-target"
        ),
        pytest.param(rule(target="nobody"), f"5: target 'nobody' is not one of {TARGETS}", id="rule-target"),
        pytest.param(rule("queue = 5"), "6: queue must be the name of a queue, not 5", id="queue"),
        pytest.param(rule("queue = ' '"), "6: queue must be the name of a queue, not ' '", id="blank-queue"),
        pytest.param(rule("skills = 5"), "6: skills must be a word or a list of words, not 5", id="skills"),
        pytest.param(rule("skills = ['a', '']"), "6: skills must be a word or a list of words", id="empty-skill"),
        pytest.param(rule("skills = 'a b'"), "6: skills must be a word or a list of words, not ['a b']", id="words"),
        pytest.param(
            rule("priority = 1000"), "6: priority must be a whole number from 0 to 999, not 1000", id="priority"
        ),
        pytest.param(rule("priority = true"), "6: priority must be a whole number from 0 to 999", id="priority-type"),
        pytest.param(rule("priority = -1"), "6: priority must be a whole number from 0 to 999, not -1", id="below-0"),
        pytest.param(
            rule("skills = 'a'", target="ai-agent"), "6: skills is for the target human-agent: ", id="ai-agent-skills"
        ),
        pytest.param(
            rule("queue = 'a'", target="ignore"), "6: queue is for the target human-agent: ", id="ignored-queue"
        ),
        pytest.param(f"{DEFAULT}priority = 1", "3: priority is for the target human-agent: ", id="default-priority"),
        pytest.param(rule("channel = 'sms'"), "6: channel 'sms' is not one of SMS, VOICE,", id="channel"),
        pytest.param(rule("account = 'AC1'"), "6: account 'AC1' is not an account SID: AC and 32", id="account"),
        pytest.param(rule("source = ['voice', 'fax']"), "6: source 'fax' is not one of messaging,", id="source"),
        pytest.param(rule("participant_type = 'BOT'"), "6: participant_type 'BOT' is not one of CUSTOMER,", id="type"),
        pytest.param(rule("channel = []"), "6: channel must be a text or a list of texts, not []", id="empty-list"),
        pytest.param(rule("recipient = ''"), "6: recipient must be a text or a list of texts, not ''", id="empty-text"),
        pytest.param(rule("recipient = ['+1', 2]"), "6: recipient must be a text or a list of texts", id="mixed-list"),
        pytest.param(
            rule("customer_prefix = 49"), "6: customer_prefix must be a text or a list of texts, not 49", id="number"
        ),
        pytest.param(rule("hours = '9-17'"), "6: hours must be a table such as {", id="hours-text"),
        pytest.param(
            rule("hours = { time_zone = 'UTC', till = '17:00' }"),
            "6: unknown key 'till' in hours (known: days, from, time_zone, to)",
            id="hours-key",
        ),
        pytest.param(rule("hours = { from = '09:00' }"), "6: time_zone None is not a zone such as", id="no-zone"),
        pytest.param(rule("hours = { time_zone = 'Berlin' }"), "6: time_zone 'Berlin' is not a zone", id="zone"),
        pytest.param(rule("hours = { time_zone = 'Europe' }"), "6: time_zone 'Europe' is not a zone", id="zone-folder"),
        pytest.param(rule("hours = { time_zone = '../x' }"), "6: time_zone '../x' is not a zone", id="zone-path"),
        pytest.param(rule("hours = { time_zone = [] }"), "6: time_zone [] is not a zone", id="zone-type"),
        pytest.param(rule("hours = { time_zone = 'UTC', days = ['monday'] }"), "6: days ['monday'] is not", id="day"),
        pytest.param(
            rule("hours = { time_zone = 'UTC', days = [] }"), "6: days [] is not a list of mon,", id="no-days"
        ),
        pytest.param(
            rule("hours = { time_zone = 'UTC', days = 'mon' }"), "6: days 'mon' is not a list", id="days-type"
        ),
        pytest.param(
            rule("hours = { time_zone = 'UTC', from = '9' }"), "6: '9' is not a time such as '09:00'", id="from"
        ),
        pytest.param(rule("hours = { time_zone = 'UTC', to = '24:00' }"), "6: '24:00' is not a time", id="to"),
        pytest.param(rule("hours = { time_zone = 'UTC', to = 17 }"), "6: 17 is not a time", id="time-type"),
        pytest.param(
            rule("hours = { time_zone = 'UTC', from = '09:00+02:00' }"),
            "6: '09:00+02:00' is not a time",
            id="time-offset",
        ),
        pytest.param(
            rule("hours = { time_zone = 'UTC', from = '09:00Z' }"), "6: '09:00Z' is not a time", id="time-utc"
        ),
        pytest.param(
            rule("[[rule]]", "name = 'one'", "target = 'ignore'", "channel = 'SMS'").replace(
                'target = "human-agent"', 'target = "human-agent"\nsource = "voice"'
            ),
            "7: the name 'one' is used by the rule on line 3",
            id="duplicate-name",
        ),
        pytest.param(
            rule("channel = ['SMS', 'RCS']", "[[rule]]", "name = 'two'", "target = 'ignore'", "channel = 'SMS'"),
            "7: the rule 'two' can never decide: the rule 'one' on line 3 matches everything that it could match",
            id="unreachable",
        ),
    ],
)
def test_problems(text, problem):
    """Each mistake is reported once, with its line and a correction."""
    (found,) = problems_of(text)
    assert found.startswith(f"r.toml:{problem}")


def test_invalid_toml():
    """Invalid TOML is reported with the parser's own line."""
    (found,) = problems_of("[default\n")
    assert found.startswith("r.toml: ")
    assert "line 1" in found


def test_all_problems_are_reported_at_once():
    """One start reports every mistake."""
    text = """[defaults]
target = "ai-agent"
[[rule]]
name = "a"
target = "robot"
chanel = "SMS"
customer_prefix = 49
[[rule]]
name = "b"
customer_prefix = "+49"
hours = { time_zone = "Mars", days = ["someday"], from = "dawn", to = "dusk", untill = 1 }
"""
    found = problems_of(text)
    lines = [int(problem.split(":")[1]) for problem in found]
    assert lines == [1, 1, 6, 5, 7, 8, 11, 11, 11, 11, 11]


def test_inline_rules_are_reported_on_the_first_line():
    """Rules in an inline array are read, and their mistakes reported on line 1."""
    text = "rule = [{ name = 'a', target = 'ignore', channel = 'sms' }]\n" + DEFAULT
    (found,) = problems_of(text)
    assert found.startswith("r.toml:1: channel 'sms'")


def test_default_origin():
    """Without another origin, problems name routing.toml."""
    with pytest.raises(PolicyError, match=r"^routing\.toml:1: "):
        read_policy("")


# --- bursts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["ai-agent", "human-agent"])
def test_a_burst(target):
    """A rule of either target may have one, and the default too; without any the policy says so."""
    policy = read_policy(rule("burst = { quiet = 1.5, most = 8 }", target=target), "r.toml")
    assert (policy.rules[0].asking.burst, policy.asking.burst) == (Burst(1.5, 8.0), None)
    assert policy.has_bursts
    assert read_policy(f"{DEFAULT}burst = {{ quiet = 2, most = 2 }}").asking.burst == Burst(2.0, 2.0)
    assert not read_policy(rule()).has_bursts


@pytest.mark.parametrize(
    ("burst", "problem"),
    [
        pytest.param("2", "burst must be a table such as { quiet = 1.5, most = 8 }, not 2", id="number"),
        pytest.param("[]", "burst must be a table", id="list"),
        pytest.param("{ quiet = 1.5 }", "burst needs quiet and most, both in seconds", id="no-most"),
        pytest.param("{ most = 8 }", "burst needs quiet and most", id="no-quiet"),
        pytest.param("{}", "burst needs quiet and most", id="empty"),
        pytest.param("{ quiet = '1', most = 8 }", "burst needs quiet and most", id="text"),
        pytest.param("{ quiet = true, most = 8 }", "burst needs quiet and most", id="boolean"),
        pytest.param("{ quiet = 1, most = 8, max = 9 }", "unknown key 'max' in burst (known: most, quiet)", id="key"),
        pytest.param("{ quiet = 8, most = 1.5 }", "burst must have 0.1 <= quiet <= most <= 300", id="swapped"),
        pytest.param("{ quiet = 0, most = 8 }", "not quiet = 0, most = 8", id="zero"),
        pytest.param("{ quiet = -1, most = 8 }", "burst must have", id="negative"),
        pytest.param("{ quiet = 1, most = 301 }", "burst must have", id="too-long"),
        pytest.param("{ quiet = nan, most = 8 }", "burst must have", id="nan"),
        pytest.param("{ quiet = 1, most = inf }", "burst must have", id="infinite"),
    ],
)
def test_mistakes_of_a_burst(burst, problem):
    """Each is reported with its line, of a rule and of the default."""
    (of_rule,) = problems_of(rule(f"burst = {burst}"))
    (of_default,) = problems_of(f"{DEFAULT}burst = {burst}")
    assert of_rule.startswith("r.toml:6: ")
    assert of_default.startswith("r.toml:3: ")
    assert problem in of_rule
    assert problem in of_default


def test_nobody_has_no_burst():
    """Participants who get no target say nothing to anybody."""
    (problem,) = problems_of(rule("burst = { quiet = 1, most = 2 }", target="ignore"))
    assert problem == "r.toml:6: burst is for participants who have a target, not for ignore"


# --- the shipped policy ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "target"),
    [
        pytest.param({"participant_type": "CUSTOMER"}, Target.AI_AGENT, id="customer"),
        pytest.param({"participant_type": "UNKNOWN"}, Target.AI_AGENT, id="unknown"),
        pytest.param({"participant_type": "AI_AGENT"}, None, id="ai-agent"),
        pytest.param({"participant_type": "HUMAN_AGENT"}, None, id="human-agent"),
        pytest.param({"participant_type": "AGENT"}, None, id="agent"),
        pytest.param({"participant_type": "SOMETHING_NEW"}, Target.AI_AGENT, id="type-of-tomorrow"),
        pytest.param({"recipient": Address("SMS", "+15557650002")}, Target.HUMAN_AGENT, id="service-desk"),
        pytest.param(
            {"recipient": Address("WHATSAPP", "whatsapp:+15557650002")}, Target.HUMAN_AGENT, id="its-whatsapp"
        ),
        pytest.param(
            {"recipient": Address("SMS", "+15557650002"), "participant_type": "AGENT"}, None, id="agent-at-the-desk"
        ),
        pytest.param({"recipient": Address("SMS", "+15557650001")}, Target.AI_AGENT, id="another-number"),
    ],
)
def test_shipped_policy(facts, target):
    """The shipped policy gives customers and unknown participants a target, and our own side none."""
    assert read_policy(FILE.read_text("utf-8")).decide(make_facts(**facts)).target == target


# --- properties -----------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        "name",
        "target",
        "source",
        "channel",
        "participant_type",
        "recipient",
        "customer_prefix",
        "configuration_id",
        "account",
        "queue",
        "skills",
        "priority",
        "burst",
        "x",
    ]
)
SCALARS = st.sampled_from(
    (
        "'a'",
        "''",
        "'SMS'",
        "'+49'",
        "'voice'",
        "'CUSTOMER'",
        "'ignore'",
        "'ai-agent'",
        "7",
        "1.5",
        "true",
        "09:00:00",
        "2026-01-01",
        "2026-01-01T00:00:00Z",
        "[]",
        "['+1', '+2']",
        "['SMS', 7]",
        "[[]]",
        "{}",
        "{ a = 1 }",
        "{ quiet = 1, most = 2 }",
        "{ quiet = 'x', most = -2 }",
        f"0x{'f' * 5000}",
        f"{'9' * 5000}",
    )
)
PAIRS = st.dictionaries(WORDS, SCALARS, max_size=5)
HOURS = st.dictionaries(
    st.sampled_from(["days", "from", "to", "time_zone", "x"]),
    st.one_of(SCALARS, st.sampled_from(["'UTC'", "'09:00'", "'09:00Z'", "['mon']", "'Europe'"])),
).map(lambda table: "{ " + ", ".join(f"{key} = {value}" for key, value in table.items()) + " }")


@st.composite
def documents(draw):
    """Return a policy file, any part of which may be valid."""
    lines = [f"{key} = {value}" for key, value in draw(PAIRS).items() if draw(st.booleans())]
    if draw(st.integers(0, 3)):
        lines += ["[default]", f"target = {draw(SCALARS)}"]
    for _ in range(draw(st.integers(0, 3))):
        lines += ["[[rule]]", *(f"{key} = {value}" for key, value in draw(PAIRS).items())]
        lines += [f"hours = {draw(HOURS)}"] if draw(st.booleans()) else []
    return "\n".join(lines)


@given(st.one_of(documents(), st.text()))
def test_reading_a_policy_is_total(text):
    """Any text is a policy that decides, or raises PolicyError with a line; never another error."""
    try:
        policy = read_policy(text, "r.toml")
    except PolicyError as error:
        is_right = bool(error.problems) and all(PROBLEM.match(problem) for problem in error.problems)
    else:
        is_right = bool(policy.decide(make_facts()).reason)
    assert is_right
