"""Refused webhooks are kept with everything that a second check needs, and never delay an answer."""

import gzip
from dataclasses import replace

import pytest

from router import metrics
from router.core.refused import NOT_KEPT, Bounds
from router.receiver import refusals
from router.receiver.refusals import Quarantine
from router.streams.client.embedded import free_port
from router.streams.store.quarantine import count_lately, list_kept
from tests.core.test_refused import REFUSED
from tests.receiver.samples import SAMPLES, signed, sms
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT
from tests.support.waiting import deadline, until

BOUNDS = Bounds(entries=100, size=1_000_000, ttl=3600)


def counted(result, reason="signature"):
    return metrics.REGISTRY.get_sample_value("router_quarantined_total", {"reason": reason, "result": result}) or 0


async def test_everything_that_a_second_check_needs_is_kept(receiver):
    """Method, path and query, headers with the signature, body, time of receipt, and the account that it names."""
    request = signed(sms(), path="/webhooks/messaging?x=%2B1&b=%20").but(signature="wrong=")
    await receiver.send(request)
    (refused,) = await receiver.refused()
    headers = dict(refused.headers)
    assert (refused.source, refused.method, refused.raw_path) == ("messaging", "POST", request.path.encode())
    assert (refused.body, refused.is_whole, refused.account_id) == (request.body, True, ACCOUNT)
    assert (headers["X-Twilio-Signature"], headers["Content-Type"]) == ("wrong=", request.content_type)
    assert refused.detail == "X-Twilio-Signature does not match"
    assert refused.received_at > 1_700_000_000_000_000


async def test_a_binary_body_is_kept_byte_by_byte(receiver):
    """A compressed body is stored unchanged."""
    body = gzip.compress(bytes(range(256)))
    await receiver.send(signed(sms()).but(body=body))
    assert (await receiver.refused())[0].body == body


async def test_passwords_are_not_kept(receiver):
    """The entry shows that there were credentials and cookies, but not their values."""
    await receiver.send(signed(sms()).but(signature="x"), Authorization="Basic c2VjcmV0", Cookie="session=hush")
    (refused,) = await receiver.refused()
    headers = dict(refused.headers)
    assert (headers["Authorization"], headers["Cookie"]) == (NOT_KEPT, NOT_KEPT)


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=list(SAMPLES))
async def test_repeats_are_one_entry(receiver, sample):
    """A repeated refused webhook is counted and not kept twice; another webhook is another entry."""
    requests = [signed(sample(number)).but(signature="x") for number in (1, 1, 1, 2)]
    for request in requests:
        assert (await receiver.send(request)).status == 403
    await receiver.refused(2)
    await until(lambda: receiver.redis.hvals(receiver.keys.quarantine_repeats()))
    assert [kept.repeats async for kept in list_kept(receiver.redis, receiver.keys)] == [2, 0]


async def test_webhooks_of_configured_accounts_are_counted_apart(receiver):
    """`status` warns of those, not of webhooks that strangers send."""
    for request in (signed(sms(1)).but(signature="x"), signed(sms(2, account=OTHER_ACCOUNT))):
        assert (await receiver.send(request)).status == 403
    await receiver.refused(2)
    assert await count_lately(receiver.redis, receiver.keys, 0) == 1


async def test_a_flood_of_forgeries_pushes_out_no_other_reason(start):
    """Each reason has its own limit: a webhook of an unknown account is still kept after many forgeries."""
    receiver = await start(ROUTER_QUARANTINE_MAX="3")
    await receiver.send(signed(sms(account=OTHER_ACCOUNT)))
    await receiver.refused()
    for number in range(10):
        await receiver.send(signed(sms(number)).but(signature="forged"))
    newest = f"SM{9:032x}".encode()
    await until(lambda: _has(receiver, newest))
    assert [one.reason for one in await receiver.refused(4)] == ["account", "signature", "signature", "signature"]


async def _has(receiver, words):
    return any([words in kept.refused.body async for kept in list_kept(receiver.redis, receiver.keys)])


async def test_a_gauge_shows_the_number_of_entries_by_reason(receiver):
    """`/metrics` has the number for every reason, including 0."""
    await receiver.send(signed(sms()).but(signature="x"))
    await receiver.refused()
    text = (await receiver.get("/metrics")).body.decode()
    assert 'router_quarantine_entries{reason="signature"} 1.0' in text
    assert 'router_quarantine_entries{reason="account"} 0.0' in text


async def test_a_limit_of_0_disables_the_quarantine(start, redis):
    """Nothing about it is written to Redis."""
    receiver = await start(ROUTER_QUARANTINE_MAX="0")
    assert (await receiver.send(signed(sms()).but(signature="x"))).status == 403
    assert await receiver.has_nothing_else()
    assert not [key for key in await redis.keys() if b"quarantine" in key or b":refusals:" in key]


