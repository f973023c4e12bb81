"""Joining: adopt, promote, refuse or add, whatever the API answers and however often it is repeated."""

from __future__ import annotations

import pytest

from handlers.joining import fits, single_agent, to_wire
from handlers.seats import How, Seat
from router.core.addresses import Address
from router.core.errors import ConflictError, NotFoundError, RateLimitError, RequestError, ServerError, TransportError
from router.core.resources import Participant, ParticipantAddress, ParticipantType
from tests.handlers.harness import Fate, Mortal, seat
from tests.support.accounts import ACCOUNT, OURS

AI = Seat(ParticipantType.AI_AGENT, Address("SMS", OURS), "Bot")
HUMAN = Seat(ParticipantType.HUMAN_AGENT, Address("SMS", OURS), "Dana")

PARTICIPANTS = "/Participants"
PARTICIPANT = "/Participants/{participant}"


async def join(harness, conversation, who=AI):
    return await harness.joiner.join(ACCOUNT, conversation, who)


@pytest.mark.parametrize(
    ("who", "there", "how", "then"),
    [
        (AI, None, How.JOINED, "AI_AGENT"),
        (AI, "AI_AGENT", How.ADOPTED, "AI_AGENT"),
        (AI, "AGENT", How.ADOPTED, "AGENT"),
        (AI, "UNKNOWN", How.PROMOTED, "AI_AGENT"),
        (AI, "HUMAN_AGENT", How.TAKEN, "HUMAN_AGENT"),
        (AI, "CUSTOMER", How.TAKEN, "CUSTOMER"),
        (HUMAN, None, How.JOINED, "HUMAN_AGENT"),
        (HUMAN, "HUMAN_AGENT", How.ADOPTED, "HUMAN_AGENT"),
        (HUMAN, "AGENT", How.PROMOTED, "HUMAN_AGENT"),
        (HUMAN, "UNKNOWN", How.PROMOTED, "HUMAN_AGENT"),
        (HUMAN, "AI_AGENT", How.TAKEN, "AI_AGENT"),
        (HUMAN, "CUSTOMER", How.TAKEN, "CUSTOMER"),
    ],
    ids=lambda value: value.kind if isinstance(value, Seat) else str(value),
)
async def test_who_sits_at_the_address_decides(harness, who, there, how, then):
    """Each pair of who wants to join and who is there ends as the table says, and the same a second time."""
    opened = await harness.open(seat("CUSTOMER", "+15550009999"), *([seat(there, OURS)] if there else []))
    joined = await join(harness, opened.id, who)
    assert joined.how == how
    present = await harness.client.list_participants(opened.id)
    (ours,) = [one for one in present if one.has_address(who.address)]
    assert ours.type == then
    assert joined.participant_id == (None if how is How.TAKEN else ours.id)
    again = await join(harness, opened.id, who)
    assert again.participant_id == joined.participant_id
    assert len(await harness.client.list_participants(opened.id)) == len(present)


async def test_promoting_keeps_profile_and_addresses(harness):
    """PUT clears what it does not carry, so all that the participant had is put back beside type and name."""
    addresses = (
        ParticipantAddress(channel="SMS", address=OURS, channel_id="SM1"),
        ParticipantAddress(channel="WHATSAPP", address=f"whatsapp:{OURS}"),
    )
    opened = await harness.open(
        seat("CUSTOMER", "+15550009999"),
        seat("UNKNOWN", "+1").model_copy(update={"addresses": addresses, "profile_id": "mem_profile_1", "name": "old"}),
    )
    joined = await join(harness, opened.id)
    ours = await harness.client.fetch_participant(opened.id, joined.participant_id)
    assert (ours.type, ours.name, ours.profile_id) == ("AI_AGENT", "Bot", "mem_profile_1")
    assert [(one.address, one.channel_id) for one in ours.addresses] == [(OURS, "SM1"), (f"whatsapp:{OURS}", None)]


