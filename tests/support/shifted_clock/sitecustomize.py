"""A host whose clock is wrong: with this folder on PYTHONPATH, Python's wall clock is CLOCK_SHIFT seconds ahead."""

import os
import time

SECONDS = int(os.environ.get("CLOCK_SHIFT", "0"))
_time, _time_ns = time.time, time.time_ns


def _shifted() -> float:
    return _time() + SECONDS


def _shifted_ns() -> int:
    return _time_ns() + SECONDS * 1_000_000_000


time.time, time.time_ns = _shifted, _shifted_ns
