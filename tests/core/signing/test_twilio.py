"""Twilio's signatures: valid ones are accepted and nothing else, judged by Twilio's own validator."""

import json
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qsl, quote_plus, urlsplit

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from multidict import MultiDict
from twilio.request_validator import RequestValidator, get_signature_algorithm

from router.core.errors import SignatureError
from router.core.signing.form import NO_FORM, parse_form
from router.core.signing.twilio import Verifier, base_urls, read_settings, require_shape, sign

VECTORS = json.loads(Path(__file__).with_name("signature_vectors.json").read_text("utf-8"))
SMS_URL = "https://example.com/twilio/sms"
EVENT_BODY = '{"eventType":"COMMUNICATION_CREATED","data":{"content":{"text":"Olá 👋"}}}'
EVENT_HASH = sha256(EVENT_BODY.encode()).hexdigest()

TOKENS = st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable())
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PARAMETERS = st.lists(st.tuples(NAMES, st.one_of(NAMES, st.sampled_from(["", "a", "b", "Zoë 陳"]))), max_size=12)
PATHS = st.from_regex(
    r"(/[A-Za-z0-9._~%-]{1,8}){0,3}(\?[a-z]=[a-z0-9%+]{0,5}(&[a-z]=[a-z0-9]{0,5}){0,2})?", fullmatch=True
)


def to_pairs(params):
    """Return a vector's parameters as decoded pairs of bytes."""
    items = params.items() if isinstance(params, dict) else params
    return [(name.encode(), value.encode()) for name, value in items]


def encode(pairs):
    """Return an urlencoded body, as Twilio posts it."""
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs).encode()


def split(url):
    """Return the base of a URL, and its path and query as on the wire."""
    parts = urlsplit(url)
    base = f"{parts.scheme}://{parts.netloc}"
    return base, url[len(base) :].partition("#")[0].encode()


def is_accepted(url, signature, *, pairs=(), body=None, token="12345", configured=None):
    """Return whether a webhook to `url` is accepted if Twilio calls `configured` (default: the URL's own base)."""
    base, raw_path = split(url)
    verifier = Verifier(base_urls(configured or base), (token,))
    try:
        if body is None:
            verifier.verify_form(raw_path, parse_form(encode(pairs)), signature)
        else:
            verifier.verify_json(raw_path, body, signature)
    except SignatureError:
        return False
    return True


def by_id(*, algorithm=None):
    """Return the vectors as parameters with their ids."""
    chosen = [vector for vector in VECTORS if algorithm in {None, vector["algorithm"]}]
    return [pytest.param(vector, id=vector["id"]) for vector in chosen]


@pytest.mark.parametrize("vector", by_id())
def test_sign_makes_known_signatures(vector):
    """`sign` makes every known signature, with either algorithm."""
    signature = sign(vector["token"], vector["url"].encode(), to_pairs(vector["params"]), vector["algorithm"])
    assert signature == vector["signature"]


@pytest.mark.parametrize("vector", by_id(algorithm="HMAC_SHA1"))
def test_known_signatures_are_accepted(vector):
    """Every known signature of an auth token is accepted, from the parameters as on the wire."""
    body = None if vector["body"] is None else vector["body"].encode()
    params = vector["params"]
    pairs = parse_form(encode(params.items() if isinstance(params, dict) else params))
    assert is_accepted(vector["url"], vector["signature"], pairs=pairs, body=body, token=vector["token"])


@pytest.mark.parametrize("vector", by_id(algorithm="HMAC_SHA1"))
def test_known_signatures_are_valid_for_one_token_only(vector):
    """A valid signature is refused under another token."""
    body = None if vector["body"] is None else vector["body"].encode()
    assert not is_accepted(
        vector["url"], vector["signature"], pairs=to_pairs(vector["params"]), body=body, token=vector["token"] + "6"
    )


