"""Event Streams at the door: batches are durable whole, each element for itself, and join up with the form webhook."""

from dataclasses import replace

import orjson
import pytest

from router import metrics
from router.core.keys import Keys
from tests.receiver.samples import OTHER_ACCOUNT, message_streamed, signed, sms


def batch(*webhooks, **changes):
    """One request with the events of several."""
    events = [orjson.loads(webhook.body) | changes for webhook in webhooks]
    return replace(webhooks[0], body=orjson.dumps(events))


@pytest.mark.parametrize("order", ["form first", "event first"])
async def test_form_and_event_of_one_message_are_one_entry(receiver, order):
    """Whichever of the two comes second is a duplicate: the message has one idempotency key at both doors."""
    both = [sms(1), message_streamed(1)]
    for webhook in both if order == "form first" else reversed(both):
        assert (await receiver.send(signed(webhook))).status == 200
    assert len(await receiver.entries()) == 1
    assert [line["result"] for line in receiver.webhooks()] == ["accepted", "duplicate"]


async def test_every_event_of_a_batch_has_its_own_entry(receiver):
    """Three events make three entries, and the same batch again makes none."""
    request = signed(batch(message_streamed(1), message_streamed(2), message_streamed(3)))
    for _ in range(2):
        answer = await receiver.send(request)
        assert (answer.status, answer.body) == (200, b"")
    assert len({entry[b"key"] for entry in await receiver.entries()}) == len(await receiver.entries()) == 3
    assert [line["key"] for line in receiver.webhooks()] == ["3 events", "3 events"]


async def test_a_batch_that_overlaps_another_adds_only_what_is_new(receiver):
    """At least once and unordered: what was there is there once."""
    await receiver.send(signed(batch(message_streamed(1), message_streamed(2))))
    await receiver.send(signed(batch(message_streamed(2), message_streamed(3))))
    assert len(await receiver.entries()) == 3


async def test_one_bad_element_says_nothing_against_the_others(receiver):
    """The good ones live; the bad one is an entry too, for the worker to make a dead letter of."""
    events = [orjson.loads(message_streamed(1).body), {"no": "event"}, orjson.loads(message_streamed(2).body)]
    answer = await receiver.send(signed(replace(message_streamed(1), body=orjson.dumps(events))))
    assert answer.status == 200
    assert sum(b":bad:" in entry[b"key"] for entry in await receiver.entries()) == 1
    assert len(await receiver.entries()) == 3


async def test_events_of_other_accounts_are_left_out_and_told_of(receiver):
    """A batch of nothing else is refused; in a mixed one ours are taken and the line says how many were not."""
    foreign = message_streamed(1, OTHER_ACCOUNT)
    labels = {"source": "event-streams", "status": "403", "result": "account"}
    before = metrics.REGISTRY.get_sample_value("router_webhooks_total", labels) or 0
    assert (await receiver.send(signed(foreign))).status == 403
    assert (await receiver.send(signed(batch(foreign, message_streamed(2))))).status == 200
    assert len(await receiver.entries()) == 1
    assert receiver.webhooks()[-1]["reason"] == "1 of 2 are of accounts that are not configured"
    assert metrics.REGISTRY.get_sample_value("router_webhooks_total", labels) == before + 2
    assert [refused.reason for refused in await receiver.refused(2)] == ["account", "account"]


async def test_an_empty_batch_is_taken_and_holds_nothing(receiver):
    """Nothing to do is no error."""
    answer = await receiver.send(signed(replace(message_streamed(1), body=b"[]")))
    assert (answer.status, await receiver.entries()) == (200, [])
    assert receiver.webhooks()[-1]["result"] == "empty"


@pytest.mark.parametrize("content_type", ["application/cloudevents+json", "application/cloudevents-batch+json"])
async def test_the_content_types_of_cloudevents_are_accepted(receiver, content_type):
    """Beside application/json the two of the specification."""
    assert (await receiver.send(signed(message_streamed(1)).but(content_type=content_type))).status == 200


async def test_the_alias_is_claimed_like_a_key(receiver):
    """Both claims of a message are there afterwards, and both expire."""
    await receiver.send(signed(message_streamed(1)))
    claims = await receiver.redis.keys(Keys().seen(0, "*"))
    assert len(claims) == 2
    assert all([await receiver.redis.ttl(claim) > 0 for claim in claims])
