"""The values of settings: parsing, checks with messages that name no value, and display without secrets."""

from __future__ import annotations

from base64 import b64decode
from ipaddress import ip_network
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from router.core.accounts import parse_shared_keys, parse_tokens
from router.core.addresses import mask
from router.core.errors import SettingsError
from router.core.events import SourceName
from router.core.sealing import KEY_BYTES
from router.streams.client.url import parse_redis_url

#: Settings that are shown without user, password and query.
_URLS: Final = frozenset({"redis_url", "public_base_url", "twilio_conversations_url", "voice_relay_url", "console_url"})
#: Settings that are never shown, and read from the environment only.
SECRET: Final = frozenset(
    {
        "twilio_auth_token",
        "twilio_api_key",
        "twilio_api_secret",
        "shared_keys",
        "email_credentials",
        "seal_keys",
        "redis_url",
    }
)


def split_list(value: object) -> object:
    """Split a comma-separated list."""
    return parse_tokens(value) if isinstance(value, str) else value


def split_pairs(value: object) -> object:
    """Split shared keys, `id=secret,id=secret`."""
    return parse_shared_keys(value) if isinstance(value, str) else value


def check_shadow(value: tuple[SourceName, ...]) -> tuple[SourceName, ...]:
    """Return the sources in shadow mode; raises ValueError for e-mail, which nothing but its signature protects."""
    if SourceName.EMAIL in value:  # a mail names no account that could be checked in place of the signature
        raise ValueError("email cannot be in shadow mode")
    return value


def check_url(value: str) -> str:
    """Return an http or https URL without a trailing slash; raises ValueError for anything else."""
    try:
        parts = urlsplit(value)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is not a number, half of an IPv6 address
        is_url = False
    if not is_url:
        raise ValueError("must be an http or https URL")
    return value.rstrip("/")


def check_origin(value: str) -> str:
    """Return an http or https URL of a whole host; raises ValueError for one with a path or a query."""
    url = check_url(value)
    if any(urlsplit(url)[2:]):
        raise ValueError("must be a URL without a path, such as https://console.example.com: pages are at its root")
    return url


def check_api_url(value: str) -> str:
    """Return the base URL of the API, without a version; raises ValueError for anything else."""
    return without_version(check_url(value))


def without_version(url: str) -> str:
    """Remove trailing slashes and an API version from a URL."""
    return url.rstrip("/").removesuffix("/v2").removesuffix("/v1")


def check_redis_url(value: SecretStr) -> SecretStr:
    """Return a URL that router.streams can connect to; raises ValueError with the mistake in it."""
    parse_redis_url(value.get_secret_value())
    return value


def show(name: str, value: Any) -> str:
    """Return a setting's value as logs may show it."""
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


def check_networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    """Return the networks in CIDR notation, or single addresses; raises ValueError naming the first that is none."""
    for network in networks:
        try:
            ip_network(network)
        except ValueError as error:
            raise ValueError(f"must be networks such as 10.0.0.0/8, comma-separated: {error}") from error
    return networks


def check_public_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys; raises ValueError naming by position those that are not P-256 public keys."""
    if keys:
        from router.core.signing.mail import MailVerifier  # noqa: PLC0415 - a slow import that one process needs

        try:
            MailVerifier(keys, max_age=None)
        except SettingsError as error:
            raise ValueError("; ".join(error.problems)) from error
    return keys


def check_credentials(credentials: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Return the credentials; raises ValueError if one has no user or no password."""
    if not all(
        user and password for user, _, password in (one.get_secret_value().partition(":") for one in credentials)
    ):
        raise ValueError("must be a comma-separated list of user:password")
    return credentials


def read_seal_key(key: str) -> bytes:
    """Return the bytes of a key in base64, of either alphabet; raises ValueError for anything else."""
    try:
        return b64decode(key.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError as error:
        raise ValueError("is not base64") from error


def check_seal_keys(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Return the keys; raises ValueError naming by position those that are not 32 bytes in base64, or come twice."""
    problems, known = [], set[bytes]()
    for number, key in enumerate(keys, 1):
        try:
            found = read_seal_key(key.get_secret_value())
        except ValueError as error:
            problems.append(f"key {number} {error}")
            continue
        if len(found) != KEY_BYTES:
            problems.append(f"key {number} has {len(found)} bytes instead of {KEY_BYTES}")
        elif found in known:
            problems.append(f"key {number} comes twice")
        known.add(found)
    if problems:
        raise ValueError("; ".join(problems) + " (`openssl rand -base64 32` makes a key)")
    return keys