async def test_the_agent_among_several_at_one_address_is_adopted(harness):
    """Where two participants share our address, the one that is us is taken and the other left alone."""
    await harness.switch(duplicateAddress="allow")
    opened = await harness.open(seat("UNKNOWN", OURS), seat("AI_AGENT", OURS))
    assert (await join(harness, opened.id)).how is How.ADOPTED
    assert sorted(await harness.types(opened.id)) == ["AI_AGENT", "CUSTOMER", "UNKNOWN"]


async def test_all_pages_are_looked_through(harness):
    """Our participant is found among more than one page can hold."""
    opened = await harness.open()
    for number in range(60):
        await harness.client.create_participant(opened.id, seat("HUMAN_AGENT", f"agent-{number}", "CHAT"))
    await harness.client.create_participant(opened.id, seat("AI_AGENT", OURS))

    class SmallPages(Mortal):
        def __getattr__(self, name):
            if name != "list_participants":
                return getattr(self._target, name)
            return lambda conversation: self._target.list_participants(conversation, page_size=7)

    joiner = harness.joiner
    joiner._client = SmallPages(harness.client, Fate(0, after=False))
    assert (await joiner.join(ACCOUNT, opened.id, AI)).how is How.ADOPTED


async def test_our_address_is_known_before_we_are_there(harness):
    """What is added is remembered as our own first, so that its callback is never announced; adopting adds nothing."""
    opened = await harness.open()
    await harness.fault("POST", PARTICIPANTS, status=400)
    with pytest.raises(RequestError):
        await join(harness, opened.id)
    own, _ = await harness.store.read_account(ACCOUNT)
    assert own.keys() == {AI.address.key}


async def test_a_conflict_is_looked_into_and_adopted(harness):
    """Of two that add the same participant at once, the one that gets 409 adopts what the other added."""
    opened = await harness.open()

    class Overtaken(Mortal):
        async def create_participant(self, conversation, participant):
            await self._target.create_participant(conversation, participant)
            return await self._target.create_participant(conversation, participant)

    joiner = harness.joiner
    joiner._client = Overtaken(harness.client, Fate(0, after=False))
    assert (await joiner.join(ACCOUNT, opened.id, AI)).how is How.ADOPTED
    assert await harness.types(opened.id) == ["AI_AGENT", "CUSTOMER"]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 500, "when": "after"}, id="500 after the effect"),
        pytest.param({"status": 503, "when": "after"}, id="503 after the effect"),
        pytest.param({"reset": True, "when": "after"}, id="reset after the effect"),
        pytest.param({"body": "broken"}, id="broken answer"),
    ],
)
async def test_a_lost_answer_is_looked_for(harness, fault):
    """A POST whose answer was lost is not repeated: who is there now is adopted."""
    opened = await harness.open()
    await harness.fault("POST", PARTICIPANTS, **fault)
    assert (await join(harness, opened.id)).how is How.ADOPTED
    assert await harness.types(opened.id) == ["AI_AGENT", "CUSTOMER"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param({"status": 500}, ServerError, id="500"),
        pytest.param({"reset": True}, TransportError, id="reset"),
        pytest.param({"status": 429}, RateLimitError, id="429"),
        pytest.param({"status": 400}, RequestError, id="400"),
        pytest.param({"status": 409}, ConflictError, id="409 that nothing explains"),
    ],
)
async def test_a_post_without_effect_is_reported_and_can_be_repeated(harness, fault, error):
    """What did not happen is raised, and joining again adds us once."""
    opened = await harness.open()
    await harness.fault("POST", PARTICIPANTS, **fault)
    with pytest.raises(error):
        await join(harness, opened.id)
    assert (await join(harness, opened.id)).how is How.JOINED
    assert await harness.types(opened.id) == ["AI_AGENT", "CUSTOMER"]


@pytest.mark.parametrize("status", [409, 400])
async def test_a_closed_conversation_is_not_joined(harness, status):
    """A refusal because the conversation has closed is an end, not a failure."""
    await harness.switch(closedStatus=status)
    empty, unknown = await harness.open(), await harness.open(seat("UNKNOWN", OURS))
    for opened in (empty, unknown):
        await harness.close(opened.id)
        assert await join(harness, opened.id) == (await join(harness, opened.id))
        assert (await join(harness, opened.id)).how is How.CLOSED


