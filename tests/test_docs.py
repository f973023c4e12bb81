"""The README and the pages in docs/ are compared with the code: tables, examples, commands, names, links and paths."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_origin

import orjson
import pytest
from pydantic import BaseModel

from handlers.app import HANDLERS
from handlers.replies import is_asked_for
from router.__main__ import make_parser
from router.core.addresses import Address, Channel
from router.core.entries import (
    DATA_TYPES,
    ClosedData,
    CommunicationData,
    Entry,
    EntryData,
    HandoffData,
    JoinedData,
    ParticipantData,
    TurnData,
)
from router.core.errors import PolicyError
from router.core.events import SourceName
from router.core.keys import Keys, Target
from router.core.log_events import EVENTS
from router.core.policy import Burst, Facts
from router.core.refused import REASONS
from router.core.resources import ParticipantType
from router.inbound.sources import SOURCES
from router.inbound.table import to_markdown
from router.metrics import COUNTERS, GAUGES
from router.sandbox import create_app
from router.settings.model import Settings, variable_of
from router.settings.policy_file import read_policy
from router.settings.team_tables import AgentTable, PeopleTable, QueueTable
from tests.benchmarks.targets import TARGETS
from tests.harness.sandbox import make_options
from tests.siege.runs import RUNS
from tests.support.entries import fields_of, make_entry
from tests.support.source import ROOT, SHIPPED
from tests.support.waiting import deadline, until

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (
        *(ROOT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md", "tests/benchmarks/NOTES.md")),
        *sorted((ROOT / "docs").glob("*.md")),
    )
}
README = PAGES["README.md"]
VARIABLES = {variable_of(name): field for name, field in Settings.model_fields.items()}
#: Variables that tools read beside the settings.
OF_TOOLS = {"ROUTER_URL", "ROUTER_CONSOLE_TOKEN"}
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def named(pattern):
    """Return (page, match) for everything in all pages that matches, each once."""
    return sorted({(page, found) for page, text in PAGES.items() for found in re.findall(pattern, text, re.MULTILINE)})


def example(name, page="README.md"):
    """Return the code block that follows `<!-- example: name -->`."""
    match = re.search(rf"<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)```", PAGES[page], re.DOTALL)
    assert match, f"{page} has no example {name}"
    return match.group(1)


def table(name, page):
    """Return the rows of the table that follows `<!-- table: name -->`, each a list of cells without backticks."""
    text = PAGES[page].split(f"<!-- table: {name} -->\n")[1].split("\n\n")[0]
    return [[cell.strip(" `") for cell in line.strip("|").split(" | ")] for line in text.strip().splitlines()[2:]]


def words(cell):
    """Return the words in backticks of a cell; the outer ones are gone."""
    return {word for word in re.split(r"[`,;\s]+", cell) if word}


def slug(heading):
    """Return the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "")).strip().lower().replace(" ", "-")


def anchors(page):
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", PAGES[page]), re.MULTILINE)}


def test_readme_is_short():
    """A newcomer reads 220 lines and no more, and none of them wraps."""
    lines = README.splitlines()
    assert len(lines) <= 220
    assert [line for line in lines if len(line) > 130] == []


def test_every_page_is_linked_from_the_readme():
    """Nobody has to guess that a page exists."""
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)", README))
    assert {page for page in PAGES if page.startswith("docs/")} == linked


def leads_somewhere(page, link):
    """Tell whether a relative link names a file that exists and, behind a #, one of its headings."""
    path, _, anchor = link.partition("#")
    target = ((ROOT / page).parent / path if path else ROOT / page).resolve()
    return target.exists() and (not anchor or anchor in anchors(target.relative_to(ROOT).as_posix()))


def test_links_lead_somewhere():
    """Every relative link names a file that exists and, behind a #, one of its headings."""
    links = named(r"\]\((?!https?:)([^)\s]+)\)")
    assert len(links) > 50
    assert [one for one in links if not leads_somewhere(*one)] == []


