"""Whether the spool's folder keeps what it is given: writable, on a disk of this machine, and with room."""

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
#: Linux only; elsewhere the kind of a file system is not told.
MOUNTS: Final = Path("/proc/self/mounts")
#: Gone with the machine, or with the container.
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
#: SQLite's locks and its journal need a local disk.
_ON_THE_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre"})


def check_spool(settings: Settings, mounts: Path = MOUNTS) -> list[Finding]:
    """Return what there is to say; a folder that does not exist yet is judged by the one in which it will be made."""
    if not settings.spool_max_bytes:
        text = "is 0, there is no spool: while Redis cannot take webhooks they are answered 503"
        return [Finding("warn", "ROUTER_SPOOL_MAX_BYTES", text)]
    folder = _existing(Path(settings.spool_dir).absolute())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        room = shutil.disk_usage(folder).free
    except OSError as error:
        return [Finding("FAIL", SUBJECT, f"{folder}: cannot be written ({error.strerror})")]
    findings = [Finding("warn", SUBJECT, problem) for problem in _problems(file_system(folder, mounts))]
    if room < settings.spool_max_bytes:
        text = f"{folder} has {room} bytes left, ROUTER_SPOOL_MAX_BYTES is {settings.spool_max_bytes} for each process"
        findings.append(Finding("warn", SUBJECT, text))
    return findings or [Finding("ok", SUBJECT, f"{folder} is writable, {room} bytes are free")]


def _existing(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.exists())


def _problems(kind: str) -> list[str]:
    if kind in _IN_MEMORY:
        return [f"is on {kind}: what is spooled is gone with the machine or the container"]
    if kind in _ON_THE_NETWORK or kind.startswith("fuse."):
        return [f"is on {kind}: the spool needs a local disk, or its journal may be damaged"]
    return []


def file_system(folder: Path, mounts: Path = MOUNTS) -> str:
    """Return the kind of file system that a folder is on, empty where the system does not tell."""
    try:
        rows = [line.split() for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return ""
    real = os.path.realpath(folder)
    best, kind = "", ""
    for row in rows:
        place = row[1].replace("\\040", " ")
        is_above = real == place or real.startswith(place.rstrip("/") + "/")
        if is_above and len(place) >= len(best):
            best, kind = place, row[2]
    return kind
