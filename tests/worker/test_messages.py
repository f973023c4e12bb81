"""A message's way to its participant: what it costs, what it publishes, and whatever else is there already."""

import pytest

from router.core.keys import Target
from router.core.ledger.marker import Result
from router.simulator.messages import form
from router.streams.delivery import Done, Later, Poison
from router.streams.store.ledgers import Store
from router.worker.singles import SinglePath
from tests.support.accounts import ACCOUNT, CONFIGURATION, CUSTOMER, DESK, OURS
from tests.support.policies import DESK_RULE, EVERYBODY, NOBODY, PLAIN
from tests.worker.harness import CREATE, LIST
from tests.worker.payloads import participant_of, redelivered

DONE = Done()


async def test_new_customer_costs_one_call(harness):
    """POST /Conversations with both participants is all; the entry says created, with both ends and the reason."""
    assert await harness.settle(harness.sms()) == [DONE]
    assert await harness.calls() == {CREATE: 1}
    (entry,) = await harness.entries()
    data = entry.data
    assert (entry.type, data.origin, data.target, data.reason) == (
        "participant.joined",
        "created",
        "ai-agent",
        "default",
    )
    assert (data.account_id, data.channel, data.address) == (ACCOUNT, "SMS", CUSTOMER)
    assert (data.recipient.channel, data.recipient.address) == ("SMS", OURS)
    assert data.conversation.configuration_id == CONFIGURATION
    assert data.cause.event_type == "message.received"
    customer, ours = sorted(await harness.participants(data.conversation.id), key=lambda one: one["type"], reverse=True)
    assert (customer["id"], customer["type"]) == (data.participant.id, "CUSTOMER")
    assert (ours["type"], ours["addresses"][0]["address"]) == ("AI_AGENT", OURS)


async def test_customer_of_another_workers_conversation_costs_nothing(harness):
    """What one worker has found out is known to all."""
    await harness.settle(harness.sms())
    assert await harness.settle(harness.sms(), by=harness.make_resolver()) == [Result.KNOWN]
    assert await harness.total() == 1


async def test_customer_who_is_there_already_costs_two_calls(harness):
    """A 409 names the conversation, its participants are listed, and the customer is found."""
    captured = await harness.capture()
    assert await harness.settle(harness.sms()) == [DONE]
    assert await harness.calls() == {CREATE: 1, LIST: 1}
    (entry,) = await harness.entries()
    assert (entry.data.origin, entry.data.conversation.id) == ("found", captured["conversation"]["id"])
    assert len(await harness.conversations()) == 1


@pytest.mark.parametrize("kind", ["sms", "mms", "whatsapp", "rcs", "messenger"])
async def test_every_channel_of_the_messaging_webhook(harness, kind):
    """Each channel makes one conversation with both sides on it, and nothing more."""
    channel = {"whatsapp": "WHATSAPP", "rcs": "RCS", "messenger": "CHAT"}.get(kind, "SMS")
    await harness.settle(harness.sms(kind=kind), harness.sms(kind=kind))
    (entry,) = await harness.entries()
    assert (entry.data.channel, entry.data.recipient.channel) == (channel, channel)
    (conversation,) = await harness.conversations()
    assert {one["type"] for one in conversation["participants"]} == {"CUSTOMER", "AI_AGENT"}


@pytest.mark.parametrize("address", ["not a phone", "US.1A2b3C", "+", "sip:ana@example.com"])
async def test_address_that_is_neither_phone_nor_mailbox(harness, address):
    """It is kept as it is, and found again."""
    await harness.settle(harness.sms(address))
    assert await harness.settle(harness.sms(address)) == [Result.KNOWN]
    assert (await harness.entries())[0].data.address == address


async def test_two_unknown_participants_are_repaired(harness):
    """What passive capture left as UNKNOWN gets the type that the message proves, with all four fields kept."""
    await harness.capture(customerType="UNKNOWN", agentType="UNKNOWN")
    await harness.settle(harness.sms())
    (conversation,) = await harness.conversations()
    people = {one["addresses"][0]["address"]: one for one in conversation["participants"]}
    assert (people[CUSTOMER]["type"], people[OURS]["type"]) == ("CUSTOMER", "AI_AGENT")
    assert people[CUSTOMER]["name"] == CUSTOMER
    (entry,) = await harness.entries()
    assert entry.data.participant.type == "CUSTOMER"


