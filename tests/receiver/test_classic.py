"""Classic webhooks at the door: a question is answered at once, what two sources tell is one event."""

import pytest

from router.inbound.sources import FORM
from router.simulator.classic import PARAMETERS, ClassicScene, classic_webhook
from router.simulator.messages import SimulatedWebhook
from tests.inbound.samples import encode_form, encode_json, load, load_form
from tests.receiver.samples import CUSTOMER, NOW, OURS, classic_message, signed
from tests.support.accounts import ACCOUNT

NAME = "classic_participant_added"


@pytest.mark.parametrize("event_type", [event_type for event_type in PARAMETERS if not event_type.endswith("ed")])
async def test_a_question_is_answered_unchanged_and_leaves_nothing(receiver, event_type):
    """A pre-action webhook gets `{}` at once, is logged as such, and nothing is appended."""
    scene = ClassicScene(account_sid=ACCOUNT, service_sid="IS" + "0" * 32, now=NOW, customer=CUSTOMER, recipient=OURS)
    answer = await receiver.send(signed(classic_webhook(event_type, scene)))
    content_type = answer.headers["Content-Type"].partition(";")[0]
    assert (answer.status, content_type, answer.body) == (200, "application/json", b"{}")
    assert await receiver.entries() == []
    assert receiver.lines[-1]["result"] == "pre-action"


async def test_what_has_happened_is_answered_alike(receiver):
    """A post-action webhook is durable before it gets the same answer, and so is its duplicate."""
    answers = [await receiver.send(signed(classic_message())) for _ in range(2)]
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"{}")] * 2
    assert len(await receiver.entries()) == 1
    assert [line["result"] for line in receiver.webhooks()] == ["accepted", "duplicate"]


@pytest.mark.parametrize("is_form_first", [True, False], ids=["form-first", "stream-first"])
async def test_a_webhook_and_its_event_are_one(receiver, is_form_first):
    """Whichever of webhook and Event Streams comes second is a duplicate."""
    pairs = tuple(load_form(NAME, AccountSid=ACCOUNT))
    event = load("es_participant_added")
    event["data"]["AccountSid"] = ACCOUNT
    told = [
        SimulatedWebhook("/webhooks/conversations-classic", "MB", FORM, encode_form(pairs), pairs),
        SimulatedWebhook("/webhooks/event-streams", "MB", "application/json", encode_json([event])),
    ]
    for webhook in told if is_form_first else reversed(told):
        assert (await receiver.send(signed(webhook))).status == 200
    assert [line["result"] for line in receiver.webhooks()] == ["accepted", "duplicate"]
    assert len(await receiver.entries()) == 1
