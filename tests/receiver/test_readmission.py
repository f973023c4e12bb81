"""Replay from the quarantine: what a wrong setting refused is taken in once it is mended, once, as of when it came."""

import time

import pytest

from router.core.events import SourceName
from router.core.refused import Refused
from router.receiver.readmission import make_readmission
from router.streams.client.connection import connect
from router.streams.client.embedded import free_port
from router.streams.store.quarantine import Kept, list_kept
from tests.receiver.conftest import settings_of
from tests.receiver.samples import OTHER_ACCOUNT, SAMPLES, signed, sms
from tests.receiver.test_batches import batch, message_streamed

NEW_TOKEN = "fedcba9876543210fedcba9876543210"


@pytest.fixture(params=[name for name in SAMPLES if name is not SourceName.EMAIL], ids=str)
def sample(request):
    return SAMPLES[request.param]


def readmission(redis, redis_url, **environment):
    """What replays with these settings."""
    return make_readmission(settings_of(redis_url, **environment), redis, lambda: time.time_ns() // 1000)


async def kept_in(receiver):
    return [kept async for kept in list_kept(receiver.redis, receiver.keys)]


async def refuse(receiver, *requests):
    """Send what is refused; returns it as it is in the quarantine."""
    for number, request in enumerate(requests, 1):
        assert (await receiver.send(request)).status in {400, 403, 413, 415}
        await receiver.refused(number)
    return await kept_in(receiver)


@pytest.mark.parametrize(
    "wrong",
    [
        {"PUBLIC_BASE_URL": "http://hooks.example.com"},
        {"PUBLIC_BASE_URL": "https://hooks.example.com/prefix"},
        {"TWILIO_AUTH_TOKEN": NEW_TOKEN},
        {"TWILIO_ACCOUNT_SID": OTHER_ACCOUNT},
    ],
    ids=["scheme", "prefix", "token", "account"],
)
async def test_what_a_wrong_setting_refused_is_taken_in_once_it_is_mended(start, redis, redis_url, sample, wrong):
    """Refused, mended, replayed: exactly one entry, with the time at which it came; the quarantine is empty."""
    receiver = await start(**wrong)
    (kept,) = await refuse(receiver, signed(sample()))
    assert not (await readmission(redis, redis_url, **wrong).replay(kept)).is_in
    outcome = await readmission(redis, redis_url).replay(kept)
    assert (outcome.is_in, outcome.text) == (True, "taken in")
    (entry,) = await receiver.entries()
    assert entry[b"body"] == sample().body
    assert int(entry[b"received_at"]) == kept.refused.received_at
    assert entry[b"replayed"].endswith(b"Z")
    assert await kept_in(receiver) == []


async def test_replay_twice_is_one_entry(start, redis, redis_url, sample):
    """However often and from wherever it is replayed, the event is there once."""
    receiver = await start(TWILIO_AUTH_TOKEN=NEW_TOKEN)
    (kept,) = await refuse(receiver, signed(sample()))
    outcomes = [await readmission(redis, redis_url).replay(kept) for _ in range(3)]
    assert [one.is_in for one in outcomes] == [True] * 3
    assert "duplicate" in outcomes[1].text
    assert len(await receiver.entries()) == 1


async def test_what_had_come_by_another_way_is_a_duplicate(start, redis, redis_url, sample):
    """Twilio repeated it by a fallback URL meanwhile: the replay adds nothing, and empties the quarantine."""
    wrong, right = await start(TWILIO_AUTH_TOKEN=NEW_TOKEN), await start()
    (kept,) = await refuse(wrong, signed(sample()))
    assert (await right.send(signed(sample()))).status == 200
    assert "duplicate" in (await readmission(redis, redis_url).replay(kept)).text
    assert len(await right.entries()) == 1
    assert await kept_in(wrong) == []


async def test_repeat_after_the_replay_is_a_duplicate(start, redis, redis_url, sample):
    """The replay claims the key as the webhook would have done."""
    wrong, right = await start(TWILIO_AUTH_TOKEN=NEW_TOKEN), await start()
    (kept,) = await refuse(wrong, signed(sample()))
    await readmission(redis, redis_url).replay(kept)
    assert (await right.send(signed(sample()))).status == 200
    assert len(await right.entries()) == 1


async def test_form_and_event_of_one_message_stay_one(start, redis, redis_url):
    """Both reports of one message were refused: their replays make one entry."""
    receiver = await start(TWILIO_AUTH_TOKEN=NEW_TOKEN)
    for kept in await refuse(receiver, signed(sms()), signed(message_streamed())):
        assert (await readmission(redis, redis_url).replay(kept)).is_in
    assert len(await receiver.entries()) == 1


async def test_batch_is_replayed_event_by_event(start, redis, redis_url):
    """What was there of a batch stays once, the rest is new."""
    wrong, right = await start(TWILIO_AUTH_TOKEN=NEW_TOKEN), await start()
    (kept,) = await refuse(wrong, signed(batch(message_streamed(1), message_streamed(2), message_streamed(3))))
    await right.send(signed(message_streamed(2)))
    assert (await readmission(redis, redis_url).replay(kept)).text == "taken in, 2 of 3 events are new"
    assert len(await right.entries()) == 3


async def test_a_forgery_stays_where_it_is(start, redis, redis_url, sample):
    """What is still not authentic is refused again with its reason, and stays; shadow mode changes nothing here."""
    receiver = await start()
    (kept,) = await refuse(receiver, signed(sample(), token="forged"))
    outcome = await readmission(redis, redis_url, ROUTER_SHADOW="messaging,conversations,event-streams").replay(kept)
    assert (outcome.is_in, outcome.text) == (False, "still refused: 403 signature: X-Twilio-Signature does not match")
    assert await kept_in(receiver) == [kept]
    assert await receiver.entries() == []


async def test_an_operator_can_vouch_for_it(start, redis, redis_url, sample):
    """Its token is gone for good: trusted, it is taken in; one of another account or without a body is not."""
    receiver = await start()
    (kept,) = await refuse(receiver, signed(sample(), token="long gone"))
    assert (await readmission(redis, redis_url).replay(kept, is_trusted=True)).is_in
    assert len(await receiver.entries()) == 1
    (other,) = await refuse(receiver, signed(sample(account=OTHER_ACCOUNT)))
    assert "403 account" in (await readmission(redis, redis_url).replay(other, is_trusted=True)).text


async def test_what_was_too_large_cannot_come_back(start, redis, redis_url, sample):
    """Its body was never read: it says so and stays."""
    receiver = await start(ROUTER_MAX_BODY_BYTES="1024")
    (kept,) = await refuse(receiver, signed(sample()).but(body=b"x" * 2000))
    assert "its body was not kept" in (await readmission(redis, redis_url).replay(kept)).text
    assert await kept_in(receiver) == [kept]


async def test_an_entry_of_no_source_of_ours(redis, redis_url):
    """Something strange in the stream is refused by name."""
    odd = Kept("1-1", Refused("pigeon", "signature", "", 403, 0, "POST", b"/", (), "", b"", is_whole=True))
    assert "no event source pigeon" in (await readmission(redis, redis_url).replay(odd)).text


async def test_without_redis_nothing_leaves_the_quarantine(start, redis, redis_url):
    """What could not be appended is still there afterwards."""
    receiver = await start(TWILIO_AUTH_TOKEN=NEW_TOKEN)
    (kept,) = await refuse(receiver, signed(sms()))
    away = connect(f"redis://127.0.0.1:{free_port()}/0")
    outcome = await readmission(away, redis_url).replay(kept)
    await away.aclose()
    assert not outcome.is_in
    assert await kept_in(receiver) == [kept]


async def test_a_batch_of_which_a_part_is_left_out_stays(start, redis, redis_url):
    """A replay takes in what it can, once, and leaves the rest where it is as long as nobody takes it."""
    receiver = await start()
    request = signed(batch(message_streamed(1, OTHER_ACCOUNT), message_streamed(2)))
    assert (await receiver.send(request)).status == 200
    await receiver.refused()
    (kept,) = await kept_in(receiver)
    outcome = await readmission(redis, redis_url).replay(kept)
    assert (outcome.is_in, "1 of 2 are of accounts" in outcome.text) == (False, True)
    assert len(await receiver.entries()) == len(await kept_in(receiver)) == 1
