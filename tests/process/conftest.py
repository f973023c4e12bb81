"""Fixtures of the process tests."""

import signal

import pytest


@pytest.fixture
def signals():
    """Restore the signal handlers after the test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
