"""`make audit`: looks up known vulnerabilities of the pinned packages, with the standard library and pip-audit.

Exits with 0 if none is known, with 1 if some are (each with its fix), and with 2 if the service could not be asked or
did not know a package (pip-audit itself ignores unknown packages). In the last case it prints the age of the locks and
their pins, so that the lookup can be made elsewhere.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
LOCKS = (
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-fuzz.lock",
    "requirements-api.lock",
    "requirements-browser.lock",
    "requirements-audit.lock",
)
#: Seconds that the lookup of one lock may take.
TIMEOUT = 120
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def ask(lock: Path) -> list[dict[str, Any]] | None:
    """Return pip-audit's findings for the packages of a lock, or None if the service could not be asked."""
    options = ["--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    command = [sys.executable, "-m", "pip_audit", "-r", str(lock), *options]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        return json.loads(ended.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, OSError, ValueError, LookupError, TypeError):
        return None


def pins(lock: Path) -> dict[str, str]:
    """Return the pinned version of each package in a lock."""
    return dict(_PIN.findall(lock.read_text(encoding="utf-8")))


def changed_at(lock: Path) -> datetime:
    """Return the time of a lock's last commit, or of the file if it has none."""
    command = ["git", "log", "-1", "--format=%ct", "--", lock.name]
    try:
        output = subprocess.run(command, cwd=lock.parent, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        output = ""
    return datetime.fromtimestamp(int(output) if output.isdecimal() else lock.stat().st_mtime, UTC)


def findings(packages: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each vulnerability."""
    for package in packages:
        for one in package.get("vulns", ()):
            fixed = ", ".join(one.get("fix_versions", ())) or "no version yet"
            yield f"{package['name']} {package['version']}: {one['id']}, fixed in {fixed}"


def age(lock: Path, now: datetime) -> Iterator[str]:
    """Yield the age of a lock and its pins, as lines."""
    when = changed_at(lock)
    yield f"{lock.name}: {(now - when).days} days old (changed {when:%Y-%m-%d}), and pins"
    yield "  " + ", ".join(f"{name} {version}" for name, version in sorted(pins(lock).items()))


def main(
    *,
    locks: tuple[Path, ...] = tuple(ROOT / name for name in LOCKS),
    ask: Callable[[Path], list[dict[str, Any]] | None] = ask,
    say: Callable[[str], Any] = lambda line: sys.stdout.write(f"{line}\n"),
) -> int:
    """Return the exit status: 0 nothing known, 1 vulnerable, 2 not looked up."""
    status = 0
    for lock in locks:
        packages = ask(lock)
        known = [one for one in packages or () if "skip_reason" not in one]
        found = list(findings(known))
        if found:
            status = 1
        say(f"{lock.name}: {len(known)} of {len(pins(lock))} packages looked up, {len(found) or 'no'} vulnerabilities")
        for line in found:
            say(f"  {line}")
        if packages is None or len(known) < len(packages):
            status = status or 2
            say(f"{lock.name}: the service of pip-audit could not be asked{'' if packages is None else ' about all'}")
            for line in age(lock, datetime.now(UTC)):
                say(line)
    return status


if __name__ == "__main__":
    sys.exit(main())
