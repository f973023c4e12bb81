"""The spool's folder: writable, on a local disk, with room; each flaw is a finding that names the setting."""

from __future__ import annotations

import pytest

from router.commands.check.spool import check_spool, file_system
from router.settings.load import load

EVERYWHERE = "disk / ext4 rw 0 0\n"


@pytest.fixture
def check(tmp_path):
    """Check a spool folder, on a machine with these mounts."""

    def check(folder=None, mounts=EVERYWHERE, **changes):
        table = tmp_path / "mounts"
        table.write_text(mounts)
        given = {"ROUTER_SPOOL_DIR": str(folder or tmp_path / "not" / "yet"), "ROUTER_SPOOL_MAX_BYTES": "1000"}
        return [(one.level, one.subject, one.text) for one in check_spool(load(environment=given | changes), table)]

    return check


def test_folder_that_will_be_made_is_judged_by_its_parent(check, tmp_path):
    """It need not exist, and nothing is left behind by looking."""
    ((level, subject, text),) = check()
    assert (level, subject) == ("ok", "ROUTER_SPOOL_DIR")
    assert text.startswith(f"{tmp_path} is writable")
    assert [one.name for one in tmp_path.iterdir()] == ["mounts"]


def test_folder_that_is_a_file(check, tmp_path):
    """Nothing can be written there: that is a failure."""
    (tmp_path / "file").write_text("")
    ((level, _, text),) = check(tmp_path / "file" / "spool")
    assert (level, "cannot be written" in text) == ("FAIL", True)


@pytest.mark.parametrize(
    ("kind", "words"), [("tmpfs", "gone with the machine"), ("nfs4", "local disk"), ("fuse.sshfs", "local disk")]
)
def test_file_system_that_breaks_the_promise(check, tmp_path, kind, words):
    """In memory it is gone with the machine, over the network it may be damaged."""
    ((level, _, text),) = check(mounts=f"{EVERYWHERE}x {tmp_path} {kind} rw 0 0\nx {tmp_path}x ext4 rw 0 0\n")
    assert (level, words in text) == ("warn", True)


def test_less_room_than_the_spool_may_take(check):
    """It would be full before it says so."""
    ((level, _, text),) = check(ROUTER_SPOOL_MAX_BYTES=str(10**18))
    assert (level, "bytes left" in text) == ("warn", True)


def test_no_spool_at_all(check):
    """That is a choice, and what it costs is said."""
    ((level, subject, text),) = check(ROUTER_SPOOL_MAX_BYTES="0")
    assert (level, subject, "503" in text) == ("warn", "ROUTER_SPOOL_MAX_BYTES", True)


def test_system_that_does_not_tell(tmp_path):
    """Then nothing is said of the kind; where it tells, blanks in names are understood."""
    assert not file_system(tmp_path, tmp_path / "missing")
    place = tmp_path / "a b"
    place.mkdir()
    table = tmp_path / "mounts"
    table.write_text(EVERYWHERE + f"x {str(place).replace(' ', chr(92) + '040')} xfs rw 0 0\n")
    assert (file_system(place, table), file_system(tmp_path, table)) == ("xfs", "ext4")
