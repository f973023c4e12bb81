"""roster.toml, and the queues and [people] of routing.toml: mistakes stop the start, all at once, with line and key."""

import re
from datetime import date, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Channel
from router.core.errors import SettingsError
from router.core.policy import ALL_DAYS, Hours
from router.core.routing.queues import AcceptMode, Fallback, Queue, Relaxation
from router.core.routing.team import Team, TeamMember
from router.settings.team_file import load_team, read_team
from router.settings.team_tables import MAX_CAPACITY, MAX_RING, MAX_SECONDS, AgentTable, PeopleTable, QueueTable
from tests.support.source import SHIPPED

DANA = '[[agent]]\nidentity = "dana"\nname = "Dana"\ncapacity = 2\n'
ELI = '[[agent]]\nidentity = "eli"\nname = "Eli"\ncapacity = 1\n'
QUEUE = '[[queue]]\nname = "desk"\n'
PROBLEM = re.compile(r"(roster|routing)\.toml:( |[1-9][0-9]*: )\S")
CHANNELS = ", ".join(Channel)


def problems_of(roster=DANA, routing=""):
    """Return the problems of both files."""
    with pytest.raises(SettingsError) as caught:
        read_team(roster, routing)
    return list(caught.value.problems)


def test_every_key_of_a_person():
    """All keys are read; people keep the order of the file."""
    keys = 'skills = ["german", "refunds"]\nchannels = ["SMS", "VOICE"]\naddresses = { SMS = "+15557650002" }\n'
    team = read_team(f"{DANA}{keys}wrap_up = 30\n{ELI}", "")
    addresses = {"SMS": "+15557650002"}
    dana = TeamMember("dana", "Dana", 2, ("german", "refunds"), ("SMS", "VOICE"), addresses, 30.0)
    assert list(team.members.values()) == [dana, TeamMember("eli", "Eli", 1)]
    assert team == Team(team.members)


def test_every_key_of_a_queue():
    """All keys are read."""
    routing = """
[[queue]]
name = "refunds"
skills = ["refunds"]
accept = "automatic"
ring = 10.5
patience = 60
fallback = "message"
fallback_message = "We call back."
wait_message = "{place} before you, about {minutes} minutes."
overflow = "default"
priority = 5
holidays = [2026-12-25, "2026-12-26"]
[[queue.relax]]
after = 20
drop = ["refunds"]
[[queue.relax]]
after = 40
[[queue.hours]]
days = ["mon"]
from = "09:00"
to = 17:30:00
time_zone = "Europe/Berlin"
"""
    assert read_team(DANA, routing).queues["refunds"] == Queue(
        name="refunds",
        skills=frozenset({"refunds"}),
        accept=AcceptMode.AUTOMATIC,
        ring=10.5,
        patience=60.0,
        fallback=Fallback.MESSAGE,
        fallback_message="We call back.",
        wait_message="{place} before you, about {minutes} minutes.",
        overflow="default",
        relax=(Relaxation(20.0, frozenset({"refunds"})), Relaxation(40.0)),
        hours=(Hours("Europe/Berlin", frozenset({0}), time(9), time(17, 30)),),
        holidays=frozenset({date(2026, 12, 25), date(2026, 12, 26)}),
        priority=5,
    )


def test_one_value_needs_no_brackets():
    """A skill, a channel, a day and a window alone are lists of one, as in rules."""
    routing = QUEUE + 'skills = "x"\nrelax = { after = 5 }\nhours = { time_zone = "UTC" }\nholidays = 2026-12-25\n'
    team = read_team(f'{DANA}skills = "x"\nchannels = "SMS"\n', routing)
    assert (team.members["dana"].skills, team.members["dana"].channels) == (("x",), ("SMS",))
    queue = team.queues["desk"]
    assert (queue.skills, queue.relax) == (frozenset({"x"}), (Relaxation(5.0),))
    assert queue.hours == (Hours("UTC", ALL_DAYS, time(0), time(0)),)
    assert queue.holidays == frozenset({date(2026, 12, 25)})


