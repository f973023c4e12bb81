"""Inactive and closed timers, driven by the virtual clock."""

from __future__ import annotations

import pytest

from router.sandbox.clock import VirtualClock
from tests.sandbox.harness import BY_CHANNEL, CONFIGURATIONS, CUSTOMER, OURS, opening, pair
from tests.support.waiting import until

MINUTE = 60


def timeouts(**channels):
    settings = {
        name: {"statusTimeouts": dict(zip(("inactive", "closed"), minutes, strict=True))}
        for name, minutes in channels.items()
    }
    return {"configurations": (CONFIGURATIONS[0] | {"channelSettings": settings},)}


@pytest.fixture
def start_timed(start):
    async def start_one(clock=lambda: 1_700_000_000_000_000, **channels):
        options = {name: channels.pop(name) for name in list(channels) if name.islower()}
        return await start(clock=clock, **timeouts(**channels), **options)

    return start_one


async def later(sandbox, minutes):
    assert (await sandbox.post("/sandbox/clock", {"advanceSeconds": minutes * MINUTE})).status == 200


async def status_of(sandbox, conversation):
    return (await sandbox.get(f"/v2/Conversations/{conversation['id']}")).body["status"]


async def test_inactive_then_closed(start_timed, receiver):
    """Both timers run from the last communication, each change is told, and closing frees the mapping."""
    sandbox = await start_timed(SMS=(10, 30))
    await sandbox.patch(f"/sandbox/configurations/{BY_CHANNEL}", {"statusCallbacks": receiver.callbacks})
    conversation = (await sandbox.capture())["conversation"]
    await later(sandbox, 9)
    assert await status_of(sandbox, conversation) == "ACTIVE"
    await later(sandbox, 1)
    assert await status_of(sandbox, conversation) == "INACTIVE"
    await later(sandbox, 19)
    assert await status_of(sandbox, conversation) == "INACTIVE"
    await later(sandbox, 1)
    assert await status_of(sandbox, conversation) == "CLOSED"
    await receiver.wait_for(6)
    told = [each.event["data"]["status"] for each in receiver.received if each.kind == "CONVERSATION_UPDATED"]
    assert told == ["INACTIVE", "CLOSED"]
    assert (await sandbox.capture())["isNew"]


async def test_a_long_jump_passes_both(start_timed, receiver):
    """Time that jumps over both timers makes the conversation INACTIVE, then CLOSED."""
    sandbox = await start_timed(SMS=(10, 30))
    await sandbox.patch(f"/sandbox/configurations/{BY_CHANNEL}", {"statusCallbacks": receiver.callbacks})
    await sandbox.open(*pair()[:1])
    await later(sandbox, 1000)
    await receiver.wait_for(4)
    assert [each.event["data"].get("status") for each in receiver.received[2:]] == ["INACTIVE", "CLOSED"]


async def test_traffic_restarts_and_wakes(start_timed):
    """A communication restarts the timers and makes an INACTIVE conversation ACTIVE."""
    sandbox = await start_timed(SMS=(10, 30))
    conversation = (await sandbox.capture())["conversation"]
    await later(sandbox, 8)
    await sandbox.capture()
    await later(sandbox, 8)
    assert await status_of(sandbox, conversation) == "ACTIVE"
    await later(sandbox, 4)
    assert await status_of(sandbox, conversation) == "INACTIVE"
    assert (await sandbox.capture())["conversation"]["status"] == "ACTIVE"
    await later(sandbox, 29)
    assert await status_of(sandbox, conversation) == "INACTIVE"
    await later(sandbox, 1)
    assert await status_of(sandbox, conversation) == "CLOSED"


async def test_no_traffic_counts_from_the_opening(start_timed):
    """A conversation without a word is timed from its creation, by the channels of its participants."""
    sandbox = await start_timed(SMS=(None, 5))
    conversation = await sandbox.open()
    await later(sandbox, 4)
    assert await status_of(sandbox, conversation) == "ACTIVE"
    await later(sandbox, 1)
    assert await status_of(sandbox, conversation) == "CLOSED"


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_a_participant_brings_its_channel(start_timed, is_replaced):
    """A participant that comes, or comes to another channel, brings that channel's timeouts."""
    sandbox = await start_timed(SMS=(None, 5))
    conversation = await sandbox.open(*pair("CHAT"))
    path = f"/v2/Conversations/{conversation['id']}/Participants"
    if is_replaced:
        await sandbox.put(f"{path}/{conversation['participants'][0]['id']}", pair()[0])
    else:
        await sandbox.post(path, pair()[0])
    await later(sandbox, 5)
    assert await status_of(sandbox, conversation) == "CLOSED"


