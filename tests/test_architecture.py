"""Rules of the code, read from the source: which libraries a room may use, how long things are, what tests look like.

Which room may import which is in test_layout.
"""

import ast
import subprocess
import sys

import pytest

from tests.support.source import ROOT, modules, name_of

CODE = modules("router", "handlers")
TESTS = modules("tests")
STANDARD = frozenset(sys.stdlib_module_names)

#: What a pure room may import besides the standard library and itself.
PURE = {
    "router.core": {"pydantic"},
    "router.inbound": {"pydantic", "orjson", "router.core"},
}
#: Pure all the same: libraries that compute and do no I/O, where the standard library has nothing, and why.
COMPUTING = {
    "router/core/aes_gcm.py": ("cryptography", "AES-GCM"),
    "router/core/entries.py": ("orjson", "the JSON of every message's entry, at a fortieth of the time"),
    "router/core/values.py": ("msgspec", "frozen values, at a tenth of the time"),
    "router/core/stories.py": ("orjson", "the line of every event's story, at a fortieth of the time"),
    "router/core/signing/mail.py": ("cryptography", "ECDSA signatures"),
    "router/inbound/email/multipart.py": ("python_multipart", "the form that mail arrives in"),
}
#: Which rooms a library may appear in.
LIBRARIES = {
    "aiohttp": {"router.receiver", "router.conversations", "router.sandbox", "router.simulator", "router.console"},
    "aiohttp_sse": {"router.console"},
    "jinja2": {"router.console"},
    "redis": {"router.streams", "router.worker", "handlers"},
    "faststream": {"router.streams", "router.worker", "handlers"},
    "prometheus_client": {"router.metrics", "router.process"},
    "uvloop": {"router.process"},
}
MAX_FUNCTION, MAX_FILE = 50, 350
#: Functions and files that may be longer, and why.
LONG: dict[str, str] = {}


def names(module):
    return [(module.path, name) for name in sorted(module.imports())]


def inside(name, rooms):
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def test_the_source_was_found():
    """A test that reads nothing finds nothing wrong."""
    assert {"router.core", "router.inbound", "router.worker", "handlers"} <= {module.room for module in CODE}
    assert len(CODE) > 80


@pytest.mark.parametrize("room", PURE)
def test_pure_rooms_import_the_standard_library_and_little_else(room):
    """Core and inbound do no I/O, so they need nothing that does."""
    allowed = {room, *PURE[room]}
    wrong = [
        (path, name)
        for module in CODE
        if module.room == room
        for path, name in names(module)
        if name.partition(".")[0] not in STANDARD
        and not inside(name, allowed)
        and not inside(name, COMPUTING.get(path, ())[:1])
    ]
    assert not wrong


@pytest.mark.parametrize("room", ["router.core", "router.inbound"])
def test_pure_rooms_do_no_io(room):
    """No clock, no randomness, no environment, no files, no network, no event loop."""
    banned = {"asyncio", "socket", "os", "time", "random", "secrets", "subprocess", "threading", "logging", "uuid"}
    wrong = [
        (path, name)
        for module in CODE
        if module.room == room
        for path, name in names(module)
        if name.partition(".")[0] in banned
    ]
    assert not wrong
    for module in CODE:
        if module.room == room:
            assert not list(module.calls("open", "print", "utcnow", "today")), module.path


def test_parsers_of_event_sources_never_see_each_other():
    """One file per source, which is what identifies and normalizes; only the table knows them all."""
    table = "router.inbound.sources"
    sources = {
        module.name
        for module in CODE
        if module.room == "router.inbound" and {"identify", "normalize"} <= {one.name for one in module.functions()}
    } - {table}
    assert len(sources) >= 2
    wrong = [
        (path, name)
        for module in CODE
        if module.name in sources
        for path, name in names(module)
        if inside(name, sources - {module.name})
    ]
    assert not wrong


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_stay_in_their_rooms(library):
    """A library that is to be replaced one day is to be found in few places."""
    wrong = [
        path
        for module in CODE
        if module.room not in LIBRARIES[library]
        for path, name in names(module)
        if inside(name, [library])
    ]
    assert not wrong


def test_environment_is_read_in_settings_only():
    """Every variable is in one place, documented and checked at the start."""
    words = {"environ", "environb", "getenv", "putenv"}
    readers = {
        module.room
        for module in CODE
        for node in module.nodes
        if isinstance(node, ast.Attribute | ast.Name) and name_of(node) in words
    }
    assert readers == {"router.settings"}


def test_every_module_says_what_it_is_for():
    """Every module opens with its purpose; an empty one needs none."""
    silent = [one.path for one in (*CODE, *TESTS) if one.text.strip() and not ast.get_docstring(one.tree)]
    assert not silent


def test_functions_are_short():
    """A function that does not fit on a screen does two things."""
    long = {
        f"{module.path}:{function.name}": length
        for module in CODE
        for function in module.functions()
        if (length := function.end_lineno - function.lineno + 1) > MAX_FUNCTION
    }
    assert set(long) == {where for where in LONG if ":" in where}, long


def test_files_are_short():
    """A file of many screens has a second job."""
    long = {module.path: lines for module in CODE if (lines := module.text.count("\n")) > MAX_FILE}
    assert set(long) == {where for where in LONG if ":" not in where}, long


@pytest.mark.parametrize(
    ("entrance", "needless"),
    [("router.receiver.serve", "faststream"), ("router.worker.app", "aiohttp.web_app"), ("router.__main__", "asyncio")],
)
def test_a_process_loads_what_it_works_with(entrance, needless):
    """The receiver consumes nothing, the worker serves nothing, `--help` does neither: each starts the sooner."""
    program = f"import sys, {entrance}; print({needless!r} in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"


def test_no_except_is_bare():
    """What is caught is named."""
    bare = [
        f"{module.path}:{node.lineno}"
        for module in CODE
        for node in module.nodes
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert not bare


#: Where tests may sleep, and why; the programs below these folders measure time and may as well.
MEASURING = ("tests/benchmarks/", "tests/siege/")
PAUSES = {
    "tests/chaos/people.py": "people who renew their presence",
    "tests/support/waiting.py": "the one place that polls",
    "tests/process/test_output.py": "a reader of the log that is slow",
    "tests/streams/consumer_program.py": "work that takes a moment",
}


def test_tests_do_not_sleep():
    """A test waits for what it waits for; a pause is too short on a slow machine and too long on a fast one."""
    sleeping = {module.path for module in TESTS if not module.path.startswith(MEASURING) and sleeps(module)}
    assert sleeping <= set(PAUSES)


def sleeps(module):
    """Tell whether a module calls asyncio.sleep or time.sleep with more than a 0, which only yields."""
    clocks = {"asyncio", "time"} & module.imports()
    return any(
        isinstance(call.func, ast.Attribute)
        and name_of(call.func.value) in clocks
        and not (isinstance(call.args[0], ast.Constant) and call.args[0].value == 0)
        for call in module.calls("sleep")
    )


def test_every_test_says_what_it_shows():
    """One sentence of behavior in each test."""
    silent = [
        f"{module.path}:{function.name}"
        for module in TESTS
        for function in module.functions()
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert not silent


def test_tests_mirror_the_code():
    """Every room has a folder of tests, or a file of its own."""
    for room in {module.room for module in CODE if "." in module.room}:
        name = room.partition(".")[2]
        if (ROOT / "router" / name).is_dir() and name != "commands":
            assert (ROOT / "tests" / name).is_dir(), name
