"""Joining v2 conversations: adopt, promote, refuse or add, over every failure of the API and every repetition."""

from __future__ import annotations

import pytest

from router.agents.joining import fits, single_agent, to_wire
from router.agents.joins import JoinOutcome, JoinRequest
from router.core.addresses import Address
from router.core.errors import ConflictError, NotFoundError, RateLimitError, RequestError, ServerError, TransportError
from router.core.resources import Participant, ParticipantAddress, ParticipantType
from tests.handlers.harness import CrashingClient, CrashPoint, participant
from tests.support.accounts import ACCOUNT, OURS

AI = JoinRequest(ParticipantType.AI_AGENT, Address("SMS", OURS), "Bot")
HUMAN = JoinRequest(ParticipantType.HUMAN_AGENT, Address("SMS", OURS), "Dana")

PARTICIPANTS = "/Participants"
PARTICIPANT = "/Participants/{participant}"


async def join(harness, conversation, who=AI):
    return await harness.joiner.join(conversation, who)


@pytest.mark.parametrize(
    ("who", "there", "how", "then"),
    [
        (AI, None, JoinOutcome.JOINED, "AI_AGENT"),
        (AI, "AI_AGENT", JoinOutcome.ADOPTED, "AI_AGENT"),
        (AI, "AGENT", JoinOutcome.ADOPTED, "AGENT"),
        (AI, "UNKNOWN", JoinOutcome.PROMOTED, "AI_AGENT"),
        (AI, "HUMAN_AGENT", JoinOutcome.TAKEN, "HUMAN_AGENT"),
        (AI, "CUSTOMER", JoinOutcome.TAKEN, "CUSTOMER"),
        (HUMAN, None, JoinOutcome.JOINED, "HUMAN_AGENT"),
        (HUMAN, "HUMAN_AGENT", JoinOutcome.ADOPTED, "HUMAN_AGENT"),
        (HUMAN, "AGENT", JoinOutcome.PROMOTED, "HUMAN_AGENT"),
        (HUMAN, "UNKNOWN", JoinOutcome.PROMOTED, "HUMAN_AGENT"),
        (HUMAN, "AI_AGENT", JoinOutcome.TAKEN, "AI_AGENT"),
        (HUMAN, "CUSTOMER", JoinOutcome.TAKEN, "CUSTOMER"),
    ],
    ids=lambda value: value.type if isinstance(value, JoinRequest) else str(value),
)
async def test_the_participant_at_the_address_decides(harness, who, there, how, then):
    """Each pair of types ends as the table says, and the same when repeated."""
    opened = await harness.open(participant("CUSTOMER", "+15550009999"), *([participant(there, OURS)] if there else []))
    joined = await join(harness, opened.id, who)
    assert joined.how == how
    present = await harness.client.list_participants(opened.id)
    (ours,) = [one for one in present if one.has_address(who.address)]
    assert ours.type == then
    assert joined.participant_id == (None if how is JoinOutcome.TAKEN else ours.id)
    again = await join(harness, opened.id, who)
    assert again.participant_id == joined.participant_id
    assert len(await harness.client.list_participants(opened.id)) == len(present)


async def test_promoting_keeps_profile_and_addresses(harness):
    """PUT clears missing fields, so they are sent again with the new type and name."""
    addresses = (
        ParticipantAddress(channel="SMS", address=OURS, channel_id="SM1"),
        ParticipantAddress(channel="WHATSAPP", address=f"whatsapp:{OURS}"),
    )
    opened = await harness.open(
        participant("CUSTOMER", "+15550009999"),
        participant("UNKNOWN", "+1").model_copy(
            update={"addresses": addresses, "profile_id": "mem_profile_1", "name": "old"}
        ),
    )
    joined = await join(harness, opened.id)
    ours = await harness.client.fetch_participant(opened.id, joined.participant_id)
    assert (ours.type, ours.name, ours.profile_id) == ("AI_AGENT", "Bot", "mem_profile_1")
    assert [(one.address, one.channel_id) for one in ours.addresses] == [(OURS, "SM1"), (f"whatsapp:{OURS}", None)]


async def test_the_agent_among_several_at_one_address_is_adopted(harness):
    """Of two participants at our address the AI_AGENT is adopted, and the UNKNOWN is not changed."""
    await harness.switch(duplicateAddress="allow")
    opened = await harness.open(participant("UNKNOWN", OURS), participant("AI_AGENT", OURS))
    assert (await join(harness, opened.id)).how is JoinOutcome.ADOPTED
    assert sorted(await harness.types(opened.id)) == ["AI_AGENT", "CUSTOMER", "UNKNOWN"]


async def test_all_pages_of_participants_are_read(harness):
    """Our participant is found on a later page."""
    opened = await harness.open()
    for number in range(60):
        await harness.client.create_participant(opened.id, participant("HUMAN_AGENT", f"agent-{number}", "CHAT"))
    await harness.client.create_participant(opened.id, participant("AI_AGENT", OURS))

    class SmallPages(CrashingClient):
        def __getattr__(self, name):
            if name != "list_participants":
                return getattr(self._target, name)
            return lambda conversation: self._target.list_participants(conversation, page_size=7)

    joiner = harness.joiner
    joiner._client = SmallPages(harness.client, CrashPoint(0, after=False))
    assert (await joiner.join(opened.id, AI)).how is JoinOutcome.ADOPTED


