"""Reads all files that processes read at their start, so that one start reports every mistake in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.errors import SettingsError
from router.settings.files import load_policy, load_voice
from router.settings.team_file import load_team

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.settings.model import Settings


def check_files(settings: Settings) -> None:
    """Raise SettingsError with the problems of rules, voice templates, queues and people, if there are any."""
    problems: list[str] = []
    readers: tuple[Callable[[], object], ...] = (
        lambda: load_policy(settings),
        lambda: load_voice(settings),
        lambda: load_team(settings.config_dir),
    )
    for read in readers:
        try:
            read()
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(list(dict.fromkeys(problems)))  # a routing.toml that is no TOML is found twice
