"""Classic webhooks in the receiver: a pre-action is answered at once, and two webhooks of one event are one entry."""

import pytest

from router.inbound.sources import FORM
from router.simulator.classic import PARAMETERS, ClassicScene, classic_webhook
from router.simulator.messages import SimulatedWebhook
from tests.inbound.samples import encode_form, encode_json, load, load_form
from tests.receiver.samples import NOW, classic_message, signed
from tests.support.accounts import ACCOUNT, CUSTOMER, OURS

NAME = "classic_participant_added"


@pytest.mark.parametrize("event_type", [event_type for event_type in PARAMETERS if not event_type.endswith("ed")])
async def test_a_pre_action_is_answered_unchanged_and_not_appended(receiver, event_type):
    """A pre-action webhook gets `{}` at once and is logged as such."""
    scene = ClassicScene(account_sid=ACCOUNT, service_sid="IS" + "0" * 32, now=NOW, customer=CUSTOMER, recipient=OURS)
    answer = await receiver.send(signed(classic_webhook(event_type, scene)))
    content_type = answer.headers["Content-Type"].partition(";")[0]
    assert (answer.status, content_type, answer.body) == (200, "application/json", b"{}")
    assert await receiver.entries() == []
    assert receiver.lines[-1]["result"] == "pre-action"


async def test_a_post_action_is_durable_before_its_answer(receiver):
    """It gets the same answer as a pre-action, and so does its duplicate."""
    answers = [await receiver.send(signed(classic_message())) for _ in range(2)]
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"{}")] * 2
    assert len(await receiver.entries()) == 1
    assert [line["result"] for line in receiver.webhooks()] == ["accepted", "duplicate"]


@pytest.mark.parametrize("is_form_first", [True, False], ids=["form-first", "stream-first"])
async def test_form_and_event_of_one_change_are_one_entry(receiver, is_form_first):
    """Whichever of the classic webhook and the Event Streams event comes second is a duplicate."""
    pairs = tuple(load_form(NAME, AccountSid=ACCOUNT))
    event = load("es_participant_added")
    event["data"]["AccountSid"] = ACCOUNT
    both = [
        SimulatedWebhook("/webhooks/conversations-classic", "MB", FORM, encode_form(pairs), pairs),
        SimulatedWebhook("/webhooks/event-streams", "MB", "application/json", encode_json([event])),
    ]
    for webhook in both if is_form_first else reversed(both):
        assert (await receiver.send(signed(webhook))).status == 200
    assert [line["result"] for line in receiver.webhooks()] == ["accepted", "duplicate"]
    assert len(await receiver.entries()) == 1
