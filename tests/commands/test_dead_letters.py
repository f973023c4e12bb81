"""`dead-letters`: listing, showing, replaying and dropping entries that a consumer gave up."""

from __future__ import annotations

import orjson
import pytest

from router.__main__ import make_parser
from router.commands import selecting
from router.commands.dead_letters import run_dead_letters
from router.core.entries import CommunicationData
from router.core.keys import Target
from router.core.resources import Participant, ParticipantAddress
from router.core.stories import event_id
from tests.handlers.harness import make
from tests.operations.conftest import Deployment, settings  # noqa: F401 - a fixture
from tests.support.accounts import CUSTOMER
from tests.support.entries import fields_of

pytestmark = pytest.mark.real


@pytest.fixture
def deployment(redis, settings, environment):  # noqa: F811 - the fixture
    return Deployment(redis, settings)


@pytest.fixture
def entry():
    """A communication of a customer, as the AI agent gets it."""
    address = ParticipantAddress(channel="SMS", address=CUSTOMER)
    customer = Participant(id="conv_participant_1", type="CUSTOMER", addresses=(address,))
    return make(CommunicationData, "conv_conversation_1", customer)


@pytest.fixture
async def letter(deployment, entry):
    """The name of a dead letter of it."""
    stream = deployment.keys.participants(0, Target.AI_AGENT)
    return await deployment.bury(fields_of(entry), stream=stream, group="ai-agent", reason="ValueError: no")


async def run(*arguments):
    return await run_dead_letters(make_parser().parse_args(["dead-letters", *arguments]))


@pytest.mark.parametrize("flags", [[], ["--unmasked"]])
async def test_a_letter_names_conversation_customer_and_message(letter, capsys, flags):
    """An operator sees whom nobody has answered; the address only if asked for."""
    await run("list", *flags)
    printed = capsys.readouterr().out
    assert "conversation conv_conversation_1  customer conv_participant_1  address SMS " in printed
    assert (CUSTOMER in printed) == bool(flags)


async def test_the_list_for_programs_keeps_its_members(letter, entry, capsys):
    """Those of earlier versions, and the facts of the entry beside them."""
    await run("list", "--json")
    (line,) = capsys.readouterr().out.splitlines()
    shown = orjson.loads(line)
    earlier = ["id", "stream", "entry_id", "group", "consumer", "deliveries", "failed_at", "reason", "fields"]
    assert [name for name in shown if name in earlier] == earlier
    assert (shown["id"], shown["group"], shown["deliveries"]) == (letter, "ai-agent", 5)
    assert (shown["fields"]["id"], isinstance(shown["fields"]["event"], list)) == (entry.id, True)
    assert (shown["event_id"], shown["conversation"]) == (event_id("k"), "conv_conversation_1")


async def test_filters_and_a_limit(deployment, capsys):
    """The sum is of what is shown."""
    for number in range(5):
        await deployment.bury(reason=f"wanted {number % 2}")
    await run("list", "--reason", "WANTED 0", "--stream", "inbound", "--since", "1h")
    assert capsys.readouterr().out.splitlines()[-1] == "3 dead letters"
    await run("list", "--limit", "2")
    assert capsys.readouterr().out.splitlines()[-1] == "2 dead letters"
    await run("list", "--until", "1h")
    assert capsys.readouterr().out == "0 dead letters\n"


async def test_one_is_shown_decoded_with_what_a_replay_would_do(letter, capsys):
    """Private values are masked; nobody reads its stream yet."""
    assert await run("show", letter) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == letter
    assert "  reason     ValueError: no\n" in printed
    assert "  replay     goes back on router:{0}:participants:ai-agent: no group reads that stream" in printed
    assert "    data.conversation.id: " in printed
    assert CUSTOMER not in printed
    assert await run("show", letter, "--unmasked") == 0
    assert CUSTOMER in capsys.readouterr().out


async def test_one_is_shown_as_an_object(letter, capsys):
    """With the preview and each field."""
    assert await run("show", letter, "--json") == 0
    shown = orjson.loads(capsys.readouterr().out)
    assert (shown["id"], shown["replay"]["can_replay"]) == (letter, True)
    assert {field["name"] for field in shown["fields"]} == {"type", "id", "event"}


