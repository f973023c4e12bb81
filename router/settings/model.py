"""All settings as one frozen model, and the environment variable of each.

Durations are in seconds, sizes in bytes. router.settings.load reads them. Secrets are `SecretStr`, which is never
printed.
"""

from __future__ import annotations

import os
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr

from router.core.accounts import Account, Accounts
from router.core.events import SourceName
from router.core.ids import SID_DIGITS
from router.core.keys import Keys
from router.core.refused import Bounds
from router.core.sealing import NO_KEYS, NONCE_BYTES, Sealer
from router.core.stories import MOST_DAYS
from router.settings.accounts_file import ACCOUNTS_FILE
from router.settings.values import (
    check_api_url,
    check_credentials,
    check_networks,
    check_origin,
    check_public_keys,
    check_redis_url,
    check_seal_keys,
    check_shadow,
    check_url,
    read_seal_key,
    show,
    split_list,
    split_pairs,
)

_TWILIO: Final = frozenset(
    {
        "TWILIO_ACCOUNT_SID",
        "TWILIO_AUTH_TOKEN",
        "TWILIO_API_KEY",
        "TWILIO_API_SECRET",
        "TWILIO_CONVERSATION_CONFIGURATION_ID",
        "TWILIO_CONVERSATIONS_URL",
        "TWILIO_CLASSIC_SERVICE_SID",
        "REDIS_URL",
        "PUBLIC_BASE_URL",
        "PORT",
    }
)


