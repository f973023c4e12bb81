"""Event Streams in the receiver: one entry per event of a batch, and one for an event and its form webhook."""

from dataclasses import replace

import orjson
import pytest

from router import metrics
from router.core.keys import Keys
from tests.receiver.samples import message_streamed, signed, sms
from tests.support.accounts import OTHER_ACCOUNT


def batch(*webhooks, **changes):
    """One request with the events of several."""
    events = [orjson.loads(webhook.body) | changes for webhook in webhooks]
    return replace(webhooks[0], body=orjson.dumps(events))


@pytest.mark.parametrize("order", ["form first", "event first"])
async def test_form_and_event_of_one_message_are_one_entry(receiver, order):
    """Whichever of the two comes second is a duplicate: both have the idempotency key of the message."""
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


async def test_a_batch_that_overlaps_another_adds_only_new_events(receiver):
    """Event Streams delivers at least once and unordered; every event has one entry."""
    await receiver.send(signed(batch(message_streamed(1), message_streamed(2))))
    await receiver.send(signed(batch(message_streamed(2), message_streamed(3))))
    assert len(await receiver.entries()) == 3


async def test_a_bad_element_does_not_affect_the_others(receiver):
    """Each good event has its entry; the bad one has one too, of which the worker makes a dead letter."""
    events = [orjson.loads(message_streamed(1).body), {"no": "event"}, orjson.loads(message_streamed(2).body)]
    answer = await receiver.send(signed(replace(message_streamed(1), body=orjson.dumps(events))))
    assert answer.status == 200
    assert sum(b":bad:" in entry[b"key"] for entry in await receiver.entries()) == 1
    assert len(await receiver.entries()) == 3


async def test_events_of_other_accounts_are_left_out_and_logged(receiver):
    """A batch of foreign events is refused; of a mixed one our events are accepted and the line counts the rest."""
    foreign = message_streamed(1, OTHER_ACCOUNT)
    labels = {"source": "event-streams", "status": "403", "result": "account"}
    before = metrics.REGISTRY.get_sample_value("router_webhooks_total", labels) or 0
    assert (await receiver.send(signed(foreign))).status == 403
    assert (await receiver.send(signed(batch(foreign, message_streamed(2))))).status == 200
    assert len(await receiver.entries()) == 1
    assert receiver.webhooks()[-1]["reason"] == "1 of 2 are of accounts that are not configured"
    assert metrics.REGISTRY.get_sample_value("router_webhooks_total", labels) == before + 2
    assert [refused.reason for refused in await receiver.refused(2)] == ["account", "account"]


async def test_an_empty_batch_is_accepted_without_entries(receiver):
    """A batch without events is not an error."""
    answer = await receiver.send(signed(replace(message_streamed(1), body=b"[]")))
    assert (answer.status, await receiver.entries()) == (200, [])
    assert receiver.webhooks()[-1]["result"] == "empty"


@pytest.mark.parametrize("content_type", ["application/cloudevents+json", "application/cloudevents-batch+json"])
async def test_the_content_types_of_cloudevents_are_accepted(receiver, content_type):
    """Besides application/json the two types of the CloudEvents specification."""
    assert (await receiver.send(signed(message_streamed(1)).but(content_type=content_type))).status == 200


async def test_the_alias_of_an_event_is_claimed_like_its_key(receiver):
    """A streamed message leaves two claims, and both expire."""
    await receiver.send(signed(message_streamed(1)))
    claims = await receiver.redis.keys(Keys().seen(0, "*"))
    assert len(claims) == 2
    assert all([await receiver.redis.ttl(claim) > 0 for claim in claims])
