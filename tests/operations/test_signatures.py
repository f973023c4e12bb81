"""Explanations of signatures that do not match: each mistake of a proxy, a setting or a signer is named."""

import json
from hashlib import sha256
from urllib.parse import quote_plus, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.accounts import Account, Accounts
from router.core.signing.twilio import sign
from router.operations import signatures
from router.operations.signature_variants import MAX_LENGTH, MAX_PROXIES, bases
from router.operations.signatures import SignedRequest, explain
from tests.core.signing.test_twilio import EVENT_BODY, VECTORS, by_id, encode
from tests.support.accounts import ACCOUNT, BASE_URL, OTHER_ACCOUNT

TOKEN, OLD_TOKEN, OTHER_TOKEN, SECRET = "token-one", "token-two", "token-three", "shared-secret"
ACCOUNTS = Accounts(
    [
        Account(sid=ACCOUNT, tokens=(TOKEN, OLD_TOKEN), shared_keys={"key_1": SECRET}),
        Account(sid=OTHER_ACCOUNT, tokens=(OTHER_TOKEN,)),
    ]
)
PATH = "/webhooks/messaging"
FORM = [("AccountSid", ACCOUNT), ("From", "+15550001111"), ("Body", " Olá\n"), ("Blank", ""), ("D", "2"), ("D", "1")]
KEY_HEADER = "x-twilio-webhooks-signature-settings"


def signed_form(url, *, pairs=FORM, token=TOKEN, algorithm="HMAC_SHA1"):
    return sign(token, url.encode(), [(name.encode(), value.encode()) for name, value in pairs], algorithm)


def of_form(signature, *, path=PATH, pairs=FORM, **headers):
    return SignedRequest(path.encode(), {"x-twilio-signature": signature} | headers, encode(pairs), is_form=True)


def of_json(body, signed, *, path=None, token=TOKEN, base=BASE_URL):
    """Return a request whose JSON was signed as `signed` and arrived as `body`."""
    path = path or f"/webhooks/conversations?bodySHA256={sha256(signed).hexdigest()}"
    signature = sign(token, f"{base}{path}".encode())
    return SignedRequest(path.encode(), {"x-twilio-signature": signature}, body, is_form=False)


def lines_of(request, url=BASE_URL, accounts=ACCOUNTS):
    explanation = explain(request, url, accounts)
    text = "\n".join(explanation.lines)
    assert not [secret for secret in (TOKEN, OLD_TOKEN, OTHER_TOKEN, SECRET) if secret in text]
    return explanation, text


@pytest.mark.parametrize("vector", by_id(algorithm="HMAC_SHA1"))
def test_known_signatures_match(vector):
    """Every reference signature matches at its URL with its token, and with no other token."""
    parts = urlsplit(vector["url"])
    base = f"{parts.scheme}://{parts.netloc}"
    params = vector["params"]
    pairs = params.items() if isinstance(params, dict) else params
    body = encode(pairs) if vector["body"] is None else vector["body"].encode()
    is_form = vector["body"] is None
    headers = {"x-twilio-signature": vector["signature"]}
    request = SignedRequest(vector["url"][len(base) :].encode(), headers, body, is_form)
    sid = dict(pairs).get("AccountSid", ACCOUNT)
    assert explain(request, base, Accounts([Account(sid=sid, tokens=("another", vector["token"]))])).is_right
    wrong = explain(request, base, Accounts([Account(sid=sid, tokens=("another",))]))
    assert (wrong.is_right, wrong.is_explained) == (False, False)


