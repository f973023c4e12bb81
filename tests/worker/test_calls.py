"""Calls: awaited, announced once whichever event came first, and left when they are over."""

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
from tests.worker.harness import skewed_clock
from tests.worker.payloads import participant_at

ONE, TWO = "CA00000000000000000000000000000001", "CA00000000000000000000000000000002"
DONE = Done()
CAPTURED = {"from": "*", "to": OURS}


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Wait milliseconds for Twilio instead of seconds."""
    monkeypatch.setattr(call_resolution, "FIRST_WAIT", 0.01)


def ringing(sid=ONE, sender=CUSTOMER, to=OURS):
    return call(account_sid=ACCOUNT, sender=sender, recipient=to, sid=sid)


def ended(sid=ONE, status="completed", sender=CUSTOMER, to=OURS):
    return call_status(status, account_sid=ACCOUNT, sender=sender, recipient=to, sid=sid)


async def connect(harness, sid=ONE, sender=CUSTOMER, to=OURS, **more):
    """Let Twilio attach a call to a conversation; return the caller."""
    captured = await harness.capture(sender, to, channel="VOICE", body=None, channelId=sid, **more)
    return participant_at(captured["conversation"], sender)


def reported(harness, participant, event_type="PARTICIPANT_ADDED"):
    """The status callback about a participant."""
    return harness.callback(event_type, participant | {"accountId": ACCOUNT})


# --- it begins ------------------------------------------------------------------------------------


async def test_a_call_waits_for_its_conversation_and_is_announced(harness):
    """A call waits, as expected, until Twilio has opened its conversation; then the caller is announced."""
    (delivery,) = await harness.receive(ringing())
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


async def test_later_events_of_a_known_call_need_no_request(harness):
    """Once the caller is known, further events of the call need no request."""
    await connect(harness)
    assert await harness.settle(ringing()) == [DONE]
    before = await harness.total()
    assert await harness.settle(
        call_status("in-progress", account_sid=ACCOUNT, sender=CUSTOMER, recipient=OURS, sid=ONE)
    )
    assert await harness.settle(ended()) == [DONE]
    assert await harness.total() == before
    assert await harness.types() == ["joined", "left"]


async def test_a_caller_whose_callback_came_first_is_announced_once(harness):
    """A caller that its callback announced is not announced again by the call's own event."""
    caller = await connect(harness)
    assert await harness.settle(reported(harness, caller)) == [Result.JOINED]
    assert await harness.settle(ringing()) == [DONE]
    assert await harness.types() == ["joined"]
    assert await harness.settle(ended()) == [DONE]
    assert await harness.types() == ["joined", "left"]


async def test_a_caller_whose_callback_came_later_is_announced_once(harness):
    """Callbacks about a caller that was announced, and about our side, announce nobody."""
    caller = await connect(harness, agentType="UNKNOWN")
    assert await harness.settle(ringing()) == [DONE]
    (conversation,) = await harness.conversations()
    both = await harness.participants(conversation["id"])
    assert len(both) == 2
    results = [await harness.settle(reported(harness, one)) for one in both]
    assert [Result.JOINED] not in results
    assert await harness.types() == ["joined"]
    assert (await harness.entries())[0].subject == caller["id"]


async def test_the_called_number_is_our_side_from_the_first_event_on(harness):
    """An UNKNOWN participant at the called number is our side from the first event of the call on."""
    (delivery,) = await harness.receive(ringing())
    await harness.work([delivery])
    await connect(harness, agentType="UNKNOWN")
    (conversation,) = await harness.conversations()
    ours = next(one for one in await harness.participants(conversation["id"]) if one["type"] == "UNKNOWN")
    (result,) = await harness.settle(reported(harness, ours))
    assert result in {Result.IGNORED, DONE}
    assert await harness.types() == []


