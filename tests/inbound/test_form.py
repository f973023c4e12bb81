"""Form parameters as text: the first of a repeated one, and a name but never a value in an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import UnreadableError
from router.inbound.form import read_text, require


def test_text():
    """Parameters become text, blanks and non-ASCII included."""
    pairs = [(b"From", b"+14155550101"), (b"Body", "Olá 👋".encode()), (b"ToCity", b"")]
    assert read_text(pairs) == {"From": "+14155550101", "Body": "Olá 👋", "ToCity": ""}


def test_first_of_repeated():
    """Of a repeated parameter the first value counts, also where it is blank."""
    assert read_text([(b"From", b""), (b"From", b"+14155550101")]) == {"From": ""}


@pytest.mark.parametrize(
    ("pair", "shown"),
    [
        pytest.param((b"Body", b"secret \xff"), "parameter Body is", id="value"),
        pytest.param((b"B\xffdy", b"secret"), r"parameter B\\xffdy is", id="name"),
        pytest.param((b"\xff" + b"n" * 500, b"secret"), r"parameter \\xffn{60} is", id="long-name"),
    ],
)
def test_not_utf_8(pair, shown):
    """What is not UTF-8 is refused by the name of the parameter, shortened, and without its value."""
    with pytest.raises(UnreadableError, match=shown) as caught:
        read_text([(b"From", b"+14155550101"), pair])
    assert "secret" not in str(caught.value)


some_bytes = st.binary() | st.sampled_from([b"a", b"b", b"\0", b"a\0b", b"\xc3", b"\xa1", b"\xc3\xa1"])


@given(st.lists(st.tuples(some_bytes, some_bytes)))
def test_reading_raises_nothing_else(pairs):
    """Any bytes are text, each for itself, or refused."""
    try:
        texts = read_text(pairs)
    except UnreadableError:
        with pytest.raises(UnicodeDecodeError):
            [part.decode() for pair in pairs for part in pair]
        return
    assert texts == {name.decode(): value.decode() for name, value in reversed(pairs)}


def test_require():
    """Every parameter that is missing or blank is named, and nothing is said where all are there."""
    require({"From": "+1", "To": "+2"}, "From", "To")
    with pytest.raises(UnreadableError, match=r"^missing or blank: From, MessageSid, To$"):
        require({"From": "", "To": " \t"}, "From", "MessageSid", "To")
