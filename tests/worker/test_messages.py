"""Messages: the requests that they need, the entries that they publish, and conversations that exist already."""

import pytest

from router.core.keys import Target
from router.core.ledger.marker import Result
from router.core.timestamps import to_text
from router.simulator.messages import form
from router.streams.delivery import Done, Later, Poison
from router.streams.store.ledgers import Store
from router.worker.singles import SinglePath
from tests.support.accounts import ACCOUNT, CONFIGURATION, CUSTOMER, DESK, OURS
from tests.support.policies import DESK_RULE, EVERYBODY, NOBODY, PLAIN
from tests.support.waiting import until
from tests.worker.harness import CREATE, LIST
from tests.worker.payloads import participant_of, redelivered

DONE = Done()


async def test_a_new_customer_needs_one_request(harness):
    """One POST with both participants creates the conversation, and the entry has both addresses and the reason."""
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


async def test_a_customer_known_to_another_worker_needs_no_request(harness):
    """A customer that another worker has resolved needs no request."""
    await harness.settle(harness.sms())
    assert await harness.settle(harness.sms(), by=harness.make_resolver()) == [Result.KNOWN]
    assert await harness.total() == 1


async def test_an_existing_customer_needs_two_requests(harness):
    """The 409 names the conversation, and the list of its participants has the customer."""
    captured = await harness.capture()
    assert await harness.settle(harness.sms()) == [DONE]
    assert await harness.calls() == {CREATE: 1, LIST: 1}
    (entry,) = await harness.entries()
    assert (entry.data.origin, entry.data.conversation.id) == ("found", captured["conversation"]["id"])
    assert len(await harness.conversations()) == 1


@pytest.mark.parametrize("kind", ["sms", "mms", "whatsapp", "rcs", "messenger"])
async def test_each_messaging_channel_creates_one_conversation(harness, kind):
    """A message of each channel creates one conversation with both sides on that channel."""
    channel = {"whatsapp": "WHATSAPP", "rcs": "RCS", "messenger": "CHAT"}.get(kind, "SMS")
    await harness.settle(harness.sms(kind=kind), harness.sms(kind=kind))
    (entry,) = await harness.entries()
    assert (entry.data.channel, entry.data.recipient.channel) == (channel, channel)
    (conversation,) = await harness.conversations()
    assert {one["type"] for one in conversation["participants"]} == {"CUSTOMER", "AI_AGENT"}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("sms", {"CUSTOMER": CUSTOMER, "AI_AGENT": OURS}),
        ("whatsapp", {"CUSTOMER": "Ana", "AI_AGENT": f"whatsapp:{OURS}"}),
    ],
)
async def test_participants_that_the_router_creates_have_names(make_harness, kind, names):
    """A customer has the name of the profile, or else the address as it is written; our side has its address."""
    harness = await make_harness(absent_name="null")
    await harness.settle(harness.sms(kind=kind))
    (conversation,) = await harness.conversations()
    members = await harness.participants(conversation["id"])
    assert {one["type"]: one["name"] for one in members} == names
    (entry,) = await harness.entries()
    assert entry.data.participant.name == names["CUSTOMER"]


@pytest.mark.parametrize("address", ["not a phone", "US.1A2b3C", "+", "sip:ana@example.com"])
async def test_an_unusual_address_is_kept(harness, address):
    """An address that is neither a phone number nor a mailbox is kept as it is and found again."""
    await harness.settle(harness.sms(address))
    assert await harness.settle(harness.sms(address)) == [Result.KNOWN]
    assert (await harness.entries())[0].data.address == address


async def test_unknown_participants_are_repaired(harness):
    """UNKNOWN participants get the type that the message proves, and keep their other fields."""
    await harness.capture(customerType="UNKNOWN", agentType="UNKNOWN")
    await harness.settle(harness.sms())
    (conversation,) = await harness.conversations()
    participants = {one["addresses"][0]["address"]: one for one in conversation["participants"]}
    assert (participants[CUSTOMER]["type"], participants[OURS]["type"]) == ("CUSTOMER", "AI_AGENT")
    assert participants[CUSTOMER]["name"] == CUSTOMER
    (entry,) = await harness.entries()
    assert entry.data.participant.type == "CUSTOMER"


