"""Scenarios: the webhooks of a command line, their order, and sending them by a sender of each family; no network."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.events import InboundEntry
from router.core.signing.form import NO_FORM, parse_form
from router.inbound.sources import SOURCES, normalize
from router.inbound.webhook import Webhook
from router.simulator.builders import FAMILIES
from router.simulator.kinds import Family
from router.simulator.options import parse_simulate
from router.simulator.scenario import PlannedSend, make_plan, make_steps, send_steps
from tests.support.accounts import ACCOUNT

ENVIRONMENT = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": "first, second"}


class Recorder:
    """Takes the place of a Sender: records what it is asked to send."""

    def __init__(self, environment, token):
        self.token, self.sent, self.is_open = token, [], False
        self.response = (200, b"<Response/>")
        recorders.append(self)

    async def __aenter__(self):
        self.is_open = True
        return self

    async def __aexit__(self, *_):
        self.is_open = False

    async def send(self, webhook, fault):
        assert self.is_open
        self.sent.append((webhook.resource_id, fault))
        if self.response is None:
            raise ConnectionRefusedError("nothing listens")
        return self.response


class Refused(Recorder):
    """Another sender, whose connections are refused."""

    def __init__(self, environment, token):
        super().__init__(environment, token)
        self.response = None


recorders: list[Recorder] = []


@pytest.fixture(autouse=True)
def table(monkeypatch):
    """Every family is sent by a recorder."""
    recorders.clear()
    for family, builder in FAMILIES.items():
        monkeypatch.setitem(FAMILIES, family, replace(builder, sender=Recorder))


def steps_of(*line):
    arguments = parse_simulate(line)
    return make_steps(arguments, ENVIRONMENT), arguments


async def test_families_that_are_signed_alike_share_one_sender():
    """One session for all, with the first of the tokens; every step counts its responses."""
    steps, arguments = steps_of("sms", "participant-added", "--times", "2")
    await send_steps(steps, arguments, ENVIRONMENT)
    (recorder,) = recorders
    assert recorder.token == "first"
    assert [sid for sid, _ in recorder.sent] == [step.webhook.resource_id for step in steps for _ in range(2)]
    assert [step.statuses for step in steps] == [{200: 2}, {200: 2}]


async def test_an_error_of_one_sender_leaves_the_others(monkeypatch):
    """The webhooks of another sender are sent all the same, and the error is raised at the end."""
    monkeypatch.setitem(FAMILIES, Family.CALLBACK, replace(FAMILIES[Family.CALLBACK], sender=Refused))
    steps, arguments = steps_of("participant-added", "rcs", "--times", "2", "--parallel", "4")
    with pytest.raises(ConnectionRefusedError):
        await send_steps(steps, arguments, ENVIRONMENT)
    assert [len(recorder.sent) for recorder in recorders] == [2, 2]
    assert [step.statuses for step in steps] == [{}, {200: 2}]


async def test_twilio_s_part_follows_the_response_once(monkeypatch):
    """Where a family plays Twilio's part, it does so once for the step, and the step gets the report."""

    async def follow(environment, webhook, response):
        assert environment is ENVIRONMENT
        return f"{webhook.resource_id}: {response.decode()}"

    monkeypatch.setitem(FAMILIES, Family.MESSAGE, replace(FAMILIES[Family.MESSAGE], follow=follow))
    steps, arguments = steps_of("sms", "--times", "3")
    await send_steps(steps, arguments, ENVIRONMENT)
    assert steps[0].reports == [f"{steps[0].webhook.resource_id}: <Response/>"]


async def test_signature_faults_reach_every_request():
    """The faults of the command line are in each repeat."""
    steps, arguments = steps_of("sms", "--times", "2", "--tamper", "--unsigned")
    await send_steps(steps, arguments, ENVIRONMENT, seed=1)
    assert all(fault.is_tampered and fault.is_unsigned for _, fault in recorders[0].sent)


def test_one_command_line_is_about_one_customer():
    """Callbacks are about one participant, messages come from one number; another number is another customer."""
    (added, removed, sms), _ = steps_of("participant-added", "participant-removed", "sms")
    assert added.webhook.resource_id == removed.webhook.resource_id
    assert added.customer == removed.customer == sms.customer
    (other,), _ = steps_of("participant-added", "--from", "+15551230002")
    assert other.webhook.resource_id != added.webhook.resource_id


