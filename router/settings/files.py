"""Reads the routing policy and the voice templates from the configuration folder, and finds the shipped files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from router.core.errors import PolicyError, TemplateError
from router.core.voice.templates import REJECTING, VoiceTemplates, read_templates
from router.settings.policy_file import read_policy

if TYPE_CHECKING:
    from router.core.policy import Policy
    from router.core.routing.team import Team
    from router.settings.model import Settings


def find_defaults(package: Path) -> Path:
    """Return the folder of the shipped files: `defaults` in an installed package, `config` beside it in a checkout."""
    installed = package / "defaults"
    return installed if installed.is_dir() else package.parent / "config"


#: The shipped settings, routing rules, roster, voice templates and schemas.
DEFAULTS: Final = find_defaults(Path(__file__).resolve().parents[1])


def load_policy(settings: Settings) -> Policy:
    """Read the policy in routing.toml; raises PolicyError with all problems."""
    path = settings.config_dir / "routing.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError([describe_unreadable(path, error)]) from error
    return read_policy(text, str(path))


def load_voice(settings: Settings) -> VoiceTemplates:
    """Read the templates in the folder `voice`; raises TemplateError with all problems.

    Without the folder every call is rejected: an installation without calls needs no templates.
    """
    folder = settings.config_dir / "voice"
    if not folder.is_dir():
        return REJECTING
    try:
        files = {path.name: path.read_bytes() for path in sorted(folder.glob("*.xml"))}
    except OSError as error:
        raise TemplateError([f"{folder}: {error}"]) from error
    return read_templates(files, settings.voice_variables, str(folder))


def unknown_queues(templates: VoiceTemplates, team: Team) -> list[str]:
    """Return a note for each voice template of a queue that does not exist: no call would get it."""
    return [
        f"there is no queue '{name}' in routing.toml, so no call gets human-agent.{name}.xml"
        for name in templates.queues
        if not team.has_queue(name)
    ]


def describe_unreadable(path: Path, error: Exception) -> str:
    """Return the problem of a configuration file that cannot be read, with the way to get one that is missing."""
    is_missing = isinstance(error, FileNotFoundError)
    return f"{path}: {error}" + (
        f": `python -m router init {path.parent}` writes the shipped one" if is_missing else ""
    )
