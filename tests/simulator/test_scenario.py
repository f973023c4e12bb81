"""Scenarios: what a command line describes, sent as planned, each kind by its own signer; no network is needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router.commands.simulate_options import parse_simulate
from router.simulator.kinds import KINDS
from router.simulator.scenario import make_acts, play
from tests.support.accounts import ACCOUNT

ENVIRONMENT = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": "first, second"}


class Recorder:
    """Stands for a Sender: notes what it is told to send."""

    def __init__(self, environment, token):
        self.token, self.sent, self.is_open = token, [], False
        self.answer = (200, b"<Response/>")
        recorders.append(self)

    async def __aenter__(self):
        self.is_open = True
        return self

    async def __aexit__(self, *_):
        self.is_open = False

    async def send(self, webhook, fault):
        assert self.is_open
        self.sent.append((webhook.resource_id, fault))
        if self.answer is None:
            raise ConnectionRefusedError("nobody listens")
        return self.answer


class Refuser(Recorder):
    """Another signer, whom nobody answers."""

    def __init__(self, environment, token):
        super().__init__(environment, token)
        self.answer = None


recorders: list[Recorder] = []


@pytest.fixture(autouse=True)
def table(monkeypatch):
    """Every kind is sent by a recorder."""
    recorders.clear()
    for name, kind in KINDS.items():
        monkeypatch.setitem(KINDS, name, replace(kind, sender=Recorder))


def acts_of(*line):
    arguments = parse_simulate(line)
    return make_acts(arguments, ENVIRONMENT), arguments


async def test_kinds_that_are_signed_alike_share_one_sender():
    """One session for all, with the first of the tokens; every act knows how it was answered."""
    acts, arguments = acts_of("sms", "whatsapp", "--times", "2")
    await play(acts, arguments, ENVIRONMENT)
    (recorder,) = recorders
    assert recorder.token == "first"
    assert [sid for sid, _ in recorder.sent] == [act.webhook.resource_id for act in acts for _ in range(2)]
    assert [act.statuses for act in acts] == [{200: 2}, {200: 2}]


async def test_a_kind_may_have_a_signer_of_its_own(monkeypatch):
    """What another signer sends fails; the others are sent all the same, and the error comes out at the end."""
    monkeypatch.setitem(KINDS, "sms", replace(KINDS["sms"], sender=Refuser))
    acts, arguments = acts_of("sms", "rcs", "--times", "2", "--parallel", "4")
    with pytest.raises(ConnectionRefusedError):
        await play(acts, arguments, ENVIRONMENT)
    assert [len(recorder.sent) for recorder in recorders] == [2, 2]
    assert [act.statuses for act in acts] == [{}, {200: 2}]


async def test_twilio_s_part_follows_the_answer(monkeypatch):
    """Where a kind says what Twilio does with an answer, it is done once, and told."""

    async def follow(environment, webhook, answer):
        assert environment is ENVIRONMENT
        return f"{webhook.resource_id}: {answer.decode()}"

    monkeypatch.setitem(KINDS, "sms", replace(KINDS["sms"], follow=follow))
    acts, arguments = acts_of("sms", "--times", "3")
    await play(acts, arguments, ENVIRONMENT)
    assert acts[0].told == [f"{acts[0].webhook.resource_id}: <Response/>"]


async def test_faults_reach_every_request():
    """What the command line spoils is spoiled in each repeat."""
    acts, arguments = acts_of("sms", "--times", "2", "--tamper", "--unsigned")
    await play(acts, arguments, ENVIRONMENT, seed=1)
    assert all(fault.is_tampered and fault.is_unsigned for _, fault in recorders[0].sent)


def test_one_command_line_is_about_one_customer():
    """Callbacks tell of one participant, messages come from one number; another number is somebody else."""
    (added, removed, sms), _ = acts_of("participant-added", "participant-removed", "sms")
    assert added.webhook.resource_id == removed.webhook.resource_id
    assert added.customer == removed.customer == sms.customer
    (other,), _ = acts_of("participant-added", "--from", "+15551230002")
    assert other.webhook.resource_id != added.webhook.resource_id


@pytest.mark.parametrize("kind", ["sms", "event-stream-sms"])
def test_the_same_words_are_the_same_message_unless_a_new_one_is_asked_for(kind):
    """Without --new the MessageSid is made from the message; with it, it is another one each time."""
    sids = [acts_of(kind, *more)[0][0].webhook.resource_id for more in ((), (), ("--new",), ("--new",))]
    assert sids[0] == sids[1]
    assert len(set(sids)) == 3