def test_known_mistakes_of_signers_are_named():
    """Reference signatures that were made with a known mistake are explained by that mistake."""
    vectors = {vector["id"]: vector for vector in VECTORS}
    accounts = Accounts([Account(sid=ACCOUNT, tokens=("12345",))])
    known = [
        ("B", "yd3PBeAQH5iDiDozZhWyieYKwe4=", "empty parameters"),
        ("D", "8Iao36LEoD++VvZjalA05UCKFvc=", "only the last"),
        ("D", "4myunvAQdU6acWx5cDrSB/X4cVI=", "only the first"),
        ("E", "47LCZjqVrKCam7OG9a62ZiEiNd8=", "decoded"),
        ("K", "f3qxuAnWc5A+4YOuxmrlmgnv8QY=", "no slash"),
        ("O2", "x5X+8wNzTsnJRps1MPuoHWqa16U=", "white space"),
        ("U1", "mLatuRVsjJhSSJC5gK6ZKG5COMo=", "CRLF here"),
        ("W1", "9sSVy2Cwz/xYjn7mSkXOpVK+Yoo=", "sorted"),
        ("X1", "7RXdPjgOqubP85sAhrCd8mHNBiY=", "%20 here"),
    ]
    for vector_id, signature, words in known:
        vector = vectors[vector_id]
        parts = urlsplit(vector["url"])
        base = f"{parts.scheme}://{parts.netloc}"
        params = vector["params"]
        pairs = list(params.items() if isinstance(params, dict) else params)
        request = of_form(signature, path=vector["url"][len(base) :], pairs=pairs)
        _, text = lines_of(request, base, accounts)
        assert words in text.lower() + text, (vector_id, text)


@pytest.mark.parametrize(
    ("signed_base", "configured", "headers", "words"),
    [
        (
            "http://hooks.example.com",
            BASE_URL,
            {},
            "other scheme than PUBLIC_BASE_URL: set PUBLIC_BASE_URL=http://hooks",
        ),
        (
            "https://Hooks.Example.com",
            BASE_URL,
            {"host": "Hooks.Example.com"},
            "set PUBLIC_BASE_URL=https://Hooks.Example",
        ),
        (BASE_URL, "https://HOOKS.example.com", {}, "set PUBLIC_BASE_URL=https://hooks.example.com"),
        ("https://t.ngrok.app", BASE_URL, {"x-forwarded-host": "t.ngrok.app, inner"}, "=https://t.ngrok.app"),
        ("https://t.ngrok.app", BASE_URL, {"x-forwarded-host": "inner, t.ngrok.app"}, "=https://t.ngrok.app"),
        ("https://t.ngrok.app", BASE_URL, {"forwarded": "host=inner, host=t.ngrok.app"}, "other host"),
        ("https://hooks.example.com:8443", BASE_URL, {"x-forwarded-port": "80, 8443"}, "other port"),
        ("https://t.ngrok.app", BASE_URL, {"forwarded": 'for=1.2.3.4;host="t.ngrok.app";proto=https'}, "other host"),
        ("https://hooks.example.com:8443", BASE_URL, {"host": "hooks.example.com:8443"}, "other port"),
        ("https://hooks.example.com:8443", BASE_URL, {"x-forwarded-port": "8443"}, "other port"),
        ("https://hooks.example.com:443", f"{BASE_URL}:8443", {}, "other port"),
        ("http://localhost:8080", BASE_URL, {"host": "localhost:8080"}, "other scheme, host, port"),
        (BASE_URL, f"{BASE_URL}/in", {}, "other path prefix than PUBLIC_BASE_URL: set PUBLIC_BASE_URL=https://hooks"),
        (
            f"{BASE_URL}/in",
            BASE_URL,
            {"x-forwarded-prefix": "/in/"},
            "set PUBLIC_BASE_URL=https://hooks.example.com/in",
        ),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:9443", {"host": "[2001:db8::1]:8443"}, "other port"),
    ],
)
def test_a_wrong_base_url_is_named(signed_base, configured, headers, words):
    """The scheme, host, port and prefix that were signed are named, with the setting to change."""
    request = of_form(signed_form(signed_base + PATH), **headers)
    explanation, text = lines_of(request, configured)
    assert words in text
    assert (explanation.is_right, explanation.is_explained) == (False, True)
    assert "auth token 1 of account" in text
    assert explain(request, signed_base, ACCOUNTS).is_right


