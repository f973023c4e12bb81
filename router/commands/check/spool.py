"""`check` of the spool's folder: writable, on a local disk, with enough space."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from router.commands.check.redis import Finding

if TYPE_CHECKING:
    from router.settings.model import Settings

SUBJECT: Final = "ROUTER_SPOOL_DIR"
#: Exists on Linux only; elsewhere the type of a file system stays unknown.
MOUNTS: Final = Path("/proc/self/mounts")
#: File systems in memory.
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
#: Network file systems: SQLite needs a local disk for its locks and its journal (https://www.sqlite.org/wal.html).
_ON_THE_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre"})


def check_spool(settings: Settings, mounts: Path = MOUNTS) -> list[Finding]:
    """Return the findings; of a folder that does not exist yet, the one in which it would be created is checked."""
    if not settings.spool_max_bytes:
        text = "is 0, so there is no spool: webhooks are answered 503 while Redis is not available"
        return [Finding("warn", "ROUTER_SPOOL_MAX_BYTES", text)]
    folder = _existing(Path(settings.spool_dir).absolute())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        space = shutil.disk_usage(folder).free
    except OSError as error:
        return [Finding("FAIL", SUBJECT, f"{folder}: is not writable ({error.strerror})")]
    findings = [Finding("warn", SUBJECT, problem) for problem in _problems(file_system(folder, mounts))]
    if space < settings.spool_max_bytes:
        text = f"{folder} has {space} bytes left, ROUTER_SPOOL_MAX_BYTES is {settings.spool_max_bytes} per process"
        findings.append(Finding("warn", SUBJECT, text))
    return findings or [Finding("ok", SUBJECT, f"{folder} is writable, {space} bytes are free")]


def _existing(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.exists())


def _problems(kind: str) -> list[str]:
    if kind in _IN_MEMORY:
        return [f"is on {kind}: spooled webhooks are lost with the machine or the container"]
    if kind in _ON_THE_NETWORK or kind.startswith("fuse."):
        return [f"is on {kind}: the spool needs a local disk, on others its journal may be corrupted"]
    return []


def file_system(folder: Path, mounts: Path = MOUNTS) -> str:
    """Return the type of file system that a folder is on, empty if it is unknown."""
    try:
        rows = [line.split() for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return ""
    real = os.path.realpath(folder)
    best, kind = "", ""
    for row in rows:
        mount = row[1].replace("\\040", " ")
        is_above = real == mount or real.startswith(mount.rstrip("/") + "/")
        if is_above and len(mount) >= len(best):
            best, kind = mount, row[2]
    return kind
