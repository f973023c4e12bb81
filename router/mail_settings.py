"""What the settings of the mail route may hold, and what they mean; router.settings reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.errors import SettingsError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from router.settings.load import Settings


def check_public_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys; raises ValueError that names by its position each one that is no P-256 public key."""
    if keys:
        from router.core.signing.mail import MailVerifier  # noqa: PLC0415 - slow, and of use to one process

        try:
            MailVerifier(keys, max_age=None)
        except SettingsError as error:
            raise ValueError("; ".join(error.problems)) from error
    return keys


def check_credentials(credentials: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Return the credentials; raises ValueError if one lacks its user or its password."""
    if not all(
        user and password for user, _, password in (one.get_secret_value().partition(":") for one in credentials)
    ):
        raise ValueError("is not a comma-separated list of user:password")
    return credentials


def describe_proof(settings: Settings) -> str:
    """Return what proves a mail: signature, credentials, either of them, or nothing, so that none is taken."""
    ways = {"signature": settings.email_public_keys, "credentials": settings.email_credentials}
    return " or ".join(name for name, values in ways.items() if values) or "off"
