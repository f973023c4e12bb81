"""Replay from the quarantine: a webhook refused by a wrong setting is accepted once, with its time of receipt."""

import pytest

from router.core.refused import Refused
from router.receiver.replay import QuarantineReplay
from router.streams.client.connection import connect
from router.streams.client.embedded import free_port
from router.streams.store.quarantine import Kept, list_kept
from tests.receiver.conftest import settings_of
from tests.receiver.samples import URL_SAMPLES, signed, sms
from tests.receiver.test_batches import batch, message_streamed
from tests.support.accounts import OTHER_ACCOUNT, OTHER_TOKEN


@pytest.fixture(params=list(URL_SAMPLES), ids=str)
def sample(request):
    return URL_SAMPLES[request.param]


@pytest.fixture
def replay(redis, redis_url):
    """A function that replays an entry with settings of its own."""

    async def replay_one(kept, *, client=redis, is_trusted=False, **environment):
        replaying = QuarantineReplay(settings_of(redis_url, **environment), client)
        return await replaying.replay(kept, is_trusted=is_trusted)

    return replay_one


@pytest.fixture
def preview(redis, redis_url):
    """A function that says what a replay would do, with settings of its own."""

    async def preview_one(kept, *, is_trusted=False, **environment):
        return await QuarantineReplay(settings_of(redis_url, **environment), redis).preview(kept, is_trusted=is_trusted)

    return preview_one


async def kept_in(receiver):
    return [kept async for kept in list_kept(receiver.redis, receiver.keys)]


async def refuse(receiver, *requests):
    """Send webhooks that are refused; returns their quarantine entries."""
    for number, request in enumerate(requests, 1):
        assert (await receiver.send(request)).status in {400, 403, 413, 415}
        await receiver.refused(number)
    return await kept_in(receiver)


@pytest.mark.parametrize(
    "wrong",
    [
        {"PUBLIC_BASE_URL": "http://hooks.example.com"},
        {"PUBLIC_BASE_URL": "https://hooks.example.com/prefix"},
        {"TWILIO_AUTH_TOKEN": OTHER_TOKEN},
        {"TWILIO_ACCOUNT_SID": OTHER_ACCOUNT},
    ],
    ids=["scheme", "prefix", "token", "account"],
)
async def test_a_webhook_refused_by_a_wrong_setting_is_accepted_after_the_correction(start, replay, sample, wrong):
    """Refused, corrected, replayed: exactly one entry with its time of receipt, and the quarantine is empty."""
    receiver = await start(**wrong)
    (kept,) = await refuse(receiver, signed(sample()))
    assert not (await replay(kept, **wrong)).is_accepted
    outcome = await replay(kept)
    assert (outcome.is_accepted, outcome.text) == (True, "accepted")
    (entry,) = await receiver.entries()
    assert entry[b"body"] == sample().body
    assert int(entry[b"received_at"]) == kept.refused.received_at
    assert entry[b"replayed"].endswith(b"Z")
    assert await kept_in(receiver) == []


async def test_several_replays_make_one_entry(start, replay, sample):
    """However often a webhook is replayed, its event is appended once."""
    receiver = await start(TWILIO_AUTH_TOKEN=OTHER_TOKEN)
    (kept,) = await refuse(receiver, signed(sample()))
    outcomes = [await replay(kept) for _ in range(3)]
    assert [one.is_accepted for one in outcomes] == [True] * 3
    assert "duplicate" in outcomes[1].text
    assert len(await receiver.entries()) == 1


async def test_an_event_that_arrived_by_another_way_is_a_duplicate(start, replay, sample):
    """Twilio repeated it at a fallback URL meanwhile: the replay adds nothing and empties the quarantine."""
    wrong, right = await start(TWILIO_AUTH_TOKEN=OTHER_TOKEN), await start()
    (kept,) = await refuse(wrong, signed(sample()))
    assert (await right.send(signed(sample()))).status == 200
    assert "duplicate" in (await replay(kept)).text
    assert len(await right.entries()) == 1
    assert await kept_in(wrong) == []


async def test_a_repeat_after_the_replay_is_a_duplicate(start, replay, sample):
    """The replay claims the idempotency key as the webhook would have done."""
    wrong, right = await start(TWILIO_AUTH_TOKEN=OTHER_TOKEN), await start()
    (kept,) = await refuse(wrong, signed(sample()))
    await replay(kept)
    assert (await right.send(signed(sample()))).status == 200
    assert len(await right.entries()) == 1


async def test_form_and_event_of_one_message_make_one_entry(start, replay):
    """Both webhooks of one message were refused: their replays make one entry."""
    receiver = await start(TWILIO_AUTH_TOKEN=OTHER_TOKEN)
    for kept in await refuse(receiver, signed(sms()), signed(message_streamed())):
        assert (await replay(kept)).is_accepted
    assert len(await receiver.entries()) == 1