def test_paths_exist():
    """Every file or folder of the project that a page names exists."""
    paths = named(r"`((?:router|handlers|tests|config|docs|findings)/[\w./-]*)(?:::\w+)?`")
    assert len(paths) > 50
    assert [(page, path) for page, path in paths if not is_shipped(path)] == []


def is_shipped(path):
    """Tell whether a path of the project exists, even if users have removed their copy of a configuration file."""
    return (ROOT / path).exists() or (SHIPPED / path.removeprefix("config/")).exists()


@pytest.mark.parametrize(("page", "command"), named(r"python -m router\b([^`\n]*)"))
def test_command_of_router_is_accepted(page, command, capsys):
    """Each `python -m router ...` is a command, with options that it has."""
    arguments = shlex.split(command)
    if "--help" in arguments:
        with pytest.raises(SystemExit, match=r"^0$"):
            make_parser().parse_args(arguments)
        return
    try:
        make_parser().parse_args(arguments)
    except SystemExit:
        pytest.fail(f"{page}: {capsys.readouterr().err}")


def test_handlers_exist():
    """Each `python -m handlers ...` is in the table of handlers."""
    found = named(r"python -m handlers\b *([^`\s]*)")
    assert {name for _, name in found} == {"ai_agent", "human_agent"} <= set(HANDLERS)


def can_be_run(module):
    path = ROOT / module.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def test_programs_beside_the_suite_exist():
    """Each `python -m tests....` is a module or a package that can be run."""
    found = named(r"python -m (tests\.[\w.]+\w)")
    assert [(page, module) for page, module in found if not can_be_run(module)] == []


def test_make_targets_exist():
    """Each `make ...` is a target of the Makefile, with its line of help."""
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    found = named(r"(?:^ {4}|`)make ([a-z]+)\b")
    assert [(page, target) for page, target in found if target not in targets] == []


def test_variables_are_settings():
    """A variable that a page tells people to set is one."""
    found = named(r"\b((?:ROUTER|TWILIO)_[A-Z_]+|REDIS_URL|PUBLIC_BASE_URL)\b")
    assert [(page, name) for page, name in found if name not in {*VARIABLES, *OF_TOOLS}] == []


METRICS = {
    **{f"{name}_total": labels for name, (_, labels) in COUNTERS.items()},
    **{name: labels for name, (_, labels) in GAUGES.items()},
    **{f"router_event_seconds{part}": ("le",) for part in ("", "_bucket", "_count", "_sum")},
}


def is_metric(text):
    """Tell whether a metric is written as /metrics shows it, with labels that it has."""
    name, _, labels = text.partition("{")
    return set(re.findall(r"(\w+)=", labels)) <= set(METRICS[name]) if name in METRICS else False


def test_metrics_exist():
    """A metric is written as /metrics shows it, with labels that it has."""
    found = named(r"`(router_[a-z_]+(?:\{[^}]*\})?)`")
    assert len(found) > 10
    assert [(page, text) for page, text in found if not is_metric(text)] == []


def test_log_events_that_operators_look_for_exist():
    """Each log event that docs/operations.md names is in the table of router.logs."""
    text = PAGES["docs/operations.md"]
    found = set(re.findall(r"`([a-z]+\.[a-z]+)`", text)) | set(re.findall(r"log (?:event|line) `([\w.]+)`", text))
    files = {name for name in found if name.endswith((".toml", ".py", ".md", ".env", ".bin"))}
    assert len(found - files) > 10
    assert found - files <= {*EVENTS, *DATA_TYPES}


def test_reasons_of_the_quarantine_are_all_named():
    """The reasons for which a webhook is refused stand in the chapter about the quarantine."""
    chapter = PAGES["docs/operations.md"].split("## Quarantine")[1].split("\n## ")[0]
    assert [reason for reason in REASONS if f"`{reason}`" not in chapter] == []


SETTINGS = re.findall(r"^\| `([A-Z_]+)` \| (.*?) ?\|", PAGES["docs/settings.md"], re.MULTILINE)


