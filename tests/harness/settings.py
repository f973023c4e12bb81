"""The environment and the configuration folder that tests start the project with."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from tests.support.accounts import ACCOUNT, BASE_URL, CONFIGURATION, KEY, SECRET, TOKEN
from tests.support.source import SHIPPED
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from pathlib import Path

#: Every process that consumes or receives: its name here, and the arguments of `python -m`.
COMMANDS: Final = {
    "receiver": ("router", "receive"),
    "worker": ("router", "work"),
    "ai_agent": ("handlers", "ai_agent"),
    "human_agent": ("handlers", "human_agent"),
}


def make_environment(redis_url: str, api_url: str, **changes: str) -> dict[str, str]:
    """Return the settings of a deployment on loopback, in the tests' account."""
    return {
        "REDIS_URL": redis_url,
        "PUBLIC_BASE_URL": BASE_URL,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_API_KEY": KEY,
        "TWILIO_API_SECRET": SECRET,
        "TWILIO_CONVERSATIONS_URL": api_url,
        "TWILIO_CONVERSATION_CONFIGURATION_ID": CONFIGURATION,
        "ROUTER_HOST": "127.0.0.1",
        "ROUTER_CONFIG_DIR": str(SHIPPED),
    } | changes


def quick_recovery(**changes: str) -> dict[str, str]:
    """Return settings with which processes retry and take over soon, yet not sooner than this machine can bear."""
    return {
        "ROUTER_HEARTBEAT_TTL": f"{min(scaled(1), 5):.1f}",  # tests wait until it has expired
        "ROUTER_RETRY_DELAY": "0.05",
        "ROUTER_GRACE": f"{scaled(5):.1f}",
    } | changes


def write_config(directory: Path, *agents: str, capacity: int = 10_000, rules: str = "") -> Path:
    """Copy the shipped configuration to a folder, with these agents in the roster and further routing rules."""
    config = directory / "config"
    shutil.copytree(SHIPPED, config)
    rows = [f'[[agent]]\nidentity = "{name}"\nname = "{name}"\ncapacity = {capacity}\n' for name in agents]
    (config / "roster.toml").write_text("\n".join(rows), encoding="utf-8")
    with (config / "routing.toml").open("a", encoding="utf-8") as routing:
        routing.write(rules)
    return config
