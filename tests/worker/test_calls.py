"""Calls through the worker: waited for, announced once, whoever told first, and gone when they are over."""

import pytest

from router.core.keys import Target
from router.core.ledger.marker import Result
from router.core.resolution import calls as call_resolution
from router.process.apis import make_apis
from router.simulator.voice import call, call_status, read_attachment
from router.streams.delivery import Done, Later, Poison
from router.worker import calls as worker_calls
from router.worker.startup import find_captured, find_configurations, warn_of_doubled_calls
from tests.support.accounts import ACCOUNT, CONFIGURATION, CUSTOMER, DESK, OURS
from tests.support.policies import DESK_RULE, NOBODY, PLAIN
from tests.support.waiting import until
from tests.worker.payloads import participant_at

ONE, TWO = "CA00000000000000000000000000000001", "CA00000000000000000000000000000002"
DONE = Done()
CAPTURED = {"from": "*", "to": OURS}


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """What Twilio needs seconds for takes milliseconds here."""
    monkeypatch.setattr(call_resolution, "FIRST_WAIT", 0.01)


def begins(sid=ONE, sender=CUSTOMER, to=OURS):
    return call(account_sid=ACCOUNT, sender=sender, recipient=to, sid=sid)


def ends(sid=ONE, status="completed", sender=CUSTOMER, to=OURS):
    return call_status(status, account_sid=ACCOUNT, sender=sender, recipient=to, sid=sid)


async def connect(harness, sid=ONE, sender=CUSTOMER, to=OURS, **more):
    """Twilio puts a call into a conversation, as the answer to it says; returns the caller."""
    captured = await harness.capture(sender, to, channel="VOICE", body=None, channelId=sid, **more)
    return participant_at(captured["conversation"], sender)


def told(harness, participant, event_type="PARTICIPANT_ADDED"):
    return harness.callback(event_type, participant | {"accountId": ACCOUNT})


async def kinds(harness):
    return await harness.types()


# --- it begins ------------------------------------------------------------------------------------


async def test_a_call_is_waited_for_and_announced(harness):
    """While Twilio has not opened the conversation the event waits, which is usual; then the caller joins."""
    (delivery,) = await harness.receive(begins())
    (verdict,) = await harness.work([delivery])
    assert isinstance(verdict, Later)
    assert verdict.is_usual
    caller = await connect(harness)
    assert await harness.work([delivery]) == [DONE]
    (entry,) = await harness.entries()
    data = entry.data
    assert (entry.type, entry.subject, data.origin) == ("participant.joined", caller["id"], "found")
    assert (data.target, data.channel, data.address) == ("ai-agent", "VOICE", CUSTOMER)
    assert (data.recipient.channel, data.recipient.address) == ("VOICE", OURS)
    assert (data.cause.source, data.cause.resource_id) == ("voice", ONE)
    assert data.participant.addresses[0].channel_id == ONE
    assert data.conversation.configuration_id == CONFIGURATION


async def test_later_events_of_a_known_call_cost_no_call_of_the_api(harness):
    """What goes on is known by its CallSid."""
    await connect(harness)
    assert await harness.settle(begins()) == [DONE]
    before = await harness.total()
    assert await harness.settle(
        call_status("in-progress", account_sid=ACCOUNT, sender=CUSTOMER, recipient=OURS, sid=ONE)
    )
    assert await harness.settle(ends()) == [DONE]
    assert await harness.total() == before
    assert await kinds(harness) == ["joined", "left"]


async def test_twilio_tells_of_the_participant_first(harness):
    """The callback announces the caller; the call's own event then has nothing to add."""
    caller = await connect(harness)
    assert await harness.settle(told(harness, caller)) == [Result.JOINED]
    assert await harness.settle(begins()) == [DONE]
    assert await kinds(harness) == ["joined"]
    assert await harness.settle(ends()) == [DONE]
    assert await kinds(harness) == ["joined", "left"]


async def test_twilio_tells_of_the_participant_later(harness):
    """The call's event announces; callbacks about caller and our side are silent."""
    caller = await connect(harness, agentType="UNKNOWN")
    assert await harness.settle(begins()) == [DONE]
    (conversation,) = await harness.conversations()
    both = await harness.participants(conversation["id"])
    assert len(both) == 2
    results = [await harness.settle(told(harness, one)) for one in both]
    assert [Result.JOINED] not in results
    assert await kinds(harness) == ["joined"]
    assert (await harness.entries())[0].subject == caller["id"]


async def test_our_side_is_known_before_twilio_tells_of_it(harness):
    """An UNKNOWN at the number that was called is ours from the first event of the call on."""
    (delivery,) = await harness.receive(begins())
    await harness.work([delivery])
    await connect(harness, agentType="UNKNOWN")
    (conversation,) = await harness.conversations()
    ours = next(one for one in await harness.participants(conversation["id"]) if one["type"] == "UNKNOWN")
    (result,) = await harness.settle(told(harness, ours))
    assert result in {Result.IGNORED, DONE}
    assert await kinds(harness) == []


