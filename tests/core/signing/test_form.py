"""Forms as bytes, as text and as signed bytes; usual forms are parsed like all others."""

from urllib.parse import parse_qsl, quote_from_bytes, urlencode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from router.core.errors import UnreadableError
from router.core.signing.form import MAX_PARAMETERS, NO_FORM, Form, parse_form, signed

FIELD = st.text(
    st.one_of(st.sampled_from("&=+%;ab19cC"), st.characters(exclude_categories=["Cs"])),
    max_size=40,
)
#: Names and values; some names come twice.
PARAMETERS = st.lists(st.tuples(st.one_of(FIELD, st.sampled_from(["From", "Body", "Ärger", "z", "𝄞"])), FIELD))


@pytest.mark.parametrize(
    ("body", "pairs"),
    [
        pytest.param(b"", [], id="empty"),
        pytest.param(b"a=1&b=2", [(b"a", b"1"), (b"b", b"2")], id="plain"),
        pytest.param(b"a=&b&=c&=", [(b"a", b""), (b"b", b""), (b"", b"c"), (b"", b"")], id="blanks"),
        pytest.param(b"&&a=1&", [(b"a", b"1")], id="empty-fields"),
        pytest.param(b"a=1&a=1&a=2", [(b"a", b"1"), (b"a", b"1"), (b"a", b"2")], id="repeats"),
        pytest.param(b"a=b=c;d", [(b"a", b"b=c;d")], id="other-separators"),
        pytest.param(b"Body=a+b%20c%2Bd", [(b"Body", b"a b c+d")], id="plus-and-percent"),
        pytest.param(
            b"a%3d=%26b&c=d%3D%26&%3D", [(b"a=", b"&b"), (b"c", b"d=&"), (b"=", b"")], id="escaped-separators"
        ),
        pytest.param(b"Body=%zz%4&x%=%", [(b"Body", b"%zz%4"), (b"x%", b"%")], id="malformed-percent"),
        pytest.param(b"Body=%ff\xfe", [(b"Body", b"\xff\xfe")], id="not-utf-8"),
        pytest.param("Body=Olá".encode(), [(b"Body", "Olá".encode())], id="raw-utf-8"),
    ],
)
def test_parse_form(body, pairs):
    """A body is split into decoded pairs, in order, with blank values, repetitions and any bytes."""
    assert list(parse_form(body)) == pairs


@given(st.one_of(FIELD, PARAMETERS.map(urlencode)))
def test_parse_form_agrees_with_the_standard_library(text):
    """For UTF-8 input urllib finds the same names and values."""
    pairs = parse_form(text.encode())
    try:
        decoded = [(name.decode(), value.decode()) for name, value in pairs]
    except UnicodeDecodeError:
        assume(False)
    assert decoded == parse_qsl(text, keep_blank_values=True)


@given(st.binary())
def test_parse_form_is_total(body):
    """Any bytes are a form."""
    assert len(parse_form(body)) <= body.count(b"&") + 1


def test_parse_form_has_a_bound():
    """Too many parameters are refused before any of them is parsed."""
    assert len(parse_form(b"&".join([b"a=1"] * MAX_PARAMETERS))) == MAX_PARAMETERS
    with pytest.raises(UnreadableError, match="parameters"):
        parse_form(b"&".join([b"a=1"] * (MAX_PARAMETERS + 1)))


# --- what they say ---------------------------------------------------------------------------------------------------


def post(*pairs):
    """Return the form of these pairs, as posted."""
    return parse_form(b"&".join(b"=".join(quote_from_bytes(part, safe="").encode() for part in pair) for pair in pairs))


def test_text():
    """Parameters become text, blank and non-ASCII values included."""
    form = post((b"From", b"+14155550101"), (b"Body", "Olá 👋".encode()), (b"ToCity", b""))
    assert form.read() == {"From": "+14155550101", "Body": "Olá 👋", "ToCity": ""}
    assert form.read({"From", "ToCity", "Digits"}) == {"From": "+14155550101", "ToCity": ""}
    assert (form.get("From"), form.get("Digits")) == ("+14155550101", "")


def test_first_of_repeated():
    """Of a repeated parameter the first value counts, even if it is blank."""
    form = post((b"From", b""), (b"From", b"+14155550101"))
    assert form.read() == form.read({"From"}) == {"From": ""}
    assert form.get("From") == ""
    assert len(form) == 2


@pytest.mark.parametrize(
    ("pair", "shown"),
    [
        pytest.param((b"Body", b"secret \xff"), "parameter Body is", id="value"),
        pytest.param((b"B\xffdy", b"secret"), r"parameter B\\xffdy is", id="name"),
        pytest.param((b"\xff" + b"n" * 500, b"secret"), r"parameter \\xffn{60} is", id="long-name"),
    ],
)
def test_not_utf_8(pair, shown):
    """A parameter that is not UTF-8 is refused by its shortened name, without its value."""
    form = post((b"From", b"+14155550101"), pair)
    with pytest.raises(UnreadableError, match=shown) as caught:
        form.read()
    assert "secret" not in str(caught.value)


def test_other_parameters_are_readable_beside_invalid_ones():
    """Reading parameters by name ignores others that are not UTF-8; `get` never refuses."""
    form = post((b"CallSid", b"CA1"), (b"Digits", b"\xff"), (b"CallSid", b"CA2"))
    assert form.read({"CallSid", "From"}) == {"CallSid": "CA1"}
    assert (form.get("CallSid"), form.get("Digits"), form.get("From")) == ("CA1", "\ufffd", "")
    with pytest.raises(UnreadableError, match="Digits"):
        form.read({"Digits"})


PARTS = [b"a", b"b", b"&", b"=", b"a=b", b"\0", b"a\0b", b"\xc3", b"\xa1", b"\xc3\xa1"]
some_bytes = st.binary() | st.sampled_from(PARTS)


@given(st.lists(st.tuples(some_bytes.filter(bool), some_bytes)))
def test_reading_raises_nothing_else(pairs):
    """Any parameters are text or refused with UnreadableError."""
    form = post(*pairs)
    assert list(form) == pairs
    try:
        texts = form.read()
    except UnreadableError:
        with pytest.raises(UnicodeDecodeError):
            [part.decode() for pair in pairs for part in pair]
        return
    assert texts == {name.decode(): value.decode() for name, value in reversed(pairs)}


@given(st.lists(st.tuples(some_bytes, some_bytes)), PARAMETERS)
def test_the_signed_bytes_are_a_sorted_set_of_pairs(pairs, params):
    """Usual forms, made of texts, have the same order: code points sort like UTF-8 bytes."""
    for form in (post(*pairs), parse_form(urlencode(params).encode())):
        assert form.signed() == signed(list(form)) == b"".join(name + value for name, value in sorted(set(form)))


def test_a_body_that_is_no_form_has_no_parameters():
    """NO_FORM has no parameters."""
    assert (list(NO_FORM), len(NO_FORM), NO_FORM.signed(), NO_FORM.get("From"), NO_FORM.read()) == ([], 0, b"", "", {})
    assert list(Form({"From": "+1"})) == [(b"From", b"+1")]
