"""Reads accounts.toml into accounts, and reports every mistake with its line and reason.

config/accounts.toml describes the format. The file holds no secrets: it names the environment variables that do. A
value that looks like a secret is refused without being repeated. TOML libraries do not return lines, so the text is
searched for the n-th `[[account]]` and the keys below it, for messages only.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from router.core.accounts import Account, parse_shared_keys, parse_tokens
from router.core.errors import SettingsError
from router.core.ids import SID_DIGITS
from router.settings.toml_lines import TomlLines, parse_toml
from router.settings.values import without_version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

#: The settings that a command can require of every account, by the names that settings.load uses.
TOKEN: Final = "twilio_auth_token"  # noqa: S105 - the name of a setting
CONFIGURATION: Final = "twilio_conversation_configuration_id"
CREDENTIALS: Final = "api_credentials"
PER_ACCOUNT: Final = frozenset({"twilio_account_sid", TOKEN, CONFIGURATION, CREDENTIALS})

#: Default of ROUTER_ACCOUNTS_FILE; this file may be missing.
ACCOUNTS_FILE: Final = "accounts.toml"
#: ROUTER_ACCOUNTS_FILE for no file: the account of the TWILIO_ variables is the only one.
NO_FILE: Final = "none"

_SID: Final = re.compile(f"AC{SID_DIGITS}")
_SERVICE_SID: Final = re.compile(f"IS{SID_DIGITS}")
_URL: Final = re.compile(r"https?://[^\s/]+\S*")
_DOMAIN: Final = re.compile(r"([^@\s]+@)?[^@\s]+")
#: Variables are in capitals, so that a token, which is 32 hexadecimal digits, is not mistaken for one. Names that begin
#: with ROUTER_ are settings; settings.load reports misspelt ones.
_VARIABLE: Final = re.compile(r"(?!(AC|SK)?[0-9A-F]{32}$)(?!ROUTER_)[A-Z][A-Z0-9_]*")
_NAME: Final = (
    "must be the name of an environment variable, in capitals and without ROUTER_ at its beginning"
    " (if it is the secret itself, replace the secret)"
)
_PATTERNS: Final[dict[str, tuple[re.Pattern[str], str]]] = {
    "sid": (_SID, "must be an account SID: AC and 32 hexadecimal digits"),
    "name": (re.compile(r".*\S.*"), "must be a text"),
    "auth_token_env": (_VARIABLE, _NAME),
    "api_key_env": (_VARIABLE, _NAME),
    "api_secret_env": (_VARIABLE, _NAME),
    "shared_keys_env": (_VARIABLE, _NAME),
    "configuration_id": (re.compile(r"\S+"), "must be the id of a configuration (conv_configuration_...)"),
    "classic_service_sid": (_SERVICE_SID, "must be a classic service: IS and 32 hexadecimal digits"),
    "conversations_url": (_URL, "must be an http or https URL"),
}
_KEYS: Final = (*_PATTERNS, "email_domains")
#: Keys that people use when they put the secret itself into the file.
_SECRETS: Final = {key.removesuffix("_env"): key for key in _KEYS if key.endswith("_env")}


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One `[[account]]` as written; `place` is its file and line."""

    place: str
    sid: str
    texts: Mapping[str, str] = field(default_factory=dict)
    email_domains: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The account's name in messages."""
        return f"account {self.sid}" + (f" ({self.texts['name']})" if "name" in self.texts else "")

    def account(self, environment: Mapping[str, str]) -> Account:
        """Return the account with its secrets; raises ValueError if the shared keys are not id=secret."""
        texts = self.texts
        tokens = parse_tokens(self._value("auth_token_env", environment))
        key, secret = self._value("api_key_env", environment), self._value("api_secret_env", environment)
        return Account(
            sid=self.sid,
            tokens=tokens,
            shared_keys=parse_shared_keys(self._value("shared_keys_env", environment)),
            credentials=(key, secret) if "api_key_env" in texts else (self.sid, tokens[0] if tokens else ""),
            configuration_id=texts.get("configuration_id"),
            classic_service_sid=texts.get("classic_service_sid"),
            conversations_url=without_version(texts["conversations_url"]) if "conversations_url" in texts else None,
            email_domains=self.email_domains,
            name=texts.get("name"),
        )

    def problems(self, environment: Mapping[str, str], require: frozenset[str]) -> list[str]:
        """Return the problems of the variables, for a command that requires `require` of every account."""
        missing = [self._lack(key, environment) for key in self._needed(environment, require)]
        if CONFIGURATION in require and "configuration_id" not in self.texts:
            missing.append("configuration_id is missing: the configuration (conv_configuration_...) for conversations")
        try:
            parse_shared_keys(self._value("shared_keys_env", environment))
        except ValueError as error:
            missing.append(f"{self.texts['shared_keys_env']} {error}")
        return [f"{self.place}: {self.label}: {problem}" for problem in missing if problem]

    def _needed(self, environment: Mapping[str, str], require: frozenset[str]) -> list[str]:
        """Return the keys whose variables must be set. Half a key pair never falls back to the token silently."""
        pair = [key for key in ("api_key_env", "api_secret_env") if key in self.texts]
        needed = pair if any(self._value(key, environment) for key in pair) or CREDENTIALS in require else []
        if TOKEN in require or (CREDENTIALS in require and not pair):
            needed = ["auth_token_env", *needed]
        if TOKEN in require and "shared_keys_env" in self.texts:
            needed = [*needed, "shared_keys_env"]
        return needed

    def _lack(self, key: str, environment: Mapping[str, str]) -> str | None:
        if key not in self.texts:
            return f"{key} is missing: the name of the variable that holds the account's auth token"
        return None if self._value(key, environment).strip(", ") else f"{self.texts[key]} is not set ({key})"

    def _value(self, key: str, environment: Mapping[str, str]) -> str:
        return environment.get(self.texts.get(key, ""), "").strip()