def test_every_key_of_people():
    """Units may be "all"; after_added is a queue, the default one included, or the AI agent."""
    routing = '[people]\nunits = { SMS = 2, VOICE = "all" }\nhold_added_people = false\nhold_added_ai_agents = true\n'
    team = read_team(DANA, f'{routing}after_added = "desk"\n{QUEUE}')
    assert (team.units_of("SMS"), team.units_of("VOICE"), team.units_of("CHAT")) == (2, None, 1)
    assert (team.is_holder_foreign, team.is_ai_foreign, team.after_foreign) == (False, True, "desk")
    assert read_team(DANA, '[people]\nafter_added = "default"').after_foreign == "default"
    assert read_team(DANA, '[people]\nafter_added = "ai-agent"').after_foreign is None


def test_without_queues_there_is_the_default():
    """Nothing but people is needed."""
    team = read_team(DANA, "")
    assert (team.queues, team.has_queue("default"), team.queue("default")) == ({}, True, Queue())
    assert (team.units, team.is_holder_foreign, team.is_ai_foreign, team.after_foreign) == ({}, True, False, None)


def test_the_default_queue_can_be_changed():
    """It is one of the file with the name "default"."""
    team = read_team(DANA, '[[queue]]\nname = "default"\npatience = 7\n')
    assert team.queue("default").patience == 7


def example_in(name):
    """Return what a shipped file shows in comments of how a table may be written."""
    text = (SHIPPED / name).read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^#   (\[.*|[a-z_]+ = .*)$", text, re.MULTILINE))


def test_the_examples_in_the_shipped_files_are_valid():
    """What is shown there can be taken as it is, beside what ships, and shows every key of these tables."""
    roster = (SHIPPED / "roster.toml").read_text("utf-8") + example_in("roster.toml")
    routing = (SHIPPED / "routing.toml").read_text("utf-8") + example_in("routing.toml")
    team = read_team(roster, routing)
    assert (list(team.members)[2:], list(team.queues)) == (["kim"], ["refunds", "default"])
    for name, models in {"roster.toml": [AgentTable], "routing.toml": [QueueTable, PeopleTable]}.items():
        text = (SHIPPED / name).read_text("utf-8")
        assert [key for model in models for key in model.model_fields if f"#   {key} " not in text] == []


def test_the_shipped_files_are_valid():
    """They can be used as they are."""
    assert list(load_team(SHIPPED).members) == ["dana", "eli"]


