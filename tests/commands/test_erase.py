"""`erase`: a table of what was found where, nothing without --yes, and one line for what cannot be done."""

from __future__ import annotations

import orjson
import pytest

from router.__main__ import make_parser
from router.commands.erase import run_erase
from router.core.aes_gcm import make_sealer
from router.core.refused import Bounds
from router.streams.store.quarantine import keep
from tests.core.test_refused import REFUSED
from tests.operations.conftest import Deployment, settings  # noqa: F401 - a fixture
from tests.support.accounts import CUSTOMER

pytestmark = pytest.mark.real


@pytest.fixture
def deployment(redis, settings, environment):  # noqa: F811 - the fixture
    return Deployment(redis, settings)


async def run(*arguments):
    return await run_erase(make_parser().parse_args(["erase", *arguments]))


async def test_without_yes_nothing_is_erased(deployment, capsys):
    """The table and the last line say so; nothing of a number is shown unmasked."""
    await deployment.redis.xadd(deployment.inbound, deployment.webhook())
    cases = (((), 2, "give --yes"), (("--dry-run",), 0, "a dry run"), (("--yes", "--dry-run"), 0, "a dry run"))
    for arguments, status, last in cases:
        assert await run(CUSTOMER, *arguments) == status
        head, row, *_, end = capsys.readouterr().out.splitlines()
        assert (head.split(), row.split()) == (["where", "found"], ["inbound", "1"])
        assert last in end
    assert await deployment.redis.xlen(deployment.inbound) == 1


async def test_with_yes_it_is_erased_once(deployment, capsys):
    """The second run finds nothing."""
    await deployment.redis.xadd(deployment.inbound, deployment.webhook())
    assert await run(CUSTOMER, "--yes") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:2]] == [["where", "found", "erased"], ["inbound", "1", "1"]]
    assert lines[-1] == "erased"
    assert await run(CUSTOMER, "--yes", "--json") == 0
    report = orjson.loads(capsys.readouterr().out)
    assert (report["found"], report["done"], report["dry_run"]) == (0, True, False)
    assert await run(CUSTOMER) == 0
    assert capsys.readouterr().out == "nothing is kept of this address\n"


async def test_what_is_left_to_be_erased_is_said(deployment, capsys):
    """Status 1, also if nothing was found: a note says what could not be searched."""
    await deployment.redis.xadd(deployment.inbound, deployment.webhook())
    sealer = make_sealer([bytes(32)], lambda: bytes(12))
    await keep(deployment.redis, deployment.keys, REFUSED, Bounds(entries=3, size=10_000, ttl=60), sealer=sealer)
    for last in ("erased in part: see the notes, and erase again", "nothing was found: see the notes, and erase again"):
        assert await run(CUSTOMER, "--yes") == 1
        lines = capsys.readouterr().out.splitlines()
        assert any(line.startswith("note: refused webhook") for line in lines)
        assert lines[-1] == last


@pytest.mark.parametrize("text", ["*", "12345", " "])
async def test_an_address_of_nobody_is_wrong_usage(text, deployment, capsys):
    """One line on standard error, status 2."""
    del deployment
    assert await run(text, "--yes") == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
