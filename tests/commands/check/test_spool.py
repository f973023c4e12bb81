"""Findings about the spool's folder: each problem names the setting."""

from __future__ import annotations

import pytest

from router.commands.check.spool import check_spool, file_system
from router.settings.load import load

EVERYWHERE = "disk / ext4 rw 0 0\n"


@pytest.fixture
def check(tmp_path):
    """Return a function that checks a spool folder, given the mounts of the machine."""

    def check(folder=None, mounts=EVERYWHERE, **changes):
        table = tmp_path / "mounts"
        table.write_text(mounts)
        given = {"ROUTER_SPOOL_DIR": str(folder or tmp_path / "not" / "yet"), "ROUTER_SPOOL_MAX_BYTES": "1000"}
        return [(one.level, one.subject, one.text) for one in check_spool(load(environment=given | changes), table)]

    return check


def test_a_folder_that_does_not_exist_yet_is_judged_by_its_parent(check, tmp_path):
    """The check leaves no file behind."""
    ((level, subject, text),) = check()
    assert (level, subject) == ("ok", "ROUTER_SPOOL_DIR")
    assert text.startswith(f"{tmp_path} is writable")
    assert [one.name for one in tmp_path.iterdir()] == ["mounts"]


def test_a_folder_that_is_not_writable_fails(check, tmp_path):
    """A path below a file cannot be created."""
    (tmp_path / "file").write_text("")
    ((level, _, text),) = check(tmp_path / "file" / "spool")
    assert (level, "is not writable" in text) == ("FAIL", True)


@pytest.mark.parametrize(
    ("kind", "words"), [("tmpfs", "lost with the machine"), ("nfs4", "local disk"), ("fuse.sshfs", "local disk")]
)
def test_a_file_system_that_is_not_a_local_disk_is_a_warning(check, tmp_path, kind, words):
    """A spool in memory is lost with the machine, one on the network may be corrupted."""
    ((level, _, text),) = check(mounts=f"{EVERYWHERE}x {tmp_path} {kind} rw 0 0\nx {tmp_path}x ext4 rw 0 0\n")
    assert (level, words in text) == ("warn", True)


def test_less_free_space_than_the_spool_may_use_is_a_warning(check):
    """The disk would be full before the spool reaches its limit."""
    ((level, _, text),) = check(ROUTER_SPOOL_MAX_BYTES=str(10**18))
    assert (level, "bytes left" in text) == ("warn", True)


def test_a_disabled_spool_is_a_warning(check):
    """The warning names the consequence: 503 during an outage of Redis."""
    ((level, subject, text),) = check(ROUTER_SPOOL_MAX_BYTES="0")
    assert (level, subject, "503" in text) == ("warn", "ROUTER_SPOOL_MAX_BYTES", True)


def test_the_file_system_is_read_from_the_mount_table(tmp_path):
    """Without a table the type is unknown; escaped blanks in mount points are decoded."""
    assert not file_system(tmp_path, tmp_path / "missing")
    place = tmp_path / "a b"
    place.mkdir()
    table = tmp_path / "mounts"
    table.write_text(EVERYWHERE + f"x {str(place).replace(' ', chr(92) + '040')} xfs rw 0 0\n")
    assert (file_system(place, table), file_system(tmp_path, table)) == ("xfs", "ext4")