@dataclass(frozen=True, slots=True)
class AccountsFile:
    """The content of accounts.toml; without rows the account of the TWILIO_ variables is the only one.

    `is_broken` if it could not be read: whether that account is needed is then unknown.
    """

    rows: tuple[AccountRow, ...] = ()
    is_broken: bool = False

    def accounts(self, environment: Mapping[str, str]) -> list[Account]:
        """Return the accounts with their secrets, provided that `problems` found none."""
        return [row.account(environment) for row in self.rows]

    def problems(self, environment: Mapping[str, str], require: frozenset[str], own: str | None) -> list[str]:
        """Return the problems of the variables; `own` is TWILIO_ACCOUNT_SID, which must not be in the file too."""
        found = [problem for row in self.rows for problem in row.problems(environment, require)]
        return found + [
            f"{row.place}: {row.label} is TWILIO_ACCOUNT_SID too: configure it here or in the environment, not in both"
            for row in self.rows
            if own and row.sid.lower() == own.lower()
        ]


def read_accounts(text: str, origin: str = "accounts.toml") -> AccountsFile:
    """Parse an accounts file; raises SettingsError with every problem as `origin:line: reason`."""
    return _AccountsReader(text, origin, table="account").read(parse_toml(text, origin, SettingsError))


class _AccountsReader(TomlLines):
    """Reads the document and collects every problem."""

    def read(self, document: dict[str, Any]) -> AccountsFile:
        for key in sorted(document.keys() - {"account"}):
            self.report(self.find_top(key), f"unknown table or key '{key}' (known: account)")
        tables = document.get("account", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.report(self.find_top("account"), "accounts are written as [[account]] tables")
            tables = []
        rows = [self.row(table, self.line_of(index)) for index, table in enumerate(tables)]
        self.check_unique(rows, "sid", lambda row: [row.sid.lower()] if row.sid else [])
        self.check_unique(rows, "email_domains", lambda row: list(row.email_domains))
        if self.problems:
            raise SettingsError(self.problems)
        return AccountsFile(tuple(rows))

    def row(self, table: dict[str, Any], line: int) -> AccountRow:
        for key in sorted(table.keys() - set(_KEYS)):
            if key in _SECRETS:
                reason = f"{key} is a secret: set it in a variable, and name the variable here as {_SECRETS[key]}"
            else:
                reason = f"unknown key '{key}' (known: {', '.join(sorted(_KEYS))})"
            self.report(self.find(key, line), reason)
        if "sid" not in table:
            self.report(line, "an account needs a sid (AC...)")
        if ("api_key_env" in table) != ("api_secret_env" in table):
            self.report(line, "api_key_env and api_secret_env: set both or neither")
        texts = {key: self.text(key, table[key], line) for key in _PATTERNS if key in table}
        return AccountRow(
            place=f"{self.origin}:{line}",
            sid=texts.get("sid", ""),
            texts=texts,
            email_domains=self.domains(table.get("email_domains", []), line),
        )

    def text(self, key: str, value: Any, line: int) -> str:
        pattern, wanted = _PATTERNS[key]
        if isinstance(value, str) and pattern.fullmatch(value):
            return value
        self.report(self.find(key, line), f"{key} {wanted}")
        return ""

    def domains(self, value: Any, line: int) -> tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(one, str) and _DOMAIN.fullmatch(one) for one in value):
            return tuple(one.lower() for one in value)
        self.report(self.find("email_domains", line), "email_domains must be a list of domains or whole mailboxes")
        return ()

    def check_unique(self, rows: list[AccountRow], key: str, values_of: Callable[[AccountRow], list[str]]) -> None:
        counts = Counter(value for row in rows for value in values_of(row))
        for value, times in counts.items():
            if times > 1:
                places = [row.place.rpartition(":")[2] for row in rows if value in values_of(row)]
                what = next(row.sid for row in rows if row.sid.lower() == value) if key == "sid" else value
                self.report(int(places[-1]), f"{key} {what} occurs {times} times (lines {', '.join(places)})")


def read_accounts_file(config_dir: Path, name: str, problems: list[str]) -> AccountsFile:
    """Read the accounts file, empty if there is none; adds its mistakes to `problems`."""
    path = config_dir / name
    if name == NO_FILE:
        return AccountsFile()
    try:
        return read_accounts(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        if name != ACCOUNTS_FILE:
            return _broken(problems, f"ROUTER_ACCOUNTS_FILE: {path} does not exist")
        return AccountsFile()
    except (OSError, UnicodeDecodeError) as error:
        return _broken(problems, f"{path}: {error}")
    except SettingsError as error:
        return _broken(problems, *error.problems)


def _broken(problems: list[str], *found: str) -> AccountsFile:
    problems += found
    return AccountsFile(is_broken=True)