async def test_customer_who_is_missing_in_the_conversation_is_added(make_harness):
    """A conversation without the customer's participant gets one: list, add, done."""
    harness = await make_harness()
    captured = await harness.capture(customerType=None)
    assert await harness.settle(harness.sms()) == [DONE]
    (entry,) = await harness.entries()
    assert (entry.data.origin, entry.data.conversation.id) == ("created", captured["conversation"]["id"])


async def test_customer_who_is_there_as_an_agent_is_ignored(harness):
    """The policy sees the type that the participant has: an agent is nobody's to take, now and the next time."""
    await harness.capture(customerType="HUMAN_AGENT")
    assert await harness.settle(harness.sms()) == [DONE]
    before = await harness.total()
    assert await harness.settle(harness.sms()) == [Result.IGNORED]
    assert (await harness.entries(), await harness.total()) == ([], before)


async def test_human_agent_rule_has_its_own_stream(make_harness):
    """Another target is another stream, and our side is created as AGENT: people answer there."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    await harness.settle(harness.sms(to=DESK))
    (entry,) = await harness.entries(Target.HUMAN_AGENT)
    assert (entry.data.target, entry.data.reason) == ("human-agent", "service-desk (recipient)")
    assert await harness.entries(Target.AI_AGENT) == []
    (conversation,) = await harness.conversations()
    assert {one["type"] for one in conversation["participants"]} == {"CUSTOMER", "AGENT"}


async def test_policy_that_ignores_costs_no_call(make_harness, lines):
    """Nobody's message is no call, no entry and no conversation; the log says which rule."""
    harness = await make_harness(policy=NOBODY)
    assert await harness.settle(harness.sms()) == [Result.IGNORED]
    assert (await harness.total(), await harness.entries()) == (0, [])
    (line,) = lines("event")
    assert (line["result"], line["reason"]) == ("ignored", "default")


async def test_holder_of_a_conversation_holds_a_second_participant(make_harness):
    """Whoever got the first participant of a conversation gets the others, whatever the policy would say of them."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    await harness.settle(harness.sms(to=DESK))
    (conversation,) = await harness.conversations()
    body = {"type": "CUSTOMER", "addresses": [{"channel": "EMAIL", "address": "ana@example.com"}]}
    second = await harness.api("POST", f"/v2/Conversations/{conversation['id']}/Participants", body)
    assert await harness.settle(harness.callback("PARTICIPANT_ADDED", second)) == [Result.JOINED]
    first, other = await harness.entries()
    assert (first.data.target, other.data.target) == ("human-agent", "human-agent")
    assert other.data.reason == first.data.reason


async def test_passive_capture_first_and_the_webhook_later(harness):
    """Twilio told first: the webhook finds everything announced already."""
    captured = await harness.capture()
    conversation = captured["conversation"]
    customer = participant_of(conversation, "CUSTOMER")
    assert await harness.settle(harness.callback("PARTICIPANT_ADDED", customer)) == [Result.JOINED]
    assert await harness.settle(harness.sms()) == [DONE]
    (entry,) = await harness.entries()
    assert (entry.data.origin, entry.data.participant.id) == ("announced", customer["id"])


async def test_webhook_first_and_its_callbacks_later(make_harness):
    """Our own additions come back as callbacks and cause nothing, even where the policy would give agents a target."""
    harness = await make_harness(policy=EVERYBODY)
    await harness.settle(harness.sms())
    (conversation,) = await harness.conversations()
    reports = [harness.callback("CONVERSATION_CREATED", conversation)]
    reports += [harness.callback("PARTICIPANT_ADDED", one) for one in conversation["participants"]]
    results = await harness.settle(*reports)
    assert set(results) <= {Result.NOTED, Result.KNOWN, Result.IGNORED, Result.STALE}
    assert await harness.types() == ["joined"]


async def test_callbacks_of_our_own_additions_before_we_have_committed(make_harness):
    """The same where the callbacks overtake the answer: what we create is ours from before it is created."""
    harness = await make_harness(policy=EVERYBODY)
    other = harness.make_resolver()
    await other.singles._accounts.know([ACCOUNT])  # another worker, who read what is ours a moment ago
    await harness.settle(harness.sms())
    (conversation,) = await harness.conversations()
    ours = participant_of(conversation, "AI_AGENT")
    await harness.redis.delete(harness.keys.conversation(ACCOUNT, conversation["id"]))
    results = await harness.settle(harness.callback("PARTICIPANT_ADDED", ours), by=other)
    assert results == [Result.IGNORED]
    assert await harness.types() == ["joined"]


async def test_api_that_refuses_makes_a_dead_letter(harness):
    """400 is the event's own fault: poison at once, with the reason and without the address."""
    harness.fault(status=400)
    (verdict,) = await harness.settle(harness.sms())
    assert isinstance(verdict, Poison)
    assert "HTTP 400" in verdict.reason
    assert CUSTOMER not in verdict.reason