async def test_the_raw_document_goes_to_a_file(letter, entry, tmp_path, capsys):
    """Nothing is masked there; a path that cannot be written is named."""
    path = tmp_path / "event.json"
    assert await run("show", letter, "--raw", str(path)) == 0
    assert orjson.loads(path.read_bytes())["id"] == entry.id
    assert CUSTOMER not in capsys.readouterr().out
    with pytest.raises(Exception, match="cannot be written"):
        await run("show", letter, "--raw", str(tmp_path))


@pytest.mark.parametrize("action", [("show",), ("replay",), ("drop", "--yes")])
async def test_a_letter_that_does_not_exist_is_named(deployment, capsys, action):
    """Status 1."""
    assert await run(*action, "0:1-1") == 1
    assert "0:1-1: no such dead letter" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["replay", "drop"])
@pytest.mark.parametrize(("arguments", "word"), [((), "give --all"), (("0:1-1", "--all"), "not both")])
async def test_wrong_usage_does_nothing(letter, redis, deployment, capsys, action, arguments, word):
    """Neither ids nor --all, or both: status 2."""
    assert await run(action, *arguments) == 2
    assert word in capsys.readouterr().err
    assert await redis.xlen(deployment.keys.dead_letters(0)) == 1


async def test_a_dry_run_says_what_a_replay_would_do(letter, deployment, redis, capsys):
    """For each, and nothing is done; one that cannot be replayed makes status 1."""
    await deployment.bury(stream="none")
    await deployment.run("ai-agent")
    assert await run("replay", "--all", "--dry-run") == 1
    first, second, last = capsys.readouterr().out.splitlines()
    assert first == f"{letter}: goes back on router:{{0}}:participants:ai-agent: ai-agent handles it"
    assert "cannot be replayed" in second
    assert last == "1 would be replayed, 1 not"
    assert await redis.xlen(deployment.keys.dead_letters(0)) == 2


async def test_ten_thousand_letters_are_replayed_with_progress(deployment, redis, capsys, monkeypatch):
    """Only those that match; the progress is on standard error, the outcomes and the sum on standard output."""
    monkeypatch.setattr(selecting, "EVERY", 0.0)
    for _ in range(20):
        pipeline = redis.pipeline(transaction=False)
        for number in range(500):
            origin = {"dead-stream": deployment.inbound, "dead-group": f"g{number % 2}", "dead-reason": "r"}
            pipeline.xadd(deployment.keys.dead_letters(0), deployment.webhook(f"k{number}") | origin)
        await pipeline.execute()
    assert await run("replay", "--all", "--group", "g0", "--json") == 0
    shown = capsys.readouterr()
    outcomes = [orjson.loads(line) for line in shown.out.splitlines()]
    assert len(outcomes) == 5_000
    assert all(outcome["is_done"] for outcome in outcomes)
    assert "of 10,000 looked at, 100 replayed\n" in shown.err
    assert await redis.xlen(deployment.inbound) == 5_000
    assert await run("drop", "--all", "--yes") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "5000 dropped"
    assert await redis.xlen(deployment.keys.dead_letters(0)) == 0


async def test_a_drop_needs_a_yes(letter, deployment, redis, capsys):
    """Without it only the number is shown, status 2; a dry run names each, status 0."""
    assert await run("drop", "--all") == 2
    shown = capsys.readouterr()
    assert shown.out == "1 would be dropped for good\n"
    assert "give --yes" in shown.err
    assert await run("drop", "--all", "--yes", "--dry-run") == 0
    assert capsys.readouterr().out == f"{letter}: would be dropped for good\n1 would be dropped for good\n"
    assert await redis.xlen(deployment.keys.dead_letters(0)) == 1
    assert await run("drop", letter, "--yes") == 0
    assert capsys.readouterr().out == f"{letter}: dropped\n1 dropped\n"
    assert await redis.xlen(deployment.keys.dead_letters(0)) == 0