@pytest.mark.parametrize("vector", by_id(algorithm="HMAC_SHA256"))
def test_auth_tokens_sign_with_sha1_only(vector):
    """A SHA-256 signature is not valid for an auth token."""
    body = None if vector["body"] is None else vector["body"].encode()
    assert not is_accepted(
        vector["url"], vector["signature"], pairs=to_pairs(vector["params"]), body=body, token=vector["token"]
    )


def params_of(vector_id):
    """Return the pairs of a vector."""
    return to_pairs(next(vector["params"] for vector in VECTORS if vector["id"] == vector_id))


@pytest.mark.parametrize(
    ("url", "pairs", "signature"),
    [
        pytest.param(SMS_URL, params_of("A"), "8MlmKT/RYi6ModKw4Ld9L1IzFAA=", id="blanks-dropped"),
        pytest.param(SMS_URL, params_of("B"), "yd3PBeAQH5iDiDozZhWyieYKwe4=", id="blank-body-dropped"),
        pytest.param(SMS_URL, params_of("C"), "mVhNbonEPTF0BiPkXXSg9o1sJ6U=", id="unicode-normalized"),
        pytest.param(SMS_URL, params_of("D"), "8Iao36LEoD++VvZjalA05UCKFvc=", id="last-of-duplicates"),
        pytest.param(SMS_URL, params_of("D"), "4myunvAQdU6acWx5cDrSB/X4cVI=", id="first-of-duplicates"),
        pytest.param(
            "https://example.com/hook?tenant=acme&x=%2B1",
            params_of("E"),
            "47LCZjqVrKCam7OG9a62ZiEiNd8=",
            id="query-decoded",
        ),
        pytest.param("https://example.com/hook", [(b"From", b"+1")], "up38AM65IF+IfPd2Dl/SW8g4k5c=", id="user-info"),
        pytest.param("https://example.com/hook", [(b"From", b"+1")], "x8kMO0qUWUaqQrysaXixPh+ekEU=", id="fragment"),
        pytest.param(SMS_URL + "/", [(b"From", b"+1")], "f3qxuAnWc5A+4YOuxmrlmgnv8QY=", id="slash-dropped"),
        pytest.param(SMS_URL, params_of("O2"), "x5X+8wNzTsnJRps1MPuoHWqa16U=", id="value-trimmed"),
        pytest.param(SMS_URL, params_of("U1"), "mLatuRVsjJhSSJC5gK6ZKG5COMo=", id="line-ends-changed"),
        pytest.param(
            "https://example.com/hook?b=2&a=1", [(b"From", b"+1")], "9sSVy2Cwz/xYjn7mSkXOpVK+Yoo=", id="query-sorted"
        ),
        pytest.param("https://example.com/hook?n=a%20b", [], "7RXdPjgOqubP85sAhrCd8mHNBiY=", id="query-recoded"),
        pytest.param("https://example.com/hook", [(b"From", b"+1")], "+7SR0qIAapY9jkDldWd0TbXWkX4=", id="host-case"),
        pytest.param("wss://example.com/ws", [], "RMKrDnlKcrzEPTw7B4L41XGq/yY=", id="scheme"),
    ],
)
def test_signatures_of_another_request_are_refused(url, pairs, signature):
    """A signature is refused if the request was changed on its way."""
    assert not is_accepted(url, signature, pairs=pairs)


SIGNED_PORTS = {
    ":8443": "VLXqHSHp9/YeTRnsrKHpMna+R9Y=",
    "": "QO6CIMdDxc8F64NFV/mqRN55Hyo=",
    ":443": "xH93z+YabmS9bDYAO0DjhZxskHE=",
}