async def test_without_redis_the_answer_is_the_same_and_the_loss_is_logged(start, lines):
    """The answer is 403; a line and a counter say that the webhook could not be kept."""
    receiver = await start(server_url=f"redis://127.0.0.1:{free_port()}/0")
    before = counted("failed")
    assert (await receiver.send(signed(sms()).but(signature="x"))).status == 403
    (line,) = await until(lambda: lines("quarantine.failed"))
    assert (line["level"], line["problem"], line["webhooks"]) == ("error", "ConnectionError", 1)
    assert counted("failed") == before + 1


async def test_a_stalled_server_delays_no_answer(start, own_server, clients, monkeypatch, lines):
    """Answers come at once while Redis hangs; the waiting webhooks are given up together, and the next one is kept."""
    monkeypatch.setattr(refusals, "WRITE_TIMEOUT", 0.3)
    receiver = await start(server_url=own_server.url)
    own_server.stall()
    async with deadline(5):
        for number in range(5):
            assert (await receiver.send(signed(sms(number)).but(signature="x"))).status == 403
    await until(lambda: sum(one["webhooks"] for one in lines("quarantine.failed")) == 5)
    assert {one["problem"] for one in lines("quarantine.failed")} == {"TimeoutError"}
    own_server.resume()
    redis = clients(own_server.url)
    await receiver.send(signed(sms(7)).but(signature="x"))
    await until(lambda: redis.xlen(receiver.keys.quarantine()))


async def test_the_queue_is_bounded(redis, keys, lines, monkeypatch):
    """Number and bytes of the waiting webhooks have limits; further ones are given up at once."""
    monkeypatch.setattr(refusals, "MAX_WAITING", 3)
    one = Quarantine(redis, keys, BOUNDS)
    before = counted("failed")
    for number in range(5):
        one.put(_numbered(number))
    await one.close()
    assert await redis.xlen(keys.quarantine()) == 3
    assert counted("failed") == before + 2
    assert [(line["problem"], line["webhooks"]) for line in lines("quarantine.failed")] == [("too many at once", 2)]
    monkeypatch.setattr(refusals, "MAX_WAITING_BYTES", 1000)
    for number in range(10, 15):
        one.put(_numbered(number, 400))
    await one.close()
    assert await redis.xlen(keys.quarantine()) == 5


def _numbered(number, size=0):
    return replace(REFUSED, body=b"%d" % number + b"x" * size)


async def test_the_bytes_of_a_second_are_bounded(redis, keys, lines):
    """Large ones have an allowance of their own; what is beyond is counted, and logged once in a while."""
    now = [0.0]
    one = Quarantine(redis, keys, Bounds(entries=10_000, size=200_000_000, ttl=3600), clock=lambda: now[0])
    before, size = counted("failed"), 500_000
    allowed = int(refusals.LARGE_RATE * refusals.BURST) // size
    for number in range(50):
        one.put(_numbered(number, size))
    one.put(_numbered(50))
    await until(lambda: one._writer is None)
    assert await redis.xlen(keys.quarantine()) == allowed + 1
    now[0] += 1.0
    for number in range(100, 150):
        one.put(_numbered(number, size))
        await one.close()
    assert await redis.xlen(keys.quarantine()) == allowed + 1 + refusals.LARGE_RATE // size
    assert counted("failed") == before + 100 - allowed - refusals.LARGE_RATE // size
    assert sum(line["webhooks"] for line in lines("quarantine.failed")) == counted("failed") - before


async def test_a_flood_that_is_not_kept_is_logged_now_and_then(redis, keys, lines):
    """While nothing is written, dropped webhooks are logged at most once in REPORT_EVERY seconds."""
    now = [0.0]
    one = Quarantine(redis, keys, Bounds(entries=10, size=200_000_000, ttl=3600), clock=lambda: now[0])
    huge = int(refusals.LARGE_RATE * refusals.BURST) + 1
    for _ in range(50):
        one.put(_numbered(1, huge))
    assert [line["webhooks"] for line in lines("quarantine.failed")] == [1]
    now[0] += refusals.REPORT_EVERY
    one.put(_numbered(1, huge))
    await one.close()
    assert [line["webhooks"] for line in lines("quarantine.failed")] == [1, 50]
    assert await redis.keys() == []


async def test_closing_waits_for_pending_writes(redis, keys, output):
    """A receiver that stops first writes what it has refused."""
    one = Quarantine(redis, keys, BOUNDS)
    for number in range(20):
        one.put(_numbered(number))
    await one.close()
    assert await redis.xlen(keys.quarantine()) == 20
    await one.close()


@pytest.mark.parametrize(
    "account", ["+15551230001", "ana@example.com", "AC" + "x" * 10_000, f"{OTHER_ACCOUNT}+15551230001"]
)
async def test_an_account_that_no_account_has_is_not_told(receiver, account):
    """Strangers write into it what they like, of any length; stories have neither texts nor addresses."""
    await receiver.send(signed(sms(account=account)))
    await receiver.send(signed(sms(2, account=OTHER_ACCOUNT)))
    waiting = f"{receiver.keys.refusals(0)}new"
    await until(lambda: _tells(receiver, waiting, OTHER_ACCOUNT))
    assert not await _tells(receiver, waiting, account)


async def _tells(receiver, key, text):
    return any(text.encode() in batch for batch in await receiver.redis.lrange(key, 0, -1))
