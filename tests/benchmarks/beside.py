"""Another commit of this project as a contender: its files and an environment from its own lock, kept for the next run.

Both builds take turns in one run, so what is compared is the code and not the day. Entries of the filled streams are
written by this build: a commit whose processes read another format of them cannot be measured beside it.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.benchmarks.frame import BenchmarkError
from tests.support.source import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Where builds are kept; `make clean` removes them.
PLACE: Final = ROOT / ".state" / "beside"
#: The namespace of the other build's keys.
NAMESPACE: Final = "before"


@dataclass(frozen=True, slots=True)
class Build:
    """Files with an interpreter that has their packages; `config` is the configuration that a commit ships."""

    folder: Path
    config: Path | None
    interpreter: str


def make_build(commit: str, say: Callable[[str], None]) -> Build:
    """Return the build of a commit, made if it is not there yet; BenchmarkError says what failed."""
    name = _run("git", "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", problem=f"no commit {commit}")[:12]
    folder = PLACE / name
    build = Build(folder, folder / "config", str(folder / ".venv" / "bin" / "python"))
    done = folder / ".venv" / ".done"
    if done.exists():
        return build
    say(f"installing {name} into {folder.relative_to(ROOT)} (once)")
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "archive.tar"
    _run("git", "archive", "--output", str(archive), name, problem=f"git archive {name}")
    _run("tar", "--extract", "--file", str(archive), "--directory", str(folder), problem="tar")
    archive.unlink()
    _run(sys.executable, "-m", "venv", str(folder / ".venv"), problem="python -m venv")
    pip = ("-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--require-hashes")
    _run(build.interpreter, *pip, "-r", str(folder / "requirements.lock"), problem=f"the packages of {name}")
    done.touch()
    return build


def _run(*command: str, problem: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise BenchmarkError(f"--beside: {problem}: {done.stderr.strip()[-500:] or f'status {done.returncode}'}")
    return done.stdout.strip()