WORD = "must be one word, without spaces, not"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "1: no [[agent]]: nobody could take a participant", id="empty"),
        pytest.param("agent = 5", "1: agent: is written as [[agent]] tables", id="no table"),
        pytest.param('\n[agent]\nidentity = "a"', "2: agent: is written as [[agent]] tables", id="one bracket"),
        pytest.param("agent = [5]", "1: agent 1: it: must be a table, not 5", id="an agent that is no table"),
        pytest.param("x = [", " Invalid value", id="no TOML"),
        pytest.param(f"agents = 1\n{DANA}", "1: unknown table or key 'agents' (known: agent)", id="key at the top"),
        pytest.param(f"{DANA}[people]\nx = 1", "5: unknown table or key 'people'", id="table of the other file"),
        pytest.param(DANA.replace("= 2", "= 0"), "4: agent 1: capacity: must be 1 or more, not 0", id="capacity 0"),
        pytest.param(
            DANA.replace("= 2", f"= {MAX_CAPACITY + 1}"),
            f"4: agent 1: capacity: must be {MAX_CAPACITY} or less, not {MAX_CAPACITY + 1}",
            id="capacity",
        ),
        pytest.param(DANA.replace("= 2", '= "2"'), "4: agent 1: capacity: must be a whole number, not '2'", id="text"),
        pytest.param(DANA.replace("= 2", "= 2.5"), "4: agent 1: capacity: must be a whole number, not 2.5", id="half"),
        pytest.param(
            DANA.replace("= 2", "= true"), "4: agent 1: capacity: must be a whole number, not true", id="bool"
        ),
        pytest.param(DANA.replace("capacity = 2\n", ""), "1: agent 1: capacity: is missing", id="missing"),
        pytest.param(f"{DANA}skils = 1", "5: agent 1: skils: no such key (known: addresses, capacity, ", id="key"),
        pytest.param(f"{DANA}{DANA}", "5: agent: identity 'dana' is used 2 times (lines 1, 5)", id="duplicate"),
        pytest.param(DANA.replace('"dana"', '""'), "2: agent 1: identity: is empty", id="empty identity"),
        pytest.param(DANA.replace("dana", "d a"), f"2: agent 1: identity: {WORD} 'd a'", id="identity with a space"),
        pytest.param(DANA.replace("dana", "d\\u0000"), f"2: agent 1: identity: {WORD} 'd\\x00'", id="control"),
        pytest.param(DANA.replace('"dana"', "7"), "2: agent 1: identity: must be a text, not 7", id="identity type"),
        pytest.param(DANA.replace("dana", "d" * 121), "2: agent 1: identity: has more than 120 characters", id="long"),
        pytest.param(
            DANA.replace("dana", "participant:1"),
            "2: agent 1: identity: must not begin with 'participant:', which names people of other systems",
            id="identity of other systems",
        ),
        pytest.param(DANA.replace("Dana", " "), "3: agent 1: name: is empty", id="blank name"),
        pytest.param(DANA.replace('"Dana"', "7"), "3: agent 1: name: must be a text, not 7", id="name type"),
        pytest.param(f"{DANA}skills = 5", "5: agent 1: skills: must be a list of texts, not 5", id="skills type"),
        pytest.param(f"{DANA}skills = ['a', 5]", "5: agent 1: skills.2: must be a text, not 5", id="skill type"),
        pytest.param(f"{DANA}skills = ['']", "5: agent 1: skills.1: is empty", id="empty skill"),
        pytest.param(f"{DANA}skills = ['a b']", f"5: agent 1: skills.1: {WORD} 'a b'", id="skill with a space"),
        pytest.param(f"{DANA}channels = []", "5: agent 1: channels: is empty", id="no channel"),
        pytest.param(
            f"{DANA}channels = ['FAX']", f"5: agent 1: channels.1: 'FAX' is not one of {CHANNELS}", id="channel"
        ),
        pytest.param(
            f"{DANA}addresses = {{ FAX = 'x' }}",
            f"5: agent 1: addresses.FAX: 'FAX' is not one of {CHANNELS}",
            id="channel of an address",
        ),
        pytest.param(f"{DANA}addresses.SMS = ' '", "5: agent 1: addresses.SMS: is empty", id="blank address"),
        pytest.param(f"{DANA}[agent.addresses]\nSMS = ''", "5: agent 1: addresses.SMS: is empty", id="empty address"),
        pytest.param(f"{DANA}addresses = 'x'", "5: agent 1: addresses: must be a table, not 'x'", id="addresses"),
        pytest.param(f"{DANA}wrap_up = -1", "5: agent 1: wrap_up: must be 0 or more, not -1", id="wrap-up"),
        pytest.param(f"{DANA}wrap_up = '5'", "5: agent 1: wrap_up: must be a number, not '5'", id="wrap-up type"),
        pytest.param(f"{DANA}wrap_up = inf", "5: agent 1: wrap_up: must be a number, not inf", id="wrap-up for ever"),
        pytest.param(f"{DANA}wrap_up = nan", "5: agent 1: wrap_up: must be a number, not nan", id="wrap-up nan"),
        pytest.param(
            f"{DANA}wrap_up = 1e9", f"5: agent 1: wrap_up: must be {MAX_SECONDS} or less, not 10000", id="too long"
        ),
    ],
)
def test_problems_of_the_roster(text, problem):
    """Each mistake is reported once, with its line, the number of its table, its key, and what is wanted."""
    (found,) = problems_of(text)
    assert found.startswith(f"roster.toml:{problem}")


