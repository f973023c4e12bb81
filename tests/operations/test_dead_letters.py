"""Dead letters found by filters, replayed and dropped one by one or in bulk."""

from __future__ import annotations

import pytest

from router.core.entries import CommunicationData
from router.core.keys import Target
from router.core.resources import Participant, ParticipantAddress
from router.core.stories import event_id
from router.operations import dead_letters
from router.operations.dead_letters import count_letters, drop_letters, find, replay_letters, select_letters
from router.operations.selection import Selection
from router.streams.consuming.groups import ensure_group
from tests.handlers.harness import make
from tests.support.accounts import ACCOUNT, CUSTOMER
from tests.support.entries import fields_of

pytestmark = pytest.mark.real
NOW = 1_767_787_200_000_000


async def names(redis, keys, **wanted):
    return [view.name async for view in select_letters(redis, keys, Selection(**wanted))]


@pytest.fixture
async def three(deployment):
    """A webhook, an entry and a command that were given up."""
    address = ParticipantAddress(channel="SMS", address=CUSTOMER)
    customer = Participant(id="conv_participant_1", type="CUSTOMER", addresses=(address,))
    entry = fields_of(make(CommunicationData, "conv_conversation_1", customer))
    keys = deployment.keys
    command = '{"type":"command.agent.available","id":"c1","data":{"account":"AC2","agent":"dana"}}'
    return [
        await deployment.bury(),
        await deployment.bury(entry, stream=keys.participants(0, Target.AI_AGENT), group="ai-agent", reason="Timeout"),
        await deployment.bury({"command": command}, stream=keys.commands(0), group="commander", reason="Unusable: no"),
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"reason": "timeOUT"}, [1]),
        ({"stream": "commands"}, [2]),
        ({"stream": "router:{0}:participants:ai-agent"}, [1]),
        ({"group": "resolver"}, [0]),
        ({"account": ACCOUNT}, [0, 1]),
        ({"account": "AC2"}, [2]),
        ({"event": event_id("messaging:AC:SM1")}, [0]),
        ({"event": "messaging:AC:SM1"}, [0]),
        ({"event": "communication.received"}, [1]),
        ({"source": "messaging"}, [0]),
        ({"reason": "x", "group": "ai-agent"}, []),
    ],
)
async def test_filters_select_letters(redis, keys, three, wanted, expected):
    """Each filter alone, and all that are given together."""
    assert await names(redis, keys, **wanted) == [three[number] for number in expected]


async def test_times_select_letters(redis, keys, deployment):
    """By when they were given up; the end is exclusive, whatever part of a millisecond it names."""
    for millis in (1000, 2000, 3000):
        await redis.xadd(keys.dead_letters(0), {"key": "k", "dead-reason": "r"}, id=f"{millis}-5")
    assert await names(redis, keys, since=2_000_000) == ["0:2000-5", "0:3000-5"]
    assert await names(redis, keys, since=1_000_001, until=3_000_000) == ["0:2000-5"]
    assert await names(redis, keys, until=3_000_001) == ["0:1000-5", "0:2000-5", "0:3000-5"]
    assert await names(redis, keys, until=0) == []


async def test_a_page_goes_on_behind_the_last_name(redis, keys, three):
    """So a list of any length is shown in pages."""
    after = [view.name async for view in select_letters(redis, keys, Selection(), after=three[0])]
    assert after == three[1:]


async def test_a_letter_is_found_by_its_name_or_its_id(redis, keys, three):
    """Anything else is nothing."""
    for name in (three[1], three[1].removeprefix("0:")):
        view = await find(redis, keys, name)
        assert (view.name, view.facts.conversation, view.facts.address) == (three[1], "conv_conversation_1", CUSTOMER)
    for name in ("", "1", "x:1-1", "7:1-1", "0:1-1", "-1:1-1", "1-1-1"):
        assert await find(redis, keys, name) is None


async def test_the_event_id_is_the_one_that_it_was_given_up_with(redis, keys, deployment):
    """An entry that cannot be read does not say it."""
    name = await deployment.bury({"event": "{"}, event="ev_000000000000000000000001")
    assert (await find(redis, keys, name)).facts.event_id == "ev_000000000000000000000001"
    assert await names(redis, keys, event="ev_000000000000000000000001") == [name]


async def test_json_masks_unless_an_operator_asks(redis, keys, three):
    """Addresses and what a reason quotes."""
    view = await find(redis, keys, three[1])
    assert CUSTOMER not in str(view.to_json())
    assert view.to_json(unmasked=True)["address"] == CUSTOMER