def test_settings_tables_name_every_setting_once():
    """Each setting has one row, and each row is a setting."""
    assert sorted(variable for variable, _ in SETTINGS) == sorted(VARIABLES)


def default_of(variable):
    default = VARIABLES[variable].get_default(call_default_factory=True)
    return "" if default in (None, "", (), {}) else str(default)


def test_settings_tables_show_the_defaults():
    """A default in the tables is the default of the setting; an empty cell stands for none."""
    shown = {variable: cell.strip(" `") for variable, cell in SETTINGS}
    assert shown == {variable: default_of(variable) for variable in VARIABLES}


def test_conditions_of_rules_are_those_of_the_loader():
    """Every word that a rule may have is described, with the values that it may take, and no other."""
    with pytest.raises(PolicyError) as refused:
        read_policy('[default]\ntarget = "ignore"\n[[rule]]\nname = "x"\ntarget = "ignore"\nunheard_of = 1\n')
    known = re.search(r"\(known: ([^)]*)\)", str(refused.value))
    rows = {row[0]: row[1] for row in table("conditions", "docs/settings.md")}
    asked = {row[0] for row in table("what rules ask for", "docs/settings.md")}
    others = {row[0] for row in table("keys of rules", "docs/settings.md")}
    assert {*rows, *asked, *others} == set(known[1].split(", "))
    for word, values in {"source": SourceName, "channel": Channel, "participant_type": ParticipantType}.items():
        assert set(values) <= words(rows[word])


@pytest.mark.parametrize(("name", "model"), [("queues", QueueTable), ("people", PeopleTable), ("roster", AgentTable)])
def test_tables_of_people_are_those_of_the_loader(name, model):
    """Every key of a table is described in its order, and its default."""
    rows = {row[0]: row[1] for row in table(name, "docs/settings.md")}
    assert sorted(rows) == sorted(model.model_fields)
    for key, field in model.model_fields.items():
        default = field.default
        if field.is_required():
            assert rows[key] == "required", key
        elif default not in (None, (), {}, ""):
            assert rows[key] == (str(default).lower() if isinstance(default, bool | str) else f"{default:g}"), key
        else:
            assert rows[key] in {"none", "all", "always", "1, or all"}, key


def test_example_of_a_burst_and_its_reply():
    """The file of the example is read, and its function is called for turns and for communications."""
    assert read_policy(example("burst", "docs/entries.md")).asking.burst == Burst(1.5, 8)
    defined: dict[str, Any] = {}
    exec(example("turns.py", "docs/entries.md"), defined)
    types = [kind for kind in DATA_TYPES if is_asked_for(defined["reply"], kind)]
    assert types == [CommunicationData.type, TurnData.type]


def test_example_rule_decides_as_the_readme_says():
    """The rule of the README, added to the shipped file, gives German customers a person in office hours only."""
    shipped = (SHIPPED / "routing.toml").read_text(encoding="utf-8")
    policy = read_policy(f"{shipped}\n{example('rule')}")

    def decide(address, hour):
        now = datetime(2026, 11, 18, hour, tzinfo=UTC)  # a Wednesday
        customer = Address(Channel.SMS, address)
        facts = Facts(source="messaging", channel="SMS", participant_type="CUSTOMER", customer=customer, now=now)
        return policy.decide(facts)

    assert decide("+4915112345678", 10).target is Target.HUMAN_AGENT
    assert "german-office-hours" in decide("+4915112345678", 10).reason
    assert decide("+4915112345678", 20).reason == "default"
    assert decide("+15551230001", 10).reason == "default"


def test_routes_are_those_of_the_sources():
    """Each URL that is to be set at Twilio is a route, and no route is missing."""
    assert {row[0] for row in table("routes", "docs/connect-twilio.md")} == {one.path for one in SOURCES.values()}
    shown = set(re.findall(r"`<PUBLIC_BASE_URL>(/[^`]+)`", README))
    assert shown
    assert shown <= {one.path for one in SOURCES.values()}


