"""Loads the settings from the environment, config/settings.toml and the accounts file.

The environment wins over settings.toml, which has no secrets. All problems are reported at once, each naming its
variable. The fields are in router.settings.model.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from router.core.errors import SettingsError
from router.settings.accounts_file import ACCOUNTS_FILE, CREDENTIALS, PER_ACCOUNT, TOKEN, read_accounts_file
from router.settings.environment import SUPERVISOR, SUPERVISOR_SOCKET, own_environment
from router.settings.files import DEFAULTS
from router.settings.model import Settings, variable_of
from router.settings.toml_lines import read_toml
from router.settings.values import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Not settings: `dev` writes them to dev.env for `simulate` and other programs.
_OF_TOOLS: Final = frozenset({"ROUTER_URL", "ROUTER_EMAIL_PRIVATE_KEY_FILE", "ROUTER_CONSOLE_TOKEN"})
#: The folder that is searched for in the current one.
HERE: Final = Path("config")


def find_config_dir(environment: Mapping[str, str]) -> Path:
    """Return ROUTER_CONFIG_DIR, else `config` in the current folder, else the folder of the shipped files."""
    named = environment.get("ROUTER_CONFIG_DIR")
    if named:
        return Path(named)
    return HERE if HERE.is_dir() else DEFAULTS


def load(
    *,
    require: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Load the settings; `require` names the fields that this command cannot do without.

    Required fields of an account (PER_ACCOUNT) must be set for every account. `overrides` (from the command line, by
    field name) win over the environment. Raises SettingsError with all problems, each naming its variable, or file and
    key.
    """
    settings, problems = load_partly(require=require, environment=environment, overrides=overrides)
    if problems:
        raise SettingsError(problems)
    return settings


def load_partly(
    *,
    require: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[Settings, list[str]]:
    """Return the settings and all problems, as `load` finds them: wrong values are left out, so defaults stand there.

    With a problem, the accounts of the accounts file are left out too.
    """
    environment = own_environment() if environment is None else environment
    config_dir = find_config_dir(environment)
    problems: list[str] = []
    values = _from_file(config_dir / "settings.toml", problems)
    values |= {
        name: environment[variable_of(name)]
        for name in Settings.model_fields
        if environment.get(variable_of(name), "").strip()
    }
    values |= {name: value for name, value in (overrides or {}).items() if value is not None}
    values["config_dir"] = config_dir
    further = read_accounts_file(config_dir, str(values.get("accounts_file", ACCOUNTS_FILE)), problems)
    problems += _misspelt(environment)
    settings, wrong = _make(values)
    problems += wrong
    whole = None if wrong else settings
    require = tuple(require)
    has_own = bool(values.get("twilio_account_sid")) or not (further.rows or further.is_broken)
    wanted = [name for name in require if has_own or name not in PER_ACCOUNT]
    problems += _half_pair(values)
    problems += [_missing(name) for name in wanted if not _is_set(name, whole, values)]
    problems += further.problems(environment, frozenset(require), values.get("twilio_account_sid"))
    if not problems:
        settings._further = tuple(further.accounts(environment))  # noqa: SLF001 - frozen for everybody else
    return settings, problems


def _make(values: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """Return the settings of these values, without the wrong ones, and a problem for each of those."""
    try:
        return Settings(**values), []
    except ValidationError as error:
        errors = error.errors()
    wrong = {str(one["loc"][0]) for one in errors}
    right = {name: value for name, value in values.items() if name not in wrong}
    return Settings(**right), [_problem(str(one["loc"][0]), one["type"], one["msg"]) for one in errors]


def _is_set(name: str, settings: Settings | None, values: Mapping[str, Any]) -> bool:
    if name == CREDENTIALS:  # half a key pair is reported by _half_pair
        return bool(values.get("twilio_api_key") or (settings.auth_tokens if settings else values.get(TOKEN)))
    return bool(getattr(settings, name) if settings else values.get(name))


def _missing(name: str) -> str:
    if name == CREDENTIALS:
        return "TWILIO_AUTH_TOKEN is not set, nor are TWILIO_API_KEY and TWILIO_API_SECRET: API calls need one of them"
    return f"{variable_of(name)} is not set{_HINTS.get(name, '')}"


_HINTS: Final = {
    "twilio_account_sid": ": the SID (AC...) of your Twilio account",
    "twilio_auth_token": ": the account's primary auth token, which signs the webhooks",
    "public_base_url": ": the URL that Twilio calls, such as https://hooks.example.com",
    "redis_url": ": for example redis://localhost:6379/0 (`python -m router dev` starts its own)",
    "twilio_conversation_configuration_id": ": the configuration (conv_configuration_...) for new conversations",
}


def _half_pair(values: Mapping[str, Any]) -> list[str]:
    """Return a problem if only one of API key and secret is set: the auth token would silently replace them."""
    pair = ("twilio_api_key", "twilio_api_secret")
    given = [name for name in pair if values.get(name)]
    if len(given) != 1:
        return []
    other = pair[1 - pair.index(given[0])]
    return [f"{variable_of(other)} is not set, but {variable_of(given[0])} is: set both or neither"]


#: The patterns of settings in words.
_FORMS: Final = {
    "twilio_account_sid": "must be AC and 32 hexadecimal digits",
    "twilio_classic_service_sid": "must be IS and 32 hexadecimal digits",
    "voice_workflow_sid": "must be WW and 32 hexadecimal digits",
    "voice_relay_url": "must be a wss:// URL",
    "namespace": "must be 1 to 64 letters, digits, dots, underscores or hyphens",
    "ai_agent_on_failure": "must be silence or handoff",
    "log_format": "must be json or text",
    "console_proxy_header": "must be the name of a header",
    "log_level": "must be debug, info, warning or error",
}


def _problem(name: str, kind: str, message: str) -> str:
    text = _FORMS.get(name, message) if kind == "string_pattern_mismatch" else message.removeprefix("Value error, ")
    return f"{variable_of(name)}: {text}"


def _from_file(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        values = read_toml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        problems.append(f"{path}: {error}")
        return {}
    for key in sorted(values):
        if key in SECRET:
            problems.append(f"{path}: {key} is secret: set {variable_of(key)} in the environment instead")
        elif key not in Settings.model_fields:
            problems.append(f"{path}: unknown key '{key}'")
    return {key: value for key, value in values.items() if key in Settings.model_fields and key not in SECRET}


def _misspelt(environment: Mapping[str, str]) -> list[str]:
    """Return a problem for every unknown ROUTER_ variable: a misspelt setting must not go unnoticed."""
    known = {variable_of(name) for name in Settings.model_fields} | _OF_TOOLS | {SUPERVISOR, SUPERVISOR_SOCKET}
    unknown = [name for name in sorted(environment) if name.startswith("ROUTER_") and name not in known]
    return [f"{name}: unknown setting{_hint(name, known)}" for name in unknown]


def _hint(name: str, known: Iterable[str]) -> str:
    nearest = get_close_matches(name, known, n=1, cutoff=0.8)
    return f", did you mean {nearest[0]}?" if nearest else ""
