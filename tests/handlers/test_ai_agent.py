"""The AI agent: the address at which it joins, and one answer per entry over every crash."""

from __future__ import annotations

import pytest

from handlers.ai_agent import SETTLE
from handlers.replies import make_greeting
from router.agents.effects import Effects, load_script
from router.core.entries import EntryAddress, EntryParticipant, JoinedData, show_participant
from router.core.errors import ApiError, RequestError, ServerError, UnavailableError
from router.streams.delivery import Done, Later
from tests.handlers.harness import HELLO, NOW, CrashError, OneApi, crashing, delivery_of, number, participant
from tests.support.accounts import ACCOUNT, OURS
from tests.support.waiting import until

ACTIONS = "/Actions"


async def test_it_joins_and_greets_once_over_redeliveries(harness, lines):
    """The first delivery adds the agent and sends the greeting; later ones do nothing."""
    opened = await harness.open()
    agent = harness.ai_agent(HELLO)
    for _ in range(3):
        assert isinstance(await agent.attempt(delivery_of(opened.entry())), Done)
    await until(lambda: harness.texts(opened.id))
    assert await harness.texts(opened.id) == [HELLO]
    customer = opened.customer.addresses[0].address
    assert await harness.participants(opened.id) == [
        ("AI_AGENT", OURS, "AI agent"),
        ("CUSTOMER", customer, customer),
    ]
    assert [line["result"] for line in lines("consumed")] == ["joined", "repeated", "repeated"]
    assert lines("consumed")[0]["reply"] == "sent"


@pytest.mark.parametrize("text", ["", "  \n"], ids=["empty", "blank"])
async def test_nothing_is_sent_without_a_greeting(harness, lines, text):
    """By default the agent joins and is silent."""
    opened = await harness.open()
    await harness.ai_agent(text).attempt(delivery_of(opened.entry()))
    assert await harness.texts(opened.id) == []
    assert await harness.types(opened.id) == ["AI_AGENT", "CUSTOMER"]
    assert lines("consumed")[0]["reply"] == "silent"


async def test_the_greeting_goes_from_us_to_the_customer(harness):
    """Author and recipient are the two participants, each by the address on the customer's channel."""
    opened = await harness.open(channel="WHATSAPP", address=f"whatsapp:{number()}")
    await harness.ai_agent(HELLO).attempt(delivery_of(opened.entry(recipient=f"whatsapp:{OURS}")))
    await until(lambda: harness.texts(opened.id))
    (said,) = [one async for one in harness.client.list_communications(opened.id)]
    assert (said.author.channel, said.author.address) == ("WHATSAPP", f"whatsapp:{OURS}")
    assert [one.participant_id for one in said.recipients] == [opened.customer.id]


@pytest.mark.parametrize("channel", ["VOICE", "EMAIL", "VIDEO"])
async def test_channels_that_cannot_send_are_only_joined(harness, lines, channel):
    """The reply is not called if it could not be sent."""

    async def reply(_):
        raise AssertionError("asked")

    opened = await harness.open(channel=channel, address="ana@example.com")
    await harness.ai_agent(reply=reply).attempt(delivery_of(opened.entry(recipient="help@example.com")))
    assert await harness.types(opened.id) == ["AI_AGENT", "CUSTOMER"]
    assert lines("consumed")[0]["reply"] == "channel cannot send"


@pytest.mark.parametrize(
    ("configured", "recipient", "there", "expected"),
    [
        pytest.param("+15550008888", OURS, (), ("AI_AGENT", "+15550008888"), id="configured"),
        pytest.param(None, OURS, (), ("AI_AGENT", OURS), id="recipient"),
        pytest.param("help@example.com", OURS, (), ("AI_AGENT", OURS), id="configured for another channel"),
        pytest.param(None, None, [("AGENT", OURS)], ("AGENT", OURS), id="the single agent"),
        pytest.param(None, OURS, [("UNKNOWN", OURS)], ("AI_AGENT", OURS), id="promoted"),
    ],
)
async def test_it_joins_at_the_first_address_that_is_known(harness, configured, recipient, there, expected):
    """The configured address, else our side's address of the entry, else that of the agent in the conversation."""
    opened = await harness.open(*(participant(kind, address) for kind, address in there))
    await harness.ai_agent(HELLO, address=configured).attempt(delivery_of(opened.entry(recipient=recipient)))
    assert [one[:2] for one in await harness.participants(opened.id) if one[0] != "CUSTOMER"] == [expected]
    await until(lambda: harness.texts(opened.id))