@pytest.mark.parametrize("signed", SIGNED_PORTS)
@pytest.mark.parametrize(
    ("configured", "accepted"),
    [
        pytest.param(":8443", {":8443", ""}, id="own-port"),
        pytest.param("", {"", ":443"}, id="no-port"),
        pytest.param(":443", {"", ":443"}, id="default-port"),
        pytest.param(":", {"", ":443"}, id="colon-without-port"),
    ],
)
def test_ports(configured, signed, accepted):
    """A signature is valid with and without the configured port and a default port; other ports are refused."""
    is_right = is_accepted(
        "https://example.com/hook",
        SIGNED_PORTS[signed],
        pairs=[(b"From", b"+1")],
        configured=f"https://example.com{configured}",
    )
    assert is_right == (signed in accepted)


@pytest.mark.parametrize(
    ("public_base_url", "bases"),
    [
        pytest.param("https://a.example", ["https://a.example", "https://a.example:443"], id="https"),
        pytest.param("http://a.example:80", ["http://a.example:80", "http://a.example"], id="http"),
        pytest.param("http://a.example", ["http://a.example", "http://a.example:80"], id="http-no-port"),
        pytest.param("wss://a.example", ["wss://a.example", "wss://a.example:80"], id="wss-as-the-library-has-it"),
        pytest.param("https://user:pw@A.example/#rc=3", ["https://A.example", "https://A.example:443"], id="all-cut"),
        pytest.param(
            "https://a.example/hooks/?x=1", ["https://a.example/hooks", "https://a.example:443/hooks"], id="path"
        ),
        pytest.param(
            "https://[2001:db8::1]:8443", ["https://[2001:db8::1]:8443", "https://[2001:db8::1]"], id="ipv6-port"
        ),
        pytest.param("https://[2001:db8::1]", ["https://[2001:db8::1]", "https://[2001:db8::1]:443"], id="ipv6"),
    ],
)
def test_bases(public_base_url, bases):
    """The bases of a public URL are the URL itself and the one with or without its port, without other parts."""
    assert base_urls(public_base_url) == tuple(base.encode() for base in bases)


@pytest.mark.parametrize("missing", [None, ""], ids=["none", "empty"])
def test_missing_signature(missing):
    """A webhook without a signature is refused as such."""
    verifier = Verifier(base_urls("https://example.com"), ("12345",))
    with pytest.raises(SignatureError, match="is missing"):
        verifier.verify_form(b"/hook", NO_FORM, missing)


@given(st.text(st.characters()))
@example("\ud800")
@example("\udcff")
def test_any_other_signature_is_refused(text):
    """Any text in the header is accepted or refused, and only the valid signature is accepted."""
    assume(text.strip() != "QO6CIMdDxc8F64NFV/mqRN55Hyo=")
    assert not is_accepted("https://example.com/hook", text, pairs=[(b"From", b"+1")])


@pytest.mark.parametrize("token", ["old-token", "new-token"])
def test_rotation(token):
    """During a rotation both tokens are valid."""
    verifier = Verifier(base_urls("https://example.com"), ("old-token", "new-token"))
    verifier.verify_form(b"/hook", NO_FORM, sign(token, b"https://example.com/hook"))


def test_no_token_accepts_nothing():
    """Without a token every webhook is refused: the check fails closed."""
    with pytest.raises(SignatureError, match="does not match"):
        Verifier(base_urls("https://example.com"), ()).verify_form(b"/hook", NO_FORM, "QO6CIMdDxc8F64NFV/mqRN55Hyo=")


def test_unknown_algorithm():
    """An algorithm that Twilio does not use raises ValueError."""
    with pytest.raises(ValueError, match="HMAC_MD5"):
        sign("12345", b"https://example.com/hook", (), "HMAC_MD5")


