"""Sealed values: round trip, keys, rotation, tampering."""

from base64 import b64decode, b64encode
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.aes_gcm import make_sealer
from router.core.sealing import MAGIC, NO_KEYS, PREFIX, SealedError, SealedKind, TamperedError, id_of_key

FIRST, SECOND = bytes(range(32)), bytes(range(32, 64))
NUMBERS = count()


def nonce():
    return next(NUMBERS).to_bytes(12, "big")


OLD, NEW, BOTH = (make_sealer(keys, nonce) for keys in ([FIRST], [SECOND], [SECOND, FIRST]))


@given(st.binary(), st.sampled_from(SealedKind))
def test_a_body_comes_back_and_shows_nothing(body, kind):
    """Whatever the bytes are, sealing and opening returns them."""
    sealed = OLD.seal_body(body, kind)
    assert sealed.startswith(MAGIC)
    assert len(body) < 8 or body not in sealed
    assert OLD.open_body(sealed, kind) == body


@given(st.text(st.characters(codec=None)), st.sampled_from(SealedKind))
def test_a_text_comes_back_and_is_one_line_of_ascii(text, kind):
    """Whatever the characters are, lone surrogates included."""
    sealed = OLD.seal_text(text, kind)
    assert sealed.startswith(PREFIX)
    assert sealed.isascii()
    assert "\n" not in sealed
    assert OLD.open_text(sealed, kind) == text


@pytest.mark.parametrize("sealer", [NO_KEYS, OLD, BOTH], ids=["no-keys", "one-key", "two-keys"])
def test_what_was_written_before_there_were_keys_is_read(sealer):
    """A value without the beginning of a sealed one is in the clear."""
    assert sealer.open_body(b"Body=hello", SealedKind.INBOUND) == b"Body=hello"
    assert sealer.open_text('{"holder": 1}', SealedKind.HOLDING) == '{"holder": 1}'


def test_the_first_key_seals_and_all_open():
    """A rotation: the new key is put in front of the old one."""
    old, new = OLD.seal_body(b"before", SealedKind.INBOUND), BOTH.seal_body(b"after", SealedKind.INBOUND)
    assert BOTH.open_body(old, SealedKind.INBOUND) == b"before"
    assert NEW.open_body(new, SealedKind.INBOUND) == b"after"
    assert BOTH.key_ids == (id_of_key(SECOND).hex(), id_of_key(FIRST).hex())


@pytest.mark.parametrize("sealer", [NO_KEYS, NEW], ids=["no-keys", "another-key"])
def test_a_missing_key_is_named_with_the_setting(sealer):
    """The error is one after which an event waits, and says what to do."""
    with pytest.raises(SealedError, match=f"ROUTER_SEAL_KEYS .* {id_of_key(FIRST).hex()}"):
        sealer.open_body(OLD.seal_body(b"x", SealedKind.INBOUND), SealedKind.INBOUND)
    with pytest.raises(SealedError, match=r"sealed entry .* ROUTER_SEAL_KEYS"):
        sealer.open_text(OLD.seal_text("x", SealedKind.ENTRY), SealedKind.ENTRY)


@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_changed_bit_is_detected(body, data):
    """Nothing but what was sealed is ever returned: a flipped bit is tampering, or names another key or version."""
    sealed = bytearray(OLD.seal_body(body, SealedKind.INBOUND))
    position = data.draw(st.integers(len(MAGIC), len(sealed) - 1))
    sealed[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((TamperedError, SealedError)):
        OLD.open_body(bytes(sealed), SealedKind.INBOUND)


@given(st.integers(0, 100))
def test_a_cut_value_is_detected(size):
    """However much of it is left."""
    sealed = OLD.seal_body(bytes(80), SealedKind.INBOUND)
    with pytest.raises(TamperedError):
        OLD.open_body(sealed[: len(MAGIC) + size], SealedKind.INBOUND)


@given(st.text(), st.binary())
def test_nothing_that_only_looks_sealed_raises_anything_else(text, body):
    """Whoever writes to Redis can make an event wait or die, and nothing worse."""
    for sealer in (NO_KEYS, BOTH):
        with pytest.raises((TamperedError, SealedError)):
            sealer.open_text(PREFIX + text, SealedKind.ENTRY)
        with pytest.raises((TamperedError, SealedError)):
            sealer.open_body(MAGIC + body, SealedKind.INBOUND)


def test_a_value_cannot_take_the_place_of_another_kind():
    """The kind is authenticated."""
    with pytest.raises(TamperedError, match="sealed effect"):
        OLD.open_text(OLD.seal_text("x", SealedKind.ENTRY), SealedKind.EFFECT)
    with pytest.raises(TamperedError):
        OLD.open_text(f"{PREFIX}no base64!", SealedKind.ENTRY)


def test_a_later_version_waits_for_a_later_release():
    """As data of another release does everywhere."""
    sealed = bytearray(b64decode(OLD.seal_text("x", SealedKind.ENTRY).removeprefix(PREFIX)))
    sealed[0] = 2
    with pytest.raises(SealedError, match="version 2"):
        OLD.open_text(PREFIX + b64encode(sealed).decode(), SealedKind.ENTRY)


def test_nothing_is_shown_by_accident():
    """A representation in a log or an error has no key."""
    assert "cipher" not in repr(OLD)
