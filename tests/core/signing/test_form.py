"""Forms as bytes, as text and as signed bytes; usual forms are parsed like all others."""

from urllib.parse import parse_qsl, quote_from_bytes, unquote_to_bytes, urlencode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from router.core.errors import UnreadableError
from router.core.signing import form as form_module
from router.core.signing.form import MAX_PARAMETERS, NO_FORM, PIECE, Form, parse_form, parse_in_steps, signed

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


#: Texts in which every kind of escape, half escape and escape-like byte meets every other.
TRICKY = st.lists(
    st.sampled_from([b"%", b"%4", b"%41", b"%e9", b"%zz", b"\\", b"\\x41", b"\n", b"\xff", b"a", b"="])
).map(b"".join)


@given(TRICKY)
def test_decoding_agrees_with_the_standard_library(text):
    """Bytes, whole and half escapes and what looks like one are decoded as urllib decodes them."""
    (pair,) = parse_form(b"a=" + text)
    assert pair == (b"a", unquote_to_bytes(text))


def in_steps(body):
    """Return the form that the steps end with, and their number."""
    steps, number = parse_in_steps(body), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, number
        number += 1


@given(st.lists(st.tuples(TRICKY, TRICKY, st.integers(1, 2_000)), max_size=5))
def test_steps_parse_the_same(parts):
    """Parsed in steps, a form has the same pairs, wherever its pieces are cut."""
    body = b"&".join(name * times + b"=" + value * times for name, value, times in parts)
    form, _ = in_steps(body)
    assert list(form) == list(parse_form(body))
    assert form.signed() == parse_form(body).signed()


WORST = {
    "escapes": b"%41" * 200_000,
    "percent signs": b"%" * 600_000,
    "backslashes": b"\\" * 600_000,
    "one name": b"&".join([b"a=" + b"%41" * 200] * MAX_PARAMETERS),
    "tiny ones": b"&".join(b"%41%41=%42" for _ in range(MAX_PARAMETERS)),
}


@pytest.mark.parametrize("kind", WORST)
def test_no_step_decodes_much(kind, monkeypatch):
    """Between two steps at most two pieces are decoded, whatever a forged form consists of."""
    body, decoded = WORST[kind], []
    unquote = form_module._unquote
    monkeypatch.setattr(form_module, "_unquote", lambda data: decoded.append(len(data)) or unquote(data))
    between, seen = [], 0
    steps = parse_in_steps(body)
    for _ in steps:
        between.append(sum(decoded[seen:]))
        seen = len(decoded)
    between.append(sum(decoded[seen:]))
    assert sum(between) >= len(body) - 2 * MAX_PARAMETERS
    assert max(between) <= 2 * PIECE + 4


@pytest.mark.parametrize("parse", [parse_form, lambda body: in_steps(body)[0]], ids=["at once", "in steps"])
def test_parse_form_has_a_bound(parse, monkeypatch):
    """Too many parameters are refused before any of them is decoded."""
    assert len(parse(b"&".join([b"a=1"] * MAX_PARAMETERS))) == MAX_PARAMETERS
    monkeypatch.setattr(form_module, "_unquote", None)
    with pytest.raises(UnreadableError, match="parameters"):
        parse(b"&".join([b"a=1"] * (MAX_PARAMETERS + 1)))


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


def test_bytes_that_are_not_utf_8_are_replaced():
    """Names and values are read with U+FFFD in place of such bytes, and the rest is as it was sent."""
    form = post((b"From", b"+14155550101"), (b"FromCity", b"S\xe3O PAULO"), (b"B\xffdy", b"x"), (b"FromCity", b"later"))
    texts = {"From": "+14155550101", "FromCity": "S\ufffdO PAULO", "B\ufffddy": "x"}
    assert form.read() == form.read(exact={"From", "To"}) == texts
    assert form.read({"FromCity", "Digits"}) == {"FromCity": "S\ufffdO PAULO"}
    assert (form.get("FromCity"), form.get("Digits")) == ("S\ufffdO PAULO", "")
    assert form.get("FromCity", most=2) == "S\ufffd"
    assert post((b"Body", b"abc")).get("Body", most=2) == "ab"


def finish(steps):
    """Return the result of all the steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@given(st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=40)), max_size=4), st.integers(1, 5))
def test_bytes_are_replaced_in_steps_as_at_once(pairs, piece):
    """Wherever the pieces end, also within a character."""
    form = Form(None, [*pairs, (b"x", "ä€😀".encode())])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(form_module, "PIECE", piece)
        at_once, in_steps = form.replaced(), finish(form.replace_in_steps())
    assert (at_once is None) == (in_steps is None)
    assert in_steps is None or list(in_steps) == list(at_once)


def test_ids_and_addresses_are_not_replaced():
    """A parameter that must be exact is refused by its name, without its value."""
    form = post((b"From", b"secret \xff"), (b"To", b"+1"))
    with pytest.raises(UnreadableError, match="parameter From is not UTF-8") as caught:
        form.read(exact={"From"})
    assert "secret" not in str(caught.value)
    with pytest.raises(UnreadableError, match="From"):
        form.read({"To"}, exact={"From"})
    repeated = post((b"From", b"+1"), (b"From", b"\xff"))
    assert repeated.read(exact={"From"}) == {"From": "+1"}


PARTS = [b"a", b"b", b"&", b"=", b"a=b", b"\0", b"a\0b", b"\xc3", b"\xa1", b"\xc3\xa1"]
some_bytes = st.binary() | st.sampled_from(PARTS)


@given(st.lists(st.tuples(some_bytes.filter(bool), some_bytes)))
def test_any_parameters_are_text(pairs):
    """Any parameters are read, of a repeated name the first one."""
    form = post(*pairs)
    assert list(form) == pairs
    texts = [(name.decode("utf-8", "replace"), value.decode("utf-8", "replace")) for name, value in pairs]
    assert form.read() == dict(reversed(texts))


@given(st.lists(st.tuples(some_bytes, some_bytes)), PARAMETERS)
def test_the_signed_bytes_are_a_sorted_set_of_pairs(pairs, params):
    """Usual forms, made of texts, have the same order: code points sort like UTF-8 bytes."""
    for form in (post(*pairs), parse_form(urlencode(params).encode())):
        assert form.signed() == signed(list(form)) == b"".join(name + value for name, value in sorted(set(form)))


def test_a_body_that_is_no_form_has_no_parameters():
    """NO_FORM has no parameters."""
    assert (list(NO_FORM), len(NO_FORM), NO_FORM.signed(), NO_FORM.get("From"), NO_FORM.read()) == ([], 0, b"", "", {})
    assert list(Form({"From": "+1"})) == [(b"From", b"+1")]
