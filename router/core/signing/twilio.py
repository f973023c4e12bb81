"""Twilio's webhook signatures: sign and verify, form and JSON, on bytes.

The rule (Twilio's security page, and its validator, against which the tests compare): HMAC with the auth token over
the URL as configured (scheme, host with its case, port, raw path and raw query; no user info, no fragment) and, for
forms, each distinct parameter name in code point order followed by its distinct values in order; base64. JSON bodies
add nothing, but their URL carries `bodySHA256`, which must equal the hash of the raw body.

Bytes, not text: percent-decoded names and values are compared as they came, so that what is not UTF-8 is still proven
authentic before it is refused as unreadable. Code point order and the order of UTF-8 bytes are the same.
Known limit of the scheme: nothing in it is a time, so a captured request can be repeated for ever; the idempotency key
is what makes that harmless.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from binascii import b2a_base64
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from router.core.errors import SignatureError
from router.core.signing.form import signed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from router.core.signing.form import Form, Pair

_DIGESTS: Final = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
#: Names the shared key and the algorithm where a webhook is not signed with the auth token.
SETTINGS_HEADER: Final = "X-Twilio-Webhooks-Signature-Settings"
_DEFAULT_PORTS: Final = {"https": "443", "http": "80"}


def sign(token: str, url: bytes, pairs: Iterable[Pair] = (), algorithm: str = "HMAC_SHA1") -> str:
    """Return the value of `X-Twilio-Signature`; `url` is complete, for JSON with its `bodySHA256`.

    Raises ValueError for an algorithm that Twilio does not use.
    """
    digest = _DIGESTS.get(algorithm)
    if digest is None:
        raise ValueError(f"no such signature algorithm: {algorithm}")
    return b64encode(hmac.digest(token.encode(), url + signed(pairs), digest)).decode()


@lru_cache(maxsize=1024)  # a few for each account
def _keyed(secret: str, digest: str) -> hmac.HMAC:
    """Return an HMAC that has its key and no message: to be copied, which costs less than the key does."""
    return hmac.new(secret.encode(), digestmod=digest)


def base_urls(public_base_url: str) -> tuple[bytes, ...]:
    """Return the bases that a signature may have been made with: as configured, and with or without the port.

    Twilio drops the port of an https voice URL and keeps others; a default port may be written or not. Another
    explicit port is never accepted. User info, query and fragment are cut off; the host keeps its case.
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
    """Return the base that Twilio signs for calls, given that for all else: of https URLs it drops the port."""
    parts = urlsplit(base.decode())
    if parts.scheme.lower() != "https" or parts.port is None:
        return base
    return parts._replace(netloc=parts.netloc.rpartition(":")[0]).geturl().encode()


@dataclass(frozen=True, slots=True)
class Verifier:
    """Checks webhooks against what Twilio calls (`bases`, from base_urls) and the tokens that may have signed.

    Several tokens serve a rotation: the primary signs, so the old and the new one are both right for a while.
    `shared_keys` (id to secret) sign where a request names one of them in SETTINGS_HEADER, and then nothing else does:
    a key that is not known, or an algorithm that Twilio does not use, is never made up for by a token.
    """

    bases: tuple[bytes, ...]
    tokens: tuple[str, ...]
    shared_keys: Mapping[str, str] = field(default_factory=dict)

    def verify_form(self, raw_path: bytes, form: Form, signature: str | None, settings: str | None = None) -> None:
        """Return if `signature` is right for the form posted to `raw_path` (path and query as on the wire).

        `settings` is the value of SETTINGS_HEADER. Raises SignatureError, saying whether it is missing or wrong;
        compares in constant time.
        """
        self._verify(raw_path, form.signed(), signature, settings)

    def verify_json(self, raw_path: bytes, body: bytes, signature: str | None, settings: str | None = None) -> None:
        """Return if `signature` is right and the body is the one that was signed, by its `bodySHA256`.

        Raises SignatureError; a request without `bodySHA256` is refused, since nothing would protect its body.
        """
        stated = _body_hash(raw_path)
        if stated is None:
            raise SignatureError("bodySHA256 is missing")
        self._verify(raw_path, b"", signature, settings)
        if not hmac.compare_digest(stated.lower(), sha256(body).hexdigest().encode()):
            raise SignatureError("bodySHA256 is not the hash of the body")

    def has_signed(self, raw_path: bytes, signature: str | None, settings: str | None = None) -> bool:
        """Tell whether the URL, which is all that is signed of JSON, was signed with one of these secrets.

        For choosing among accounts; it says nothing of the body, which `verify_json` checks.
        """
        try:
            self._verify(raw_path, b"", signature, settings)
        except SignatureError:
            return False
        return True

    def _verify(self, raw_path: bytes, tail: bytes, signature: str | None, settings: str | None) -> None:
        if not signature:
            raise SignatureError("X-Twilio-Signature is missing")
        given = signature.strip().encode("utf-8", "surrogatepass")
        tokens, digest = (self.tokens, "sha1") if settings is None else self._shared(settings)
        for token in tokens:
            for base in self.bases:
                mac = _keyed(token, digest).copy()
                mac.update(base + raw_path + tail)
                if hmac.compare_digest(b2a_base64(mac.digest(), newline=False), given):
                    return
        raise SignatureError("X-Twilio-Signature does not match")

    def _shared(self, settings: str) -> tuple[tuple[str, ...], str]:
        """Return the secret and the digest that a request names; both must be known."""
        stated = dict(part.strip().partition("=")[::2] for part in settings.split(","))
        secret, digest = self.shared_keys.get(stated.get("key", "")), _DIGESTS.get(stated.get("algorithm", ""))
        if secret is None:
            raise SignatureError("the shared key is not known")
        if digest is None:
            raise SignatureError("the signature algorithm is not one that Twilio uses")
        return (secret,), digest


def _body_hash(raw_path: bytes) -> bytes | None:
    """Return the first `bodySHA256` of the query, as Twilio's validator does."""
    query = raw_path.partition(b"?")[2]
    return next((part[11:] for part in query.split(b"&") if part.startswith(b"bodySHA256=")), None)