def test_operations_of_the_sandbox_are_those_of_its_routes():
    """Every route of the sandbox is listed with its methods; the classic ones stand for both of their variants."""
    service, routes = "/v1/Services/{service}", {}
    for route in create_app(make_options()).router.routes():
        if route.method != "HEAD":
            routes.setdefault(route.resource.canonical, set()).add(route.method)
    of_service = {path.replace(service, "/v1"): each for path, each in routes.items() if path.startswith(service)}
    expected = {path: each for path, each in routes.items() if not path.startswith(service)}
    shown = {row[0]: words(row[1]) for row in table("operations of the sandbox", "docs/development.md")}
    assert shown == expected
    classic = {path: each for path, each in shown.items() if path.startswith("/v1/") and "/Stores/" not in path}
    assert of_service == classic


def test_siege_table_names_every_run():
    """The figures of the guarantees page are those of `make siege`, in its order."""
    assert [row[0] for row in table("siege", "docs/guarantees.md")] == [run.name for run in RUNS]


def test_sources_table_is_the_one_of_the_code():
    """What becomes of each event type is shown as the parsers define it."""
    shown = PAGES["docs/event-types.md"].split("<!-- table: sources -->\n")[1].split("\n\n")[0]
    assert shown.strip() == to_markdown()


def test_entry_types_are_those_of_the_code():
    """Every type of entry is described."""
    assert [row[0] for row in table("entry types", "docs/entries.md")] == list(DATA_TYPES)


def leaves(model, prefix=""):
    """Yield the dotted names of a model's fields that are no models themselves."""
    for name, field in model.model_fields.items():
        inner = [one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type)]
        nested = next((one for one in inner if issubclass(one, BaseModel)), None)
        mark = "[]" if get_origin(field.annotation) is tuple else ""
        shown = f"{prefix}{field.serialization_alias or name}"
        if nested is None:
            yield shown
        else:
            yield from leaves(nested, f"{shown}{mark}.")


def test_fields_table_is_the_one_of_the_models():
    """Every field of every type of entry is described, with the types that have it."""
    expected: dict[str, set[str]] = {}
    for kind, model in DATA_TYPES.items():
        for name in leaves(model):
            # A list of what another type has one of: the fields of one are described there.
            expected.setdefault(re.sub(r"^communications\[\]\..*", "communications[]", name), set()).add(kind)
    groups = {"all": EntryData, "participant": ParticipantData, "handoff": HandoffData}
    stands_for = {
        word: {one for one in DATA_TYPES if issubclass(DATA_TYPES[one], base)} for word, base in groups.items()
    }
    shown = {
        row[0]: set().union(*(stands_for.get(word, {word}) for word in words(row[1])))
        for row in table("fields", "docs/entries.md")
    }
    assert shown == expected


def test_origins_are_those_of_the_model():
    """Each value of `origin` is explained."""
    rows = PAGES["docs/entries.md"].split("| origin | meaning |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", rows, re.MULTILINE)) == set(
        get_args(JoinedData.model_fields["origin"].annotation)
    )


