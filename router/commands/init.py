"""`participant-router init [DIR]`: writes the shipped configuration files into a folder, to be edited there.

A file that exists is never overwritten without `--force`, and every file is named with what became of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.process.terminal import CommandFailedError, show
from router.settings.files import DEFAULTS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

#: The folder in which processes look for their configuration by themselves.
_FOUND: Final = "config"


def shipped_files(folder: Path = DEFAULTS) -> Iterator[tuple[Path, bytes]]:
    """Yield path within the folder and content of each shipped file."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in {".toml", ".xml", ".json"}:
            yield path.relative_to(folder), path.read_bytes()


def init(arguments: argparse.Namespace) -> int:
    """Write the shipped files into the folder `directory`; returns 0. Raises CommandFailedError if one cannot be."""
    directory: Path = arguments.directory
    for name, content in shipped_files():
        path = directory / name
        try:
            done = _write(path, content, is_forced=arguments.force)
        except OSError as error:
            raise CommandFailedError(f"{error.filename or path}: {error.strerror or error}") from error
        show(f"{done:<11} {path}", unmasked=True)
    if directory.absolute() != (directory.cwd() / _FOUND):
        show(f"to use these files: export ROUTER_CONFIG_DIR={directory.absolute()}", unmasked=True)
    return 0


def _write(path: Path, content: bytes, *, is_forced: bool) -> str:
    """Write a file unless it exists, or over it if `is_forced`; returns what was done. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        if path.is_file() and path.read_bytes() == content:
            return "unchanged"
        if not is_forced:
            return "kept yours"
        path.write_bytes(content)
        return "overwritten"
    return "written"
