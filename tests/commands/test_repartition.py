"""`repartition --dry-run`: what would be moved, and what is not."""

from __future__ import annotations

import pytest

from router.__main__ import make_parser
from router.commands.repartition import run_repartition
from router.core.keys import Keys
from router.streams.store.partitions import ensure_partitions

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("number", "deleted"), [("2", ["  stories of partitions 2 and above: deleted, not moved"]), ("4", [])]
)
async def test_a_dry_run_says_which_stories_are_deleted(redis, environment, capsys, number, deleted):
    """Those of partitions that go: they are of one partition's work, and are not moved."""
    del environment
    await ensure_partitions(redis, Keys(partitions=3))
    assert await run_repartition(make_parser().parse_args(["repartition", number, "--dry-run"])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"from 3 to {number} partitions"
    assert [line for line in lines if "stories" in line] == deleted