@pytest.mark.parametrize("status", [401, 403, 429, 500, 502, 503])
async def test_api_that_cannot_now_makes_the_event_wait(harness, status):
    """Credentials, limits and outages are nobody's fault: later, never poison; then it works."""
    harness.resolver = harness.make_resolver(retries=0)
    harness.fault(status=status)
    deliveries = await harness.receive(harness.sms())
    (verdict,) = await harness.work(deliveries)
    assert isinstance(verdict, Later)
    harness.clear_faults()
    assert await harness.work(deliveries) == [DONE]
    assert await harness.types() == ["joined"]


@pytest.mark.parametrize("fault", [{"hang": True}, {"reset": True}, {"body": "broken"}, {"body": "empty"}], ids=str)
async def test_api_that_does_not_answer_makes_the_event_wait(make_harness, fault):
    """No answer, or half of one: later; the next try looks first what the unanswered one did."""
    harness = await make_harness()
    harness.api_timeout = 0.1
    harness.resolver = harness.make_resolver(retries=0)
    harness.fault(**fault)
    deliveries = await harness.receive(harness.sms())
    (verdict,) = await harness.work(deliveries)
    assert isinstance(verdict, Later)
    assert verdict.is_unsure
    harness.clear_faults()
    assert await harness.work([*map(redelivered, deliveries)]) == [DONE]
    assert await harness.types() == ["joined"]
    assert len(await harness.conversations()) == 1


@pytest.mark.parametrize("fault", [{"reset": True}, {"status": 500}, {"body": "broken"}], ids=str)
async def test_lost_answer_is_looked_up_in_the_same_try(harness, fault):
    """A POST whose answer was lost after its effect: it is found by its channelId and never posted twice."""
    harness.fault(method="POST", when="after", times=1, **fault)
    assert await harness.settle(harness.sms()) == [DONE]
    assert (await harness.calls())[CREATE] == 1
    assert len(await harness.conversations()) == 1
    (entry,) = await harness.entries()
    assert len(await harness.participants(entry.data.conversation.id)) == 2


async def test_lost_answer_to_an_added_participant(harness):
    """The same for a participant that is added to a conversation."""
    await harness.capture(customerType=None)
    harness.fault(
        method="POST", route="/v2/Conversations/{conversation}/Participants", when="after", times=1, reset=True
    )
    assert await harness.settle(harness.sms()) == [DONE]
    (entry,) = await harness.entries()
    there = await harness.participants(entry.data.conversation.id)
    assert [one["addresses"][0]["address"] for one in there].count(CUSTOMER) == 1


async def test_participant_on_the_last_of_many_pages(harness):
    """A conversation of 3,000: every page is read, and the customer among them is found."""
    captured = await harness.capture()
    conversation_id = captured["conversation"]["id"]
    path = f"/v2/Conversations/{conversation_id}/Participants"
    for number in range(2998):
        address = {"channel": "CHAT", "address": f"user-{number}"}
        await harness.api("POST", path, {"type": "HUMAN_AGENT", "addresses": [address]})
    before = (await harness.calls()).get(LIST, 0)
    assert await harness.settle(harness.sms()) == [DONE]
    assert (await harness.calls())[LIST] - before >= 3
    (entry,) = await harness.entries()
    assert (entry.data.origin, entry.data.address) == ("found", CUSTOMER)