@pytest.mark.parametrize(
    ("path", "signed", "words"),
    [
        (PATH, f"{PATH}/", "has a slash at the end"),
        (f"{PATH}/", PATH, "has no slash at the end"),
        (f"{PATH}?a=1&b=2&c=3", f"{PATH}?c=3&a=1&b=2", "alphabetical order"),
        (f"{PATH}?b=2&a=1", f"{PATH}?a=1&b=2", "sorted"),
        (f"{PATH}?x=a+b", f"{PATH}?x=a%20b", "%20 at Twilio"),
        (f"{PATH}?x=a%20b", f"{PATH}?x=a+b", "+ at Twilio"),
        (f"{PATH}?x=%2B1", f"{PATH}?x=+1", "signed decoded"),
        (f"{PATH}?x=%2b1", f"{PATH}?x=%2B1", "encoded differently"),
        (f"{PATH}?x=1", PATH, "without its query"),
    ],
)
def test_a_changed_path_or_query_is_named(path, signed, words):
    """Changes that proxies and frameworks make to a URL are named."""
    explanation, text = lines_of(of_form(signed_form(BASE_URL + signed), path=path))
    assert words in text
    assert explanation.is_explained
    assert not explanation.is_right


CHANGED = {
    "trimmed": ([(name, value.strip()) for name, value in FORM], "white space"),
    "blanks": ([pair for pair in FORM if pair[1]], "empty parameters"),
    "last": ([*FORM[:4], ("D", "1")], "only the last"),
    "first": ([*FORM[:4], ("D", "2")], "only the first"),
    "crlf": ([(name, value.replace("\n", "\r\n")) for name, value in FORM], "were CRLF"),
    "nfd": ([*FORM[:2], ("Body", " Ola\u0301\n"), *FORM[3:]], "decomposed"),
    "none": ([], "nothing of the form"),
}


@pytest.mark.parametrize(("pairs", "words"), CHANGED.values(), ids=list(CHANGED))
def test_a_changed_form_is_named(pairs, words):
    """Changes to a form after it was signed are named."""
    explanation, text = lines_of(of_form(signed_form(BASE_URL + PATH, pairs=pairs)))
    assert words in text.lower() + text
    assert (explanation.is_right, explanation.is_explained) == (False, True)


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        ({"CallToken"}, "CallToken was not there"),
        ({"StirVerstat"}, "StirVerstat was not there"),
        ({"CallToken", "StirVerstat"}, "CallToken and StirVerstat were not there"),
    ],
)
def test_call_parameters_left_out_by_the_signer_are_named(left_out, words):
    """Some signers leave out CallToken or StirVerstat."""
    pairs = [*FORM, ("CallToken", "%7B%22a%22%7D"), ("StirVerstat", "TN-Validation-Passed-A")]
    given = [pair for pair in pairs if pair[0] not in left_out]
    assert words in lines_of(of_form(signed_form(BASE_URL + PATH, pairs=given), pairs=pairs))[1]


@pytest.mark.parametrize(
    ("token", "algorithm", "settings", "words"),
    [
        (
            OTHER_TOKEN,
            "HMAC_SHA1",
            None,
            f"auth token 1 of account {OTHER_ACCOUNT}, but the webhook names another",
        ),
        (TOKEN, "HMAC_SHA256", None, "by HMAC_SHA256 with auth token 1"),
        (SECRET, "HMAC_SHA256", None, "no header names that key"),
        (TOKEN, "HMAC_SHA1", "key=key_1,algorithm=HMAC_SHA1", "names a shared key, but auth token 1"),
        (TOKEN, "HMAC_SHA1", "key=key_9,algorithm=HMAC_SHA1", "names shared key key_9, which is not configured"),
        (SECRET, "HMAC_SHA1", "key=key_1,algorithm=HMAC_SHA256", "by HMAC_SHA1, but its header names another"),
    ],
)
def test_a_wrong_key_or_algorithm_is_named(token, algorithm, settings, words):
    """The token or key that signed is named by position and account, and never shown."""
    headers = {} if settings is None else {KEY_HEADER: settings}
    explanation, text = lines_of(of_form(signed_form(BASE_URL + PATH, token=token, algorithm=algorithm), **headers))
    assert words in text
    assert (explanation.is_right, explanation.is_explained) == (False, True)


