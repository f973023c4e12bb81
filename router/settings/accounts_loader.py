"""The accounts file of a configuration folder: where it is, and what a command may ask of every account.

What is in it, core.accounts_file reads; what the variables that it names lack is a problem of the settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.errors import SettingsError
from router.settings.accounts_file import CONFIGURATION, CREDENTIALS, TOKEN, AccountsFile, read_accounts

if TYPE_CHECKING:
    from pathlib import Path

#: Where ROUTER_ACCOUNTS_FILE is not set; need not be there.
ACCOUNTS_FILE: Final = "accounts.toml"
#: ROUTER_ACCOUNTS_FILE for none: the account of the TWILIO_ variables is the only one.
NO_FILE: Final = "none"
#: What may be required of every account.
PER_ACCOUNT: Final = frozenset({"twilio_account_sid", TOKEN, CONFIGURATION, CREDENTIALS})


def read_accounts_file(config_dir: Path, name: str, problems: list[str]) -> AccountsFile:
    """Return what the file says, nothing where there is none; adds to `problems` what is wrong with it."""
    path = config_dir / name
    if name == NO_FILE:
        return AccountsFile()
    try:
        return read_accounts(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        if name != ACCOUNTS_FILE:
            return _broken(problems, f"ROUTER_ACCOUNTS_FILE: there is no {path}")
        return AccountsFile()
    except (OSError, UnicodeDecodeError) as error:
        return _broken(problems, f"{path}: {error}")
    except SettingsError as error:
        return _broken(problems, *error.problems)


def _broken(problems: list[str], *found: str) -> AccountsFile:
    problems += found
    return AccountsFile(is_broken=True)