async def test_all_that_match_are_replayed_in_steps(redis, keys, deployment, monkeypatch):
    """The progress is told after each step, and a letter that fails again meanwhile is not taken twice."""
    monkeypatch.setattr(dead_letters, "STEP", 10)
    for number in range(25):
        await deployment.bury(reason="wanted" if number % 5 else "other")
    told, outcomes = [], []
    progress = await replay_letters(
        redis,
        keys,
        Selection(reason="wanted"),
        now=NOW,
        on_outcome=outcomes.append,
        on_progress=lambda progress: told.append((progress.looked_at, progress.done)),
    )
    assert (progress.total, progress.looked_at, progress.done, progress.failed) == (25, 25, 20, 0)
    assert told[0][1] == 10
    assert told[-1] == (25, 20)
    assert all(one.is_done and one.text.startswith(f"back on {keys.inbound(0)} as ") for one in outcomes)
    assert await redis.xlen(keys.inbound(0)) == 20
    assert await count_letters(redis, keys) == 5


async def test_large_letters_go_in_small_steps(redis, keys, deployment, monkeypatch):
    """A step has bounded bytes."""
    monkeypatch.setattr(dead_letters, "STEP_BYTES", 100)
    told = []
    for _ in range(3):
        await deployment.bury(deployment.webhook() | {"body": "x" * 100})
    await replay_letters(redis, keys, Selection(), now=NOW, on_progress=lambda progress: told.append(progress.done))
    assert told == [1, 2, 3]


@pytest.mark.parametrize(
    "dead",
    [
        {"stream": ""},
        {"stream": "another:key"},
        {"stream": "router:{0}:dead-letters"},
        {"stream": b"\xff"},
    ],
)
async def test_a_letter_of_nonsense_stays_and_says_why(redis, keys, deployment, dead):
    """It harms no other: anybody with access to Redis may have written it."""
    await redis.set("another:key", "x", ex=60)
    await deployment.bury(**dead)
    good = await deployment.bury()
    outcomes = []
    progress = await replay_letters(redis, keys, Selection(), now=NOW, on_outcome=outcomes.append)
    assert (progress.done, progress.failed) == (1, 1)
    assert outcomes[0].text == "cannot be replayed: it does not say which of our streams it is from"
    assert (outcomes[1].name, outcomes[1].is_done) == (good, True)
    assert await count_letters(redis, keys) == 1


async def test_what_redis_refuses_stays_and_says_why(redis, keys, deployment):
    """The key of the stream has another type, for one."""
    await deployment.bury()
    await redis.set(keys.inbound(0), "no stream", ex=60)
    outcomes = []
    await replay_letters(redis, keys, Selection(), now=NOW, on_outcome=outcomes.append)
    assert [(one.is_done, "WRONGTYPE" in one.text) for one in outcomes] == [(False, True)]
    assert await count_letters(redis, keys) == 1


async def test_named_letters_are_replayed_without_a_search(redis, keys, three):
    """The total is the number of names; one that is gone is passed over."""
    progress = await replay_letters(redis, keys, Selection(ids=(three[0], three[0], "0:1-1")), now=NOW)
    assert (progress.total, progress.looked_at, progress.done) == (3, 1, 1)
    assert await names(redis, keys) == three[1:]


async def test_letters_are_dropped_for_good(redis, keys, three):
    """Only those that match."""
    progress = await drop_letters(redis, keys, Selection(group="resolver"))
    assert (progress.done, progress.failed) == (1, 0)
    assert await names(redis, keys) == three[1:]
    assert await redis.xlen(keys.inbound(0)) == 0


async def test_letters_of_all_partitions_are_counted_and_found(redis, redis_url):
    """Each is named with its partition."""
    from router.core.keys import Keys

    keys = Keys(partitions=2)
    for partition in (1, 0):
        await redis.xadd(keys.dead_letters(partition), {"key": "k"}, id="5-1")
    await ensure_group(redis, keys.inbound(1), "resolver")
    assert await count_letters(redis, keys) == 2
    assert await names(redis, keys) == ["0:5-1", "1:5-1"]
    assert [view.name async for view in select_letters(redis, keys, Selection(), after="0:5-1")] == ["1:5-1"]
    assert (await find(redis, keys, "5-1")).name == "0:5-1"


@pytest.mark.parametrize("is_replay", [True, False])
async def test_the_progress_is_reported_while_nothing_matches(redis, keys, deployment, monkeypatch, is_replay):
    """Whoever asks to stop is heard there; at the end it is complete."""
    monkeypatch.setattr(dead_letters, "LOOKED_AT", 2)
    for _ in range(5):
        await deployment.bury(reason="other")
    reported, wanted = [], Selection(reason="wanted")

    def note(progress):
        reported.append((progress.looked_at, progress.done))

    if is_replay:
        await replay_letters(redis, keys, wanted, now=NOW, on_progress=note)
    else:
        await drop_letters(redis, keys, wanted, on_progress=note)
    assert reported == [(2, 0), (4, 0), (5, 0)]