async def test_conversation_that_closed_is_followed_by_another(harness):
    """CLOSED is final: its holder is told, and the next message opens a new conversation with a joined of its own."""
    await harness.settle(harness.sms())
    (old,) = await harness.conversations()
    closed = await harness.api("PATCH", f"/v2/Conversations/{old['id']}", {"status": "CLOSED"})
    assert await harness.settle(harness.callback("CONVERSATION_UPDATED", closed)) == [Result.CLOSED]
    assert await harness.settle(harness.sms()) == [DONE]
    entries = await harness.entries()
    assert [entry.type for entry in entries] == ["participant.joined", "conversation.closed", "participant.joined"]
    assert entries[0].data.conversation.id == entries[1].subject == old["id"] != entries[2].data.conversation.id
    assert entries[1].data.target == entries[0].data.target


async def test_route_is_confirmed_after_its_time(harness):
    """Without a sign of life for ROUTER_ROUTE_TTL one fetch confirms a conversation, which holds again for so long."""
    await harness.settle(harness.sms())
    harness.clock.advance(61)
    before = await harness.calls()
    assert await harness.settle(harness.sms()) == [DONE]
    after = await harness.calls()
    assert {route: after[route] - before.get(route, 0) for route in after if after[route] != before.get(route, 0)} == {
        "GET /v2/Conversations/{conversation}": 1
    }
    harness.clock.advance(30)
    assert await harness.settle(harness.sms()) == [Result.KNOWN]
    assert await harness.calls() == after


async def test_route_is_trusted_while_callbacks_arrive(harness):
    """Where status callbacks reach us a closing would be announced: no confirmation is needed."""
    await harness.settle(harness.sms())
    (conversation,) = await harness.conversations()
    await harness.settle(harness.callback("CONVERSATION_CREATED", conversation))
    harness.clock.advance(50)
    await harness.settle(harness.callback("CONVERSATION_UPDATED", conversation))
    harness.clock.advance(50)
    before = await harness.total()
    assert await harness.settle(harness.sms()) == [Result.KNOWN]
    assert await harness.total() == before


async def test_closing_that_was_never_announced_is_found_by_the_confirmation(harness):
    """A conversation that closed without a callback is published as closed and replaced, in that order."""
    await harness.settle(harness.sms())
    (old,) = await harness.conversations()
    await harness.api("PATCH", f"/v2/Conversations/{old['id']}", {"status": "CLOSED"})
    harness.clock.advance(61)
    assert await harness.settle(harness.sms()) == [DONE]
    assert await harness.types() == ["joined", "closed", "joined"]
    assert await harness.settle(harness.callback("CONVERSATION_UPDATED", old | {"status": "CLOSED"})) == [Result.KNOWN]
    assert await harness.types() == ["joined", "closed", "joined"]


async def test_closing_found_by_two_at_once_is_published_once(harness, monkeypatch):
    """A confirmation that loses the race to commit a closing reads again, and neither loses nor doubles it."""
    await harness.settle(harness.sms())
    (old,) = await harness.conversations()
    await harness.api("PATCH", f"/v2/Conversations/{old['id']}", {"status": "CLOSED"})
    harness.clock.advance(61)
    commit, lost = type(harness.resolver.singles)._commit, []

    async def lose_once(self, ledger):
        if ledger.entries and not lost:
            lost.append(ledger)
            return False
        return await commit(self, ledger)

    monkeypatch.setattr(type(harness.resolver.singles), "_commit", lose_once)
    assert await harness.settle(harness.sms()) == [DONE]
    assert await harness.types() == ["joined", "closed", "joined"]


async def test_nothing_is_read_of_a_conversation_that_was_just_created(harness, monkeypatch):
    """There can hardly be anything, and the commit sees to it."""
    read, reads = Store.read_ledgers, []

    async def counting(self, queries):
        reads.extend(queries)
        return await read(self, queries)

    monkeypatch.setattr(Store, "read_ledgers", counting)
    assert await harness.settle(harness.sms()) == [DONE]
    assert not reads
    assert await harness.types() == ["joined"]