@pytest.mark.parametrize("attached", ["whatsapp:", ""], ids=["prefix", "bare"])
async def test_a_whatsapp_call_matches_rules_by_number(make_harness, attached):
    """A call over WhatsApp is decided by the numbers, and its caller found however the API writes the address."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    caller = await connect(harness, sender=f"{attached}{CUSTOMER}", to=f"{attached}{DESK}")
    assert await harness.settle(ringing(sender=f"whatsapp:{CUSTOMER}", to=f"whatsapp:{DESK}")) == [DONE]
    entry, requested = await harness.published(Target.HUMAN_AGENT)
    assert (entry.subject, entry.data.reason) == (caller["id"], "service-desk (recipient)")
    assert (requested.type, requested.subject) == ("handoff.requested", caller["id"])
    assert (entry.data.channel, entry.data.address) == ("VOICE", f"whatsapp:{CUSTOMER}")


@pytest.mark.parametrize("sender", ["anonymous", "+266696687"])
async def test_a_caller_without_a_number_is_announced(harness, sender):
    """A caller who withholds the number is found by the call."""
    caller = await connect(harness, sender="anonymous")
    assert await harness.settle(ringing(sender=sender)) == [DONE]
    (entry,) = await harness.entries()
    assert (entry.subject, entry.data.is_withheld) == (caller["id"], True)


async def test_two_withheld_callers_in_one_conversation(harness):
    """Callers who withhold their numbers are two customers, also where the API puts both into one conversation."""
    first = await connect(harness, sender="+266696687")
    second = first | {"id": "conv_participant_01k1etx3jbfx88476ccja00002"}
    second["addresses"] = [first["addresses"][0] | {"channelId": TWO}]
    assert await harness.settle(reported(harness, first), reported(harness, second)) == [Result.JOINED] * 2
    assert [entry.subject for entry in await harness.entries()] == [first["id"], second["id"]]


async def test_no_prefix_matches_what_stands_for_a_withheld_number(make_harness):
    """A rule on prefixes decides about no withheld number, whether the call or a callback reports it."""
    rule = '[[rule]]\nname = "south"\ncustomer_prefix = "+2"\ntarget = "human-agent"\n'
    harness = await make_harness(policy=PLAIN + rule)
    caller = await connect(harness, sender="+266696687")
    assert await harness.settle(reported(harness, caller)) == [Result.JOINED]
    assert [entry.data.reason for entry in await harness.entries()] == ["default"]


async def test_a_voice_sdk_identity_is_announced(harness):
    """The address of a Voice SDK caller is the identity without its prefix."""
    await connect(harness, sender="ana")
    assert await harness.settle(ringing(sender="client:ana")) == [DONE]
    (entry,) = await harness.entries()
    assert entry.data.address == "ana"


async def test_a_call_to_no_number_has_no_recipient(harness):
    """A call to an app without a number is announced without a recipient."""
    caller = await connect(harness, sender="ana")
    assert await harness.settle(ringing(sender="client:ana", to="")) == [DONE]
    (entry,) = await harness.entries()
    assert (entry.subject, entry.data.recipient) == (caller["id"], None)


async def test_the_policy_decides_by_the_called_number(make_harness):
    """A rule on the recipient decides by the called number."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    await connect(harness, to=DESK)
    assert await harness.settle(ringing(to=DESK)) == [DONE]
    entry, requested = await harness.published(Target.HUMAN_AGENT)
    assert entry.data.reason == "service-desk (recipient)"
    assert (requested.type, requested.data.request.reason) == ("handoff.requested", "service-desk (recipient)")


async def test_a_call_without_a_target_needs_no_request(make_harness):
    """A call that the policy ignores needs no request, nor does its end."""
    harness = await make_harness(policy=NOBODY)
    assert await harness.settle(ringing()) == [Result.IGNORED]
    assert await harness.settle(ended()) == [DONE]
    assert await harness.total() == 0


async def test_an_outage_makes_a_call_wait(harness):
    """An outage makes a call wait, however old it is."""
    await connect(harness)
    harness.fault(status=503)
    (delivery,) = await harness.receive(ringing())
    harness.clock.advance(120)
    (verdict,) = await harness.work([delivery])
    assert isinstance(verdict, Later)
    assert not verdict.is_usual
    harness.clear_faults()
    assert await harness.work([delivery]) == [DONE]
    assert await harness.types() == ["joined"]