@pytest.mark.parametrize(
    ("token", "algorithm", "settings", "label"),
    [
        (TOKEN, "HMAC_SHA1", None, f"auth token 1 of account {ACCOUNT}"),
        (OLD_TOKEN, "HMAC_SHA1", None, f"auth token 2 of account {ACCOUNT}"),
        (SECRET, "HMAC_SHA256", "key=key_1,algorithm=HMAC_SHA256", f"shared key key_1 of account {ACCOUNT}"),
    ],
)
def test_a_matching_signature_names_its_key(token, algorithm, settings, label):
    """A signature that the receiver would accept is reported with the key that made it."""
    headers = {} if settings is None else {KEY_HEADER: settings}
    explanation, text = lines_of(of_form(signed_form(BASE_URL + PATH, token=token, algorithm=algorithm), **headers))
    assert explanation.is_right
    assert text == f"The signature matches with these settings; it was made with {label}."


def test_an_account_that_is_not_configured_is_named():
    """The account is reported, and also a token of another account that matches."""
    pairs = [("AccountSid", "AC" + "9" * 32), *FORM[1:]]
    explanation, text = lines_of(of_form(signed_form(BASE_URL + PATH, pairs=pairs), pairs=pairs))
    assert "which is not configured" in text
    assert f"It was signed with auth token 1 of account {ACCOUNT}" in text
    assert not explanation.is_right


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: f'"{text}"', "in quotes"),
        (quote_plus, "percent-encoded"),
        (lambda text: text.rstrip("="), "at the end"),
        (lambda text: f"{text}, {text}", "arrived twice"),
        (lambda text: f"other, {text}", "arrived twice"),
        (lambda text: f"other\n{text}", "arrived twice, and only the first one counts"),
    ],
)
def test_a_damaged_header_is_recognized(spoil, words):
    """Quotes, percent-encoding, a lost = and a repeated value are named."""
    assert words in lines_of(of_form(spoil(signed_form(BASE_URL + PATH))))[1]


def test_a_signature_whose_first_line_is_right_is_accepted():
    """The receiver reads no further line."""
    assert lines_of(of_form(f"{signed_form(BASE_URL + PATH)}\nother"))[0].is_right


def test_plus_signs_of_the_header_that_became_spaces_are_recognized():
    """A header that was decoded like a form is named."""
    numbered = ([*FORM, ("N", str(number))] for number in range(1000))
    pairs = next(pairs for pairs in numbered if "+" in signed_form(BASE_URL + PATH, pairs=pairs))
    request = of_form(signed_form(BASE_URL + PATH, pairs=pairs).replace("+", " "), pairs=pairs)
    assert "became spaces" in lines_of(request)[1]


@pytest.mark.parametrize("signature", ["", "  ", None])
def test_a_missing_signature_is_reported(signature):
    """An empty header counts as missing."""
    request = of_form(signature or "")
    explanation, text = lines_of(SignedRequest(PATH.encode(), {}, b"", is_form=True) if signature is None else request)
    assert "is missing" in text
    assert not explanation.is_explained


def test_a_signature_of_a_mail_is_not_explained():
    """It contains neither a URL nor a token."""
    headers = {"x-twilio-email-event-webhook-signature": "MEUC"}
    assert "ECDSA" in lines_of(SignedRequest(b"/webhooks/email", headers, b"", is_form=False))[1]


BODY = EVENT_BODY.encode()


@pytest.mark.parametrize(
    ("received", "words"),
    [
        (json.dumps(json.loads(EVENT_BODY), ensure_ascii=False).encode(), "without spaces"),
        (json.dumps(json.loads(EVENT_BODY), indent=4).encode(), "without spaces"),
        (BODY + b"\n", "without surrounding white space"),
        (b'{"eventType": "X"}', "rewritten on the way."),
        (b"", "rewritten on the way."),
        (b"\xff{", "rewritten on the way."),
    ],
)
def test_rewritten_json_is_recognized(received, words):
    """The URL matches and the digest of the body does not; the original format is named if it is known."""
    explanation, text = lines_of(of_json(received, BODY))
    assert "bodySHA256 is not the hash of the body" in text
    assert words in text
    assert (explanation.is_right, explanation.is_explained) == (False, True)


def test_json_with_a_wrong_base_url_is_explained_by_it():
    """The digest of the body matches, so only the URL is named."""
    explanation, text = lines_of(of_json(BODY, BODY, base="http://hooks.example.com"))
    assert "PUBLIC_BASE_URL=http://hooks.example.com" in text
    assert "bodySHA256" not in text
    assert explanation.is_explained


