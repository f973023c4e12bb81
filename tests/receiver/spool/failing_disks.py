"""Disks that really fail: without room, removed, not a folder, read-only, or a small one of their own."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOUNT: Final = shutil.which("mount")


@contextmanager
def no_room() -> Iterator[None]:
    """Let no file of this process grow: SQLite calls it a disk I/O error, and so it does a quota."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


@contextmanager
def no_folder(folder: Path) -> Iterator[None]:
    """Remove a folder with all that is in it, and let none be made in its place."""
    shutil.rmtree(folder)
    folder.write_text("a file")
    try:
        yield
    finally:
        folder.unlink()


@contextmanager
def small_disk(folder: Path, size: str = "256k") -> Iterator[None]:
    """Mount a disk in memory of this size at a folder; skips the test where that is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    if MOUNT is None:
        pytest.skip("there is no program `mount`")
    made = subprocess.run(
        [MOUNT, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a disk cannot be mounted: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def make_read_only(folder: Path) -> None:
    """Let nobody write to a mounted disk any more; no file on it may be open for writing."""
    subprocess.run([str(MOUNT), "-o", "remount,ro", str(folder)], check=True)


def fill_up(folder: Path, leave: int = 0) -> Path:
    """Write a file that takes all that is free on the disk, except for so many bytes; returns its path."""
    path, left = folder / "something-else", os.statvfs(folder)
    path.write_bytes(bytes(left.f_bavail * left.f_bsize - leave))
    return path