async def test_a_batch_is_replayed_event_by_event(start, replay):
    """An event of the batch that had arrived before is a duplicate; the others are new."""
    wrong, right = await start(TWILIO_AUTH_TOKEN=OTHER_TOKEN), await start()
    (kept,) = await refuse(wrong, signed(batch(message_streamed(1), message_streamed(2), message_streamed(3))))
    await right.send(signed(message_streamed(2)))
    assert (await replay(kept)).text == "accepted, 2 of 3 events are new"
    assert len(await right.entries()) == 3


async def test_a_forgery_stays_in_the_quarantine(start, replay, sample):
    """A webhook that is still not authentic is refused again with its reason; shadow mode does not apply here."""
    receiver = await start()
    (kept,) = await refuse(receiver, signed(sample(), token="forged"))
    outcome = await replay(kept, ROUTER_SHADOW="messaging,conversations,event-streams")
    assert not outcome.is_accepted
    assert outcome.text == "still refused: 403 signature: X-Twilio-Signature does not match"
    assert await kept_in(receiver) == [kept]
    assert await receiver.entries() == []


async def test_an_operator_can_trust_a_webhook(start, replay, sample):
    """Its token is gone for good: a trusted webhook is accepted, but not one of an unknown account."""
    receiver = await start()
    (kept,) = await refuse(receiver, signed(sample(), token="long gone"))
    assert (await replay(kept, is_trusted=True)).is_accepted
    assert len(await receiver.entries()) == 1
    (other,) = await refuse(receiver, signed(sample(account=OTHER_ACCOUNT)))
    assert "403 account" in (await replay(other, is_trusted=True)).text


async def test_a_webhook_that_was_too_large_cannot_be_replayed(start, replay, sample):
    """Its body was never read: the outcome says so and the entry stays."""
    receiver = await start(ROUTER_MAX_BODY_BYTES="1024")
    (kept,) = await refuse(receiver, signed(sample()).but(body=b"x" * 2000))
    assert "its body was not kept" in (await replay(kept)).text
    assert await kept_in(receiver) == [kept]


async def test_an_entry_of_an_unknown_source_is_refused(replay):
    """The outcome names the source."""
    odd = Kept("1-1", Refused("pigeon", "signature", "", 403, 0, "POST", b"/", (), "", b"", is_whole=True))
    assert "no event source pigeon" in (await replay(odd)).text


async def test_without_redis_nothing_leaves_the_quarantine(start, replay):
    """An event that could not be appended is still kept afterwards."""
    receiver = await start(TWILIO_AUTH_TOKEN=OTHER_TOKEN)
    (kept,) = await refuse(receiver, signed(sms()))
    away = connect(f"redis://127.0.0.1:{free_port()}/0")
    outcome = await replay(kept, client=away)
    await away.aclose()
    assert not outcome.is_accepted
    assert await kept_in(receiver) == [kept]


async def test_a_batch_stays_while_some_of_its_events_are_left_out(start, replay):
    """A replay appends the events of configured accounts once; the entry stays for the others."""
    receiver = await start()
    request = signed(batch(message_streamed(1, OTHER_ACCOUNT), message_streamed(2)))
    assert (await receiver.send(request)).status == 200
    await receiver.refused()
    (kept,) = await kept_in(receiver)
    outcome = await replay(kept)
    assert (outcome.is_accepted, "1 of 2 are of accounts" in outcome.text) == (False, True)
    assert len(await receiver.entries()) == len(await kept_in(receiver)) == 1


@pytest.mark.parametrize("is_trusted", [False, True], ids=["checked", "trusted"])
async def test_a_preview_says_what_a_replay_would_do_and_does_nothing(start, replay, preview, is_trusted):
    """With the same settings both agree, and the webhook is still in the quarantine after the preview."""
    wrong = {"TWILIO_AUTH_TOKEN": OTHER_TOKEN}
    receiver = await start(**wrong)
    (kept,) = await refuse(receiver, signed(sms()))
    outcome = await preview(kept, is_trusted=is_trusted, **wrong)
    assert outcome.is_accepted is is_trusted
    if not is_trusted:
        assert outcome.text == (await replay(kept, **wrong)).text
    right = await preview(kept, is_trusted=is_trusted)
    assert (right.is_accepted, right.text) == (True, "would be accepted")
    assert await kept_in(receiver) == [kept]
    assert await receiver.redis.xlen(receiver.keys.inbound(0)) == 0
    assert (await replay(kept, is_trusted=is_trusted)).is_accepted


async def test_a_preview_of_a_batch_counts_its_events(start, preview):
    """A sink sends several events at once."""
    receiver = await start(TWILIO_AUTH_TOKEN=OTHER_TOKEN)
    (kept,) = await refuse(receiver, signed(batch(message_streamed(1), message_streamed(2))))
    assert (await preview(kept)).text == "would be accepted (2 events)"