@pytest.mark.parametrize(
    ("recipient", "there", "result"),
    [
        pytest.param(OURS, [("HUMAN_AGENT", OURS)], "address-taken", id="a person has the address"),
        pytest.param(OURS, [("CUSTOMER", OURS)], "address-taken", id="a customer has the address"),
        pytest.param(None, [], "no-address", id="no agent"),
        pytest.param(None, [("AGENT", OURS), ("AI_AGENT", "+15550008888")], "no-address", id="several agents"),
    ],
)
async def test_it_is_silent_if_it_cannot_join(harness, lines, recipient, there, result):
    """The entry is finished with a warning; nobody was replaced, nothing was sent."""
    opened = await harness.open(*(participant(kind, address) for kind, address in there))
    before = await harness.participants(opened.id)
    assert isinstance(await harness.ai_agent(HELLO).attempt(delivery_of(opened.entry(recipient=recipient))), Done)
    assert await harness.participants(opened.id) == before
    assert await harness.texts(opened.id) == []
    assert [(line["result"], line["level"]) for line in lines("consumed")] == [(result, "warning")]


@pytest.mark.parametrize("recipient", [OURS, None], ids=["address is known", "address is asked for"])
async def test_a_conversation_that_is_gone_is_named_so(harness, lines, recipient):
    """Also where the agent would have looked for its address in the conversation; without a message nothing moves."""
    opened = await harness.open()
    await harness.sandbox.ask("DELETE", f"/v2/Conversations/{opened.id}")
    assert isinstance(await harness.ai_agent(HELLO).attempt(delivery_of(opened.entry(recipient=recipient))), Done)
    (line,) = lines("consumed")
    assert (line["result"], line["moved"], line["level"]) == ("conversation-gone", False, "warning")


async def test_our_address_on_another_channel_is_not_used(harness, lines):
    """A recipient address of another channel could not answer on the customer's channel."""
    opened = await harness.open()
    entry = opened.entry(recipient=None)
    elsewhere = EntryAddress(channel="EMAIL", address="help@example.com")
    entry = entry.model_copy(update={"data": entry.data.model_copy(update={"recipient": elsewhere})})
    await harness.ai_agent(HELLO).attempt(delivery_of(entry))
    assert lines("consumed")[0]["result"] == "no-address"


async def test_a_customer_who_leaves_before_the_answer_gets_none(harness, lines):
    """The entry is finished, because a retry could not succeed."""
    opened = await harness.open()

    async def leave(_):
        await harness.remove(opened.id, opened.customer.id)
        return HELLO

    verdict = await harness.ai_agent(reply=leave).attempt(delivery_of(opened.entry()))
    assert isinstance(verdict, Done)
    assert await harness.texts(opened.id) == []
    assert [(line["result"], line["reply"]) for line in lines("consumed")] == [("joined", "customer-left")]


async def test_a_conversation_that_closes_before_the_answer_gets_none(harness, lines):
    """Closed before the join or before the message: the entry is finished, without a failure."""
    early, late = await harness.open(), await harness.open()
    await harness.close(early.id)
    await harness.ai_agent(HELLO).attempt(delivery_of(early.entry()))

    async def close(_):
        await harness.close(late.id)
        return HELLO

    await harness.ai_agent(reply=close).attempt(delivery_of(late.entry()))
    assert [(line["result"], line.get("reply")) for line in lines("consumed")] == [
        ("conversation-closed", None),
        ("joined", "conversation-closed"),
    ]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_one_greeting_over_a_crash_at_every_call(harness, after):
    """Wherever the process crashes, its successor ends with one agent and one greeting."""
    crashes = 0
    for at in range(1, 40):
        opened = await harness.open()
        crashing_harness = crashing(harness, at, after=after)
        try:
            await crashing_harness.ai_agent(HELLO).attempt(delivery_of(opened.entry()))
            break
        except CrashError:
            crashes += 1
        await until(lambda: _is_quiet(harness))
        for _ in range(2):
            assert isinstance(await harness.ai_agent(HELLO).attempt(delivery_of(opened.entry())), Done)
        await until(lambda opened=opened: harness.texts(opened.id))
        assert (at, await harness.texts(opened.id)) == (at, [HELLO])
        assert await harness.types(opened.id) == ["AI_AGENT", "CUSTOMER"]
    assert crashes >= 10


async def _is_quiet(harness):
    """Let the loop run once, in which the sandbox completes its actions."""
    await harness.redis.ping()
    return True


@pytest.mark.parametrize(
    "fault",
    [{"status": 500, "when": "after"}, {"reset": True, "when": "after"}, {"body": "broken"}],
    ids=["500", "reset", "broken"],
)
async def test_a_greeting_whose_response_was_lost_is_found_not_repeated(harness, lines, fault):
    """The action took place although its response was lost: the text is found and not sent again."""
    opened = await harness.open()
    await harness.fault("POST", ACTIONS, **fault)
    agent = harness.ai_agent(HELLO)
    with pytest.raises(UnavailableError):
        await agent.attempt(delivery_of(opened.entry()))
    await until(lambda: harness.texts(opened.id))
    await agent.attempt(delivery_of(opened.entry()))
    assert await harness.texts(opened.id) == [HELLO]
    assert lines("consumed")[0]["reply"] == "found"


