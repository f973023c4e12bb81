"""Shadow mode: what is not signed rightly is let in, and everybody is told; nothing else about the door changes."""

import pytest

from router import metrics
from router.core.events import SourceName
from tests.receiver.samples import ACCOUNT, OTHER_ACCOUNT, SAMPLES, message_streamed, signed, sms

SHADOWED = [name for name in SAMPLES if name is not SourceName.EMAIL]


@pytest.fixture(params=SHADOWED, ids=str)
def sample(request):
    return SAMPLES[request.param]


@pytest.fixture
async def shadow(start):
    return await start(ROUTER_SHADOW=",".join(SHADOWED))


def told(receiver):
    return [line for line in receiver.lines if line["event"] == "webhook.shadow"]


def counted(source):
    return metrics.REGISTRY.get_sample_value("router_shadow_total", {"source": source}) or 0


@pytest.mark.parametrize("spoil", [{"signature": None}, {"signature": "wrong"}], ids=["missing", "wrong"])
async def test_what_would_be_refused_is_taken_in_and_told(shadow, sample, spoil):
    """It is durable and answered as ever; a line and a count say what would have been refused, and why."""
    source = next(name for name in SHADOWED if SAMPLES[name] is sample)
    before = counted(source)
    assert (await shadow.send(signed(sample()).but(**spoil))).status == 200
    (entry,) = await shadow.entries()
    assert entry[b"account"] == ACCOUNT.encode()
    (line,) = told(shadow)
    assert (line["source"], line["status"], line["level"]) == (source, 403, "warning")
    assert "Signature" in line["reason"]
    assert counted(source) == before + 1
    assert await shadow.redis.xlen(shadow.keys.quarantine()) == 0


async def test_what_is_signed_rightly_is_nothing_special(shadow, sample):
    """Shadow mode says nothing about an authentic webhook."""
    assert (await shadow.send(signed(sample()))).status == 200
    assert told(shadow) == []


async def test_an_altered_json_body_is_told_too(shadow):
    """A digest that is not the body's is a wrong signature like any other."""
    request = signed(message_streamed())
    assert (await shadow.send(request.but(body=message_streamed(2).body))).status == 200
    assert "bodySHA256" in told(shadow)[0]["reason"]


async def test_accounts_that_are_not_configured_are_refused_as_ever(shadow, sample):
    """Nobody can write for an account that is not ours, signed or not."""
    for request in (signed(sample(account=OTHER_ACCOUNT)), signed(sample(account=OTHER_ACCOUNT)).but(signature="x")):
        assert (await shadow.send(request)).status == 403
    assert await shadow.entries() == []
    assert {line["result"] for line in shadow.webhooks()} == {"account"}


async def test_bodies_and_types_are_checked_as_ever(shadow, sample):
    """What cannot be read is refused, signed or not."""
    request = signed(sample()).but(signature=None)
    assert (await shadow.send(request.but(body=b"{"))).status == 400
    assert (await shadow.send(request.but(content_type="text/plain"))).status == 415


async def test_other_sources_are_not_in_the_shadow(start):
    """Only the sources that are named are let in."""
    receiver = await start(ROUTER_SHADOW="conversations")
    assert (await receiver.send(signed(sms()).but(signature=None))).status == 403
