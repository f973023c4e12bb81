"""Counting steps: all of a function, and only those in the block."""

from pathlib import Path

from tests.benchmarks.steps import Steps, _package_of


def double(number):
    return number + number


def test_the_steps_of_a_function():
    """Ten calls have ten times the steps of one, and calls outside the block do not count."""
    one, ten = Steps(), Steps()
    with one.counting():
        double(1)
    with ten.counting():
        for number in range(10):
            double(number)
    double(2)
    assert one.taken[double.__code__] > 0
    assert ten.taken[double.__code__] == 10 * one.taken[double.__code__]
    rows = dict(ten.rows(10, most=5))
    assert rows["double (test_steps.py)"] == str(one.taken[double.__code__])


def test_the_package_of_a_path():
    """A library in site-packages, this project, or Python's own library."""
    assert _package_of(Path("/x/lib/python3.11/site-packages/aiohttp/web.py")) == "[aiohttp]"
    assert _package_of(Path("/x/router/streams/append.py")) == "[router]"
    assert _package_of(Path("/x/lib/python3.11/hmac.py")) == "[Python's own]"