async def test_a_waiting_call_holds_up_nothing_else(harness):
    """While one call waits, messages and other calls are processed."""
    await harness.ensure_group()
    async with harness.consuming():
        await harness.append(ringing())
        await connect(harness, TWO, "+15551230002")
        await harness.append(ringing(TWO, "+15551230002"))
        await harness.append(harness.sms("+15551230003"))

        async def both():
            return len(await harness.entries()) == 2

        await until(both)
        await connect(harness)
        await harness.finished()
    assert await harness.types() == ["joined"] * 3
    assert await harness.dead_letters() == []


# --- it never arrives -----------------------------------------------------------------------------


async def wait_too_long(harness, *, by=None, meanwhile=()):
    """Let a call wait too long; return its last verdict."""
    (delivery,) = await harness.receive(ringing())
    assert isinstance((await harness.work([delivery], by=by))[0], Later)
    for webhook in meanwhile:
        await harness.append(webhook)
    harness.clock.advance(worker_calls.PATIENCE_AFTER + 1)
    (verdict,) = await harness.work([delivery], by=by)
    if isinstance(verdict, Later):
        harness.clock.advance(worker_calls.PATIENCE)
        (verdict,) = await harness.work([delivery], by=by)
    return verdict


async def test_a_call_that_was_never_attached_is_poison(harness):
    """A call that our answer attached, and that has no conversation after a minute, needs an operator."""
    verdict = await wait_too_long(harness)
    assert isinstance(verdict, Poison)
    assert "configuration id" in verdict.reason
    assert CUSTOMER not in verdict.reason


async def test_a_call_that_ended_before_its_conversation_is_ignored(harness, lines):
    """A call that ended before it had a conversation is ignored, sooner than after a minute."""
    assert await wait_too_long(harness, meanwhile=[ended(status="canceled")]) == DONE
    assert harness.clock.passed < worker_calls.PATIENCE * 1_000_000
    (line,) = lines("event")
    assert (line["result"], line["reason"]) == ("ignored", "the call was over before it was in a conversation")


async def test_a_call_that_no_answer_attaches_is_ignored(harness, lines):
    """A call is ignored if its answer attaches calls to no conversation."""
    resolver = harness.make_resolver(attaching=frozenset())
    assert await wait_too_long(harness, by=resolver) == DONE
    assert lines("event")[0]["reason"] == "the answer to the call attaches it to no conversation"


# --- clocks disagree ------------------------------------------------------------------------------

#: Seconds by which a host's clock is wrong.
SKEWS = [61, -61, 30, -30, 3600, -3600]


@pytest.mark.parametrize("behind", SKEWS)
async def test_a_call_waits_as_long_whatever_the_receivers_clock(harness, behind):
    """A receiver that is behind, or ahead, makes no call look older or younger than it is."""
    await harness.append(ringing(), behind=behind)
    (delivery,) = await harness.deliveries()
    assert isinstance((await harness.work([delivery]))[0], Later)
    harness.clock.advance(worker_calls.PATIENCE - 30)
    assert isinstance((await harness.work([delivery]))[0], Later)
    harness.clock.advance(31)
    assert isinstance((await harness.work([delivery]))[0], Poison)


@pytest.mark.parametrize("behind", SKEWS)
async def test_a_call_waits_whatever_the_workers_clock(harness, behind):
    """A worker goes by the time of Redis, not by that of its host."""
    harness.clock = await skewed_clock(harness, -behind)
    harness.resolver = harness.make_resolver()
    (delivery,) = await harness.receive(ringing())
    assert isinstance((await harness.work([delivery]))[0], Later)
    await connect(harness)
    assert await harness.work([delivery]) == [DONE]
    assert await harness.types() == ["joined"]


# --- it is over -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["completed", "busy", "failed", "no-answer", "canceled"])
async def test_every_final_status_ends_the_stay(harness, status):
    """The caller leaves at every final status of the call."""
    await connect(harness)
    assert await harness.settle(ringing(), ended(status=status)) == [DONE, DONE]
    assert await harness.types() == ["joined", "left"]


async def test_the_end_of_a_call_without_a_begin_is_looked_up(harness):
    """Without a begin, the end of a call looks its conversation up once."""
    caller = await connect(harness)
    await harness.settle(reported(harness, caller))
    before = await harness.total()
    assert await harness.settle(ended()) == [DONE]
    assert await harness.total() == before + 2
    assert await harness.types() == ["joined", "left"]


