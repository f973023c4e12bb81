"""Options of the commands for operators: times and counts."""

import time

import pytest

from router.__main__ import make_parser


def test_a_time_is_an_age_or_a_moment():
    """In µs since 1970."""
    options = make_parser().parse_args(["waiting", "--since", "30m", "--until", "2026-01-07T12:00:00Z"])
    assert options.until == 1_767_787_200_000_000
    assert 0 <= time.time() - 1800 - options.since / 1_000_000 < 60


@pytest.mark.parametrize(
    ("option", "text"),
    [("--since", "soon"), ("--until", ""), ("--limit", "0"), ("--limit", "x"), ("--limit", "1.5")],
)
def test_anything_else_is_wrong_usage(option, text, capsys):
    """The option is named."""
    with pytest.raises(SystemExit) as ended:
        make_parser().parse_args(["waiting", option, text])
    assert ended.value.code == 2
    assert f"argument {option}: " in capsys.readouterr().err
