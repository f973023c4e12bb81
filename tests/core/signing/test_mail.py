"""Signatures of mail webhooks over time and body, in chunks; and Basic credentials instead."""

from base64 import b64encode
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import SettingsError, SignatureError
from router.core.signing.mail import BasicVerifier, MailVerifier

PUBLIC_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEypDIRiXoIDL3ezFMtD4F9QZpe2hmVCNVcNQyrdvdAQRp0NYV/NlkaIG8SsB3zuELTkMZqYoCFnhmGbw1"
    "fBwU0Q=="
)
TIMESTAMP = "1767225600"
BODY = (
    b'--xYzZY\r\nContent-Disposition: form-data; name="from"\r\n\r\nAna <ana@example.com>\r\n'
    b'--xYzZY\r\nContent-Disposition: form-data; name="envelope"\r\n\r\n'
    b'{"to":["support@inbound.example.com"],"from":"ana@example.com"}\r\n--xYzZY--\r\n'
)
SIGNATURE = "MEUCIQCcIOfKJjrYhAC3QLcCTgc3NKsZXy2fB1oPerWpwz1rjAIgWUktg2muOMqELZ7uM2+u1Vdh0iISK/xS+yFsM9kqERo="
NOW = 1_767_225_600


def encode_key(private):
    """Return the public key as a setting has it."""
    return b64encode(private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


PRIVATE = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = encode_key(PRIVATE)


def is_accepted(*chunks, keys=(PUBLIC_KEY,), timestamp=TIMESTAMP, signature=SIGNATURE, now=NOW, max_age=600):
    """Return whether a body in `chunks` is accepted."""
    try:
        running = MailVerifier(keys, max_age=max_age).begin(timestamp, signature, now=now)
        for chunk in chunks:
            running.update(chunk)
        running.finish()
    except SignatureError:
        return False
    return True


def test_known_signature():
    """The known signature is valid for its time and body, whole or byte by byte."""
    assert is_accepted(BODY)
    assert is_accepted(*(BODY[at : at + 1] for at in range(len(BODY))))


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_any_changed_byte(at, change):
    """The signature is invalid for the body with any byte changed."""
    assert not is_accepted(BODY[:at] + bytes([BODY[at] ^ change]) + BODY[at + 1 :])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"timestamp": "1767225601"}, id="other-time"),
        pytest.param({"timestamp": "01767225600"}, id="other-spelling-of-the-time"),
        pytest.param({"keys": (OTHER_KEY,)}, id="other-key"),
        pytest.param({"keys": ()}, id="no-key"),
        pytest.param({"signature": SIGNATURE[:-4]}, id="signature-cut"),
        pytest.param({"signature": "A" + SIGNATURE[1:]}, id="other-signature"),
        pytest.param({"signature": b64encode(b"\0" * 64).decode()}, id="no-der"),
        pytest.param({"signature": "not base64!"}, id="no-base64"),
        pytest.param({"signature": "ø"}, id="no-ascii"),
        pytest.param({"signature": "\udcff"}, id="surrogate"),
        pytest.param({"signature": "A" * 100_000}, id="huge"),
    ],
)
def test_anything_else_is_refused(changes):
    """Any other time, key or signature is refused."""
    assert not is_accepted(BODY, **changes)


@pytest.mark.parametrize("body", [BODY.replace(b"\r\n", b"\n"), b"", BODY + b"\n"], ids=["lf", "empty", "more"])
def test_other_bodies(body):
    """A body whose line ends were changed is another body."""
    assert not is_accepted(body)


def test_rotation():
    """During a rotation both keys are valid, in either order, with or without pasted white space."""
    keys = [f" {OTHER_KEY[:20]}\n{OTHER_KEY[20:]}\n", PUBLIC_KEY]
    assert is_accepted(BODY, keys=keys)
    assert is_accepted(BODY, keys=keys[::-1])


@given(st.binary(max_size=300), st.integers(0, 10**12 - 1), st.lists(st.integers(0, 300), max_size=5))
def test_round_trip(body, time, cuts):
    """A signed body is accepted in any chunks, and a longer one is not."""
    signature = b64encode(PRIVATE.sign(str(time).encode() + body, ec.ECDSA(SHA256()))).decode()
    edges = [0, *sorted(cuts), len(body)]
    chunks = [body[start:end] for start, end in pairwise(edges)]
    options = {"keys": [OTHER_KEY], "timestamp": str(time), "signature": signature, "max_age": None}
    assert is_accepted(*chunks, **options)
    assert not is_accepted(*chunks, b"x", **options)


@pytest.mark.parametrize(
    ("seconds", "max_age", "accepted"),
    [
        pytest.param(600, 600, True, id="just-in-time"),
        pytest.param(601, 600, False, id="too-old"),
        pytest.param(-600, 600, True, id="clock-ahead"),
        pytest.param(-601, 600, False, id="too-far-ahead"),
        pytest.param(10**9, None, True, id="no-window"),
        pytest.param(0.5, 0, False, id="no-tolerance"),
    ],
)
def test_window(seconds, max_age, accepted):
    """A time outside the window is refused in both directions, unless the window is disabled."""
    assert is_accepted(BODY, now=NOW + seconds, max_age=max_age) == accepted


def test_a_replay_skips_the_age_check():
    """Without a current time any age is accepted; a wrong signature is not."""
    assert is_accepted(BODY, now=None, max_age=0)
    assert not is_accepted(BODY + b"x", now=None, max_age=0)