async def test_participant_writes_are_no_traffic(start_timed):
    """Adding or changing a participant does not restart a timer."""
    sandbox = await start_timed(SMS=(10, None))
    conversation = await sandbox.open()
    await later(sandbox, 9)
    path = f"/v2/Conversations/{conversation['id']}/Participants/{conversation['participants'][0]['id']}"
    assert (await sandbox.put(path, pair()[0])).status == 200
    await later(sandbox, 1)
    assert await status_of(sandbox, conversation) == "INACTIVE"


async def test_without_timeouts_nothing_happens(start_timed):
    """A channel without timeouts stays ACTIVE for weeks."""
    sandbox = await start_timed(VOICE=(1, 1))
    conversation = (await sandbox.capture())["conversation"]
    await later(sandbox, 60 * 24 * 30)
    assert await status_of(sandbox, conversation) == "ACTIVE"


async def test_setting_active_restarts(start_timed):
    """A conversation that the API makes ACTIVE again has its full time before it."""
    sandbox = await start_timed(SMS=(10, None))
    conversation = (await sandbox.capture())["conversation"]
    await later(sandbox, 15)
    await sandbox.patch(f"/v2/Conversations/{conversation['id']}", {"status": "ACTIVE"})
    await later(sandbox, 9)
    assert await status_of(sandbox, conversation) == "ACTIVE"
    await later(sandbox, 1)
    assert await status_of(sandbox, conversation) == "INACTIVE"


@pytest.mark.parametrize(
    ("choice", "channels", "closes_at"),
    [
        ("shortest", {"SMS": (None, 5), "WHATSAPP": (None, 20)}, 5),
        ("longest", {"SMS": (None, 5), "WHATSAPP": (None, 20)}, 20),
        ("shortest", {"SMS": (None, 5)}, 5),
        ("longest", {"SMS": (None, 5)}, None),
    ],
)
async def test_several_channels(start_timed, choice, channels, closes_at):
    """With several channels the shortest timeout counts, or (switch) the longest, none being longer than any."""
    sandbox = await start_timed(channel_timeout=choice, **channels)
    conversation = await sandbox.open(*pair(), *pair("WHATSAPP"))
    for channel in ("SMS", "WHATSAPP"):
        said = {
            "author": {"address": CUSTOMER, "channel": channel},
            "content": {"type": "TEXT", "text": "x"},
            "recipients": [{"address": OURS, "channel": channel}],
        }
        assert (await sandbox.post(f"/v2/Conversations/{conversation['id']}/Communications", said)).status == 201
    await later(sandbox, (closes_at or 10_000) - 1)
    assert await status_of(sandbox, conversation) == "ACTIVE"
    await later(sandbox, 1)
    assert await status_of(sandbox, conversation) == ("CLOSED" if closes_at else "ACTIVE")


async def test_only_channels_with_traffic_count(start_timed):
    """Once somebody spoke, a channel on which nobody did has no say."""
    sandbox = await start_timed(SMS=(None, 5), WHATSAPP=(None, 20))
    conversation = await sandbox.open(*pair(), *pair("WHATSAPP"))
    await sandbox.capture("WHATSAPP")
    await later(sandbox, 19)
    assert await status_of(sandbox, conversation) == "ACTIVE"
    await later(sandbox, 1)
    assert await status_of(sandbox, conversation) == "CLOSED"


async def test_an_inline_timeout_overrides(start_timed):
    """Timeouts given with the conversation count for it."""
    sandbox = await start_timed(SMS=(None, 60))
    inline = {"channelSettings": {"SMS": {"statusTimeouts": {"closed": 2}}}}
    answer = await sandbox.post("/v2/Conversations", opening(*pair()) | {"configuration": inline})
    await later(sandbox, 2)
    assert await status_of(sandbox, answer.body) == "CLOSED"


async def test_timers_run_without_requests(start_timed, monkeypatch):
    """Time that passes by itself closes conversations as well."""
    monkeypatch.setattr("router.sandbox.app.TIMER_PERIOD", 0.001)
    now = [1_700_000_000_000_000]
    sandbox = await start_timed(clock=lambda: now[0], SMS=(None, 1))
    conversation = await sandbox.open()
    record = sandbox.state.find_conversation(conversation["id"])
    now[0] += 61_000_000
    await until(lambda: record.is_closed)


def test_moments_never_repeat():
    """A clock that stands or falls back still gives later moments."""
    times = iter([5, 5, 3, 9])
    clock = VirtualClock(lambda: next(times))
    assert [clock.moment() for _ in range(4)] == [5, 6, 7, 9]
