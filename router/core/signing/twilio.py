"""Twilio's webhook signatures: sign and verify, form and JSON, on bytes.

The rule (https://www.twilio.com/docs/usage/webhooks/webhooks-security, and the official validator, with which the tests
compare): HMAC with the auth token over the URL as configured (scheme, host with its case, port, raw path and raw query;
no user info, no fragment) and, for forms, each distinct parameter name in code point order followed by its distinct
values in order; base64. A JSON body is not part of it, but its URL carries `bodySHA256`, which must equal the hash of
the raw body.

Works on bytes: percent-decoded names and values are compared as they came, so that a form that is not UTF-8 can be
proven authentic too. Code point order equals the order of UTF-8 bytes. The official validator takes texts, in which web
frameworks have replaced such bytes by U+FFFD (`Form.replaced`).
Known limit of the scheme: it covers no time, so a captured request stays valid forever; the idempotency key makes a
repetition harmless.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from binascii import b2a_base64
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from itertools import product
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from router.core.errors import SignatureError
from router.core.signing.form import signed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from router.core.signing.form import Form, Pair

_DIGESTS: Final = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
#: Characters of a signature by its digest: base64 of 20 and of 32 bytes.
_LENGTHS: Final = {"sha1": 28, "sha256": 44}
#: That of nearly all signatures: made with a token, without SETTINGS_HEADER.
USUAL_LENGTH: Final = 28
#: Bytes that `verify_in_steps` hashes between two steps.
PIECE: Final = 65_536
#: Names the shared key and the algorithm of a webhook that is not signed with the auth token.
#: https://www.twilio.com/docs/usage/webhooks/webhook-rules
SETTINGS_HEADER: Final = "X-Twilio-Webhooks-Signature-Settings"
_DEFAULT_PORTS: Final = {"https": "443", "http": "80"}


def sign(token: str, url: bytes, pairs: Iterable[Pair] = (), algorithm: str = "HMAC_SHA1") -> str:
    """Return the value of `X-Twilio-Signature` for a complete `url` (for JSON including `bodySHA256`).

    Raises ValueError for an algorithm that Twilio does not use.
    """
    digest = _DIGESTS.get(algorithm)
    if digest is None:
        raise ValueError(f"no such signature algorithm: {algorithm}")
    return b64encode(hmac.digest(token.encode(), url + signed(pairs), digest)).decode()


@dataclass(frozen=True, slots=True)
class SignatureSettings:
    """The stated `key` (empty: the auth token) and `algorithm` (in upper case, HMAC_SHA1 if none is stated)."""

    key: str = ""
    algorithm: str = "HMAC_SHA1"


_DEFAULT: Final = SignatureSettings()


def read_settings(header: str | None) -> SignatureSettings:
    """Read the value of SETTINGS_HEADER as the official helper library does; None and a blank one state nothing.

    Of each name the first part with a value counts; blanks around names and values do not.
    """
    if header is None:
        return _DEFAULT
    stated: dict[str, str] = {}
    for part in header.split(","):
        name, _, value = part.partition("=")
        if value.strip():
            stated.setdefault(name.strip(), value.strip())
    return SignatureSettings(stated.get("key", ""), stated.get("algorithm", _DEFAULT.algorithm).upper())


def require_shape(signature: str | None, settings: SignatureSettings) -> str:
    """Return the digest of a signature that may be valid; raises SignatureError if it is missing or of another length.

    That takes neither the body nor a secret, so nothing else need be done for a request that can only be refused.
    """
    if not signature:
        raise SignatureError("X-Twilio-Signature is missing")
    digest = _DIGESTS.get(settings.algorithm)
    if digest is None:
        raise SignatureError("the signature algorithm is not one that Twilio uses")
    if len(signature.strip()) != _LENGTHS[digest]:
        raise SignatureError("X-Twilio-Signature does not match")
    return digest


@lru_cache(maxsize=1024)  # a few per account
def _keyed(secret: str, digest: str) -> hmac.HMAC:
    """Return a keyed HMAC without a message. Copying it gains 4 of 90 µs a webhook, by `make bench`.

    It is OpenSSL's object, without the one of Python around it: 55 steps and 0.3 µs less, by a timer.
    """
    made = hmac.new(secret.encode(), digestmod=digest)
    return getattr(made, "_hmac", made)


def base_urls(public_base_url: str) -> tuple[bytes, ...]:
    """Return the base URLs that may have been signed: as configured, and with or without the port.

    Twilio removes the port of an https voice URL and keeps others; a default port may be written or not. A different
    explicit port is never accepted. User info, query and fragment are removed; the host keeps its case.
    """
    parts = urlsplit(public_base_url)
    authority = parts.netloc.rpartition("@")[2]
    host, bracket, rest = authority.rpartition("]")  # an IPv6 literal has colons of its own
    name, colon, port = (rest if bracket else authority).partition(":")
    bare = f"{host}{bracket}{name}"
    path = parts.path.rstrip("/")
    default = _DEFAULT_PORTS.get(parts.scheme.lower(), "80")
    other = bare if colon and port else f"{bare}:{default}"
    return tuple(f"{parts.scheme}://{each}{path}".encode() for each in (authority.rstrip(":"), other))


def voice_base(base: bytes) -> bytes:
    """Return the base URL that Twilio signs for calls: an https URL loses its port."""
    parts = urlsplit(base.decode())
    if parts.scheme.lower() != "https" or parts.port is None:
        return base
    return parts._replace(netloc=parts.netloc.rpartition(":")[0]).geturl().encode()


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies webhooks for the URLs that Twilio calls (`bases`, from base_urls) and the tokens that may have signed.

    There are several tokens during a rotation: the primary one signs, so the old and the new one are valid for a while.
    A request that names a shared key (`shared_keys`, id to secret) in SETTINGS_HEADER must be signed with it: an
    unknown key, or an algorithm that Twilio does not use, never falls back to a token. If none is named, a token signs,
    with the stated algorithm.
    """

    bases: tuple[bytes, ...]
    tokens: tuple[str, ...]
    shared_keys: Mapping[str, str] = field(default_factory=dict)

    def verify_form(self, raw_path: bytes, form: Form, signature: str | None, settings: str | None = None) -> None:
        """Verify `signature` for a form posted to `raw_path` (path and query as on the wire).

        `settings` is the value of SETTINGS_HEADER. Raises SignatureError, which says whether the signature is missing
        or wrong. Compares in constant time.
        """
        self._verify(raw_path, form.signed(), signature, settings)

    def verify_in_steps(
        self, raw_path: bytes, form: Form, signature: str | None, settings: str | None = None
    ) -> Generator[None, None, None]:
        """Verify as `verify_form` does, in steps of PIECE bytes: a megabyte for all secrets takes milliseconds."""
        secrets, digest, given = self._choose(signature, settings)
        tail = memoryview(form.signed())
        yield
        for secret, base in product(secrets, self.bases):
            mac = _keyed(secret, digest).copy()
            mac.update(base + raw_path)
            for start in range(0, len(tail), PIECE):
                mac.update(tail[start : start + PIECE])
                yield
            if hmac.compare_digest(b2a_base64(mac.digest(), newline=False), given):
                return
        raise SignatureError("X-Twilio-Signature does not match")

    def verify_json(self, raw_path: bytes, body: bytes, signature: str | None, settings: str | None = None) -> None:
        """Verify `signature`, and the body by its `bodySHA256`.

        Raises SignatureError, also for a request without `bodySHA256`: nothing would protect its body.
        """
        stated = _body_hash(raw_path)
        if stated is None:
            raise SignatureError("bodySHA256 is missing")
        self._verify(raw_path, b"", signature, settings)
        if not hmac.compare_digest(stated.lower(), sha256(body).hexdigest().encode()):
            raise SignatureError("bodySHA256 is not the hash of the body")

    def has_signed(self, raw_path: bytes, signature: str | None, settings: str | None = None) -> bool:
        """Return whether one of these secrets signed the URL, the only signed part of a JSON webhook.

        For choosing among accounts. It does not cover the body: that takes `verify_json`.
        """
        try:
            self._verify(raw_path, b"", signature, settings)
        except SignatureError:
            return False
        return True

    def _verify(self, raw_path: bytes, tail: bytes, signature: str | None, header: str | None) -> None:
        secrets, digest, given = self._choose(signature, header)
        for secret in secrets:
            for base in self.bases:
                mac = _keyed(secret, digest).copy()
                mac.update(base + raw_path + tail)
                if hmac.compare_digest(b2a_base64(mac.digest(), newline=False), given):
                    return
        raise SignatureError("X-Twilio-Signature does not match")

    def _choose(self, signature: str | None, header: str | None) -> tuple[tuple[str, ...], str, bytes]:
        """Return the secrets that may have signed, the digest, and the signature; raises SignatureError."""
        if header is None and signature and len(signature) == USUAL_LENGTH:
            secrets, digest = self.tokens, "sha1"
        else:
            settings = read_settings(header)
            secrets = self._secrets(settings) if signature else ()
            digest = require_shape(signature, settings)
        return secrets, digest, (signature or "").strip().encode("utf-8", "surrogatepass")

    def _secrets(self, settings: SignatureSettings) -> tuple[str, ...]:
        """Return the secrets that may have signed; raises SignatureError for an unknown shared key."""
        if not settings.key:
            return self.tokens
        secret = self.shared_keys.get(settings.key)
        if secret is None:
            raise SignatureError("the shared key is unknown")
        return (secret,)


def _body_hash(raw_path: bytes) -> bytes | None:
    """Return the first `bodySHA256` of the query; Twilio's validator takes the first one too."""
    query = raw_path.partition(b"?")[2]
    return next((part[11:] for part in query.split(b"&") if part.startswith(b"bodySHA256=")), None)
