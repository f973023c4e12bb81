"""The environment of `dev`: the variables of dev.env, and what its processes get besides."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from router.core.errors import SettingsError
from router.core.events import SourceName
from router.inbound.classic.parser import EVENT_TYPES, PRE_ACTIONS
from router.inbound.sources import SOURCES
from router.sandbox import DEFAULT_CONFIGURATION_ID
from router.settings.accounts_file import NO_FILE
from router.settings.environment import DEV_FILE, own_environment, read_dotenv
from router.simulator.mail_keys import make_key, public_text, read_key, write_key
from router.streams.client.embedded import free_port, is_free

if TYPE_CHECKING:
    from pathlib import Path

    from router.dev.memory import Keep

RECEIVER_PORT: Final = 8080
SANDBOX_PORT: Final = 8081
CONSOLE_PORT: Final = 8082
GREETING: Final = "Hello! You have reached the AI agent of the demo. How can I help?"
#: The relay URL in the answers to calls; nothing connects to it.
RELAY: Final = "wss://agent.example.com/relay"


@dataclass(frozen=True, slots=True)
class DevOptions:
    """The options of `dev`."""

    port: int | None
    sandbox_port: int | None
    console_port: int | None
    redis_url: str | None
    state_dir: Path
    keep: Keep
    has_demo: bool = True
    is_once: bool = False
    is_verbose: bool = False


def make_environment(options: DevOptions) -> dict[str, str]:
    """Return the variables of dev.env; credentials are kept from the last run, so that saved commands still work."""
    old = _put_aside(options.state_dir / DEV_FILE)
    port = _choose_port(options.port, RECEIVER_PORT, "--port")
    sandbox_port = _choose_port(options.sandbox_port, SANDBOX_PORT, "--sandbox-port", port)
    console_port = _choose_port(options.console_port, CONSOLE_PORT, "--console-port", port, sandbox_port)
    url = f"http://127.0.0.1:{port}"
    return {
        "ROUTER_URL": url,
        "REDIS_URL": "",
        "TWILIO_CONVERSATIONS_URL": f"http://127.0.0.1:{sandbox_port}",
        "TWILIO_ACCOUNT_SID": old.get("TWILIO_ACCOUNT_SID") or f"AC{secrets.token_hex(16)}",
        "TWILIO_AUTH_TOKEN": old.get("TWILIO_AUTH_TOKEN") or secrets.token_hex(16),
        "TWILIO_API_KEY": old.get("TWILIO_API_KEY") or f"SK{secrets.token_hex(16)}",
        "TWILIO_API_SECRET": old.get("TWILIO_API_SECRET") or secrets.token_hex(16),
        "TWILIO_CONVERSATION_CONFIGURATION_ID": DEFAULT_CONFIGURATION_ID,
        "PUBLIC_BASE_URL": url,
        "ROUTER_NAMESPACE": own_environment().get("ROUTER_NAMESPACE", "router"),
        "ROUTER_PARTITIONS": own_environment().get("ROUTER_PARTITIONS", "1"),
        "ROUTER_ACCOUNTS_FILE": own_environment().get("ROUTER_ACCOUNTS_FILE", NO_FILE),  # the sandbox has one account
        "TWILIO_CLASSIC_SERVICE_SID": old.get("TWILIO_CLASSIC_SERVICE_SID") or f"IS{secrets.token_hex(16)}",
        "ROUTER_CONSOLE_URL": f"http://127.0.0.1:{console_port}",
        "ROUTER_CONSOLE_TOKEN": old.get("ROUTER_CONSOLE_TOKEN") or secrets.token_urlsafe(32),
        "ROUTER_CONSOLE_USERS": str(options.state_dir.absolute() / "console-users.toml"),
        **_mail_key(options.state_dir / "mail-key.pem"),
        **_seal_keys(),
    }


def _put_aside(path: Path) -> dict[str, str]:
    """Return the variables of the last run. Their file stays under another name: this start may fail before dev.env."""
    last = path.with_name(f"{path.name}.last")
    with suppress(FileNotFoundError):
        path.replace(last)  # dev.env exists only while everything is up
    return read_dotenv(last)


def _seal_keys() -> dict[str, str]:
    """Return the keys that seal what customers write, if this `dev` has any: commands beside it need them too."""
    keys = own_environment().get("ROUTER_SEAL_KEYS")
    return {"ROUTER_SEAL_KEYS": keys} if keys else {}


def _mail_key(path: Path) -> dict[str, str]:
    """Return the key pair that signs mails: the public key for the receiver, the private key's file for `simulate`."""
    try:
        key = read_key(path)
    except (OSError, ValueError):  # the first run in this state directory
        key = make_key()
        write_key(path, key)
    return {"ROUTER_EMAIL_PUBLIC_KEYS": public_text(key), "ROUTER_EMAIL_PRIVATE_KEY_FILE": str(path.absolute())}


def _choose_port(wanted: int | None, default: int, option: str, *taken: int) -> int:
    if wanted:
        if not is_free(wanted):
            raise SettingsError([f"{option}: port {wanted} is in use"])
        return wanted
    return default if wanted is None and default not in taken and is_free(default) else free_port()


def classic_switches(environment: dict[str, str]) -> list[str]:
    """Return the options with which the sandbox sends every webhook of classic conversations."""
    url = f"{environment['PUBLIC_BASE_URL']}{SOURCES[SourceName.CLASSIC].path}"
    filters = orjson.dumps([*EVENT_TYPES, *sorted(PRE_ACTIONS)]).decode()
    switches = {"pre_webhook_url": url, "post_webhook_url": url, "webhook_filters": filters}
    return [part for name, value in switches.items() for part in ("--set", f"classic_{name}={value}")]


def for_children(options: DevOptions) -> dict[str, str]:
    """Return the variables that the processes need besides those of dev.env."""
    variables = {
        "ROUTER_HOST": "127.0.0.1",
        "ROUTER_CONSOLE_HOST": "127.0.0.1",
        "ROUTER_LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
        "ROUTER_METRICS_PORT": "0",
        "ROUTER_SPOOL_DIR": str(options.state_dir.absolute() / "spool"),
    }
    if options.has_demo and not own_environment().get("ROUTER_AI_AGENT_GREETING"):
        variables["ROUTER_AI_AGENT_GREETING"] = GREETING
    if not own_environment().get("ROUTER_VOICE_RELAY_URL"):
        variables["ROUTER_VOICE_RELAY_URL"] = RELAY
    return variables


def write_dev_env(path: Path, environment: dict[str, str]) -> None:
    """Write the file atomically: other programs wait for it to appear."""
    text = "".join(f"{name}={value}\n" for name, value in environment.items())
    draft = path.with_suffix(".tmp")
    draft.touch(mode=0o600)
    draft.write_text("# written by `python -m router dev`; its secrets open only its sandbox and data\n" + text)
    draft.replace(path)
