"""The layout of the code, read from the source: which room may import which, and which rule has one place only."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter, defaultdict
from functools import cache

import pytest

from tests.support.source import ROOT, Module, modules, name_of

CODE = modules("router", "handlers")
BY_NAME = {module.name: module for module in CODE}
STANDARD = frozenset(sys.stdlib_module_names)

#: Rooms from the ground up. A module imports from its own room and from floors below, never sideways or up.
FLOORS = (
    ("router", "router.core"),
    ("router.inbound", "router.logs", "router.metrics", "router.tasks"),
    ("router.conversations", "router.streams", "router.sandbox"),
    ("router.settings",),
    ("router.process",),
    ("router.agents",),
    ("router.receiver", "router.worker"),
    ("router.operations",),
    ("router.console", "router.simulator"),
    ("router.commands", "router.dev"),
    ("router.__main__", "handlers"),
)
#: The same within the core.
CORE_FLOORS = (
    ("router.core",),
    ("router.core.signing", "router.core.voice", "router.core.classic", "router.core.routing"),
    ("router.core.ledger",),
    ("router.core.resolution",),
    ("router.core.judging",),
)
#: What one common module may import from another of its floor.
COMMON = {("router.metrics", "router.logs"), ("router.logs", "router.metrics")}


@cache
def imported(module: Module) -> frozenset[str]:
    """Return the names of the project's modules that a module imports, for type checking included."""
    found = set()
    for name in module.imports():
        while name and name not in BY_NAME:
            name = name.rpartition(".")[0]  # noqa: PLW2901 - a name in a module is that module
        if name and name != module.name:
            found.add(name)
    return frozenset(found)


def submodules_only(module: Module) -> frozenset[str]:
    """Return imported modules without the packages that are named only on the way to one of them."""
    names = imported(module)
    return frozenset(name for name in names if not is_passed_through(module, name, names))


def is_passed_through(module: Module, name: str, names: frozenset[str]) -> bool:
    """Tell whether a package is imported only for the sake of a module in it."""
    if not BY_NAME[name].path.endswith("__init__.py"):
        return False
    wanted = {alias for node in module.nodes for alias in aliases_from(node, name)}
    return bool(wanted) and all(f"{name}.{alias}" in names for alias in wanted)


def aliases_from(node: ast.AST, package: str) -> list[str]:
    """Return the names that one import statement takes from a package."""
    if isinstance(node, ast.ImportFrom) and node.module == package:
        return [alias.name for alias in node.names]
    return []


def test_the_source_was_found():
    """A test that reads nothing finds nothing wrong."""
    assert len(CODE) > 200
    rooms = [room for floor in FLOORS for room in floor if room != "router"]
    lost = [module.name for module in CODE if not any(inside(module.name, room) for room in rooms)]
    assert lost == ["router"]


def inside(name: str, room: str) -> bool:
    """Tell whether a module is in a room."""
    return name == room or name.startswith(f"{room}.")


def test_no_import_circle():
    """No module imports itself by way of others, not even for types."""
    assert circles({module.name: submodules_only(module) for module in CODE}) == []