async def test_the_end_of_a_call_without_a_conversation_is_ignored(harness, lines):
    """The end of a call without a conversation is ignored, and a begin after it is stale."""
    assert await harness.settle(ended()) == [DONE]
    assert lines("event")[0]["reason"] == "the call was in no open conversation"
    assert await harness.settle(ringing()) == [DONE]
    assert lines("event")[1]["result"] == "stale"
    assert await harness.types() == []


async def test_a_callback_after_the_end_announces_nobody(harness):
    """A late callback, even a newer one, does not announce a caller whose call is over."""
    caller = await connect(harness)
    await harness.settle(ringing(), ended())
    newer = caller | {"updatedAt": "2099-01-01T00:00:00Z", "name": "Ana"}
    assert await harness.settle(reported(harness, newer, "PARTICIPANT_UPDATED")) == [Result.STALE]
    assert await harness.settle(reported(harness, caller)) == [Result.STALE]
    assert await harness.types() == ["joined", "left"]


@pytest.mark.parametrize("call_participant", ["reuse", "new"])
@pytest.mark.parametrize("first_is_over", [True, False], ids=["after the end", "before the end is reported"])
async def test_another_call_is_another_stay(make_harness, call_participant, first_is_over):
    """Another call of the same customer is another stay, with the same participant or a new one."""
    harness = await make_harness(call_participant=call_participant)
    first = await connect(harness)
    assert await harness.settle(reported(harness, first), ringing()) == [Result.JOINED, DONE]
    if first_is_over:
        await harness.settle(ended())
    await connect(harness, TWO)
    (conversation,) = await harness.conversations()
    second = next(
        one for one in await harness.participants(conversation["id"]) if one["addresses"][0]["channelId"] == TWO
    )
    assert (second["id"] == first["id"]) == (call_participant == "reuse")
    await harness.settle(ringing(TWO), reported(harness, second, "PARTICIPANT_UPDATED"))
    assert (await harness.types()).count("joined") == 2
    await harness.settle(ended(), ended(TWO))
    assert (await harness.types())[-1] == "left"
    assert (await harness.types()).count("joined") == 2
    assert len({entry.id for entry in await harness.entries()}) == len(await harness.entries())


async def test_a_caller_with_another_channel_stays(make_harness):
    """A caller who has another channel in the conversation does not leave with the call."""
    harness = await make_harness()
    caller = await connect(harness)
    sms = {"channel": "SMS", "address": CUSTOMER, "channelId": None}
    await harness.settle(reported(harness, caller | {"addresses": [*caller["addresses"], sms]}))
    assert await harness.settle(ended()) == [DONE]
    assert await harness.types() == ["joined"]


async def test_repeated_calls_publish_nothing(harness):
    """Events of a call that are repeated after a crash publish nothing."""
    await connect(harness)
    deliveries = await harness.receive(ringing(), ended())
    await harness.work(deliveries)
    await harness.work(deliveries, by=harness.make_resolver())
    assert await harness.types() == ["joined", "left"]


async def test_a_whole_call_with_repetitions_is_announced_once(harness, redis_url):
    """From the answer to the end, with everything reported three times, the caller joins and leaves once."""
    answer = (
        b'<Response><Connect><ConversationRelay url="wss://a" conversationConfiguration="%b"/></Connect></Response>'
    )
    attached = read_attachment(answer % CONFIGURATION.encode())
    caller = await connect(harness, configurationId=attached["conversationConfiguration"])
    for _ in range(3):
        await harness.settle(ringing(), reported(harness, caller), reported(harness, caller, "PARTICIPANT_UPDATED"))
    for _ in range(3):
        await harness.settle(ended(), reported(harness, caller, "PARTICIPANT_UPDATED"))
    assert await harness.types() == ["joined", "left"]
    assert await harness.dead_letters() == []


@pytest.mark.parametrize("rules", [[], [CAPTURED]])
async def test_doubled_transcription_is_logged_at_the_start(harness, lines, rules):
    """Capture rules for calls beside a transcribing template are logged with the account."""
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