@pytest.mark.parametrize("told", ["its customer's coming", "its closing"])
async def test_what_is_told_of_a_new_conversation_before_its_creator_commits_counts(harness, monkeypatch, told):
    """The creator's commit fails then, it reads what there is, and nothing is published twice or in the wrong place."""
    other, end, is_told = harness.make_resolver(), SinglePath._end, []

    async def tell_first(self, work, outcome):
        if not is_told:
            is_told.append(True)
            (conversation,) = await harness.conversations()
            if told == "its closing":
                closed = await harness.api("PATCH", f"/v2/Conversations/{conversation['id']}", {"status": "CLOSED"})
                report = harness.callback("CONVERSATION_UPDATED", closed)
            else:
                await harness.redis.delete(harness.keys.creating(ACCOUNT, f"SMS|{CUSTOMER}"))  # as if it had expired
                customer = participant_of(conversation, "CUSTOMER")
                report = harness.callback("PARTICIPANT_ADDED", customer)
            await harness.settle(report, by=other)
        return await end(self, work, outcome)

    monkeypatch.setattr(SinglePath, "_end", tell_first)
    (delivery,) = await harness.receive(harness.sms())
    await harness.finish(delivery)
    published = [entry.type.partition(".")[2] for entry in await harness.published()]
    if told == "its closing":
        assert sorted(published) == ["joined", "received"]
        assert len(await harness.conversations()) == 2
    else:
        assert published == ["joined", "received"]
        assert len(await harness.conversations()) == 1


async def test_conversation_that_does_not_exist_any_more_is_replaced(harness):
    """A route to a conversation that was deleted leads to a new one."""
    await harness.settle(harness.sms())
    (old,) = await harness.conversations()
    await harness.api("DELETE", f"/v2/Conversations/{old['id']}")
    harness.clock.advance(61)
    assert await harness.settle(harness.sms()) == [DONE]
    first, second = await harness.entries()
    assert first.data.conversation.id != second.data.conversation.id


async def test_confirmation_during_an_outage_waits(harness):
    """A conversation that cannot be confirmed just now is neither trusted nor given up."""
    await harness.settle(harness.sms())
    harness.clock.advance(61)
    harness.resolver = harness.make_resolver(retries=0)
    harness.fault(status=503)
    deliveries = await harness.receive(harness.sms())
    (verdict,) = await harness.work(deliveries)
    assert isinstance(verdict, Later)
    harness.clear_faults()
    assert await harness.work(deliveries) == [DONE]


async def test_two_of_our_addresses_are_two_conversations(harness):
    """The pair of addresses decides: the same customer at two of our numbers is in two conversations."""
    await harness.settle(harness.sms(), harness.sms(to=DESK))
    assert len({entry.data.conversation.id for entry in await harness.entries()}) == 2


async def test_status_callback_of_an_outgoing_message_is_disregarded(harness, lines):
    """What Twilio says of our own messages on the same URL costs nothing and is ignored by name."""
    webhook = harness.sms()
    params = dict(webhook.pairs) | {"MessageStatus": "delivered", "SmsStatus": "delivered"}
    assert await harness.settle(form(webhook.path, webhook.resource_id, params)) == [Result.IGNORED]
    assert await harness.total() == 0
    assert lines("event")[0]["type"] == "message.delivered"


async def test_log_line_of_an_event_is_whole_and_masked(harness, output, lines):
    """One line: result, reason, masked address, ids and milliseconds; nobody's number in any line."""
    await harness.settle(harness.sms())
    (line,) = lines("event")
    (entry,) = await harness.entries()
    assert line["result"] == "joined"
    assert (line["participant"], line["conversation"]) == (entry.data.participant.id, entry.data.conversation.id)
    assert (line["target"], line["address"]) == ("ai-agent", "+155***01")
    assert line["ms"] >= 0
    assert CUSTOMER not in output.getvalue()
    assert OURS not in output.getvalue()