@pytest.mark.parametrize(
    ("query", "body", "reason"),
    [
        pytest.param("", b"{}", "bodySHA256 is missing", id="no-hash"),
        pytest.param("?tenant=a", b"{}", "bodySHA256 is missing", id="other-query"),
        pytest.param(
            "?bodysha256=" + sha256(b"{}").hexdigest(), b"{}", "bodySHA256 is missing", id="name-in-other-case"
        ),
        pytest.param("?bodySHA256=" + EVENT_HASH, b"{}", "not the hash of the body", id="other-body"),
        pytest.param("?bodySHA256=", b"", "not the hash of the body", id="empty-hash"),
        pytest.param(
            f"?bodySHA256={EVENT_HASH}&bodySHA256={sha256(b'{}').hexdigest()}", b"{}", "not the hash", id="first-of-two"
        ),
    ],
)
def test_json_body_must_be_the_signed_one(query, body, reason):
    """The hash in the signed URL is a JSON body's only protection: every way around it is refused."""
    raw_path = f"/webhooks/conversations{query}".encode()
    signature = sign("12345", b"https://example.com" + raw_path)
    with pytest.raises(SignatureError, match=reason):
        Verifier(base_urls("https://example.com"), ("12345",)).verify_json(raw_path, body, signature)


def test_json_needs_a_signature_too():
    """A correct hash without a valid signature is refused."""
    raw_path = b"/webhooks/conversations?bodySHA256=" + EVENT_HASH.encode()
    with pytest.raises(SignatureError, match="does not match"):
        Verifier(base_urls("https://example.com"), ("12345",)).verify_json(raw_path, EVENT_BODY.encode(), "forged")


def test_hash_in_upper_case():
    """The hash of a body is compared without regard to case."""
    url = f"https://example.com/hook?bodySHA256={EVENT_HASH.upper()}"
    assert is_accepted(url, sign("12345", url.encode()), body=EVENT_BODY.encode())


@given(TOKENS, PATHS, PARAMETERS)
def test_forms_round_trip(token, path, params):
    """A signed form is accepted for any token, path, parameters and order."""
    url = f"https://hooks.example.com{path}"
    signature = sign(token, url.encode(), to_pairs(params))
    assert is_accepted(url, signature, pairs=parse_form(encode(reversed(params))), token=token)
    assert not is_accepted(url, signature, pairs=[*to_pairs(params), (b"Body\xff", b"more")], token=token)
    assert not is_accepted(url + "x", signature, pairs=to_pairs(params), token=token)


@given(TOKENS, st.binary(max_size=200), st.binary(max_size=8), st.sampled_from(["?", "?tenant=a&"]))
def test_json_round_trip(token, body, change, query):
    """A body is accepted with its signed hash, and refused when changed."""
    url = f"https://hooks.example.com/webhooks/conversations{query}bodySHA256={sha256(body).hexdigest()}"
    signature = sign(token, url.encode())
    assert is_accepted(url, signature, body=body, token=token)
    assert is_accepted(url, signature, body=body + change, token=token) == (not change)


@given(TOKENS, PATHS, PARAMETERS, st.sampled_from(["HMAC_SHA1", "HMAC_SHA256"]))
def test_sign_agrees_with_twilio(token, path, params, algorithm):
    """Twilio's library computes the same signature, with repetitions, blanks and any script."""
    url = f"https://hooks.example.com{path}"
    expected = RequestValidator(token).compute_signature(url, MultiDict(params), algorithm)
    assert sign(token, url.encode(), to_pairs(params), algorithm) == expected


@given(
    TOKENS,
    st.sampled_from(["", ":443", ":80", ":8443"]),
    st.sampled_from(["", ":443", ":80", ":8443"]),
    st.sampled_from(["http", "https"]),
    PARAMETERS,
    PARAMETERS,
)
def test_verify_agrees_with_twilio(token, signed_port, port, scheme, params, others):
    """Twilio's library accepts and refuses the same forms, with any port on either side."""
    signature = sign(token, f"{scheme}://hooks.example.com{signed_port}/hook".encode(), to_pairs(params))
    url = f"{scheme}://hooks.example.com{port}/hook"
    judge = RequestValidator(token)
    for shown in (params, others):
        expected = judge.validate(url, MultiDict(shown), signature)
        assert is_accepted(url, signature, pairs=parse_form(encode(shown)), token=token) == expected