@pytest.mark.parametrize("behind", [61, 3600])
async def test_a_greeting_is_found_if_the_apis_clock_is_behind(harness, behind):
    """Its time there is before that of the entry, by which nothing would be found."""
    opened = await harness.open()
    entry = opened.entry(at=NOW + (behind + 60) * 1_000_000)
    await harness.fault("POST", ACTIONS, status=500, when="after")
    agent = harness.ai_agent(HELLO, api_ahead=lambda _: -(behind + 60) * 1_000_000)
    with pytest.raises(UnavailableError):
        await agent.attempt(delivery_of(entry))
    await until(lambda: harness.texts(opened.id))
    await agent.attempt(delivery_of(entry))
    assert await harness.texts(opened.id) == [HELLO]


async def test_a_greeting_in_doubt_gets_time_to_appear(harness):
    """The entry waits as long as the message may still be recorded; then it is sent again."""
    opened = await harness.open()
    await harness.fault("POST", ACTIONS, status=500)
    patient = harness.ai_agent(HELLO, settle=SETTLE)
    with pytest.raises(ServerError):
        await patient.attempt(delivery_of(opened.entry()))
    verdict = await patient.attempt(delivery_of(opened.entry()))
    assert isinstance(verdict, Later)
    assert verdict.is_unsure
    assert 0 < verdict.delay <= SETTLE
    assert await harness.texts(opened.id) == []
    await harness.ai_agent(HELLO, settle=0.0).attempt(delivery_of(opened.entry()))
    await until(lambda: harness.texts(opened.id))
    assert await harness.texts(opened.id) == [HELLO]


class SleepyRedis:
    """Redis that calls `sleep` after a step of this name was begun, before its response arrives."""

    def __init__(self, redis, step, sleep):
        self._redis, self._step, self._sleep = redis, step, sleep

    def __getattr__(self, name):
        return getattr(self._redis, name)

    async def evalsha(self, sha, *args):
        answer = await self._redis.evalsha(sha, *args)
        if sha == load_script("begin").sha and self._step in args:
            await self._sleep()
        return answer


async def test_a_process_stopped_before_it_sends_leaves_it_to_its_successor(harness):
    """A process that was stopped for longer than a successor waits searches for the message before it sends."""
    opened, passed = await harness.open(), [0.0]
    entry = delivery_of(opened.entry())

    async def sleep():
        passed[0] += SETTLE
        assert isinstance(await harness.ai_agent(HELLO).attempt(entry), Done)

    effects = Effects(SleepyRedis(harness.redis, "send", sleep), harness.keys, "ai-agent")
    sleeper = harness.ai_agent(HELLO, effects=effects, settle=SETTLE, clock=lambda: passed[0])
    await load_script("begin").run(harness.redis, ["scratch", "fence"], ["step", 60, "0", 1])  # loads the script
    assert isinstance(await sleeper.attempt(entry), Later)
    assert isinstance(await sleeper.attempt(entry), Done)
    await until(lambda: harness.texts(opened.id))
    assert await harness.texts(opened.id) == [HELLO]


@pytest.mark.parametrize("status", [429, 400], ids=["429", "400"])
async def test_a_refused_greeting_is_not_in_doubt(harness, status):
    """A message that was certainly not sent is sent at the next delivery, without a wait."""
    opened = await harness.open()
    await harness.fault("POST", ACTIONS, status=status)
    agent = harness.ai_agent(HELLO, settle=SETTLE)
    with pytest.raises(ApiError, match="Fault"):
        await agent.attempt(delivery_of(opened.entry()))
    assert isinstance(await agent.attempt(delivery_of(opened.entry())), Done)
    await until(lambda: harness.texts(opened.id))


