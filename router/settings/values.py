"""What values of settings look like: how each is read, refused in words, and shown without what nobody shall see."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from router.core.accounts import parse_shared_keys, parse_tokens
from router.core.addresses import mask
from router.core.errors import SettingsError
from router.core.events import SourceName
from router.streams.client.url import parse_redis_url

#: Shown without user, password and query.
_URLS: Final = frozenset({"redis_url", "public_base_url", "twilio_conversations_url", "voice_relay_url"})
#: Never shown, and read from the environment only.
SECRET: Final = frozenset(
    {"twilio_auth_token", "twilio_api_key", "twilio_api_secret", "shared_keys", "email_credentials", "redis_url"}
)


def tokens(value: object) -> object:
    """Return the parts of a comma-separated list."""
    return parse_tokens(value) if isinstance(value, str) else value


def signed_sources(value: tuple[SourceName, ...]) -> tuple[SourceName, ...]:
    """Return the sources of shadow mode; raises ValueError for one that nothing but its proof protects."""
    if SourceName.EMAIL in value:  # it has no account that could be checked in place of the signature
        raise ValueError("email has no shadow mode")
    return value


def pairs(value: object) -> object:
    """Return shared keys by their id."""
    return parse_shared_keys(value) if isinstance(value, str) else value


def url(value: str) -> str:
    """Return an http or https URL without a slash at its end; raises ValueError for anything else."""
    try:
        parts = urlsplit(value)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half of an IPv6 address
        is_url = False
    if not is_url:
        raise ValueError("is no http or https URL")
    return value.rstrip("/")


def base_url(value: str) -> str:
    """Return the base of the API, without a version."""
    return url(value).removesuffix("/v2").removesuffix("/v1")


def redis_url(value: SecretStr) -> SecretStr:
    """Return what router.streams connects to; raises ValueError that says what is wrong with it."""
    parse_redis_url(value.get_secret_value())
    return value


def shown(name: str, value: Any) -> str:
    """Return a value as the log may show it."""
    if value is None or value in ("", (), {}):
        return "(not set)"
    if name in _URLS:
        parts = urlsplit(value.get_secret_value() if isinstance(value, SecretStr) else value)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if name in SECRET:
        return ",".join("***" for _ in (value if isinstance(value, tuple) else (value,)))
    if isinstance(value, tuple):
        return ",".join(value)
    return mask(value) if name == "ai_agent_address" else str(value)


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
