"""Shadow mode: webhooks with a wrong signature are accepted, logged and counted; all other checks stay."""

import pytest

from router import metrics
from tests.receiver.samples import URL_SAMPLES, message_streamed, signed, sms
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT


@pytest.fixture(params=list(URL_SAMPLES), ids=str)
def sample(request):
    return URL_SAMPLES[request.param]


@pytest.fixture
async def shadow(start):
    return await start(ROUTER_SHADOW=",".join(URL_SAMPLES))


def shadow_lines(receiver):
    return [line for line in receiver.lines if line["event"] == "webhook.shadow"]


def counted(source):
    return metrics.REGISTRY.get_sample_value("router_shadow_total", {"source": source}) or 0


@pytest.mark.parametrize("spoil", [{"signature": None}, {"signature": "wrong"}], ids=["missing", "wrong"])
async def test_a_webhook_that_would_be_refused_is_accepted_and_logged(shadow, sample, spoil):
    """It is durable and gets the usual answer; a line and a counter say that it would have been refused, and why."""
    source = next(name for name, one in URL_SAMPLES.items() if one is sample)
    before = counted(source)
    assert (await shadow.send(signed(sample()).but(**spoil))).status == 200
    (entry,) = await shadow.entries()
    assert entry[b"account"] == ACCOUNT.encode()
    (line,) = shadow_lines(shadow)
    assert (line["source"], line["status"], line["level"]) == (source, 403, "warning")
    assert "Signature" in line["reason"]
    assert counted(source) == before + 1
    assert await shadow.redis.xlen(shadow.keys.quarantine()) == 0


async def test_an_authentic_webhook_has_no_shadow_line(shadow, sample):
    """Shadow mode logs nothing about a webhook with a valid signature."""
    assert (await shadow.send(signed(sample()))).status == 200
    assert shadow_lines(shadow) == []


async def test_an_altered_json_body_is_logged_too(shadow):
    """A digest that does not match the body is a wrong signature like any other."""
    request = signed(message_streamed())
    assert (await shadow.send(request.but(body=message_streamed(2).body))).status == 200
    assert "bodySHA256" in shadow_lines(shadow)[0]["reason"]


async def test_unknown_accounts_are_still_refused(shadow, sample):
    """A webhook of an account that is not configured is refused, signed or not."""
    for request in (signed(sample(account=OTHER_ACCOUNT)), signed(sample(account=OTHER_ACCOUNT)).but(signature="x")):
        assert (await shadow.send(request)).status == 403
    assert await shadow.entries() == []
    assert {line["result"] for line in shadow.webhooks()} == {"account"}


async def test_bodies_and_content_types_are_still_checked(shadow, sample):
    """A webhook that cannot be read is refused, signed or not."""
    request = signed(sample()).but(signature=None)
    assert (await shadow.send(request.but(body=b"{"))).status == 400
    assert (await shadow.send(request.but(content_type="text/plain"))).status == 415


async def test_shadow_mode_is_per_source(start):
    """Only the sources named in ROUTER_SHADOW accept wrong signatures."""
    receiver = await start(ROUTER_SHADOW="conversations")
    assert (await receiver.send(signed(sms()).but(signature=None))).status == 403