HOURS = "hours = { time_zone = 'UTC', "


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        pytest.param("skils = 1", "3: queue 1: skils: no such key (known: accept, fallback, ", id="key"),
        pytest.param("skills = ['a b']", f"3: queue 1: skills.1: {WORD} 'a b'", id="skill"),
        pytest.param("accept = 'ask'", "3: queue 1: accept: 'ask' is not one of offer, automatic", id="accept"),
        pytest.param("ring = 0.5", "3: queue 1: ring: must be 1 or more, not 0.5", id="ring"),
        pytest.param(
            f"ring = {MAX_RING + 1}",
            f"3: queue 1: ring: must be {MAX_RING} or less, not {MAX_RING + 1}",
            id="long ring",
        ),
        pytest.param("ring = nan", "3: queue 1: ring: must be a number, not nan", id="ring nan"),
        pytest.param("ring = '20'", "3: queue 1: ring: must be a number, not '20'", id="ring type"),
        pytest.param("ring = true", "3: queue 1: ring: must be a number, not true", id="ring bool"),
        pytest.param("patience = -1", "3: queue 1: patience: must be 0 or more, not -1", id="patience"),
        pytest.param("patience = inf", "3: queue 1: patience: must be a number, not inf", id="endless patience"),
        pytest.param(
            "fallback = 'ai'", "3: queue 1: fallback: 'ai' is not one of ai-agent, wait, message", id="fallback"
        ),
        pytest.param(
            "fallback = 'message'",
            '1: queue 1: fallback_message: is missing, which fallback = "message" sends',
            id="no message",
        ),
        pytest.param(
            "fallback_message = 'x'",
            '3: queue 1: fallback_message: is sent by fallback = "message" only',
            id="message of no use",
        ),
        pytest.param(
            f"wait_message = '{'x' * 1601}'", "3: queue 1: wait_message: has more than 1600 characters", id="long"
        ),
        pytest.param(
            "wait_message = 'Place {number}'",
            "3: queue 1: wait_message: has {number}, and only {place} and {minutes} are replaced",
            id="braces",
        ),
        pytest.param("wait_message = 5", "3: queue 1: wait_message: must be a text, not 5", id="message type"),
        pytest.param(
            "overflow = 'late'",
            "3: queue 1: overflow: there is no queue 'late' (known: default, desk)",
            id="unknown overflow",
        ),
        pytest.param("overflow = 'desk'", "3: queues overflow into itself: desk -> desk", id="overflow into itself"),
        pytest.param("relax = 5", "3: queue 1: relax: must be a list of tables, not 5", id="relax"),
        pytest.param("relax = [{ drop = 'a' }]", "3: queue 1: relax.1.after: is missing", id="relax without a time"),
        pytest.param(
            "relax = [{ after = 5, dorp = 'a' }]",
            "3: queue 1: relax.1.dorp: no such key (known: after, drop)",
            id="relax key",
        ),
        pytest.param("[[queue.relax]]\nafter = -1", "3: queue 1: relax.1.after: must be 0 or more", id="relax table"),
        pytest.param("hours = 5", "3: queue 1: hours: must be a list of tables, not 5", id="hours"),
        pytest.param("hours = [5]", "3: queue 1: hours.1: hours must be a table such as {", id="hours row"),
        pytest.param("hours = [{}]", "3: queue 1: hours.1: time_zone None is not a zone", id="hours without a zone"),
        pytest.param(
            f"{HOURS}till = 5 }}", "3: queue 1: hours.1: unknown key 'till' in hours (known: ", id="hours key"
        ),
        pytest.param(f"{HOURS}days = [] }}", "3: queue 1: hours.1: days [] is not a list of mon,", id="no days"),
        pytest.param(
            f"{HOURS}from = '09:00Z' }}", "3: queue 1: hours.1: '09:00Z' is not a time such as '09:00'", id="offset"
        ),
        pytest.param(
            "[[queue.hours]]\ntime_zone = 'X'", "3: queue 1: hours.1: time_zone 'X' is not a zone", id="hours table"
        ),
        pytest.param("holidays = 5", "3: queue 1: holidays: must be a list of dates, not 5", id="holidays"),
        pytest.param(
            "holidays = ['25.12.']", "3: queue 1: holidays.1: '25.12.' is not a date such as 2026-12-25", id="holiday"
        ),
        pytest.param(
            "holidays = [2026-12-25T00:00:00Z]",
            "3: queue 1: holidays.1: 2026-12-25T00:00:00+00:00 is not a date such as 2026-12-25",
            id="holiday with a time, which equals no date",
        ),
        pytest.param("priority = 1000", "3: queue 1: priority: must be 999 or less, not 1000", id="priority"),
        pytest.param("priority = 1.5", "3: queue 1: priority: must be a whole number, not 1.5", id="priority type"),
        pytest.param(
            "[[queue]]\nname = 'desk'", "3: queue: name 'desk' is used 2 times (lines 1, 3)", id="duplicate name"
        ),
        pytest.param("[[queue]]\nring = 5", "3: queue 2: name: is missing", id="no name"),
        pytest.param("[[queue]]\nname = 'a b'", f"4: queue 2: name: {WORD} 'a b'", id="name"),
        pytest.param(
            "[[queue]]\nname = 'ai-agent'",
            "4: queue 2: name: 'ai-agent' is the AI agent, and no name for a queue",
            id="name of the AI agent",
        ),
        pytest.param("[people]\nunit = 5", "4: people: unit: no such key (known: after_added, ", id="people key"),
        pytest.param("[people]\nunits = 5", "4: people: units: must be a table, not 5", id="units"),
        pytest.param(
            "[people]\nunits = { FAX = 1 }", f"4: people: units.FAX: 'FAX' is not one of {CHANNELS}", id="units channel"
        ),
        pytest.param(
            "[people]\nunits = { SMS = 0 }",
            '4: people: units.SMS: must be a whole number from 1 to 10000, or "all", not 0',
            id="no units",
        ),
        pytest.param(
            "[people.units]\nSMS = 'whole'",
            "3: people: units.SMS: must be a whole number from 1 to 10000, or \"all\", not 'whole'",
            id="units word",
        ),
        pytest.param(
            "[people]\nunits = { SMS = 3 }",
            "4: people: units.SMS: nobody has a capacity of 3, the most is 2",
            id="units that nobody has",
        ),
        pytest.param(
            "[people]\nhold_added_people = 'no'",
            "4: people: hold_added_people: must be true or false, not 'no'",
            id="switch",
        ),
        pytest.param(
            "[people]\nafter_added = 'late'",
            "4: people: after_added: is not 'ai-agent', and there is no queue 'late' (known: default, desk)",
            id="after_added",
        ),
        pytest.param("[[people]]\nunits = {}", "3: people: it: must be a table, not [{", id="people twice bracketed"),
        pytest.param(
            "[[rule]]\nname = 'a'\nqueue = 'late'",
            "5: rule 1: queue: there is no queue 'late' (known: default, desk)",
            id="queue of a rule",
        ),
        pytest.param(
            "[default]\nqueue = 'late'", "4: default: queue: there is no queue 'late' (known: default,", id="default"
        ),
    ],
)
def test_problems_of_queues_and_people(lines, problem):
    """Each mistake is reported once, with its line, the number of its table, its key, and what is wanted."""
    (found,) = problems_of(routing=f"{QUEUE}{lines}\n")
    assert found.startswith(f"routing.toml:{problem}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("queue = 5", "1: queue: is written as [[queue]] tables"),
        ("queue = [5]", "1: queue 1: it: must be a table, not 5"),
        ('\n[queue]\nname = "a"', "2: queue: is written as [[queue]] tables"),
        ("people = 5", "1: people: it: must be a table, not 5"),
        ("x = [", " Invalid value"),
    ],
)
def test_problems_of_routing_as_a_whole(text, problem):
    """Wrong shapes at the top are reported, too."""
    (found,) = problems_of(routing=text)
    assert found.startswith(f"routing.toml:{problem}")