class Settings(BaseModel):
    """All settings. A command names the ones that it cannot do without in `load(require=...)`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    twilio_account_sid: str | None = Field(default=None, pattern=f"^AC{SID_DIGITS}$")
    twilio_auth_token: Annotated[tuple[SecretStr, ...], BeforeValidator(split_list)] = ()
    twilio_api_key: SecretStr | None = None
    twilio_api_secret: SecretStr | None = None
    twilio_conversation_configuration_id: str | None = Field(default=None, min_length=1)
    twilio_conversations_url: Annotated[str, AfterValidator(check_api_url)] = "https://conversations.twilio.com"
    twilio_classic_service_sid: str | None = Field(default=None, pattern=f"^IS{SID_DIGITS}$")
    redis_url: Annotated[SecretStr, AfterValidator(check_redis_url)] | None = None
    public_base_url: Annotated[str, AfterValidator(check_url)] | None = None
    port: int = Field(default=8080, ge=0, le=65535)

    host: str = "0.0.0.0"  # noqa: S104 - a container's receiver must be reachable; signatures protect it
    max_connections: int = Field(default=2048, ge=16, le=1_000_000)
    shared_keys: Annotated[dict[str, SecretStr], BeforeValidator(split_pairs)] = Field(default_factory=dict)
    max_body_bytes: int = Field(default=1_048_576, ge=1024, le=64 * 1_048_576)
    email_public_keys: Annotated[tuple[str, ...], BeforeValidator(split_list), AfterValidator(check_public_keys)] = ()
    email_credentials: Annotated[
        tuple[SecretStr, ...], BeforeValidator(split_list), AfterValidator(check_credentials)
    ] = ()
    email_max_age: int = Field(default=4 * 86_400, ge=0, le=7 * 86_400)
    max_mail_bytes: int = Field(default=40 * 1_048_576, ge=1024, le=1024 * 1_048_576)
    shadow: Annotated[tuple[SourceName, ...], BeforeValidator(split_list), AfterValidator(check_shadow)] = ()
    quarantine_max: int = Field(default=1000, ge=0, le=1_000_000)
    quarantine_max_bytes: int = Field(default=16 * 1_048_576, ge=1024, le=4096 * 1_048_576)
    quarantine_ttl: int = Field(default=14 * 86_400, ge=60)
    seal_keys: Annotated[tuple[SecretStr, ...], BeforeValidator(split_list), AfterValidator(check_seal_keys)] = ()
    spool_dir: str = Field(default=".state/spool", min_length=1)
    spool_max_bytes: int = Field(default=256 * 1_048_576, ge=0)
    namespace: str = Field(default="router", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    partitions: int = Field(default=1, ge=1, le=1024)
    redis_wait: int = Field(default=0, ge=0, le=16)
    redis_wait_timeout: float = Field(default=1.0, gt=0, le=1.5)
    marker_ttl: int = Field(default=180 * 86_400, ge=3600)
    stream_retention: int = Field(default=86_400, ge=0)
    stream_most: int = Field(default=200_000, ge=0)
    stream_max_bytes: int = Field(default=128 * 1_048_576, ge=0)
    story_ttl: int = Field(default=7 * 86_400, ge=0, le=MOST_DAYS * 86_400)
    story_max: int = Field(default=100_000, ge=100, le=10_000_000)
    window: int = Field(default=500, ge=1, le=100_000)
    batch: int = Field(default=200, ge=1, le=10_000)
    max_deliveries: int = Field(default=5, ge=1)
    dead_letter_budget: float = Field(default=0.5, ge=0, le=1)
    retry_delay: float = Field(default=1.0, ge=0)
    heartbeat_ttl: float = Field(default=2.0, ge=0.2, le=60)
    grace: float = Field(default=10.0, ge=0)
    route_ttl: float = Field(default=60.0, ge=0)
    not_found_wait: float = Field(default=3600.0, ge=0)
    text_limit: int = Field(default=4096, ge=0, le=1_048_576)
    classic_lookup: bool = False
    reconcile_calls: int = Field(default=60, ge=0, le=6000)
    reconcile_window: int = Field(default=3600, ge=60, le=7 * 86_400)
    api_concurrency: int = Field(default=256, ge=1, le=1000)
    api_timeout: float = Field(default=15.0, gt=0, le=300)
    voice_relay_url: str | None = Field(default=None, pattern=r"^wss://[^\s/]+")
    voice_workflow_sid: str | None = Field(default=None, pattern=f"^WW{SID_DIGITS}$")
    voice_queue: str = Field(default="callers", min_length=1, max_length=64)
    ai_agent_address: str | None = Field(default=None, min_length=1)
    ai_agent_name: str = "AI agent"
    ai_agent_greeting: str = ""
    ai_agent_apology: str = ""
    ai_agent_on_failure: str = Field(default="silence", pattern="^(silence|handoff)$")
    ai_agent_reply: str | None = Field(default=None, min_length=1)
    config_dir: Path = Path("config")
    accounts_file: str = Field(default=ACCOUNTS_FILE, min_length=1)
    log_format: str = Field(default="json", pattern="^(json|text)$")
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    metrics_port: int = Field(default=0, ge=0, le=65535)
    console_host: str = "127.0.0.1"
    console_port: int = Field(default=8082, ge=0, le=65535)
    console_url: Annotated[str, AfterValidator(check_origin)] | None = None
    console_users: str = Field(default="console-users.toml", min_length=1)
    console_session: int = Field(default=12 * 3600, ge=60, le=30 * 86_400)
    console_idle: int = Field(default=3600, ge=60, le=30 * 86_400)
    console_proxy_header: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")
    console_proxies: Annotated[tuple[str, ...], BeforeValidator(split_list), AfterValidator(check_networks)] = ()

    #: The accounts of the accounts file, set by `load`.
    _further: tuple[Account, ...] = PrivateAttr(())
    _accounts: Accounts | None = PrivateAttr(None)

    @property
    def keys(self) -> Keys:
        """The Redis keys of this namespace."""
        return Keys(self.namespace, self.partitions)

    @property
    def auth_tokens(self) -> tuple[str, ...]:
        """The tokens that may have signed a webhook, in the clear."""
        return tuple(token.get_secret_value() for token in self.twilio_auth_token)

    @property
    def shared_secrets(self) -> dict[str, str]:
        """The shared keys that may have signed a webhook, by id, in the clear."""
        return {name: secret.get_secret_value() for name, secret in self.shared_keys.items()}

    @property
    def api_credentials(self) -> tuple[str, str]:
        """User and password for the API: the key pair if there is one, else account SID and (first) token."""
        if self.twilio_api_key and self.twilio_api_secret:
            return self.twilio_api_key.get_secret_value(), self.twilio_api_secret.get_secret_value()
        return self.account_sid, self.auth_tokens[0] if self.auth_tokens else ""

    @property
    def account_sid(self) -> str:
        """The account SID, empty if it is not set."""
        return self.twilio_account_sid or ""

    @property
    def accounts(self) -> Accounts:
        """The accounts whose events are accepted: the one of the TWILIO_ variables, then those of the accounts file."""
        if self._accounts is None:
            own = [self._own_account()] if self.twilio_account_sid or not self._further else []
            self._accounts = Accounts([*own, *self._further])
        return self._accounts

    def _own_account(self) -> Account:
        return Account(
            sid=self.account_sid,
            tokens=self.auth_tokens,
            shared_keys=self.shared_secrets,
            credentials=self.api_credentials,
            configuration_id=self.twilio_conversation_configuration_id,
            classic_service_sid=self.twilio_classic_service_sid,
        )

    @property
    def mail_proof(self) -> str:
        """How mails are authenticated: `signature`, `credentials`, either of them, or `off` (none is accepted)."""
        ways = {"signature": self.email_public_keys, "credentials": self.email_credentials}
        return " or ".join(name for name, values in ways.items() if values) or "off"

    @property
    def sealer(self) -> Sealer:
        """Seals what rests in Redis and on disk with the seal keys; without keys it opens only what is not sealed."""
        if not self.seal_keys:
            return NO_KEYS
        from router.core.aes_gcm import make_sealer  # noqa: PLC0415 - a slow import that few deployments need

        keys = [read_seal_key(key.get_secret_value()) for key in self.seal_keys]
        return make_sealer(keys, partial(os.urandom, NONCE_BYTES))

    @property
    def quarantine_bounds(self) -> Bounds:
        """The quarantine's limits for each reason."""
        return Bounds(self.quarantine_max, self.quarantine_max_bytes, self.quarantine_ttl)

    @property
    def story_secrets(self) -> tuple[bytes, ...]:
        """The keys of the digests by which stories find a customer: the first one writes, all are tried in a search.

        They are made from what each process of a deployment has: seal keys, else tokens, else secrets of API keys.
        """
        texts = [key.get_secret_value() for key in self.seal_keys]
        texts += [token for account in self.accounts for token in account.tokens]
        texts += [account.credentials[1] for account in self.accounts]
        found = dict.fromkeys(sha256(f"story {text}".encode()).digest() for text in texts if text)
        return tuple(found) or (b"story",)

    @property
    def voice_variables(self) -> dict[str, str]:
        """The variables that voice templates get from the settings, without the unset ones."""
        given = {
            "relay_url": self.voice_relay_url,
            "workflow_sid": self.voice_workflow_sid,
            "queue": self.voice_queue,
        }
        return {name: value for name, value in given.items() if value}

    @property
    def redis(self) -> str:
        """REDIS_URL in the clear, empty if it is not set."""
        return self.redis_url.get_secret_value() if self.redis_url else ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.masked()})"

    __str__ = __repr__

    def masked(self) -> dict[str, str]:
        """Return the effective configuration by variable, secrets hidden, for the log at the start and for `check`.

        The accounts follow by SID if the accounts file has any.
        """
        shown = {variable_of(name): show(name, getattr(self, name)) for name in type(self).model_fields}
        return shown | {account.sid: account.masked() for account in self.accounts if self._further}


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    upper = name.upper()
    return upper if upper in _TWILIO else f"ROUTER_{upper}"
