"""Reads the routing policy and the voice templates from the configuration folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.errors import PolicyError, TemplateError
from router.core.voice.templates import REJECTING, VoiceTemplates, read_templates
from router.settings.policy_file import read_policy

if TYPE_CHECKING:
    from router.core.policy import Policy
    from router.settings.model import Settings


def load_policy(settings: Settings) -> Policy:
    """Read the policy in routing.toml; raises PolicyError with all problems."""
    path = settings.config_dir / "routing.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError([f"{path}: {error}"]) from error
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