def test_a_circle_is_named():
    """With all its queues, each circle once; queues that only lead into it are no part of it."""
    names = {"in": "a", "a": "b", "b": "c", "c": "a", "d": "d", "out": "default"}
    routing = "".join(f'[[queue]]\nname = "{name}"\noverflow = "{over}"\n' for name, over in names.items())
    assert problems_of(routing=routing) == [
        "routing.toml:6: queues overflow into each other: a -> b -> c -> a",
        "routing.toml:15: queues overflow into itself: d -> d",
    ]


def test_a_wrong_queue_is_not_missing_too():
    """What names a queue with a mistake is right."""
    routing = '[[queue]]\nname = "a"\nring = 0\n[[rule]]\nname = "x"\nqueue = "a"\n[people]\nafter_added = "a"\n'
    assert problems_of(routing=routing) == ["routing.toml:3: queue 1: ring: must be 1 or more, not 0"]


def test_lines_are_those_of_the_right_table():
    """A key of the same name in another table is not mistaken for it."""
    routing = '[[queue]]\nname = "a"\n[[rule]]\nskills = "x"\npriority = 5\n[[queue]]\nname = "b"\npriority = -1\n'
    assert problems_of(routing=routing) == ["routing.toml:8: queue 2: priority: must be 0 or more, not -1"]
    routing = '[[queue]]\nname = "a"\n[[queue.relax]]\ndrop = ["x"]\n[[rule]]\nafter = 1\n'
    assert problems_of(routing=routing) == ["routing.toml:3: queue 1: relax.1.after: is missing"]