@pytest.mark.parametrize("kind", ["sms", "event-stream-sms"])
def test_equal_text_is_the_same_message_unless_new_is_given(kind):
    """Without --new the MessageSid is a digest of the message; with it, it is another one each time."""
    sids = [steps_of(kind, *more)[0][0].webhook.resource_id for more in ((), (), ("--new",), ("--new",))]
    assert sids[0] == sids[1]
    assert len(set(sids)) == 3


@pytest.mark.parametrize("kind", ["whatsapp", "event-stream-whatsapp"])
def test_a_whatsapp_user_with_and_without_a_phone(kind):
    """One user's messages that tell the phone, both, and the id alone are three messages; the last two share the id."""
    told = [customer_told_by(kind, *more) for more in ((), ("--both",), ("--bsuid-only",))]
    (_, plain), (phone, both), (hidden, only) = told
    assert (phone, plain, both == only) == ("whatsapp:+15551230001", None, True)
    assert both == hidden.removeprefix("whatsapp:")
    assert len({steps_of(kind, *more)[0][0].webhook.resource_id for more in ((), ("--both",), ("--bsuid-only",))}) == 3


def customer_told_by(kind, *more):
    """Return the address and the id that the receiver and the worker read from a webhook."""
    webhook = steps_of(kind, *more)[0][0].webhook
    source = next(one for one in SOURCES.values() if one.path == webhook.path)
    form = parse_form(webhook.body) if webhook.pairs else NO_FORM
    (piece,) = source.split(Webhook(webhook.body, form, None), ACCOUNT)
    event = normalize(InboundEntry("1-0", source.name, ACCOUNT, "k", piece.identity.subject, 1, piece.body))
    return event.customer.value, event.person.external_user_id


@pytest.mark.parametrize("kind", ["classic-participant-added", "classic-message-added", "participant-added"])
def test_a_hidden_phone_in_other_webhooks(kind):
    """Webhooks of other sources tell the same id in the place of the phone."""
    _, user = customer_told_by("whatsapp", "--both")
    webhook = steps_of(kind, "--channel", "WHATSAPP", "--bsuid-only")[0][0].webhook
    assert user.encode() in webhook.body
    assert b"15551230001" not in webhook.body


def test_without_a_seed_the_order_is_the_given_one():
    """Each webhook is followed by its repeats, and there is a pause between any two requests."""
    plan = make_plan(2, times=2, delay=0.5)
    assert plan == (PlannedSend(0, 0.0), PlannedSend(0, 0.5), PlannedSend(1, 0.5), PlannedSend(1, 0.5))


def test_the_first_request_is_sent_at_once():
    """There is no pause before the first request."""
    assert make_plan(1, delay=9.0) == make_plan(1, delay=9.0, seed=3) == (PlannedSend(0, 0.0),)


def test_a_seed_mixes_webhooks_and_their_repeats():
    """Seeds give different orders, and in some of them a repeat is not next to its webhook."""
    orders = {tuple(planned.step for planned in make_plan(3, times=3, seed=seed)) for seed in range(20)}
    assert len(orders) > 15
    assert any(order[0] != order[1] for order in orders)


@given(
    count=st.integers(0, 6),
    times=st.integers(1, 5),
    delay=st.floats(0.0, 10.0),
    seed=st.none() | st.integers(),
)
def test_a_plan_is_complete_bounded_and_repeatable(count, times, delay, seed):
    """Every webhook is sent as often as asked, no pause exceeds twice the delay, equal seeds give equal plans."""
    plan = make_plan(count, times=times, delay=delay, seed=seed)
    assert Counter(planned.step for planned in plan) == dict.fromkeys(range(count), times)
    assert all(0.0 <= planned.pause <= 2 * delay for planned in plan)
    assert plan == make_plan(count, times=times, delay=delay, seed=seed)


async def test_a_step_that_was_sent_before_is_sent_once_less():
    """The message that opens the conversation goes ahead of the others, and counts."""
    steps, arguments = steps_of("sms", "participant-added", "--times", "2")
    await send_steps(steps, arguments, ENVIRONMENT, sent={0})
    assert [sid for sid, _ in recorders[0].sent] == [steps[place].webhook.resource_id for place in (0, 1, 1)]