@given(st.binary(min_size=60, max_size=70), st.sampled_from(["=", "==", "\n", " "]))
def test_one_signature_has_one_spelling(body, end):
    """A signature with excess padding or white space is refused."""
    signature = b64encode(PRIVATE.sign(b"1" + body, ec.ECDSA(SHA256()))).decode()
    options = {"keys": [OTHER_KEY], "timestamp": "1", "max_age": None}
    assert is_accepted(body, signature=signature, **options)
    assert not is_accepted(body, signature=signature[:8] + end + signature[8:], **options)
    assert end.isspace() or not is_accepted(body, signature=signature + end, **options)


def encode_numbers(*numbers):
    """Return a signature of these numbers."""
    return b64encode(encode_dss_signature(*numbers)).decode()


@pytest.mark.parametrize(
    ("timestamp", "signature", "reason"),
    [
        pytest.param(None, SIGNATURE, "Timestamp is missing", id="no-time"),
        pytest.param(TIMESTAMP, None, "Signature is missing", id="no-signature"),
        pytest.param("", "", "Signature is missing", id="empty"),
        pytest.param("soon", SIGNATURE, "not a time in seconds", id="word"),
        pytest.param("-5", SIGNATURE, "not a time in seconds", id="negative"),
        pytest.param("٣", SIGNATURE, "not a time in seconds", id="other-digits"),
        pytest.param("9" * 5000, SIGNATURE, "not a time in seconds", id="huge"),
        pytest.param("1767220000", SIGNATURE, "signed 5600 s ago, outside", id="old"),
        pytest.param("1767229999", SIGNATURE, "signed 4399 s ahead, outside", id="ahead"),
        pytest.param(TIMESTAMP, "x", "does not match", id="no-base64"),
        pytest.param(TIMESTAMP, "A" * 100_000, "does not match", id="too-long"),
        pytest.param(TIMESTAMP, SIGNATURE[:-4], "does not match", id="cut"),
        pytest.param(TIMESTAMP, b64encode(b"\0" * 64).decode(), "does not match", id="no-der"),
        pytest.param(TIMESTAMP, encode_numbers(0, 1), "does not match", id="zero"),
        pytest.param(TIMESTAMP, encode_numbers(1, 2**256), "does not match", id="beyond-the-order"),
    ],
)
def test_bad_headers_are_refused_before_the_body(timestamp, signature, reason):
    """Missing or malformed headers are refused before any of the body is read."""
    with pytest.raises(SignatureError, match=reason):
        MailVerifier([PUBLIC_KEY], max_age=600).begin(timestamp, signature, now=NOW)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("", id="empty"),
        pytest.param("x", id="no-base64"),
        pytest.param("AAAA", id="no-der"),
        pytest.param("A" * 5000, id="huge"),
        pytest.param(encode_key(ec.generate_private_key(ec.SECP384R1())), id="other-curve"),
        pytest.param(encode_key(ed25519.Ed25519PrivateKey.generate()), id="other-algorithm"),
    ],
)
def test_wrong_keys(key):
    """A key that is not a P-256 public key stops the start, named by position and not by its text."""
    with pytest.raises(SettingsError) as caught:
        MailVerifier([key, PUBLIC_KEY, key], max_age=None)
    assert [problem.split(" is ")[0] for problem in caught.value.problems] == [
        "e-mail public key 1",
        "e-mail public key 3",
    ]


# --- Basic credentials -----------------------------------------------------------------------------


def encode_basic(text):
    """Return an Authorization header."""
    return f"Basic {b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(encode_basic("sendgrid:new"), id="new"),
        pytest.param(encode_basic("sendgrid:old"), id="old"),
        pytest.param(encode_basic("sendgrid:new").replace("Basic ", " bASIC  ") + " ", id="spelling"),
    ],
)
def test_right_credentials(header):
    """During a rotation both credentials are valid."""
    BasicVerifier(("sendgrid:old", "sendgrid:new")).verify(header)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        pytest.param(None, "are missing", id="none"),
        pytest.param("", "are missing", id="empty"),
        pytest.param("Bearer abc", "are missing", id="other-scheme"),
        pytest.param("Basic", "do not match", id="nothing"),
        pytest.param("Basic øøø", "do not match", id="no-base64"),
        pytest.param("Basic \udcff", "do not match", id="surrogate"),
        pytest.param(encode_basic("sendgrid:newer"), "do not match", id="longer"),
        pytest.param(encode_basic("sendgrid:"), "do not match", id="no-password"),
        pytest.param(encode_basic(":"), "do not match", id="blank"),
        pytest.param(encode_basic("x" * 10_000), "do not match", id="huge"),
    ],
)
def test_wrong_credentials(header, reason):
    """Anything else is refused, and the error says whether credentials are missing or wrong."""
    with pytest.raises(SignatureError, match=reason):
        BasicVerifier(("sendgrid:new", ":", "")).verify(header)


@given(st.text(st.characters()))
def test_any_header(header):
    """Any text in the header raises SignatureError or is accepted, nothing else."""
    with pytest.raises(SignatureError):
        BasicVerifier(("sendgrid:new",)).verify(header)


def test_no_credentials_accept_nothing():
    """Without credentials every request is refused: the check fails closed."""
    with pytest.raises(SignatureError, match="do not match"):
        BasicVerifier(()).verify(encode_basic("a:b"))