@given(TOKENS, st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.booleans())
def test_verify_json_agrees_with_twilio(token, body, is_changed):
    """Twilio's library accepts and refuses the same JSON bodies."""
    url = f"https://hooks.example.com/hook?bodySHA256={sha256(body.encode()).hexdigest()}"
    signature = sign(token, url.encode())
    shown = body + " " if is_changed else body
    expected = RequestValidator(token).validate(url, shown, signature)
    assert is_accepted(url, signature, body=shown.encode(), token=token) == expected


KEYED = {"webhooks_sharedkey_1": "sharedsecret"}
SMS_URL, SMS_PAIRS = b"https://example.com/twilio/sms", [(b"From", b"+15550001111"), (b"Body", b"Hello")]
SMS_FORM = parse_form(encode(SMS_PAIRS))
SMS_TEXTS = [(name.decode(), value.decode()) for name, value in SMS_PAIRS]


def named(key="webhooks_sharedkey_1", algorithm="HMAC_SHA256"):
    """Return the header that names a shared key and an algorithm."""
    return f"key={key},algorithm={algorithm}"


@pytest.mark.parametrize("algorithm", ["HMAC_SHA256", "HMAC_SHA1"])
def test_a_shared_key_signs_with_the_named_algorithm(algorithm):
    """A request that names a shared key is valid with its secret and algorithm, form and JSON."""
    verifier = Verifier(base_urls("https://example.com"), ("12345",), KEYED)
    signature = sign("sharedsecret", SMS_URL, SMS_PAIRS, algorithm)
    verifier.verify_form(b"/twilio/sms", SMS_FORM, signature, named(algorithm=algorithm))
    body = EVENT_BODY.encode()
    path = b"/hook?bodySHA256=" + sha256(body).hexdigest().encode()
    signature = sign("sharedsecret", b"https://example.com" + path, (), algorithm)
    verifier.verify_json(path, body, signature, f" algorithm={algorithm} , key=webhooks_sharedkey_1 ")


@pytest.mark.parametrize(
    ("token", "algorithm", "header", "word"),
    [
        pytest.param("12345", "HMAC_SHA1", named(key="other"), "unknown", id="unknown key, signed with the token"),
        pytest.param("12345", "HMAC_SHA1", named(), "does not match", id="known key, signed with the token"),
        pytest.param("12345", "HMAC_SHA1", "key=other", "unknown", id="unknown key without an algorithm"),
        pytest.param("12345", "HMAC_SHA256", " key = other , algorithm=HMAC_SHA256", "unknown", id="blanks"),
        pytest.param("12345", "HMAC_SHA1", "algorithm=HMAC_MD5", "algorithm", id="other, signed with the token"),
        pytest.param("12345", "HMAC_SHA1", "algorithm=HMAC_SHA256", "does not match", id="another one than stated"),
        pytest.param("sharedsecret", "HMAC_SHA256", named(algorithm="HMAC_MD5"), "algorithm", id="other algorithm"),
        pytest.param("sharedsecret", "HMAC_SHA256", named(algorithm="HMAC_SHA1"), "does not match", id="mixed up"),
        pytest.param("sharedsecret", "HMAC_SHA256", None, "does not match", id="not named"),
    ],
)
def test_a_token_never_replaces_a_shared_key(token, algorithm, header, word):
    """Without a known key and an allowed algorithm the request is refused; there is no fallback."""
    verifier = Verifier(base_urls("https://example.com"), ("12345",), KEYED)
    with pytest.raises(SignatureError, match=word):
        verifier.verify_form(b"/twilio/sms", SMS_FORM, sign(token, SMS_URL, SMS_PAIRS, algorithm), header)