async def test_our_address_is_stored_before_the_participant_is_created(harness):
    """It is stored even if the creation fails, so that its callback is never announced."""
    opened = await harness.open()
    await harness.fault("POST", PARTICIPANTS, status=400)
    with pytest.raises(RequestError):
        await join(harness, opened.id)
    own, _ = await harness.store.read_account(ACCOUNT)
    assert own.keys() == {AI.address.key}


async def test_after_a_conflict_the_participant_is_adopted(harness):
    """Of two processes that add the same participant, the one with the 409 adopts it."""
    opened = await harness.open()

    class Overtaken(CrashingClient):
        async def create_participant(self, conversation, participant):
            await self._target.create_participant(conversation, participant)
            return await self._target.create_participant(conversation, participant)

    joiner = harness.joiner
    joiner._client = Overtaken(harness.client, CrashPoint(0, after=False))
    assert (await joiner.join(opened.id, AI)).how is JoinOutcome.ADOPTED
    assert await harness.types(opened.id) == ["AI_AGENT", "CUSTOMER"]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 500, "when": "after"}, id="500 after the effect"),
        pytest.param({"status": 503, "when": "after"}, id="503 after the effect"),
        pytest.param({"reset": True, "when": "after"}, id="reset after the effect"),
        pytest.param({"body": "broken"}, id="broken response"),
    ],
)
async def test_after_a_lost_response_the_participant_is_adopted(harness, fault):
    """A POST whose response was lost is not repeated: the participants are listed again."""
    opened = await harness.open()
    await harness.fault("POST", PARTICIPANTS, **fault)
    assert (await join(harness, opened.id)).how is JoinOutcome.ADOPTED
    assert await harness.types(opened.id) == ["AI_AGENT", "CUSTOMER"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param({"status": 500}, ServerError, id="500"),
        pytest.param({"reset": True}, TransportError, id="reset"),
        pytest.param({"status": 429}, RateLimitError, id="429"),
        pytest.param({"status": 400}, RequestError, id="400"),
        pytest.param({"status": 409}, ConflictError, id="409 without a participant"),
    ],
)
async def test_a_post_without_effect_is_raised_and_can_be_repeated(harness, fault, error):
    """The error is raised, and joining again adds the participant once."""
    opened = await harness.open()
    await harness.fault("POST", PARTICIPANTS, **fault)
    with pytest.raises(error):
        await join(harness, opened.id)
    assert (await join(harness, opened.id)).how is JoinOutcome.JOINED
    assert await harness.types(opened.id) == ["AI_AGENT", "CUSTOMER"]


@pytest.mark.parametrize("status", [409, 400])
async def test_a_closed_conversation_is_not_joined(harness, status):
    """A refusal because the conversation has closed is a result, not an error."""
    await harness.switch(closedStatus=status)
    empty, unknown = await harness.open(), await harness.open(participant("UNKNOWN", OURS))
    for opened in (empty, unknown):
        await harness.close(opened.id)
        assert await join(harness, opened.id) == (await join(harness, opened.id))
        assert (await join(harness, opened.id)).how is JoinOutcome.CLOSED


async def test_a_conversation_that_does_not_exist_is_gone(harness):
    """A 404 of the conversation is a result, not an error."""
    assert (await join(harness, "conv_conversation_00000000000000000000000000")).how is JoinOutcome.GONE


async def test_a_conversation_that_disappears_between_two_calls_is_gone(harness):
    """A 404 of a later call is GONE too if the conversation is gone, else it is raised."""
    empty, unknown = await harness.open(), await harness.open(participant("UNKNOWN", OURS))
    for opened, method, route in ((empty, "POST", PARTICIPANTS), (unknown, "PUT", PARTICIPANT)):
        await harness.fault(method, route, status=404)
        with pytest.raises(NotFoundError):
            await join(harness, opened.id)
        await harness.fault(method, route, status=404)
        await harness.fault("GET", "", status=404)
        assert (await join(harness, opened.id)).how is JoinOutcome.GONE


@pytest.mark.parametrize(
    ("status", "how"), [pytest.param(409, JoinOutcome.NOT_PROMOTED, id="409"), pytest.param(400, None, id="400")]
)
async def test_a_refused_promotion(harness, status, how):
    """After a conflict the UNKNOWN is used as ours without the promotion; any other refusal is raised."""
    opened = await harness.open(participant("UNKNOWN", OURS))
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
def test_an_address_fits_its_channel(channel, value, expected):
    """A mailbox is for mail, a number is not; chat takes any identity."""
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
def test_an_address_gets_the_prefix_of_its_channel(channel, value, expected):
    """WhatsApp and RCS addresses get the API's prefix, once."""
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
def test_our_address_is_known_if_there_is_exactly_one(present, expected):
    """Without a configured address, the agents in the conversation must have exactly one on the channel."""
    found = single_agent("SMS", [_participant(kind, address) for kind, address in present])
    assert (found.value if found else None) == expected


async def test_a_conversation_that_is_gone_has_no_address_of_ours(harness):
    """A 404 is no error here."""
    assert await harness.joiner.find_our_address("conv_conversation_00000000000000000000000000", "SMS") is None
