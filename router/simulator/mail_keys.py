"""The key pair of simulated mails, as a security policy of Inbound Parse has one, and its signature.

https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/securing-your-parse-webhooks
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from router.core.signing.mail import SIGNATURE_HEADER, TIMESTAMP_HEADER

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


def make_key() -> EllipticCurvePrivateKey:
    """Generate a private key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def public_text(key: EllipticCurvePrivateKey) -> str:
    """Return the public key in the form of ROUTER_EMAIL_PUBLIC_KEYS: base64 of a DER SubjectPublicKeyInfo."""
    return b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def write_key(path: Path, key: EllipticCurvePrivateKey) -> None:
    """Write a private key to a file that only its owner can read, atomically."""
    draft = path.with_suffix(".tmp")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    draft.replace(path)


def read_key(path: Path) -> EllipticCurvePrivateKey:
    """Read a private key from a PEM file; raises OSError if it cannot be read, ValueError if it holds no such key."""
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} holds no elliptic-curve key")  # noqa: TRY004 - the file is wrong, not the argument's type
    return key


def sign_mail(key: EllipticCurvePrivateKey, body: bytes, *, now: float) -> dict[str, str]:
    """Return the signature headers of a mail webhook, signed at `now` (seconds since 1970)."""
    timestamp = str(int(now))
    signature = b64encode(key.sign(timestamp.encode() + body, ec.ECDSA(SHA256()))).decode()
    return {TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: signature}