def test_streams_are_those_of_the_keys():
    """The names of the streams are those that the code makes."""
    keys = Keys()
    streams = {
        keys.inbound(0),
        keys.commands(0),
        keys.dead_letters(0),
        keys.quarantine(),
        *(keys.participants(0, one) for one in Target),
    }
    chapter = PAGES["docs/entries.md"].split("## Streams")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([^`]+)`", chapter, re.MULTILINE)) == streams


def test_entry_example_has_every_field_of_the_model():
    """The example shows participant.joined as it is: all fields, none that is not there."""
    shown = orjson.loads(example("entry"))
    assert orjson.loads(JoinedData.model_validate(shown).model_dump_json()) == shown


PROMISES = {
    int(number): set(re.findall(r"`(tests/[^`]+)`", text.partition("\nTests:")[2]))
    for number, text in re.findall(
        r"^## Promise (\d): (.*?)(?=^## )", PAGES["docs/guarantees.md"], re.MULTILINE | re.DOTALL
    )
}


def test_every_promise_is_shown_by_the_tests_that_are_marked_with_it():
    """The page names the modules that show a promise, and these say so themselves (`pytest.mark.promise`)."""
    marked = {number: set() for number in PROMISES}
    for path in (ROOT / "tests").rglob("test_*.py"):
        marks = re.search(r"^pytestmark = .*?(?=^\S|\Z)", path.read_text(), re.MULTILINE | re.DOTALL)
        for number in re.findall(r"\.promise\((\d)\)", marks[0] if marks else ""):
            marked[int(number)].add(path.relative_to(ROOT).as_posix())
    assert marked == PROMISES


def test_readme_lists_every_promise():
    """Each promise has its line in the README."""
    listed = README.split("<!-- list: promises -->\n")[1].split("\n\n")[0]
    assert [int(number) for number in re.findall(r"^(\d)\. ", listed, re.MULTILINE)] == sorted(PROMISES)


def test_every_target_of_the_benchmarks_has_its_row():
    """What `make bench` measures against a target stands in the table of targets, in the same words."""
    rows = PAGES["docs/performance.md"].split("## Targets")[1].split("\n## ")[0]
    assert [one.what for one in TARGETS if f"\n| {one.what.replace(' / ', ' ÷ ')}" not in rows] == []


def test_procfile_is_the_one_that_is_shown():
    """The deployment page shows the Procfile."""
    lines = (SHIPPED / "Procfile").read_text().splitlines()
    assert lines
    for line in lines:
        assert f"    {line}\n" in PAGES["docs/deployment.md"]


def an_entry() -> Entry:
    data = JoinedData.model_validate_json(example("entry"))
    return make_entry(data, subject=data.participant.id)


def a_closing() -> Entry:
    """An entry that is about no participant."""
    joined = JoinedData.model_validate_json(example("entry"))
    data = ClosedData.model_validate(joined.model_dump())
    return make_entry(data, subject=data.conversation.id)


def test_python_consumer_outlives_a_silent_stream():
    """Its socket timeout (s) is longer than it blocks (ms); the client's own default is 5 s."""
    (block,), (timeout,) = (
        re.findall(rf"\b{word}=(\d+)", example("consumer.py")) for word in ("block", "socket_timeout")
    )
    assert int(block) / 1000 < int(timeout)


def test_node_consumer_hides_no_error_but_that_of_a_group_that_exists():
    """What its client raises while the group is created is raised again, unless it is BUSYGROUP."""
    text = example("consumer.mjs", "docs/entries.md")
    assert 'includes("BUSYGROUP")) throw error' in text
    assert ".catch(" not in text


@pytest.mark.processes
async def test_python_consumer_prints_entries_and_acknowledges_them(redis, redis_url, tmp_path):
    """The example reads what was there before its start, whatever type it is of, and can be started again."""
    script = tmp_path / "consumer.py"
    script.write_text(example("consumer.py"), encoding="utf-8")
    stream, entries = Keys().participants(0, Target.AI_AGENT), (an_entry(), a_closing())
    for entry in entries:  # one for the first start, one for the second, which finds the group
        await redis.xadd(stream, fields_of(entry))
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(script), env={**os.environ, "REDIS_URL": redis_url}, stdout=subprocess.PIPE
        )
        try:
            async with deadline(20):
                line = await process.stdout.readline()
            assert line.decode().split() == [entry.type, entry.id, entry.subject]

            async def is_acknowledged():
                return (await redis.xpending(stream, "my-agent"))["pending"] == 0

            await until(is_acknowledged)
        finally:
            process.kill()
            await process.wait()


def test_root_is_where_the_pages_are():
    """A test that reads nothing finds nothing wrong."""
    assert Path(ROOT / "README.md").is_file()
    assert len(PAGES) >= 14