def circles(edges: dict[str, frozenset[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(edges[name]):
            if other not in index:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(edges):
        if name not in index:
            visit(name)
    return found


def test_a_circle_is_found():
    """The search sees a circle over three modules, and none in a chain."""
    assert circles({"a": frozenset("b"), "b": frozenset("c"), "c": frozenset("a")}) == [["a", "b", "c"]]
    assert circles({"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset()}) == []


def place(name: str, floors: tuple[tuple[str, ...], ...]) -> tuple[int, str]:
    """Return the floor and the room of a module, by the longest room that it is in."""
    rooms = [(len(room), floor, room) for floor, rooms in enumerate(floors) for room in rooms if inside(name, room)]
    _, floor, room = max(rooms)
    return floor, room


@pytest.mark.parametrize("floors", [FLOORS, CORE_FLOORS], ids=["house", "core"])
def test_imports_only_go_down(floors):
    """A rule never depends on what does I/O, and rooms of one floor do not know each other."""
    rooms = tuple(room for floor in floors for room in floor)
    wrong = []
    for module in CODE:
        if not any(inside(module.name, room) for room in rooms):
            continue
        floor, room = place(module.name, floors)
        for name in submodules_only(module):
            if any(inside(name, room) for room in rooms):
                other_floor, other = place(name, floors)
                if other != room and other_floor >= floor and (module.name, name) not in COMMON:
                    wrong.append((module.path, name))
    assert not wrong


#: Where a process may write to its standard streams: the log, what stands for its output, and what commands print.
WRITERS = {"router.logs", "router.process.output", "router.process.terminal"}


def test_only_one_module_prints():
    """All that commands print goes through router.process.terminal, which makes it safe for a terminal."""
    found = [
        f"{module.name}:{node.lineno}"
        for module in CODE
        if module.name not in WRITERS
        for node in module.nodes
        if prints(node)
    ]
    assert found == []


def prints(node: ast.AST) -> bool:
    """Tell whether a node writes to a standard stream, or makes a parser that would."""
    if isinstance(node, ast.Call) and name_of(node.func) in {"print", "pprint", "ArgumentParser"}:
        return True
    is_stream = isinstance(node, ast.Attribute) and node.attr in {"stdout", "stderr", "__stdout__", "__stderr__"}
    return is_stream and name_of(node.value) == "sys"


@pytest.mark.parametrize(
    "code", ["print(1)", "print(1, file=f)", "sys.stdout.write('')", "sys.stderr.buffer", "argparse.ArgumentParser()"]
)
def test_printing_is_found(code):
    """Each way of writing to a standard stream is seen."""
    assert any(prints(node) for node in ast.walk(ast.parse(code)))


def test_only_five_files_stand_directly_in_router():
    """Everything else has a room."""
    files = {path.name for path in (ROOT / "router").glob("*.py")}
    assert files == {"__init__.py", "__main__.py", "logs.py", "metrics.py", "tasks.py"}


def test_rooms_are_few():
    """A newcomer finds the way by at most 20 names."""
    rooms = {path.parent.name for path in (ROOT / "router").glob("*/__init__.py")} | {"handlers"}
    assert len(rooms) <= 20


#: Modules outside core and inbound that do no I/O and yet do not belong there, and why.
PURE_ELSEWHERE = {
    "router/conversations/bodies.py": "the wire format of the API's request bodies",
    "router/console/roles.py": "who may open which page of the console",
    "router/conversations/retry.py": "which requests the client may repeat",
    "router/sandbox/indexes.py": "containers of the sandbox's memory",
    "router/sandbox/v2/grouping.py": "a rule of the API, not of ours",
    "router/simulator/entry_text.py": "what `simulate` and `dev` print of an entry",
    "router/simulator/kinds.py": "the table of what `simulate` can send",
    "router/streams/delivery.py": "what a consumer is given and answers",
}
#: Standard library modules that do I/O, or decide by clock, chance or environment.
IMPURE = frozenset(
    [
        "asyncio",
        "contextlib",
        "fcntl",
        "getpass",
        "http",
        "importlib",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "platform",
        "random",
        "secrets",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "tomllib",
        "urllib",
        "uuid",
        "argparse",
        "gc",
    ]
)


def test_pure_code_is_in_the_core():
    """What imports only the core and pure standard library is a rule, and rules are on the ground floor."""
    wrong = []
    for module in CODE:
        if inside(module.name, "router.core") or inside(module.name, "router.inbound"):
            continue
        if module.path.endswith("__init__.py"):
            continue
        names = {name for name in module.imports() if name != "__future__"}
        own = {name for name in names if name.startswith(("router", "handlers"))}
        foreign = {name.partition(".")[0] for name in names - own}
        is_pure = foreign <= STANDARD - IMPURE
        if is_pure and all(inside(name, "router.core") or name == "router" for name in own):
            wrong.append(module.path)
    assert sorted(wrong) == sorted(PURE_ELSEWHERE)


def event_types() -> set[str]:
    """Return the names of all events."""
    tree = BY_NAME["router.core.events"].tree
    (union,) = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and name_of(node.targets[0]) == "Event"
    ]
    return {node.id for node in ast.walk(union) if isinstance(node, ast.Name)}


def test_event_types_are_told_apart_in_one_table():
    """A new kind of event is one file and one row: nothing else asks for its type."""
    types = event_types()
    assert len(types) >= 7
    wrong = [
        f"{module.path}:{call.lineno}"
        for module in CODE
        for call in module.calls("isinstance", "type")
        if {node.id for node in ast.walk(call) if isinstance(node, ast.Name)} & types
    ]
    wrong += [
        f"{module.path}:{node.lineno}"
        for module in CODE
        for node in module.nodes
        if isinstance(node, ast.MatchClass) and name_of(node.cls) in types
    ]
    assert not wrong
    table = BY_NAME["router.core.judging.kinds"].text
    assert all(f"    {name}: EventKind(" in table for name in types)


#: Public definitions that nothing in the product calls, and why they stay.
UNUSED = {
    "router.conversations.v1:ClassicConversations.delete_participant": "the client has every operation on participants",
    "router.conversations.v2:ConversationsV2.modify_participant": "the client has every operation on participants",
    "router.inbound.table:to_markdown": "the documentation's table of events",
    "router.receiver.answers:SharedResponse.write_eof": "called by aiohttp",
    "router.receiver.connections:Connection.handle_error": "called by aiohttp",
}


def test_every_public_definition_has_a_caller():
    """What nobody uses is not kept, or its reason is written down."""
    unused = set(find_unused())
    assert unused - set(UNUSED) == set()
    assert set(UNUSED) - unused == set(), "these have a caller by now"


def find_unused() -> list[str]:
    """Return public functions, classes and methods whose name stands nowhere else in the product."""
    names = Counter(word for module in CODE for word in words(module))
    defined = defaultdict(list)
    for module in CODE:
        for name, owner in definitions(module):
            defined[name].append(f"{module.name}:{owner}{name}")
    return sorted(where for name, places in defined.items() if names[name] <= len(places) for where in places)


def words(module: Module) -> list[str]:
    """Return every identifier of a module, in code and in strings that name attributes."""
    found = re.findall(r"[A-Za-z_]\w*", code_of(module))
    return [word for word in found if not word.startswith("_")]


@cache
def code_of(module: Module) -> str:
    """Return a module's source without docstrings and comments."""
    return ast.unparse(WithoutDocstrings().visit(ast.parse(module.text)))


class WithoutDocstrings(ast.NodeTransformer):
    """Leaves out docstrings, and names that an import only passes on."""

    def visit_Expr(self, node):
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return ast.Expr(ast.Constant(...)) if is_text else node

    def visit_ImportFrom(self, node):
        return ast.Pass()

    def visit_Import(self, node):
        return ast.Pass()


def definitions(module: Module) -> list[tuple[str, str]]:
    """Return public definitions of a module: (name, owner with a dot, or nothing)."""
    found = []
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found.append((node.name, ""))
        if isinstance(node, ast.ClassDef):
            found += [
                (each.name, f"{node.name}.")
                for each in node.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
                and not each.name.startswith("_")
                and not is_framework_hook(each)
            ]
    return found


def is_framework_hook(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a decorator makes somebody else call it (pydantic validators, overrides)."""
    names = {name_of(one.func if isinstance(one, ast.Call) else one) for one in function.decorator_list}
    return bool(names & {"field_validator", "model_validator", "override", "field_serializer", "setter"})


#: Where else the names of deployments of Redis stand, as (module, word).
NAMES_OF_DEPLOYMENTS: set[tuple[str, str]] = set()


def test_cluster_and_sentinel_are_named_in_the_client_only():
    """How Redis is deployed is a question of the connection."""
    wrong = []
    for module in CODE:
        if inside(module.name, "router.streams.client"):
            continue
        found = re.findall(r"(?i)\w*(?:cluster|sentinel)\w*", code_of(module))
        wrong += [(module.path, word) for word in found if (module.name, word) not in NAMES_OF_DEPLOYMENTS]
    assert not wrong


@pytest.mark.parametrize(
    ("pattern", "place"),
    [
        (r"def had_no_effect\b", "router.core.errors"),
        (r"2(\.0)? \*\* ", "router.core.backoff"),
    ],
    ids=["had the request no effect", "back-off"],
)
def test_rule_has_one_place(pattern, place):
    """A rule that stands twice will be changed once."""
    assert [module.name for module in CODE if re.search(pattern, code_of(module))] == [place]


#: Where the message of an exception stands as it is, and why.
MESSAGES = {
    "handlers.replies": "the operator's own code, at the start",
    "router.logs": "masked, and without the command of Redis",
    "router.streams.client.cluster": "of a connection, wrapped in an error of Redis",
    "router.streams.store.dead_letters": "kept for operators, masked when it is listed",
}


def test_messages_of_exceptions_are_described_in_one_place():
    """They may repeat a command of Redis, and an address with it."""
    pattern = r"\.__name__\}: \{"
    assert [module.name for module in CODE if re.search(pattern, code_of(module))] == sorted(MESSAGES)


def test_class_names_are_unique():
    """A class name means one thing over router/ and handlers/."""
    places = defaultdict(list)
    for module in CODE:
        for node in module.nodes:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module.path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}
