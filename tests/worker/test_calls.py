"""Calls through the worker: waited for, announced once, whoever told first, and gone when they are over."""

import pytest

from router.core.keys import Target
from router.core.ledger.marker import Result
from router.core.resolution import calls as call_resolution
from router.process.apis import make_apis
from router.simulator.voice import call, call_status, take_answer
from router.streams.delivery import Done, Later, Poison
from router.worker import calls as worker_calls
from router.worker.startup import find_captured, find_configurations, warn_of_doubled_calls
from tests.support.accounts import ACCOUNT, CONFIGURATION, CUSTOMER, DESK, OURS
from tests.support.waiting import until
from tests.worker.world import DESK_RULE, NOBODY, PLAIN

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


async def connect(world, sid=ONE, sender=CUSTOMER, to=OURS, **more):
    """Twilio puts a call into a conversation, as the answer to it says; returns the caller."""
    captured = await world.capture(sender, to, channel="VOICE", body=None, channelId=sid, **more)
    return next(one for one in captured["conversation"]["participants"] if one["addresses"][0]["address"] == sender)


def told(world, participant, event_type="PARTICIPANT_ADDED"):
    return world.told(event_type, participant | {"accountId": ACCOUNT})


async def kinds(world):
    return await world.types()


# --- it begins ------------------------------------------------------------------------------------


async def test_a_call_is_waited_for_and_announced(world):
    """While Twilio has not opened the conversation the event waits, which is usual; then the caller joins."""
    (delivery,) = await world.enter(begins())
    (verdict,) = await world.work([delivery])
    assert isinstance(verdict, Later)
    assert verdict.is_usual
    caller = await connect(world)
    assert await world.work([delivery]) == [DONE]
    (entry,) = await world.entries()
    data = entry.data
    assert (entry.type, entry.subject, data.origin) == ("participant.joined", caller["id"], "found")
    assert (data.target, data.channel, data.address) == ("ai-agent", "VOICE", CUSTOMER)
    assert (data.recipient.channel, data.recipient.address) == ("VOICE", OURS)
    assert (data.cause.source, data.cause.resource_id) == ("voice", ONE)
    assert data.participant.addresses[0].channel_id == ONE
    assert data.conversation.configuration_id == CONFIGURATION


async def test_later_events_of_a_known_call_cost_no_call_of_the_api(world):
    """What goes on is known by its CallSid."""
    await connect(world)
    assert await world.settle(begins()) == [DONE]
    before = await world.total()
    assert await world.settle(call_status("in-progress", account_sid=ACCOUNT, sender=CUSTOMER, recipient=OURS, sid=ONE))
    assert await world.settle(ends()) == [DONE]
    assert await world.total() == before
    assert await kinds(world) == ["joined", "left"]


async def test_twilio_tells_of_the_participant_first(world):
    """The callback announces the caller; the call's own event then has nothing to add."""
    caller = await connect(world)
    assert await world.settle(told(world, caller)) == [Result.JOINED]
    assert await world.settle(begins()) == [DONE]
    assert await kinds(world) == ["joined"]
    assert await world.settle(ends()) == [DONE]
    assert await kinds(world) == ["joined", "left"]


async def test_twilio_tells_of_the_participant_later(world):
    """The call's event announces; callbacks about caller and our side are silent."""
    caller = await connect(world, agentType="UNKNOWN")
    assert await world.settle(begins()) == [DONE]
    (conversation,) = await world.conversations()
    both = await world.participants(conversation["id"])
    assert len(both) == 2
    results = [await world.settle(told(world, one)) for one in both]
    assert [Result.JOINED] not in results
    assert await kinds(world) == ["joined"]
    assert (await world.entries())[0].subject == caller["id"]


async def test_our_side_is_known_before_twilio_tells_of_it(world):
    """An UNKNOWN at the number that was called is ours from the first event of the call on."""
    (delivery,) = await world.enter(begins())
    await world.work([delivery])
    await connect(world, agentType="UNKNOWN")
    (conversation,) = await world.conversations()
    ours = next(one for one in await world.participants(conversation["id"]) if one["type"] == "UNKNOWN")
    (result,) = await world.settle(told(world, ours))
    assert result in {Result.IGNORED, DONE}
    assert await kinds(world) == []


@pytest.mark.parametrize("sender", ["anonymous", "+266696687"])
async def test_a_caller_without_a_number(world, sender):
    """Who withholds the number is found by the call alone."""
    caller = await connect(world, sender="anonymous")
    assert await world.settle(begins(sender=sender)) == [DONE]
    (entry,) = await world.entries()
    assert entry.subject == caller["id"]


