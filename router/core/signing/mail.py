"""E-mail webhooks: SendGrid's ECDSA signature, or Basic credentials if signing is not switched on.

The rule (https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/securing-your-parse-webhooks): ECDSA on
P-256 with SHA-256 over the bytes of the timestamp header followed by the raw body. The signature is base64 of DER, the
public key base64 of a DER SubjectPublicKeyInfo. The body is hashed as it arrives, so that 30 MB need not be held in
memory; nothing parsed meanwhile may be used before `finish` returns. Unlike Twilio's own signature this one covers a
time, so old requests can be refused. Whether a retry (up to three days) is signed again is not documented: `max_age`
is therefore a setting, and None disables the check.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from router.core.errors import SettingsError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Iterable

SIGNATURE_HEADER: Final = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER: Final = "X-Twilio-Email-Event-Webhook-Timestamp"
#: The longest base64 text of a DER signature on P-256 has 96 characters; a text beyond this limit is not decoded.
_MAX_SIGNATURE: Final = 128
_MAX_CREDENTIALS: Final = 1024
_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_ALGORITHM: Final = ec.ECDSA(Prehashed(SHA256()))
#: The order of P-256 (SEC 2, section 2.4.2): the numbers of a signature are below it.
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class MailVerifier:
    """Verifies mail webhooks with the public keys that may have signed; there are several during a rotation.

    The signed time may differ from now by `max_age` seconds in either direction; None accepts any time. Raises
    SettingsError, naming keys by position, if one is not a P-256 public key. Without any key every mail is refused.
    """

    def __init__(self, public_keys: Iterable[str], *, max_age: int | None) -> None:
        self._max_age = max_age
        self._keys: list[ec.EllipticCurvePublicKey] = []
        problems = []
        for position, text in enumerate(public_keys, start=1):
            key = _load(text)
            if key is None:
                problems.append(f"e-mail public key {position} is not the base64 of a P-256 public key")
            else:
                self._keys.append(key)
        if problems:
            raise SettingsError(problems)

    def begin(self, timestamp: str | None, signature: str | None, *, now: float | None) -> RunningMailVerifier:
        """Start the check of a body that follows; `now` is in seconds since 1970, None to skip the age check.

        Raises SignatureError before any of the body is read if a header is missing or malformed, the signature is none
        of a P-256 key, or the time is too far from now.
        """
        if not signature or not timestamp:
            raise SignatureError(f"{SIGNATURE_HEADER if not signature else TIMESTAMP_HEADER} is missing")
        if not _SECONDS.fullmatch(timestamp):
            raise SignatureError(f"{TIMESTAMP_HEADER} is not a time in seconds")
        age = 0.0 if now is None else now - int(timestamp)
        if self._max_age is not None and abs(age) > self._max_age:
            raise SignatureError(f"signed {abs(age):.0f} s {'ago' if age > 0 else 'ahead'}, outside the window")
        decoded = _decode(signature.strip(), _MAX_SIGNATURE)
        if decoded is None or not _is_signature(decoded):
            raise SignatureError(f"{SIGNATURE_HEADER} does not match")
        return RunningMailVerifier(tuple(self._keys), timestamp.encode(), decoded)


class RunningMailVerifier:
    """The running check of one body: `update` with each chunk in order, then `finish`."""

    def __init__(self, keys: tuple[ec.EllipticCurvePublicKey, ...], timestamp: bytes, signature: bytes) -> None:
        self._keys = keys
        self._hash = sha256(timestamp)
        self._signature = signature

    def update(self, chunk: bytes) -> None:
        """Take the next bytes of the raw body."""
        self._hash.update(chunk)

    def finish(self) -> None:
        """Verify that one of the keys signed exactly this time and body; raises SignatureError otherwise."""
        digest = self._hash.digest()
        for key in self._keys:
            try:
                key.verify(self._signature, digest, _ALGORITHM)
            except InvalidSignature:
                continue
            return
        raise SignatureError(f"{SIGNATURE_HEADER} does not match")


@dataclass(frozen=True, slots=True)
class BasicVerifier:
    """Verifies HTTP Basic credentials, `user:password` each; there are several during a rotation.

    For an Inbound Parse URL with user info instead of a security policy. Credentials authenticate the caller, not the
    content: prefer the signature.
    """

    credentials: tuple[str, ...]

    def verify(self, authorization: str | None) -> None:
        """Verify that the `Authorization` header carries one of the credentials; raises SignatureError otherwise.

        All of them are compared, each in constant time, so that timing does not reveal which one was almost right.
        """
        scheme, _, encoded = (authorization or "").strip().partition(" ")
        if scheme.lower() != "basic":
            raise SignatureError("Basic credentials are missing")
        given = _decode(encoded.strip(), _MAX_CREDENTIALS)
        matches = [
            hmac.compare_digest(sha256(own.encode()).digest(), sha256(given or b"").digest())
            for own in self.credentials
            if own.strip(":")
        ]
        if not given or not any(matches):
            raise SignatureError("Basic credentials do not match")


def _load(text: str) -> ec.EllipticCurvePublicKey | None:
    """Parse a P-256 public key; None for any other text."""
    der = _decode("".join(text.split()), _MAX_CREDENTIALS)
    try:
        key = load_der_public_key(der or b"")
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1) else None


def _is_signature(der: bytes) -> bool:
    """Tell whether these bytes are two numbers below the order of P-256: a signature of another message, at least."""
    try:
        numbers = decode_dss_signature(der)
    except ValueError:
        return False
    return all(0 < number < _ORDER for number in numbers)


def _decode(text: str, limit: int) -> bytes | None:
    """Decode base64; None if the text is malformed, not canonical, or longer than `limit`."""
    if len(text) > limit:
        return None
    try:
        decoded = b64decode(text, validate=True)
    except ValueError:
        return None
    return decoded if b64encode(decoded).decode() == text else None  # b64decode accepts excess padding
