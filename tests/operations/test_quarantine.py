"""Refused webhooks found by filters, replayed and dropped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router.core.refused import Bounds
from router.operations import quarantine
from router.operations.quarantine import count_kept, drop_kept, find_kept, replay_kept, select_kept
from router.operations.selection import Selection
from router.receiver.replay import ReplayOutcome
from router.streams.store.quarantine import keep
from tests.core.test_refused import REFUSED
from tests.support.accounts import ACCOUNT

pytestmark = pytest.mark.real
BOUNDS = Bounds(entries=100, size=100_000, ttl=3600)


@pytest.fixture
async def three(redis, keys):
    """Refused for a signature, an account and a route, of two sources."""
    webhooks = (
        replace(REFUSED, body=b"1"),
        replace(REFUSED, reason="account", detail="AC9 is not configured", account_id="AC9", body=b"2"),
        replace(REFUSED, reason="route", source="voice", body=b"3", event_id="ev_1"),
    )
    return [await keep(redis, keys, webhook, BOUNDS) for webhook in webhooks]


async def names(redis, keys, **wanted):
    return [view.name async for view in select_kept(redis, keys, Selection(**wanted))]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"reason": "account"}, [1]),
        ({"reason": "NOT CONFIGURED"}, [1]),
        ({"source": "voice"}, [2]),
        ({"account": ACCOUNT}, [0, 2]),
        ({"event": "ev_1"}, [2]),
        ({"since": 1 << 60}, []),
        ({"until": 1}, []),
    ],
)
async def test_filters_select_webhooks(redis, keys, three, wanted, expected):
    """By a part of reason and detail, source, account and time."""
    assert await names(redis, keys, **wanted) == [three[number] for number in expected]


@pytest.mark.parametrize("word", ["signature", "SIGNATURE"])
async def test_the_name_of_a_reason_is_not_looked_for_in_details(redis, keys, three, word):
    """A detail of another reason may speak of the signature; a drop would take an authentic webhook."""
    detail = f"the body says account AC9, the signature is of account {ACCOUNT}"
    await keep(redis, keys, replace(REFUSED, reason="account", detail=detail, body=b"4"), BOUNDS)
    assert await names(redis, keys, reason=word) == three[:1]
    assert len(await names(redis, keys, reason="the signature is")) == 1


async def test_one_is_found_by_its_name(redis, keys, three):
    """Its JSON has no body and masks what a stranger gave for an id."""
    view = await find_kept(redis, keys, three[1])
    assert view.to_json()["reason"] == "account"
    assert "body" not in view.to_json()
    assert await find_kept(redis, keys, "nonsense") is None


class Replay:
    """Accepts webhooks of one source."""

    async def replay(self, kept, *, is_trusted):
        is_accepted = is_trusted or kept.refused.source == "voice"
        return ReplayOutcome(is_accepted=is_accepted, text="accepted" if is_accepted else "still refused")


@pytest.mark.parametrize(("is_trusted", "done"), [(False, 1), (True, 3)])
async def test_all_that_match_are_replayed(redis, keys, three, is_trusted, done):
    """Each outcome is told, and the progress at the end at least."""
    outcomes, told = [], []
    progress = await replay_kept(
        redis,
        keys,
        Selection(),
        Replay(),
        is_trusted=is_trusted,
        on_outcome=outcomes.append,
        on_progress=told.append,
    )
    assert (progress.total, progress.looked_at, progress.done, progress.failed) == (3, 3, done, 3 - done)
    assert [one.name for one in outcomes] == three
    assert told[-1] is progress


async def test_webhooks_are_dropped_for_good(redis, keys, three):
    """Those that match; a named one that is gone is passed over."""
    progress = await drop_kept(redis, keys, Selection(ids=(three[0], "1-1")))
    assert (progress.total, progress.done) == (2, 1)
    assert await names(redis, keys) == three[1:]
    assert await count_kept(redis, keys) | {"account": 1, "route": 1} == await count_kept(redis, keys)
    await drop_kept(redis, keys, Selection())
    assert sum((await count_kept(redis, keys)).values()) == 0


@pytest.mark.parametrize("is_replay", [True, False])
async def test_the_progress_is_reported_while_nothing_matches(redis, keys, three, monkeypatch, is_replay):
    """Whoever asks to stop is heard there; at the end it is complete."""
    monkeypatch.setattr(quarantine, "LOOKED_AT", 2)
    reported, wanted = [], Selection(reason="wanted")

    def note(progress):
        reported.append((progress.looked_at, progress.done))

    if is_replay:
        await replay_kept(redis, keys, wanted, Replay(), on_progress=note)
    else:
        await drop_kept(redis, keys, wanted, on_progress=note)
    assert reported == [(2, 0), (3, 0)]
