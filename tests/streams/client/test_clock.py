"""The time of Redis: estimated within the time that its answer took, whatever the clock of this host says."""

import time

import pytest

from router.metrics import render
from router.streams.client.clock import INTERVAL, Measurement, RedisClock
from router.streams.client.connection import RedisError

pytestmark = pytest.mark.real

SECOND = 1_000_000
SHIFTS = [61, -61, 30, -30, 3600, -3600]


class Host:
    """The clock of a host that is so many seconds ahead."""

    def __init__(self, ahead=0.0):
        self.ahead = ahead

    def __call__(self):
        return time.time_ns() // 1000 + int(self.ahead * SECOND)


async def time_of(redis):
    """Return the time of Redis in µs."""
    seconds, micros = await redis.time()
    return seconds * SECOND + micros


def make_clock(keys, ahead=0.0):
    return RedisClock(keys.inbound(0), wall=Host(ahead))


@pytest.mark.parametrize("ahead", SHIFTS)
async def test_the_time_is_that_of_redis_whatever_the_host_says(redis, keys, ahead):
    """The estimate lies between two readings of Redis, give or take half of the time that the measurement took."""
    clock = make_clock(keys, ahead)
    begun = time.monotonic_ns() // 1000
    await clock.measure(redis)
    error = time.monotonic_ns() // 1000 - begun
    before = await time_of(redis)
    assert before - error <= clock() <= await time_of(redis) + error
    assert clock.milliseconds() // 10_000 == pytest.approx(clock.seconds() // 10, abs=1)


@pytest.mark.parametrize("ahead", SHIFTS)
async def test_the_skew_of_the_host_is_shown(redis, keys, ahead):
    """As a metric, positive where the host is ahead."""
    clock = make_clock(keys, ahead)
    await clock.measure(redis)
    assert round(clock.skew) == ahead
    line = next(line for line in render().decode().splitlines() if line.startswith("router_clock_skew_seconds{"))
    assert round(float(line.split()[-1])) == ahead


async def test_without_redis_it_is_the_hosts_own_time(redis, keys):
    """A receiver that starts while Redis is down has no other; its skew is not known then."""
    clock = make_clock(keys, 3600)
    assert abs(clock() - Host(3600)()) < 60 * SECOND
    assert clock.skew == 0.0


class EnoughError(Exception):
    """The test has seen enough."""


class Unwilling:
    """A Redis that does not answer."""

    async def evalsha(self, *_):
        raise RedisError("no")


async def test_an_outage_leaves_the_estimate_alone(redis, keys):
    """The process' monotonic clock carries it on."""
    clock = make_clock(keys, 3600)
    await clock.measure(redis)
    with pytest.raises(RedisError):
        await clock.measure(Unwilling())
    await clock.begin(Unwilling())
    assert abs(clock() - await time_of(redis)) < 60 * SECOND


async def test_a_skew_is_logged_once_and_again_when_it_is_over(redis, keys, lines, monkeypatch):
    """Every measurement sees it, and the log does not repeat it."""
    host = Host(61)
    clock = RedisClock(keys.inbound(0), wall=host)
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            host.ahead = 0.0
        if len(pauses) == 5:
            raise EnoughError

    monkeypatch.setattr("router.streams.client.clock.asyncio.sleep", sleep)
    with pytest.raises(EnoughError):
        await clock.run(redis)
    assert pauses == [INTERVAL] * 5
    (skewed,), (agrees,) = lines("clock.skewed"), lines("clock.agrees")
    assert (skewed["level"], round(skewed["seconds"])) == ("warning", 61)
    assert (agrees["level"], round(agrees["seconds"])) == ("info", 0)


@pytest.mark.parametrize(
    ("later", "is_taken"),
    [
        (Measurement(1_000_000, 100, 10 * SECOND), True),  # more precise
        (Measurement(1_000_400, 4_000_000, 10 * SECOND), False),  # Redis had stalled for eight seconds
        (Measurement(1_900_000, 4_000_000, 10 * SECOND), False),
        (Measurement(9_000_000, 4_000_000, 10 * SECOND), True),  # its clock was set, or another server took over
        (Measurement(-3_600_000_000, 500, 10 * SECOND), True),
        (Measurement(1_000_300, 30_000, 1000 * SECOND), True),  # in a quarter of an hour clocks drift
    ],
)
def test_the_better_measurement_is_kept_unless_it_is_contradicted(later, is_taken):
    """A stall of Redis makes the time no worse, and a new time is followed."""
    first = Measurement(1_000_000, 500, 0)
    assert first.or_better(later) is (later if is_taken else first)
