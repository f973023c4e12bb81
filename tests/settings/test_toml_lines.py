"""The lines of tables and keys in a TOML file, however they are written."""

import pytest

from router.core.errors import PolicyError, SettingsError
from router.settings.toml_lines import TomlLines, parse_toml

TEXT = """\
top = 1
[default]
target = "x"
 [[ rule ]]
name = "a"
"hours".from = "09:00"
[[rule]]
name = "b"
"""


@pytest.fixture
def lines():
    return TomlLines(TEXT, "some.toml", table="rule")


def test_tables_are_found_by_index(lines):
    """A table has its header's line; one without a header has line 1."""
    assert [lines.line_of(index) for index in range(3)] == [4, 7, 1]


@pytest.mark.parametrize(
    ("key", "start", "line"),
    [("name", 4, 5), ("name", 7, 8), ("hours", 4, 6), ("hours", 7, 7), ("target", 4, 4), ("target", 1, 3)],
)
def test_keys_are_found_within_their_table(lines, key, start, line):
    """Keys of the next table do not count; a missing key has its table's line."""
    assert lines.find(key, start) == line


@pytest.mark.parametrize(("key", "line"), [("default", 2), ("rule", 4), ("top", 1), ("nothing", 1)])
def test_top_level_names_are_found(lines, key, line):
    """A table is found anywhere, a key above all tables."""
    assert lines.find_top(key) == line


def test_problems_name_file_and_line(lines):
    """Problems are kept in order, with file and line."""
    lines.report(3, "one")
    lines.report(8, "two")
    assert lines.problems == ["some.toml:3: one", "some.toml:8: two"]


@pytest.mark.parametrize("error_type", [SettingsError, PolicyError])
def test_invalid_toml_names_the_file(error_type):
    """The parser's message is reported with the file's name."""
    assert parse_toml("a = 1", "some.toml", error_type) == {"a": 1}
    with pytest.raises(error_type, match=r"some\.toml: "):
        parse_toml("a = = 1", "some.toml", error_type)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("a =", "Invalid value", id="no-value"),
        pytest.param(f"a = 0x{'f' * 5000}", "more than 64 bits: 0xffff", id="hexadecimal"),
        pytest.param(f"[b]\na = [{{ c = 0o{'7' * 5000} }}]", "more than 64 bits", id="nested"),
        pytest.param(f"a = {'9' * 5000}", "", id="decimal"),
        pytest.param(f"a = {'[' * 5000}{']' * 5000}", "nested too deep", id="deep"),
        pytest.param(f"a = {2**63}", "more than 64 bits", id="one-too-many"),
    ],
)
def test_what_is_no_toml_is_a_problem_of_the_file(text, problem):
    """Whatever the parser makes of it, and a number that Python could not show in a message."""
    with pytest.raises(PolicyError) as caught:
        parse_toml(text, "some.toml", PolicyError)
    (found,) = caught.value.problems
    assert found.startswith("some.toml: ")
    assert problem in found
    assert len(found) < 200


def test_the_largest_number():
    """And the least one are numbers."""
    text = f"a = {2**63 - 1}\nb = {-(2**63)}"
    assert parse_toml(text, "some.toml", PolicyError) == {"a": 2**63 - 1, "b": -(2**63)}
