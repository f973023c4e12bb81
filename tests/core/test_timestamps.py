"""Timestamps of the API: every form seen so far is ordered, and other text is harmless."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.timestamps import read_moment, to_microseconds, to_text

BASE = 1_767_261_600_000_000  # 2026-01-01T10:00:00Z


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        pytest.param("2026-01-01T10:00:00Z", BASE, id="no-fraction"),
        pytest.param("2026-01-01T10:00:00.250Z", BASE + 250_000, id="three-digits"),
        pytest.param("2026-01-01T10:00:00.2Z", BASE + 200_000, id="one-digit"),
        pytest.param("2026-01-01T10:00:00.123456Z", BASE + 123_456, id="six-digits"),
        pytest.param("2026-01-01T10:00:00.123456789Z", BASE + 123_456, id="nine-digits-are-cut"),
        pytest.param("2026-01-01t10:00:00z", BASE, id="lower-case"),
        pytest.param("2026-01-01 10:00:00", BASE, id="blank-and-no-zone"),
        pytest.param("2026-01-01T12:30:00+02:30", BASE, id="east"),
        pytest.param("2026-01-01T02:00:00-0800", BASE, id="west-without-colon"),
        pytest.param(" 2026-01-01T10:00:00Z\n", BASE, id="outer-blanks"),
        pytest.param("1970-01-01T00:00:00Z", 0, id="epoch"),
        pytest.param("1969-12-31T23:59:59Z", -1_000_000, id="before-the-epoch"),
        pytest.param(None, None, id="none"),
        pytest.param("", None, id="empty"),
        pytest.param("yesterday", None, id="word"),
        pytest.param("2026-01-01", None, id="date-only"),
        pytest.param("2026-13-01T10:00:00Z", None, id="month-13"),
        pytest.param("2026-02-29T10:00:00Z", None, id="no-leap-year"),
        pytest.param("0000-01-01T00:00:00Z", None, id="year-0"),
        pytest.param("2026-01-01T10:00:60Z", None, id="leap-second"),
        pytest.param("2026-01-01T10:00:00.Z", None, id="dot-without-digits"),
        pytest.param("2026-01-01T10:00:00.1234567890Z", None, id="ten-digits"),
        pytest.param("٢٠٢٦-01-01T10:00:00Z", None, id="digits-of-another-script"),
        pytest.param("Thu, 01 Jan 2026 10:00:00 +0000", None, id="rfc-2822"),
    ],
)
def test_to_microseconds(text, micros):
    """Times with 0 to 9 fraction digits are parsed, in UTC unless they have an offset; anything else is None."""
    assert to_microseconds(text) == micros


@given(
    st.one_of(
        st.text(st.characters()), st.from_regex(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,10})?(Z|[+-]\d\d:?\d\d)?")
    )
)
def test_reading_never_raises(text):
    """Any text is a number or None."""
    assert isinstance(to_microseconds(text), int | None)


@given(
    st.datetimes().filter(lambda moment: 1 < moment.year < 9999),
    st.integers(min_value=-14 * 60, max_value=14 * 60),
)
def test_reading_agrees_with_the_standard_library(moment, minutes):
    """A time at any offset is the instant that datetime parses."""
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert to_microseconds(aware.isoformat()) == expected


@given(st.integers(min_value=0, max_value=4_102_444_800_000_000))
def test_writing_and_reading(micros):
    """Formatted times have three fraction digits and parse as the same millisecond."""
    text = to_text(micros)
    assert len(text) == len("2026-01-01T10:00:00.000Z")
    assert to_microseconds(text) == micros // 1000 * 1000


@given(st.integers(min_value=0, max_value=4_102_444_800_000_000), st.integers(min_value=0, max_value=10**12))
def test_order_of_texts_is_order_of_times(earlier, gap):
    """Formatted times sort like the instants that they name."""
    assert to_text(earlier) <= to_text(earlier + gap)


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (10**30, "9999-12-31T23:59:59.000Z"),
        ((2**64 - 1) * 1000, "9999-12-31T23:59:59.000Z"),
        (-(10**30), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_that_no_calendar_has_is_shown_as_the_last_or_first(micros, text):
    """Anybody with access to Redis may add an entry with any id."""
    assert to_text(micros)[:19] == text[:19]


#: 2026-01-07T14:03:20Z
NOW = 1_767_794_600_000_000


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-07T14:03:00Z", "2026-01-07T14:03:00.000Z"),
        (" 15m ", "2026-01-07T13:48:20.000Z"),
        ("2 h", "2026-01-07T12:03:20.000Z"),
        ("3d", "2026-01-04T14:03:20.000Z"),
        ("999999d", "1970-01-01T00:00:00.000Z"),
        ("14:03", "2026-01-07T14:03:00.000Z"),
        ("9:30:05", "2026-01-07T09:30:05.000Z"),
        ("14:04", "2026-01-06T14:04:00.000Z"),
    ],
)
def test_a_time_as_people_type_it(text, moment):
    """Exact, as an age, or as the last time of day that has passed: after midnight 23:50 is yesterday."""
    assert to_text(read_moment(text, NOW)) == moment


@pytest.mark.parametrize("text", ["", "x", "24:00", "1:60", "-5m", "5 m x", "1960-01-01T00:00:00Z", "٣m", "9999999m"])
def test_what_is_no_time_is_none(text):
    """The caller says what a time looks like."""
    assert read_moment(text, NOW) is None