@pytest.mark.parametrize(
    ("author", "to", "text", "at"),
    [
        pytest.param("ours", "other", HELLO, None, id="to another customer"),
        pytest.param("customer", "ours", HELLO, None, id="by the customer"),
        pytest.param("ours", "customer", "something else", None, id="another text"),
        pytest.param("ours", "customer", HELLO, 3_600_000_000, id="long before the entry"),
    ],
)
async def test_only_its_own_text_counts_as_sent(harness, author, to, text, at):
    """A similar message is not taken for the one in doubt."""
    opened = await harness.open(participant("AI_AGENT", OURS))
    other = await harness.client.create_participant(opened.id, participant("CUSTOMER", number()))
    present = await harness.client.list_participants(opened.id)
    who = {"ours": next(one for one in present if one.has_address(_address(OURS))), "other": other}
    who["customer"] = opened.customer
    await _say(harness, opened.id, who[author], who[to], text)
    (said,) = [one async for one in harness.client.list_communications(opened.id)]
    entry = opened.entry(at=_micros(said.created_at) + (at or 0))
    await harness.fault("POST", ACTIONS, status=500)
    agent = harness.ai_agent(HELLO)
    with pytest.raises(ServerError):
        await agent.attempt(delivery_of(entry))
    await agent.attempt(delivery_of(entry))

    async def both():
        return len(await harness.texts(opened.id)) == 2

    await until(both)


def _address(value):
    from router.core.addresses import Address

    return Address("SMS", value)


def _micros(text):
    from router.core.timestamps import to_microseconds

    return to_microseconds(text)


async def _say(harness, conversation, author, to, text):
    def party(one):
        return {"address": one.addresses[0].address, "channel": "SMS", "participantId": one.id}

    await harness.client._transport.request(
        "POST",
        "/v2/Conversations/{id}/Communications",
        ids={"id": conversation},
        body={"author": party(author), "recipients": [party(to)], "content": {"type": "TEXT", "text": text}},
    )


async def test_the_reply_is_called_once_and_kept(harness):
    """A reply that would return another text at the redelivery is not called again."""
    answers = iter(["first", "second", "third"])

    async def reply(_):
        return next(answers)

    opened = await harness.open()
    await harness.fault("POST", ACTIONS, status=500)
    with pytest.raises(ServerError):
        await harness.ai_agent(reply=reply).attempt(delivery_of(opened.entry()))
    await harness.ai_agent(reply=reply).attempt(delivery_of(opened.entry()))
    await until(lambda: harness.texts(opened.id))
    assert await harness.texts(opened.id) == ["first"]


async def test_a_reply_that_raises_fails_the_entry(harness):
    """The error reaches the consumer, which retries and then makes a dead letter."""

    def reply(_):
        raise LookupError("no idea")

    opened = await harness.open()
    with pytest.raises(LookupError, match="no idea"):
        await harness.ai_agent(reply=reply).attempt(delivery_of(opened.entry()))


async def test_chat_is_sent_through_its_classic_conversation(harness):
    """The channelId of the customer's address is sent along, if the entry or the API knows one."""
    seen = []

    class RecordingClient:
        fetch_participant = harness.client.fetch_participant

        async def send_message(self, conversation, sender, to, **fields):
            seen.append(fields["channel_settings"])

    opened = await harness.open(channel="CHAT", address="ana")
    customer = opened.customer.model_copy(
        update={"addresses": (opened.customer.addresses[0].model_copy(update={"channel_id": "CH1"}),)}
    )
    plain = await harness.open(channel="CHAT", address="bo")
    for entry in (opened.with_customer(customer).entry(recipient="bot"), plain.entry(recipient="bot")):
        await harness.ai_agent(HELLO, apis=OneApi(RecordingClient())).attempt(delivery_of(entry))
    assert seen == [{"channelId": "CH1"}, None]


async def test_a_second_customer_is_greeted_too(harness):
    """Every participant is greeted, by the same agent."""
    opened = await harness.open()
    second = await harness.client.create_participant(opened.id, participant("CUSTOMER", number()))
    agent = harness.ai_agent(HELLO)
    await agent.attempt(delivery_of(opened.entry()))
    await agent.attempt(delivery_of(opened.with_customer(second).entry()))

    async def both():
        return await harness.texts(opened.id) == [HELLO, HELLO]

    await until(both)
    assert await harness.types(opened.id) == ["AI_AGENT", "CUSTOMER", "CUSTOMER"]


async def test_a_reply_gets_the_typed_entry(harness):
    """The reply sees participant, conversation and our side's address."""
    seen = []

    async def reply(joined):
        seen.append(joined)

    opened = await harness.open()
    await harness.ai_agent(reply=reply).attempt(delivery_of(opened.entry()))
    (joined,) = seen
    assert isinstance(joined.data, JoinedData)
    assert joined.data.recipient == EntryAddress(channel="SMS", address=OURS)
    shown = show_participant(opened.customer, account_id=ACCOUNT, conversation_id=opened.id)
    assert joined.data.participant == EntryParticipant(**shown)


async def test_a_refusal_in_an_open_conversation_fails_the_entry(harness):
    """A 400 is not ignored while the conversation is open."""
    opened = await harness.open()
    await harness.fault("POST", ACTIONS, status=400)
    with pytest.raises(RequestError):
        await harness.ai_agent(reply=make_greeting(HELLO)).attempt(delivery_of(opened.entry()))
