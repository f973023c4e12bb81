"""Ids in the form of the API: making them, and finding one in an error text."""

from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.ids import ALPHABET, find_conversation_id, make_id

MILLIS = st.integers(min_value=0, max_value=2**48 - 1)
ENTROPY = st.integers(min_value=0, max_value=2**80)


def _uuid(made):
    """Decode the 26 letters into their 128 bits."""
    number = 0
    for letter in made.rpartition("_")[2]:
        number = number * 32 + ALPHABET.index(letter)
    return UUID(int=number)


@given(MILLIS, ENTROPY)
def test_form(millis, entropy):
    """An id is its prefix and the base32 of a UUID version 7 with the given time and random bits."""
    made = make_id("conv_conversation", millis=millis, entropy=entropy)
    read = _uuid(made)
    assert made.startswith("conv_conversation_")
    assert len(made) == len("conv_conversation_") + 26
    assert (read.version, read.variant) == (7, RFC_4122)
    assert read.int >> 80 == millis
    assert ((read.int >> 64 & 0xFFF) << 62 | read.int & (2**62 - 1)) == entropy % 2**74


@given(MILLIS, MILLIS, ENTROPY, ENTROPY)
def test_ids_sort_by_millisecond(one, other, entropy, other_entropy):
    """The id of an earlier millisecond sorts first, whatever the random bits."""
    first = make_id("p", millis=min(one, other), entropy=entropy)
    second = make_id("p", millis=max(one, other), entropy=other_entropy)
    assert first < second or one == other


@given(MILLIS, st.integers(min_value=0, max_value=2**74 - 1), st.integers(min_value=0, max_value=2**74 - 1))
def test_ids_differ_by_entropy(millis, one, other):
    """Two ids of one millisecond are equal only if their random bits are."""
    assert (make_id("p", millis=millis, entropy=one) == make_id("p", millis=millis, entropy=other)) == (one == other)


CONVERSATION = make_id("conv_conversation", millis=1_767_261_600_000, entropy=7)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param(CONVERSATION, CONVERSATION, id="alone"),
        pytest.param(f"Address mapping already exists on conversation {CONVERSATION}.", CONVERSATION, id="sentence"),
        pytest.param(f"{CONVERSATION} and conv_conversation_{'0' * 26}", CONVERSATION, id="first-of-two"),
        pytest.param("conv_conversation_short", None, id="too-short"),
        pytest.param("conv_participant_" + "0" * 26, None, id="other-kind"),
        pytest.param("", None, id="empty"),
    ],
)
def test_find_conversation_id(text, found):
    """The first conversation id in a text is found, and nothing that only looks similar."""
    assert find_conversation_id(text) == found
