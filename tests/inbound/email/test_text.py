"""Text of mails: wrong charsets, invalid encoded words, and unclosed HTML."""

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.inbound.email.text import Decoded, decode, decode_header, html_to_text
from tests.support.waiting import scaled


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        pytest.param("Olá".encode(), None, "Olá", id="none-is-utf-8"),
        pytest.param("Olá".encode("latin-1"), "iso-8859-1", "Olá", id="latin-1"),
        pytest.param("5 €".encode("cp1252"), '"Windows-1252"', "5 €", id="windows-quoted"),
        pytest.param("日本".encode("iso2022_jp"), "ISO-2022-JP", "日本", id="japanese"),
        pytest.param("日本".encode("shift_jis"), " shift_jis ", "日本", id="shift-jis"),
        pytest.param("陳".encode("gb18030"), "gb18030", "陳", id="chinese"),
        pytest.param("Привет".encode("koi8-r"), "KOI8-R", "Привет", id="russian"),
        pytest.param("Olá".encode("utf-16"), "utf-16", "Olá", id="utf-16"),
        pytest.param("Olá".encode("utf-7"), "utf-7", "Olá", id="utf-7"),
    ],
)
def test_stated_charsets(data, charset, text):
    """A text is decoded with its stated charset."""
    assert decode(data, charset) == Decoded(text, is_as_stated=True)


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        pytest.param("Olá".encode(), "us-ascii", "Olá", id="utf-8-after-all"),
        pytest.param("Olá".encode("latin-1"), "utf-8", "Ol\ufffd", id="neither"),
        pytest.param(b"a", "x-unknown", "a", id="unknown"),
        pytest.param(b"a", "klingon\0", "a", id="no-name"),
        pytest.param(b"a", "", "a", id="empty-is-none"),
        pytest.param(b"YQ==", "base64", "YQ==", id="no-text-codec"),
        pytest.param(b"x\x9c", "zlib", "x\ufffd", id="compression"),
        pytest.param(b"\\x41", "unicode_escape", "\\x41", id="escape"),
        pytest.param(b"a" * 99, "punycode", "a" * 99, id="punycode"),
        pytest.param(b"a", "undefined", "a", id="undefined"),
        pytest.param(b"+2AA-", "utf-7", "+2AA-", id="lone-surrogate"),
        pytest.param(b"a", "a" * 10_000, "a", id="long-name"),
    ],
)
def test_wrong_charsets(data, charset, text):
    """With a wrong or unknown charset a text is decoded as UTF-8 with replacement, and the result says so."""
    assert decode(data, charset) == Decoded(text, is_as_stated=not charset)


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        pytest.param("朱镕基".encode("gb18030"), "gb2312", "朱镕基", id="gb2312"),
        pytest.param("①髙".encode("cp932"), "shift_jis", "①髙", id="shift-jis"),
        pytest.param("①".encode("cp932"), "x-sjis", "①", id="x-sjis"),
        pytest.param("똠".encode("cp949"), "euc-kr", "똠", id="euc-kr"),
        pytest.param("똠".encode("cp949"), "ks_c_5601-1987", "똠", id="ks-c-5601"),
        pytest.param("“5 €”".encode("cp1252"), "iso-8859-1", "“5 €”", id="latin-1"),
        pytest.param("שלום".encode("iso8859-8"), "iso-8859-8-i", "שלום", id="hebrew"),
        pytest.param("ไทย…".encode("cp874"), "windows-874", "ไทย…", id="thai"),
        pytest.param("ไทย…".encode("cp874"), "tis-620", "ไทย…", id="tis-620"),
        pytest.param("ş€".encode("cp1254"), "latin5", "ş€", id="turkish"),
        pytest.param("①".encode("euc_jis_2004"), "x-euc-jp", "①", id="euc-jp"),
    ],
)
def test_charsets_as_browsers_read_them(data, charset, text):
    """A charset includes the characters that browsers read under its name."""
    assert decode(data, charset) == Decoded(text, is_as_stated=True)


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        pytest.param("订单".encode("gb18030") + b"\xff" + "好".encode("gb18030"), "gb2312", "订单\ufffd好", id="gb"),
        pytest.param("注文".encode("cp932") + b"\xff!", "shift_jis", "注文\ufffd!", id="japanese"),
        pytest.param("주문".encode("cp949") + b"\xff!", "euc-kr", "주문\ufffd!", id="korean"),
        pytest.param("5 €".encode("cp1252") + b"\x81!", "latin1", "5 €\x81!", id="control"),
        pytest.param("5 €".encode("cp1252"), "us-ascii", "5 €", id="ascii"),
        pytest.param("ไทย".encode("cp874") + b"\xff!", "windows-874", "ไทย\ufffd!", id="thai"),
    ],
)
def test_a_bad_byte_costs_one_character(data, charset, text):
    """The rest of a text with a bad byte is decoded in its charset, and the text is not as stated."""
    assert decode(data, charset) == Decoded(text, is_as_stated=False)