async def test_a_conversation_that_does_not_exist_is_gone(harness):
    """404 is an end, not a failure."""
    assert (await join(harness, "conv_conversation_00000000000000000000000000")).how is How.GONE


async def test_a_conversation_that_vanishes_between_two_calls_is_gone(harness):
    """404 of a later call is the same end; a participant that vanishes is a failure, after which we look again."""
    empty, unknown = await harness.open(), await harness.open(seat("UNKNOWN", OURS))
    for opened, method, route in ((empty, "POST", PARTICIPANTS), (unknown, "PUT", PARTICIPANT)):
        await harness.fault(method, route, status=404)
        with pytest.raises(NotFoundError):
            await join(harness, opened.id)
        await harness.fault(method, route, status=404)
        await harness.fault("GET", "", status=404)
        assert (await join(harness, opened.id)).how is How.GONE


@pytest.mark.parametrize(
    ("status", "how"), [pytest.param(409, How.NOT_PROMOTED, id="409"), pytest.param(400, None, id="400")]
)
async def test_a_refused_promotion(harness, status, how):
    """A conflict leaves the UNKNOWN as it is, and it is ours all the same; any other refusal is raised."""
    opened = await harness.open(seat("UNKNOWN", OURS))
    await harness.fault("PUT", PARTICIPANT, status=status)
    if how is None:
        with pytest.raises(RequestError):
            await join(harness, opened.id)
        return
    joined = await join(harness, opened.id)
    assert joined.how is how
    assert joined.participant_id


@pytest.mark.parametrize(
    ("channel", "value", "expected"),
    [
        ("SMS", "+15557650000", True),
        ("SMS", "help@example.com", False),
        ("EMAIL", "help@example.com", True),
        ("EMAIL", "+15557650000", False),
        ("VOICE", "sip:help@example.com", True),
        ("CHAT", "help@example.com", True),
        ("CHAT", "bot", True),
    ],
)
def test_fits(channel, value, expected):
    """A mailbox is for mail and a number is not; chat takes any identity."""
    assert fits(channel, value) is expected


@pytest.mark.parametrize(
    ("channel", "value", "expected"),
    [
        ("WHATSAPP", "+15557650000", "whatsapp:+15557650000"),
        ("WHATSAPP", "whatsapp:+15557650000", "whatsapp:+15557650000"),
        ("RCS", "agent_x", "rcs:agent_x"),
        ("SMS", "+1 555 765 0000", "+1 555 765 0000"),
    ],
)
def test_to_wire(channel, value, expected):
    """WhatsApp and RCS addresses get the prefix of the API reference, once."""
    assert to_wire(Address(channel, value)).value == expected


def _participant(kind, *addresses):
    made = [ParticipantAddress(channel=channel, address=value) for channel, value in addresses]
    return Participant(id=f"p{len(addresses)}", type=kind, addresses=tuple(made))


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        pytest.param([], None, id="nobody"),
        pytest.param([("AGENT", ("SMS", "+15557650000"))], "+15557650000", id="one"),
        pytest.param([("AGENT", ("CHAT", "bot"))], None, id="on another channel"),
        pytest.param([("HUMAN_AGENT", ("SMS", "+15557650000"))], None, id="a person"),
        pytest.param([("AGENT", ("SMS", "+15557650000")), ("AI_AGENT", ("SMS", "+15557650001"))], None, id="two"),
        pytest.param(
            [("AGENT", ("SMS", "+15557650000")), ("AI_AGENT", ("SMS", "+1 555 765 0000"))],
            "+1 555 765 0000",
            id="two at one address",
        ),
    ],
)
def test_single_agent(present, expected):
    """Our side's seat is known without being told only if exactly one address of it is there."""
    found = single_agent("SMS", [_participant(kind, address) for kind, address in present])
    assert (found.value if found else None) == expected


async def test_find_seat_of_a_conversation_that_is_gone(harness):
    """There is no seat in a conversation that does not exist."""
    assert await harness.joiner.find_seat("conv_conversation_00000000000000000000000000", "SMS") is None