def test_json_whose_query_was_lost_is_recognized():
    """The digest is missing from the URL, and the URL that was signed is found."""
    signature = of_json(BODY, BODY).headers["x-twilio-signature"]
    request = SignedRequest(b"/webhooks/conversations", {"x-twilio-signature": signature}, BODY, is_form=False)
    explanation, text = lines_of(request)
    assert "has no bodySHA256" in text
    assert "The URL that was signed has a bodySHA256" in text
    assert explanation.is_explained


def test_json_may_be_signed_by_any_account():
    """JSON names no account outside its body, so the tokens of all accounts are tried."""
    explanation, text = lines_of(of_json(BODY, BODY, token=OTHER_TOKEN))
    assert explanation.is_right
    assert OTHER_ACCOUNT in text


def test_several_mistakes_are_all_named():
    """A tunnel without TLS, lost empty parameters and the token of another account."""
    pairs = CHANGED["blanks"][0]
    signature = signed_form(f"http://t.example.com{PATH}", pairs=pairs, token=OTHER_TOKEN)
    _, text = lines_of(of_form(signature, host="t.example.com"))
    assert "other scheme, host" in text
    assert "Empty parameters" in text
    assert OTHER_ACCOUNT in text


def test_a_signature_that_nothing_matches_is_not_explained():
    """The answer gives the number of tries and the likely causes."""
    explanation, text = lines_of(of_form(signed_form(BASE_URL + PATH, token="quite another")))
    assert "No match" in text
    assert "another auth token" in text
    assert (explanation.is_right, explanation.is_explained) == (False, False)


@given(st.binary(max_size=60), st.binary(max_size=60), st.text(st.characters(), max_size=30), st.booleans())
def test_any_request_gets_an_answer(raw_path, body, text, is_form):
    """No input raises, and a random signature is never explained."""
    names = ("x-twilio-signature", "host", "x-forwarded-host", "forwarded", "x-forwarded-prefix", KEY_HEADER)
    request = SignedRequest(raw_path, dict.fromkeys(names, text), body, is_form)
    accounts = Accounts([Account(sid=ACCOUNT, tokens=("t",))])
    explanation = explain(request, BASE_URL, accounts)
    assert explanation.lines
    assert not explanation.is_explained


@pytest.mark.parametrize(
    "headers",
    [
        {"forwarded": ";".join(f"host=h{number}:{number}" for number in range(9))},
        {"forwarded": "host=a;host=b,host=c,host=d", "x-forwarded-host": "e,f,g", "x-original-host": "h", "host": "i"},
    ],
)
def test_a_stranger_names_few_hosts(headers):
    """However the headers name them: each multiplies what is tried."""
    hosts = {urlsplit(one.value.decode()).hostname for one in bases(BASE_URL, headers)}
    assert len(hosts) == 1 + MAX_PROXIES


def test_hosts_that_need_no_trying_take_no_place():
    """The own host, repeated hosts and empty ones leave the places to others."""
    own = urlsplit(BASE_URL).netloc
    headers = {"host": own, "x-forwarded-host": f"a,,{own}", "x-original-host": "a,b", "forwarded": "host=c"}
    hosts = {urlsplit(one.value.decode()).hostname for one in bases(BASE_URL, headers)}
    assert hosts == {own, "a", "b", "c"}


def test_a_name_that_is_too_long_for_a_host_is_not_tried():
    """Nor a prefix of that length: every combination repeats it."""
    long = "h" * (MAX_LENGTH + 1)
    assert bases(BASE_URL, {"host": long, "x-forwarded-prefix": f"/{long}"}) == bases(BASE_URL, {})


@pytest.mark.parametrize(("tries", "size"), [(10, 0), (3, 5_000)])
def test_the_search_is_bounded_by_number_and_size(monkeypatch, tries, size):
    """The likely combinations come first; with larger bodies fewer are tried."""
    request = of_form("x" * 28, pairs=[*FORM, ("Text", "x" * size)])
    each = len(BASE_URL + PATH) + sum(len(name + value) for name, value in FORM) + len("Text") + size
    monkeypatch.setattr(signatures, "MAX_WORK", tries * (each + 30 + signatures.WORK_OF_A_TRY))
    _, text = lines_of(request)
    assert f"No match ({tries} combinations" in text