@pytest.mark.parametrize("sender", ["anonymous", "+266696687"])
async def test_a_caller_without_a_number(harness, sender):
    """Who withholds the number is found by the call alone."""
    caller = await connect(harness, sender="anonymous")
    assert await harness.settle(begins(sender=sender)) == [DONE]
    (entry,) = await harness.entries()
    assert entry.subject == caller["id"]


async def test_an_identity(harness):
    """A Voice SDK identity is written as participants carry it."""
    await connect(harness, sender="ana")
    assert await harness.settle(begins(sender="client:ana")) == [DONE]
    (entry,) = await harness.entries()
    assert entry.data.address == "ana"


async def test_an_app_that_called_no_number(harness):
    """Without our side's address the caller is found by the call, and no recipient is told."""
    caller = await connect(harness, sender="ana")
    assert await harness.settle(begins(sender="client:ana", to="")) == [DONE]
    (entry,) = await harness.entries()
    assert (entry.subject, entry.data.recipient) == (caller["id"], None)


async def test_the_policy_decides_by_what_was_called(make_harness):
    """A rule on the recipient gives the caller to people."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    await connect(harness, to=DESK)
    assert await harness.settle(begins(to=DESK)) == [DONE]
    (entry,) = await harness.entries(Target.HUMAN_AGENT)
    assert entry.data.reason == "service-desk (recipient)"


async def test_a_call_that_nobody_takes_costs_nothing(make_harness):
    """Ignored by the policy: no call of the API, neither at the beginning nor at the end."""
    harness = await make_harness(policy=NOBODY)
    assert await harness.settle(begins()) == [Result.IGNORED]
    assert await harness.settle(ends()) == [DONE]
    assert await harness.total() == 0


async def test_an_outage_makes_a_call_wait(harness):
    """While the API is away a call waits, and nothing is given up."""
    await connect(harness)
    harness.fault(status=503)
    (delivery,) = await harness.receive(begins())
    harness.clock.advance(120)
    (verdict,) = await harness.work([delivery])
    assert isinstance(verdict, Later)
    assert not verdict.is_usual
    harness.clear_faults()
    assert await harness.work([delivery]) == [DONE]
    assert await kinds(harness) == ["joined"]


async def test_others_are_not_held_up(harness):
    """While one call waits, messages and other calls go on."""
    await harness.ensure_group()
    async with harness.consuming():
        await harness.append(begins())
        await connect(harness, TWO, "+15551230002")
        await harness.append(begins(TWO, "+15551230002"))
        await harness.append(harness.sms("+15551230003"))

        async def both():
            return len(await harness.entries()) == 2

        await until(both)
        await connect(harness)
        await harness.finished()
    assert await kinds(harness) == ["joined"] * 3
    assert await harness.dead_letters() == []


# --- it never arrives -----------------------------------------------------------------------------


async def give_up(harness, *, by=None, and_then=()):
    """Let a call wait too long; returns its last verdict."""
    (delivery,) = await harness.receive(begins())
    assert isinstance((await harness.work([delivery], by=by))[0], Later)
    for webhook in and_then:
        await harness.append(webhook)
    harness.clock.advance(worker_calls.PATIENCE_AFTER + 1)
    (verdict,) = await harness.work([delivery], by=by)
    if isinstance(verdict, Later):
        harness.clock.advance(worker_calls.PATIENCE)
        (verdict,) = await harness.work([delivery], by=by)
    return verdict


async def test_a_call_that_was_to_be_in_a_conversation_and_is_not(harness):
    """After a minute somebody has to look: every call would end like this one."""
    verdict = await give_up(harness)
    assert isinstance(verdict, Poison)
    assert "configuration id" in verdict.reason
    assert CUSTOMER not in verdict.reason


async def test_a_caller_who_hung_up_is_nobodys_fault(harness, lines):
    """The end of the call has come in: nothing more is to be expected, and sooner."""
    assert await give_up(harness, and_then=[ends(status="canceled")]) == DONE
    assert harness.clock.passed < worker_calls.PATIENCE * 1_000_000
    (line,) = lines("event")
    assert (line["result"], line["reason"]) == ("ignored", "the call was over before it was in a conversation")


async def test_a_call_that_was_to_go_nowhere(harness, lines):
    """Where the template puts calls into no conversation, none is missing."""
    resolver = harness.make_resolver(attaching=frozenset())
    assert await give_up(harness, by=resolver) == DONE
    assert lines("event")[0]["reason"] == "the answer to the call attaches it to no conversation"


# --- it is over -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["completed", "busy", "failed", "no-answer", "canceled"])
async def test_every_end_is_an_end(harness, status):
    """However a call ends, the caller leaves."""
    await connect(harness)
    assert await harness.settle(begins(), ends(status=status)) == [DONE, DONE]
    assert await kinds(harness) == ["joined", "left"]


async def test_the_end_of_a_call_that_only_twilio_told_of(harness):
    """Without a begin, as where the voice URL leads elsewhere, the end looks for the call once."""
    caller = await connect(harness)
    await harness.settle(told(harness, caller))
    before = await harness.total()
    assert await harness.settle(ends()) == [DONE]
    assert await harness.total() == before + 2
    assert await kinds(harness) == ["joined", "left"]


async def test_the_end_of_a_call_in_no_conversation(harness, lines):
    """There is nobody to leave; a begin that another worker still waits with learns that it is over."""
    assert await harness.settle(ends()) == [DONE]
    assert lines("event")[0]["reason"] == "the call was in no open conversation"
    assert await harness.settle(begins()) == [DONE]
    assert lines("event")[1]["result"] == "stale"
    assert await kinds(harness) == []


async def test_nobody_comes_back_after_the_end(harness):
    """A late callback with a newer version does not announce a caller who has hung up."""
    caller = await connect(harness)
    await harness.settle(begins(), ends())
    newer = caller | {"updatedAt": "2099-01-01T00:00:00Z", "name": "Ana"}
    assert await harness.settle(told(harness, newer, "PARTICIPANT_UPDATED")) == [Result.STALE]
    assert await harness.settle(told(harness, caller)) == [Result.STALE]
    assert await kinds(harness) == ["joined", "left"]


@pytest.mark.parametrize("call_participant", ["reuse", "new"])
@pytest.mark.parametrize("first_is_over", [True, False], ids=["after the end", "before the end is told"])
async def test_the_next_call(make_harness, call_participant, first_is_over):
    """The next call of the same customer is a new stay, whatever the API makes of the participant."""
    harness = await make_harness(call_participant=call_participant)
    first = await connect(harness)
    assert await harness.settle(told(harness, first), begins()) == [Result.JOINED, DONE]
    if first_is_over:
        await harness.settle(ends())
    await connect(harness, TWO)
    (conversation,) = await harness.conversations()
    second = next(
        one for one in await harness.participants(conversation["id"]) if one["addresses"][0]["channelId"] == TWO
    )
    assert (second["id"] == first["id"]) == (call_participant == "reuse")
    await harness.settle(begins(TWO), told(harness, second, "PARTICIPANT_UPDATED"))
    assert (await kinds(harness)).count("joined") == 2
    await harness.settle(ends(), ends(TWO))
    assert (await kinds(harness))[-1] == "left"
    assert (await kinds(harness)).count("joined") == 2
    assert len({entry.id for entry in await harness.entries()}) == len(await harness.entries())


async def test_a_caller_who_also_writes_stays(make_harness):
    """A participant that has another channel too does not leave with its call."""
    harness = await make_harness()
    caller = await connect(harness)
    sms = {"channel": "SMS", "address": CUSTOMER, "channelId": None}
    await harness.settle(told(harness, caller | {"addresses": [*caller["addresses"], sms]}))
    assert await harness.settle(ends()) == [DONE]
    assert await kinds(harness) == ["joined"]


async def test_a_repeat_after_a_crash_is_silent(harness):
    """What was committed and not acknowledged is repeated without a second entry."""
    await connect(harness)
    deliveries = await harness.receive(begins(), ends())
    await harness.work(deliveries)
    await harness.work(deliveries, by=harness.make_resolver())
    assert await kinds(harness) == ["joined", "left"]


async def test_the_whole_way(harness, redis_url):
    """Receiver's answer, Twilio's part, worker: a call from ringing to its end, with everything told three times."""
    answer = (
        b'<Response><Connect><ConversationRelay url="wss://a" conversationConfiguration="%b"/></Connect></Response>'
    )
    attached = read_attachment(answer % CONFIGURATION.encode())
    caller = await connect(harness, configurationId=attached["conversationConfiguration"])
    for _ in range(3):
        await harness.settle(begins(), told(harness, caller), told(harness, caller, "PARTICIPANT_UPDATED"))
    for _ in range(3):
        await harness.settle(ends(), told(harness, caller, "PARTICIPANT_UPDATED"))
    assert await kinds(harness) == ["joined", "left"]
    assert await harness.dead_letters() == []


@pytest.mark.parametrize("rules", [[], [CAPTURED]])
async def test_double_transcription_is_told_at_the_start(harness, lines, rules):
    """Capture rules for calls and a template that transcribes them too: said once, with the account."""
    settings = {"VOICE": {"statusTimeouts": {"inactive": 5, "closed": 30}, "captureRules": rules}}
    await harness.api("PATCH", f"/sandbox/configurations/{CONFIGURATION}", {"channelSettings": settings})
    apis = make_apis(harness.settings())
    try:
        configurations = await find_configurations(apis)
    finally:
        await apis.close()
    warn_of_doubled_calls(configurations)
    assert (f"VOICE|{OURS}" in find_captured(configurations)[ACCOUNT]) == bool(rules)
    assert [line["account"] for line in lines("voice.doubled")] == ([ACCOUNT] if rules else [])
