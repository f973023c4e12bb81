"""Inactive and closed timers, driven by the virtual clock."""

from __future__ import annotations

import pytest

from router.sandbox.clock import VirtualClock
from tests.sandbox.harness import CONFIGURATIONS, make_communication, opening, pair
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
    await sandbox.advance(minutes * MINUTE)


async def status_of(sandbox, conversation):
    return (await sandbox.get(f"/v2/Conversations/{conversation['id']}")).body["status"]


async def test_inactive_then_closed(start_timed, receiver):
    """Both timers run from the last communication, each change has an event, and closing releases the key."""
    sandbox = await start_timed(SMS=(10, 30))
    await sandbox.subscribe(receiver.callbacks)
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
    statuses = [each.event["data"]["status"] for each in receiver.received if each.kind == "CONVERSATION_UPDATED"]
    assert statuses == ["INACTIVE", "CLOSED"]
    assert (await sandbox.capture())["isNew"]


async def test_both_timers_at_once(start_timed, receiver):
    """Advancing past both timers makes the conversation INACTIVE, then CLOSED."""
    sandbox = await start_timed(SMS=(10, 30))
    await sandbox.subscribe(receiver.callbacks)
    await sandbox.open(*pair()[:1])
    await later(sandbox, 1000)
    await receiver.wait_for(4)
    assert [each.event["data"].get("status") for each in receiver.received[2:]] == ["INACTIVE", "CLOSED"]


async def test_traffic_restarts_timers(start_timed):
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


async def test_without_traffic_timers_run_from_the_opening(start_timed):
    """Without a communication, timers run from the creation, by the channels of the participants."""
    sandbox = await start_timed(SMS=(None, 5))
    conversation = await sandbox.open()
    await later(sandbox, 4)
    assert await status_of(sandbox, conversation) == "ACTIVE"
    await later(sandbox, 1)
    assert await status_of(sandbox, conversation) == "CLOSED"


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_a_participant_adds_its_channel(start_timed, is_replaced):
    """A participant that is added, or replaced on another channel, adds that channel's timeouts."""
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


async def test_a_channel_without_timeouts(start_timed):
    """A conversation on a channel without timeouts stays ACTIVE for weeks."""
    sandbox = await start_timed(VOICE=(1, 1))
    conversation = (await sandbox.capture())["conversation"]
    await later(sandbox, 60 * 24 * 30)
    assert await status_of(sandbox, conversation) == "ACTIVE"


async def test_setting_active_restarts(start_timed):
    """A conversation that the API makes ACTIVE again has its full timeout ahead."""
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
    """With several channels the shortest timeout applies or, by switch, the longest; no timeout is the longest."""
    sandbox = await start_timed(channel_timeout=choice, **channels)
    conversation = await sandbox.open(*pair(), *pair("WHATSAPP"))
    for channel in ("SMS", "WHATSAPP"):
        path = f"/v2/Conversations/{conversation['id']}/Communications"
        assert (await sandbox.post(path, make_communication(channel))).status == 201
    await later(sandbox, (closes_at or 10_000) - 1)
    assert await status_of(sandbox, conversation) == "ACTIVE"
    await later(sandbox, 1)
    assert await status_of(sandbox, conversation) == ("CLOSED" if closes_at else "ACTIVE")


async def test_only_channels_with_traffic_count(start_timed):
    """After a communication, channels without one no longer apply."""
    sandbox = await start_timed(SMS=(None, 5), WHATSAPP=(None, 20))
    conversation = await sandbox.open(*pair(), *pair("WHATSAPP"))
    await sandbox.capture("WHATSAPP")
    await later(sandbox, 19)
    assert await status_of(sandbox, conversation) == "ACTIVE"
    await later(sandbox, 1)
    assert await status_of(sandbox, conversation) == "CLOSED"


async def test_an_inline_timeout_overrides(start_timed):
    """Timeouts of the inline configuration replace those of the configuration."""
    sandbox = await start_timed(SMS=(None, 60))
    inline = {"channelSettings": {"SMS": {"statusTimeouts": {"closed": 2}}}}
    answer = await sandbox.post("/v2/Conversations", opening(*pair()) | {"configuration": inline})
    await later(sandbox, 2)
    assert await status_of(sandbox, answer.body) == "CLOSED"


async def test_timers_run_without_requests(start_timed, monkeypatch):
    """Timers run without a request, too."""
    monkeypatch.setattr("router.sandbox.app.TIMER_PERIOD", 0.001)
    now = [1_700_000_000_000_000]
    sandbox = await start_timed(clock=lambda: now[0], SMS=(None, 1))
    conversation = await sandbox.open()
    record = sandbox.state.find_conversation(conversation["id"])
    now[0] += 61_000_000
    await until(lambda: record.is_closed)


def test_moments_never_repeat():
    """Moments increase even if the clock stands still or goes back."""
    times = iter([5, 5, 3, 9])
    clock = VirtualClock(lambda: next(times))
    assert [clock.moment() for _ in range(4)] == [5, 6, 7, 9]