BLANKS = st.sampled_from(["", " ", "\t", "  "])
PARTS = st.tuples(
    BLANKS,
    st.sampled_from(["algorithm", "key", "Algorithm", "", "x"]),
    BLANKS,
    st.sampled_from(["=", "", "=="]),
    BLANKS,
    st.sampled_from(["HMAC_SHA1", "hmac_sha1", "HMAC_SHA256", "Hmac_Sha256", "HMAC_MD5", ""]),
    BLANKS,
).map("".join)
HEADERS = st.one_of(st.none(), st.lists(PARTS, max_size=4).map(",".join), st.text(max_size=20))


@given(HEADERS)
@example("")
@example(" ")
@example("algorithm=,algorithm = hmac_sha256 ")
def test_the_stated_algorithm_is_the_one_that_twilio_reads(header):
    """Twilio's library reads the same algorithm: blanks, case, parts without a value, no part at all."""
    assert read_settings(header).algorithm == get_signature_algorithm(header).upper()


@given(HEADERS, st.sampled_from(["HMAC_SHA1", "HMAC_SHA256"]))
def test_verify_agrees_with_twilio_about_the_settings(header, algorithm):
    """With a header that names no key, a token's signature is valid exactly if Twilio's library finds it valid."""
    assume(not read_settings(header).key)
    signature = sign("12345", SMS_URL, SMS_PAIRS, algorithm)
    judge = RequestValidator("12345")
    expected = judge.validate(SMS_URL.decode(), MultiDict(SMS_TEXTS), signature, get_signature_algorithm(header))
    verifier = Verifier(base_urls("https://example.com"), ("12345",), KEYED)
    if expected:
        verifier.verify_form(b"/twilio/sms", SMS_FORM, signature, header)
    else:
        with pytest.raises(SignatureError):
            verifier.verify_form(b"/twilio/sms", SMS_FORM, signature, header)


@pytest.mark.parametrize("header", ["key=webhooks_sharedkey_1", " key = webhooks_sharedkey_1 ,algorithm="])
def test_a_shared_key_without_an_algorithm_signs_with_sha1(header):
    """A named key is read with blanks around it; the algorithm is HMAC_SHA1 if none is stated."""
    verifier = Verifier(base_urls("https://example.com"), ("12345",), KEYED)
    verifier.verify_form(b"/twilio/sms", SMS_FORM, sign("sharedsecret", SMS_URL, SMS_PAIRS), header)
    with pytest.raises(SignatureError, match="does not match"):
        verifier.verify_form(b"/twilio/sms", SMS_FORM, sign("12345", SMS_URL, SMS_PAIRS), header)


@pytest.mark.parametrize("signature", ["x", "=" * 27, "=" * 29, "=" * 44, "Zürich→" * 4 + "x"])
def test_a_signature_of_another_length_is_refused_without_the_form(signature):
    """A signature that no content can have is recognized without the form and without a secret."""
    with pytest.raises(SignatureError, match="does not match"):
        require_shape(signature, read_settings(None))


@pytest.mark.parametrize("body", [b"FromCity=S%E3O+PAULO&Body=hi", b"Body=%F0%9F&B%ffdy=x", b"Body=%EF%BF%BD&City=%ff"])
def test_forms_that_are_not_utf_8(body):
    """Their bytes are signed, or the text that Twilio's validator gets from a web framework."""
    verifier, form = Verifier(base_urls("https://example.com"), ("12345",)), parse_form(body)
    verifier.verify_form(b"/twilio/sms", form, sign("12345", SMS_URL, form))
    texts = MultiDict(parse_qsl(body.decode(), keep_blank_values=True))
    signature = RequestValidator("12345").compute_signature(SMS_URL.decode(), texts)
    with pytest.raises(SignatureError, match="does not match"):
        verifier.verify_form(b"/twilio/sms", form, signature)
    verifier.verify_form(b"/twilio/sms", form.replaced(), signature)
    assert form.replaced().replaced() is None
    assert parse_form(b"a=%C3%A3&a=b").replaced() is parse_form(b"a=b").replaced() is None