async def test_an_identity(world):
    """A Voice SDK identity is written as participants carry it."""
    await connect(world, sender="ana")
    assert await world.settle(begins(sender="client:ana")) == [DONE]
    (entry,) = await world.entries()
    assert entry.data.address == "ana"


async def test_an_app_that_called_no_number(world):
    """Without our side's address the caller is found by the call, and no recipient is told."""
    caller = await connect(world, sender="ana")
    assert await world.settle(begins(sender="client:ana", to="")) == [DONE]
    (entry,) = await world.entries()
    assert (entry.subject, entry.data.recipient) == (caller["id"], None)


async def test_the_policy_decides_by_what_was_called(make_world):
    """A rule on the recipient gives the caller to people."""
    world = await make_world(policy=PLAIN + DESK_RULE)
    await connect(world, to=DESK)
    assert await world.settle(begins(to=DESK)) == [DONE]
    (entry,) = await world.entries(Target.HUMAN_AGENT)
    assert entry.data.reason == "service-desk (recipient)"


async def test_a_call_that_nobody_takes_costs_nothing(make_world):
    """Ignored by the policy: no call of the API, neither at the beginning nor at the end."""
    world = await make_world(policy=NOBODY)
    assert await world.settle(begins()) == [Result.IGNORED]
    assert await world.settle(ends()) == [DONE]
    assert await world.total() == 0


async def test_an_outage_makes_a_call_wait(world):
    """While the API is away a call waits, and nothing is given up."""
    await connect(world)
    world.fault(status=503)
    (delivery,) = await world.enter(begins())
    world.clock.advance(120)
    (verdict,) = await world.work([delivery])
    assert isinstance(verdict, Later)
    assert not verdict.is_usual
    world.mend()
    assert await world.work([delivery]) == [DONE]
    assert await kinds(world) == ["joined"]


async def test_others_are_not_held_up(world):
    """While one call waits, messages and other calls go on."""
    await world.ensure_group()
    async with world.consuming():
        await world.append(begins())
        await connect(world, TWO, "+15551230002")
        await world.append(begins(TWO, "+15551230002"))
        await world.append(world.sms("+15551230003"))

        async def both():
            return len(await world.entries()) == 2

        await until(both)
        await connect(world)
        await world.finished()
    assert await kinds(world) == ["joined"] * 3
    assert await world.letters() == []


# --- it never arrives -----------------------------------------------------------------------------


async def give_up(world, *, by=None, and_then=()):
    """Let a call wait too long; returns its last verdict."""
    (delivery,) = await world.enter(begins())
    assert isinstance((await world.work([delivery], by=by))[0], Later)
    for webhook in and_then:
        await world.append(webhook)
    world.clock.advance(worker_calls.PATIENCE_AFTER + 1)
    (verdict,) = await world.work([delivery], by=by)
    if isinstance(verdict, Later):
        world.clock.advance(worker_calls.PATIENCE)
        (verdict,) = await world.work([delivery], by=by)
    return verdict


async def test_a_call_that_was_to_be_in_a_conversation_and_is_not(world):
    """After a minute somebody has to look: every call would end like this one."""
    verdict = await give_up(world)
    assert isinstance(verdict, Poison)
    assert "configuration id" in verdict.reason
    assert CUSTOMER not in verdict.reason


async def test_a_caller_who_hung_up_is_nobodys_fault(world, lines):
    """The end of the call has come in: nothing more is to be expected, and sooner."""
    assert await give_up(world, and_then=[ends(status="canceled")]) == DONE
    assert world.clock.passed < worker_calls.PATIENCE * 1_000_000
    (line,) = lines("event")
    assert (line["result"], line["reason"]) == ("ignored", "the call was over before it was in a conversation")


async def test_a_call_that_was_to_go_nowhere(world, lines):
    """Where the template puts calls into no conversation, none is missing."""
    resolver = world.make_resolver(attaching=frozenset())
    assert await give_up(world, by=resolver) == DONE
    assert lines("event")[0]["reason"] == "the answer to the call puts it into no conversation"


# --- it is over -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["completed", "busy", "failed", "no-answer", "canceled"])
async def test_every_end_is_an_end(world, status):
    """However a call ends, the caller leaves."""
    await connect(world)
    assert await world.settle(begins(), ends(status=status)) == [DONE, DONE]
    assert await kinds(world) == ["joined", "left"]


async def test_the_end_of_a_call_that_only_twilio_told_of(world):
    """Without a begin, as where the voice URL leads elsewhere, the end looks for the call once."""
    caller = await connect(world)
    await world.settle(told(world, caller))
    before = await world.total()
    assert await world.settle(ends()) == [DONE]
    assert await world.total() == before + 2
    assert await kinds(world) == ["joined", "left"]