async def test_a_missing_customer_is_added(make_harness):
    """A conversation without the customer gets a participant for it."""
    harness = await make_harness()
    captured = await harness.capture(customerType=None)
    assert await harness.settle(harness.sms()) == [DONE]
    (entry,) = await harness.entries()
    assert (entry.data.origin, entry.data.conversation.id) == ("created", captured["conversation"]["id"])


async def test_a_sender_who_is_an_agent_is_ignored(harness):
    """A sender who is an agent in the conversation is ignored, the second time without a request."""
    await harness.capture(customerType="HUMAN_AGENT")
    assert await harness.settle(harness.sms()) == [DONE]
    before = await harness.total()
    assert await harness.settle(harness.sms()) == [Result.IGNORED]
    assert (await harness.entries(), await harness.total()) == ([], before)


async def test_a_rule_for_people_uses_their_stream(make_harness):
    """A rule for human agents publishes to their stream, and our side is created as AGENT."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    await harness.settle(harness.sms(to=DESK))
    published = await harness.published(Target.HUMAN_AGENT)
    entry, (requested,) = published[0], [one for one in published if one.type == "handoff.requested"]
    assert (entry.data.target, entry.data.reason) == ("human-agent", "service-desk (recipient)")
    assert requested.data.request.reason == entry.data.reason
    assert await harness.entries(Target.AI_AGENT) == []
    (conversation,) = await harness.conversations()
    assert {one["type"] for one in conversation["participants"]} == {"CUSTOMER", "AGENT"}


async def test_a_message_without_a_target_needs_no_request(make_harness, lines):
    """A message that the policy ignores creates nothing, and the log names the rule."""
    harness = await make_harness(policy=NOBODY)
    assert await harness.settle(harness.sms()) == [Result.IGNORED]
    assert (await harness.total(), await harness.entries()) == (0, [])
    (line,) = lines("event")
    assert (line["result"], line["reason"]) == ("ignored", "default")


async def test_a_second_participant_gets_the_holder(make_harness):
    """A second participant of a conversation gets the target of the first."""
    harness = await make_harness(policy=PLAIN + DESK_RULE)
    await harness.settle(harness.sms(to=DESK))
    (conversation,) = await harness.conversations()
    body = {"type": "CUSTOMER", "addresses": [{"channel": "EMAIL", "address": "ana@example.com"}]}
    second = await harness.api("POST", f"/v2/Conversations/{conversation['id']}/Participants", body)
    assert await harness.settle(harness.callback("PARTICIPANT_ADDED", second)) == [Result.JOINED]
    first, other = await harness.entries()
    assert (first.data.target, other.data.target) == ("human-agent", "human-agent")
    assert other.data.reason == first.data.reason


async def test_a_message_after_its_callback_announces_nobody(harness):
    """A message whose customer a callback announced publishes no second joined."""
    captured = await harness.capture()
    conversation = captured["conversation"]
    customer = participant_of(conversation, "CUSTOMER")
    assert await harness.settle(harness.callback("PARTICIPANT_ADDED", customer)) == [Result.JOINED]
    assert await harness.settle(harness.sms()) == [DONE]
    (entry,) = await harness.entries()
    assert (entry.data.origin, entry.data.participant.id) == ("announced", customer["id"])


async def test_callbacks_after_the_message_announce_nobody(make_harness):
    """Callbacks about participants that we created announce nobody, even if agents have a target."""
    harness = await make_harness(policy=EVERYBODY)
    await harness.settle(harness.sms())
    (conversation,) = await harness.conversations()
    reports = [harness.callback("CONVERSATION_CREATED", conversation)]
    reports += [harness.callback("PARTICIPANT_ADDED", one) for one in conversation["participants"]]
    results = await harness.settle(*reports)
    assert set(results) <= {Result.NOTED, Result.KNOWN, Result.IGNORED, Result.STALE}
    assert await harness.types() == ["joined"]


async def test_our_side_is_known_before_it_is_created(make_harness):
    """The callback of our side is ignored even if it arrives before the creator has committed."""
    harness = await make_harness(policy=EVERYBODY)
    other = harness.make_resolver()
    await other.singles._accounts.know([ACCOUNT])  # another worker, which read our addresses just before
    await harness.settle(harness.sms())
    (conversation,) = await harness.conversations()
    ours = participant_of(conversation, "AI_AGENT")
    await harness.redis.delete(harness.keys.conversation(ACCOUNT, conversation["id"]))
    results = await harness.settle(harness.callback("PARTICIPANT_ADDED", ours), by=other)
    assert results == [Result.IGNORED]
    assert await harness.types() == ["joined"]


async def test_a_refusal_is_poison(harness):
    """A refusal of the API is poison, with the reason and without the address."""
    harness.fault(status=400)
    (verdict,) = await harness.settle(harness.sms())
    assert isinstance(verdict, Poison)
    assert "HTTP 400" in verdict.reason
    assert CUSTOMER not in verdict.reason


@pytest.mark.parametrize(
    "status", [401, 402, 403, 405, 407, 408, 415, 421, 423, 424, 425, 426, 429, 431, 499, 500, 502, 503]
)
async def test_an_error_that_may_pass_makes_the_message_wait(harness, status):
    """Refused credentials, limits and outages make the message wait, then it is resolved."""
    harness.resolver = harness.make_resolver(retries=0)
    harness.fault(status=status)
    deliveries = await harness.receive(harness.sms())
    (verdict,) = await harness.work(deliveries)
    assert isinstance(verdict, Later)
    harness.clear_faults()
    assert await harness.work(deliveries) == [DONE]
    assert await harness.types() == ["joined"]


@pytest.mark.parametrize("fault", [{"hang": True}, {"reset": True}, {"body": "broken"}, {"body": "empty"}], ids=str)
async def test_a_missing_answer_makes_the_message_wait_unsure(make_harness, fault):
    """Without an answer, or with half of one, the message waits, unsure, and creates nothing twice."""
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
async def test_a_lost_post_is_looked_up_in_the_same_attempt(harness, fault):
    """A POST whose answer was lost after its effect is found by its channelId and not repeated."""
    harness.fault(method="POST", when="after", times=1, **fault)
    assert await harness.settle(harness.sms()) == [DONE]
    assert (await harness.calls())[CREATE] == 1
    assert len(await harness.conversations()) == 1
    (entry,) = await harness.entries()
    assert len(await harness.participants(entry.data.conversation.id)) == 2


async def test_a_lost_participant_post_is_found_in_the_list(harness):
    """A participant whose POST got no answer is found in the list and not added twice."""
    await harness.capture(customerType=None)
    harness.fault(
        method="POST", route="/v2/Conversations/{conversation}/Participants", when="after", times=1, reset=True
    )
    assert await harness.settle(harness.sms()) == [DONE]
    (entry,) = await harness.entries()
    participants = await harness.participants(entry.data.conversation.id)
    assert [one["addresses"][0]["address"] for one in participants].count(CUSTOMER) == 1


async def test_a_participant_on_the_last_page_is_found(harness):
    """A customer on the last page of 3,000 participants is found."""
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


async def test_a_closed_conversation_is_followed_by_another(harness):
    """The closing is published to the holder, and the next message creates another conversation."""
    await harness.settle(harness.sms())
    (old,) = await harness.conversations()
    closed = await harness.api("PATCH", f"/v2/Conversations/{old['id']}", {"status": "CLOSED"})
    assert await harness.settle(harness.callback("CONVERSATION_UPDATED", closed)) == [Result.CLOSED]
    assert await harness.settle(harness.sms()) == [DONE]
    entries = await harness.entries()
    assert [entry.type for entry in entries] == ["participant.joined", "conversation.closed", "participant.joined"]
    assert entries[0].data.conversation.id == entries[1].subject == old["id"] != entries[2].data.conversation.id
    assert entries[1].data.target == entries[0].data.target


async def test_a_route_is_confirmed_after_its_ttl(harness):
    """After ROUTER_ROUTE_TTL one fetch confirms the conversation, for the same time again."""
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


async def test_a_route_is_trusted_while_callbacks_arrive(harness):
    """While callbacks about the conversation itself arrive, no confirmation is needed."""
    await harness.settle(harness.sms())
    (conversation,) = await harness.conversations()
    await harness.settle(harness.callback("CONVERSATION_CREATED", conversation))
    harness.clock.advance(50)
    at = to_text(harness.clock())
    await harness.settle(harness.callback("CONVERSATION_UPDATED", conversation, at=at))
    harness.clock.advance(50)
    before = await harness.total()
    assert await harness.settle(harness.sms()) == [Result.KNOWN]
    assert await harness.total() == before


async def test_callbacks_about_other_conversations_are_no_evidence(harness):
    """A lost closing is found after ROUTER_ROUTE_TTL although callbacks about other customers go on."""
    await harness.settle(harness.sms())
    (old,) = await harness.conversations()
    await harness.settle(harness.callback("CONVERSATION_CREATED", old))
    await harness.settle(harness.sms("+15550000002"))
    other = next(one for one in await harness.conversations() if one["id"] != old["id"])
    await harness.api("PATCH", f"/v2/Conversations/{old['id']}", {"status": "CLOSED"})
    harness.clock.advance(61)
    await harness.settle(harness.callback("CONVERSATION_UPDATED", other, at=to_text(harness.clock())))
    assert await harness.settle(harness.sms()) == [DONE]
    (_, last) = [entry for entry in await harness.communications() if entry.data.address == CUSTOMER]
    assert last.data.conversation.id not in {old["id"], other["id"]}
    assert await harness.types() == ["joined", "joined", "closed", "joined"]


async def test_a_confirmation_publishes_a_lost_closing(harness):
    """A conversation that closed without a callback is published as closed and then replaced."""
    await harness.settle(harness.sms())
    (old,) = await harness.conversations()
    await harness.api("PATCH", f"/v2/Conversations/{old['id']}", {"status": "CLOSED"})
    harness.clock.advance(61)
    assert await harness.settle(harness.sms()) == [DONE]
    assert await harness.types() == ["joined", "closed", "joined"]
    assert await harness.settle(harness.callback("CONVERSATION_UPDATED", old | {"status": "CLOSED"})) == [Result.KNOWN]
    assert await harness.types() == ["joined", "closed", "joined"]


async def test_a_lost_closing_is_published_once(harness, monkeypatch):
    """A confirmation that loses the race to commit the closing neither loses nor doubles it."""
    await harness.settle(harness.sms())
    (old,) = await harness.conversations()
    await harness.api("PATCH", f"/v2/Conversations/{old['id']}", {"status": "CLOSED"})
    harness.clock.advance(61)
    commit, lost = type(harness.resolver.singles)._commit, []

    async def lose_once(self, ledger, routes=()):
        if ledger.entries and not lost:
            lost.append(ledger)
            return False
        return await commit(self, ledger, routes)

    monkeypatch.setattr(type(harness.resolver.singles), "_commit", lose_once)
    assert await harness.settle(harness.sms()) == [DONE]
    assert await harness.types() == ["joined", "closed", "joined"]


async def test_the_ledger_of_a_new_conversation_is_not_read(harness, monkeypatch):
    """The ledger of a conversation that was just created is not read."""
    read, reads = Store.find_ledgers, []

    async def counting(self, queries):
        reads.extend(queries)
        return await read(self, queries)

    monkeypatch.setattr(Store, "find_ledgers", counting)
    assert await harness.settle(harness.sms()) == [DONE]
    assert not reads
    assert await harness.types() == ["joined"]


@pytest.mark.parametrize("change", ["addition", "closing"])
async def test_callbacks_before_the_creators_commit_count(harness, monkeypatch, change):
    """If a callback commits first, the creator reads the ledger, and nothing is doubled or misplaced."""
    other, end, reported = harness.make_resolver(), SinglePath._end, []

    async def report_first(self, work, outcome):
        if not reported:
            reported.append(change)
            (conversation,) = await harness.conversations()
            if change == "closing":
                closed = await harness.api("PATCH", f"/v2/Conversations/{conversation['id']}", {"status": "CLOSED"})
                report = harness.callback("CONVERSATION_UPDATED", closed)
            else:
                await harness.redis.delete(harness.keys.creating(ACCOUNT, f"SMS|{CUSTOMER}"))  # as if it had expired
                customer = participant_of(conversation, "CUSTOMER")
                report = harness.callback("PARTICIPANT_ADDED", customer)
            await harness.settle(report, by=other)
        return await end(self, work, outcome)

    monkeypatch.setattr(SinglePath, "_end", report_first)
    (delivery,) = await harness.receive(harness.sms())
    await harness.finish(delivery)
    published = [entry.type.partition(".")[2] for entry in await harness.published()]
    if change == "closing":
        assert sorted(published) == ["joined", "received"]
        assert len(await harness.conversations()) == 2
    else:
        assert published == ["joined", "received"]
        assert len(await harness.conversations()) == 1


async def test_a_deleted_conversation_is_replaced(harness):
    """A route to a deleted conversation leads to a new one."""
    await harness.settle(harness.sms())
    (old,) = await harness.conversations()
    await harness.api("DELETE", f"/v2/Conversations/{old['id']}")
    harness.clock.advance(61)
    assert await harness.settle(harness.sms()) == [DONE]
    first, second = await harness.entries()
    assert first.data.conversation.id != second.data.conversation.id


async def test_a_confirmation_during_an_outage_waits(harness):
    """A message whose conversation cannot be confirmed waits."""
    await harness.settle(harness.sms())
    harness.clock.advance(61)
    harness.resolver = harness.make_resolver(retries=0)
    harness.fault(status=503)
    deliveries = await harness.receive(harness.sms())
    (verdict,) = await harness.work(deliveries)
    assert isinstance(verdict, Later)
    harness.clear_faults()
    assert await harness.work(deliveries) == [DONE]


async def test_each_of_our_addresses_has_its_own_conversation(harness):
    """One customer at two of our numbers is in two conversations."""
    await harness.settle(harness.sms(), harness.sms(to=DESK))
    assert len({entry.data.conversation.id for entry in await harness.entries()}) == 2


async def test_a_message_status_is_ignored(harness, lines):
    """The status of a message that we sent is ignored without a request."""
    webhook = harness.sms()
    params = dict(webhook.pairs) | {"MessageStatus": "delivered", "SmsStatus": "delivered"}
    assert await harness.settle(form(webhook.path, webhook.resource_id, params)) == [Result.IGNORED]
    assert await harness.total() == 0
    assert lines("event")[0]["type"] == "message.delivered"


async def test_the_log_line_of_an_event_is_complete_and_masked(harness, output, lines):
    """The log line has result, target, ids and duration, and no line has an address in clear."""
    await harness.settle(harness.sms())
    (line,) = lines("event")
    (entry,) = await harness.entries()
    assert line["result"] == "joined"
    assert (line["participant"], line["conversation"]) == (entry.data.participant.id, entry.data.conversation.id)
    assert (line["target"], line["address"]) == ("ai-agent", "+155***01")
    assert line["ms"] >= 0
    assert CUSTOMER not in output.getvalue()
    assert OURS not in output.getvalue()


async def test_a_hot_customer_drains_in_batches_after_a_slow_call(harness):
    """What queued behind a message that waited for the API goes the batch path again: heard in order, once each."""
    number, calls, attempt = 600, [], harness.resolver.singles.attempt

    async def counted(delivery):
        calls.append(delivery.entry_id)
        return await attempt(delivery)

    harness.resolver.singles.attempt = counted
    await harness.ensure_group()
    await harness.settle(harness.sms())
    harness.clock.advance(61)  # the conversation must be confirmed, by one call
    harness.fault(method="GET", hang=True, times=1)
    async with harness.consuming():
        webhooks = [harness.sms() for _ in range(number)]
        await harness.append(webhooks[0])
        await until(lambda: calls)
        for webhook in webhooks[1:]:
            await harness.append(webhook)
        harness.clear_faults()
        await harness.finished()
    heard = [entry.data.communication.channel_id for entry in await harness.communications()]
    assert heard[1:] == [webhook.resource_id for webhook in webhooks]
    assert len(calls) < number / 10