def test_cut_text():
    """An incomplete last character of a cut text is dropped; elsewhere it counts as a wrong charset."""
    data = "a👋".encode()
    assert [decode(data[:size], "utf-8", is_cut=True) for size in (5, 4, 2)] == [
        Decoded("a👋", is_as_stated=True),
        Decoded("a", is_as_stated=True),
        Decoded("a", is_as_stated=True),
    ]
    assert not decode(b"\xff" + b"a" * 9, "utf-8", is_cut=True).is_as_stated


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("Order 5", "Order 5", id="plain"),
        pytest.param("=?utf-8?q?Ol=C3=A1_Ana?= (1)", "Olá Ana (1)", id="q"),
        pytest.param("=?ISO-8859-1?B?T2zh?=", "Olá", id="b"),
        pytest.param("=?utf-8?B?T2zDoQ?=", "Olá", id="b-without-padding"),
        pytest.param("=?utf-8?q?a?=\r\n =?utf-8?q?b?= c", "ab c", id="blanks-between-words-go"),
        pytest.param("=?utf-8?B?4g==?=\r\n =?UTF-8?B?gqw=?= 5", "€ 5", id="split-character"),
        pytest.param("=?utf-8?q?=E2=82?= =?utf-8?B?rA==?=", "€", id="split-over-encodings"),
        pytest.param("=?utf-8?q?=E2=82?= =?latin1?q?=AC?=", "\ufffd¬", id="not-over-charsets"),
        pytest.param("=?utf-8*en?q?a?=", "a", id="with-language"),
        pytest.param("=?utf-8?B?T?=", "=?utf-8?B?T?=", id="broken-base64"),
        pytest.param("=?x-none?q?a=E1?=", "a\ufffd", id="unknown-charset"),
        pytest.param("=?utf-8?x?a?=", "=?utf-8?x?a?=", id="unknown-encoding"),
        pytest.param("a\r\n\tb \x00", "a b \x00", id="folded"),
        pytest.param("Olá \\u0041", "Olá \\u0041", id="raw-utf-8"),
        pytest.param("", "", id="empty"),
    ],
)
def test_headers(value, text):
    """Folds are removed and encoded words decoded; unreadable words stay as they are."""
    assert decode_header(value) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        pytest.param("<p>One</p><p>Two<br>Three</p>", "One\n\nTwo\nThree", id="blocks"),
        pytest.param("<b>a</b> &amp; b&nbsp;c &#8364;", "a & b c €", id="entities"),
        pytest.param("<head><title>x</title></head><style>p{}</style>a<SCRIPT>if (a<b)</SCRIPT>b", "ab", id="hidden"),
        pytest.param("<script>never closed", "", id="not-closed"),
        pytest.param("a < b <", "a b", id="no-tags"),
        pytest.param("</style>a<!-- c --><![CDATA[x", "a![CDATA[x", id="odd-markup"),
        pytest.param("<div>\n\n\n <div>  a \t b</div></div>", "a b", id="blanks"),
    ],
)
def test_html(html, text):
    """HTML becomes roughly the text that a reader sees."""
    assert html_to_text(html) == text


@pytest.mark.parametrize("unit", ["<script", "<script>", "<", "&#", "<a ", "\n", " \n", "=?utf-8?q?", "<<p>"])
def test_no_text_is_slow(unit):
    """256 KiB of crafted text are converted in linear time."""
    text = unit * (256 * 1024 // len(unit))
    begun = process_time()
    html_to_text(text)
    decode_header(text)
    assert process_time() - begun < scaled(5)


@given(st.binary(), st.text(max_size=20), st.booleans())
def test_any_bytes(data, charset, is_cut):
    """Any bytes in any charset are decoded to text that can be written as UTF-8."""
    decoded = decode(data, charset, is_cut=is_cut)
    decoded.text.encode()
    decode_header(decoded.text).encode()
    html_to_text(decoded.text).encode()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_header(value):
    """Any encoded word is decoded to text that can be written as UTF-8."""
    decode_header(f"=?utf-7?q?{value}?=").encode()
