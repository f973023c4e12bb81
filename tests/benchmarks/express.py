"""Express with BullMQ as a contender: the packages of express/, installed once beside other builds.

Their versions are pinned by a lock with digests. Where node or npm is missing, or no registry answers, the contender
does not take part.
"""

from __future__ import annotations

import shutil
import subprocess
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from tests.benchmarks.beside import PLACE, Build
from tests.support.source import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

#: The program and its packages. npm wants the names that .gitignore keeps out of the project.
SOURCE: Final = ROOT / "tests" / "benchmarks" / "express"
FILES: Final = {"app.mjs": "app.mjs", "packages.json": "package.json", "packages-lock.json": "package-lock.json"}
_INSTALL: Final = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


def make_express(say: Callable[[str], None]) -> Build | None:
    """Return Node.js with the program and its packages, installed if they are not there yet; None if they cannot be."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        say("Express + BullMQ does not take part: there is no node or no npm")
        return None
    folder = PLACE / f"express-{sha256((SOURCE / 'packages-lock.json').read_bytes()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    for source, name in FILES.items():
        shutil.copyfile(SOURCE / source, folder / name)
    done = folder / ".done"
    if not done.exists():
        say(f"installing Express and BullMQ into {folder.relative_to(ROOT)} (once)")
        ended = subprocess.run([npm, *_INSTALL], check=False, capture_output=True, text=True, cwd=folder)
        if ended.returncode:
            say(f"Express + BullMQ does not take part: npm: {ended.stderr.strip()[-300:]}")
            return None
        done.touch()
    return Build(folder, None, node)
