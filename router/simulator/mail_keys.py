"""The key pair that simulated mails are signed with, as a security policy of the provider has one."""

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
    """Return a new private key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def public_text(key: EllipticCurvePrivateKey) -> str:
    """Return the public key as ROUTER_EMAIL_PUBLIC_KEYS has it: base64 of a DER SubjectPublicKeyInfo."""
    return b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def write_key(path: Path, key: EllipticCurvePrivateKey) -> None:
    """Write a private key for its owner's eyes only, whole or not at all."""
    draft = path.with_suffix(".tmp")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    draft.replace(path)


def read_key(path: Path) -> EllipticCurvePrivateKey:
    """Return the private key in a PEM file; raises OSError if it cannot be read, ValueError if it holds no such key."""
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} holds no elliptic-curve key")  # noqa: TRY004 - it is the file that is wrong
    return key


def sign_mail(key: EllipticCurvePrivateKey, body: bytes, *, now: float) -> dict[str, str]:
    """Return the headers of a mail webhook that was signed at `now` (seconds since 1970)."""
    timestamp = str(int(now))
    signature = b64encode(key.sign(timestamp.encode() + body, ec.ECDSA(SHA256()))).decode()
    return {TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: signature}