def test_all_problems_of_both_files_are_reported_at_once():
    """One start reports every mistake."""
    roster = DANA.replace('"Dana"', "7") + ELI.replace("eli", "dana").replace("= 1", "= -1")
    routing = f'{QUEUE}ring = 0\n[people]\nafter_added = "late"\n[[rule]]\nname = "r"\nqueue = "later"\n'
    assert [one.partition(": ")[0] for one in problems_of(roster, routing)] == [
        "roster.toml:3",
        "roster.toml:8",
        "roster.toml:5",
        "routing.toml:3",
        "routing.toml:8",
        "routing.toml:5",
    ]


def test_missing_files_are_named_with_the_way_to_get_them(tmp_path):
    """And the mistakes of the other one are reported with them."""
    with pytest.raises(SettingsError) as caught:
        load_team(tmp_path, needs_people=True)
    assert [bool(re.search(r"(roster|routing)\.toml: .*init", one)) for one in caught.value.problems] == [True, True]
    (tmp_path / "roster.toml").write_text("x = 1\n" + DANA)
    with pytest.raises(SettingsError) as caught:
        load_team(tmp_path)
    wrong, missing = caught.value.problems
    assert missing.startswith(f"{tmp_path / 'routing.toml'}: ")
    assert wrong == f"{tmp_path / 'roster.toml'}:1: unknown table or key 'x' (known: agent)"


def test_a_folder_without_a_roster_has_no_people(tmp_path):
    """A router of AI agents alone needs no roster; its queues are read all the same."""
    (tmp_path / "routing.toml").write_text(QUEUE + "[people]\nunits = { SMS = 3 }\n")
    team = load_team(tmp_path)
    assert (team.members, list(team.queues)) == ({}, ["desk"])


VALUES = st.sampled_from(
    ("'a'", "''", "'desk'", "'SMS'", "7", "0", "-1", "nan", "true", "09:00:00", "2026-01-01", "[]", "[7]", "['a', 7]")
)
TABLES = st.sampled_from(("{}", "[{}]", "{ a = 1 }", "{ SMS = 1 }", "{ after = 5 }", "[{ time_zone = 'UTC' }]"))
KEYS = st.sampled_from([*AgentTable.model_fields, *QueueTable.model_fields, *PeopleTable.model_fields, "queue", "x"])


@st.composite
def documents(draw):
    """Return a file, any part of which may be valid."""
    lines = []
    for _ in range(draw(st.integers(0, 4))):
        lines += [
            draw(st.sampled_from(("[[agent]]", "[[queue]]", "[[rule]]", "[people]", "[default]", "[queue.hours]")))
        ]
        pairs = draw(st.dictionaries(KEYS, VALUES | TABLES, max_size=5))
        lines += [f"{key} = {value}" for key, value in pairs.items()]
    return "\n".join(lines)


@given(st.one_of(documents(), st.text()), st.one_of(documents(), st.text()))
def test_reading_is_total(roster, routing):
    """Any texts are a team that can be used, or raise SettingsError with lines; never another error."""
    try:
        team = read_team(roster, routing)
    except SettingsError as error:
        is_right = bool(error.problems) and all(PROBLEM.match(problem) for problem in error.problems)
    else:
        is_right = bool(team.members)
    assert is_right