async def test_the_end_of_a_call_in_no_conversation(world, lines):
    """There is nobody to leave; a begin that another worker still waits with learns that it is over."""
    assert await world.settle(ends()) == [DONE]
    assert lines("event")[0]["reason"] == "the call was in no open conversation"
    assert await world.settle(begins()) == [DONE]
    assert lines("event")[1]["result"] == "stale"
    assert await kinds(world) == []


async def test_nobody_comes_back_after_the_end(world):
    """A late callback with a newer version does not announce a caller who has hung up."""
    caller = await connect(world)
    await world.settle(begins(), ends())
    newer = caller | {"updatedAt": "2099-01-01T00:00:00Z", "name": "Ana"}
    assert await world.settle(told(world, newer, "PARTICIPANT_UPDATED")) == [Result.STALE]
    assert await world.settle(told(world, caller)) == [Result.STALE]
    assert await kinds(world) == ["joined", "left"]


@pytest.mark.parametrize("call_participant", ["reuse", "new"])
@pytest.mark.parametrize("first_is_over", [True, False], ids=["after the end", "before the end is told"])
async def test_the_next_call(make_world, call_participant, first_is_over):
    """The next call of the same customer is a new stay, whatever the API makes of the participant."""
    world = await make_world(call_participant=call_participant)
    first = await connect(world)
    assert await world.settle(told(world, first), begins()) == [Result.JOINED, DONE]
    if first_is_over:
        await world.settle(ends())
    await connect(world, TWO)
    (conversation,) = await world.conversations()
    second = next(
        one for one in await world.participants(conversation["id"]) if one["addresses"][0]["channelId"] == TWO
    )
    assert (second["id"] == first["id"]) == (call_participant == "reuse")
    await world.settle(begins(TWO), told(world, second, "PARTICIPANT_UPDATED"))
    assert (await kinds(world)).count("joined") == 2
    await world.settle(ends(), ends(TWO))
    assert (await kinds(world))[-1] == "left"
    assert (await kinds(world)).count("joined") == 2
    assert len({entry.id for entry in await world.entries()}) == len(await world.entries())


async def test_a_caller_who_also_writes_stays(make_world):
    """A participant that has another channel too does not leave with its call."""
    world = await make_world()
    caller = await connect(world)
    sms = {"channel": "SMS", "address": CUSTOMER, "channelId": None}
    await world.settle(told(world, caller | {"addresses": [*caller["addresses"], sms]}))
    assert await world.settle(ends()) == [DONE]
    assert await kinds(world) == ["joined"]


async def test_a_repeat_after_a_crash_is_silent(world):
    """What was committed and not acknowledged is repeated without a second entry."""
    await connect(world)
    deliveries = await world.enter(begins(), ends())
    await world.work(deliveries)
    await world.work(deliveries, by=world.make_resolver())
    assert await kinds(world) == ["joined", "left"]


async def test_the_whole_way(world, redis_url):
    """Receiver's answer, Twilio's part, worker: a call from ringing to its end, with everything told three times."""
    answer = (
        b'<Response><Connect><ConversationRelay url="wss://a" conversationConfiguration="%b"/></Connect></Response>'
    )
    attached = take_answer(answer % CONFIGURATION.encode())
    caller = await connect(world, configurationId=attached["conversationConfiguration"])
    for _ in range(3):
        await world.settle(begins(), told(world, caller), told(world, caller, "PARTICIPANT_UPDATED"))
    for _ in range(3):
        await world.settle(ends(), told(world, caller, "PARTICIPANT_UPDATED"))
    assert await kinds(world) == ["joined", "left"]
    assert await world.letters() == []


@pytest.mark.parametrize("rules", [[], [CAPTURED]])
async def test_double_transcription_is_told_at_the_start(world, lines, rules):
    """Capture rules for calls and a template that transcribes them too: said once, with the account."""
    settings = {"VOICE": {"statusTimeouts": {"inactive": 5, "closed": 30}, "captureRules": rules}}
    await world.api("PATCH", f"/sandbox/configurations/{CONFIGURATION}", {"channelSettings": settings})
    apis = make_apis(world.settings())
    try:
        configurations = await find_configurations(apis)
    finally:
        await apis.close()
    warn_of_doubled_calls(configurations)
    assert (f"VOICE|{OURS}" in find_captured(configurations)[ACCOUNT]) == bool(rules)
    assert [line["account"] for line in lines("voice.doubled")] == ([ACCOUNT] if rules else [])
