"""Classic conversations: a consumer joins as a chat user, answers once, and notices the end."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import pytest

from handlers.ai_agent import AiAgent
from handlers.consume import Consumption
from handlers.replies import make_greeting
from router.agents.classic import AI_IDENTITY, ClassicJoiner, ClassicText
from router.agents.joiners import Joiners
from router.agents.joins import JoinOutcome, JoinRequest
from router.agents.people import join_person
from router.conversations import ClassicConversations
from router.core.addresses import Address
from router.core.entries import EntryAddress, JoinedData
from router.core.errors import ConflictError, NotFoundError, RateLimitError, RequestError, ServerError, TransportError
from router.core.resources import Participant, ParticipantAddress, ParticipantType
from router.core.routing.team import TeamMember
from router.streams.delivery import Done
from tests.handlers.harness import (
    HELLO,
    CrashError,
    CrashingClient,
    CrashPoint,
    OneApi,
    delivery_of,
    make,
    make_transport,
    number,
)
from tests.harness.sandbox import AUTHORIZATION
from tests.support.accounts import ACCOUNT, OURS

BOT = JoinRequest(ParticipantType.AI_AGENT, Address("CHAT", AI_IDENTITY), "AI agent")
GONE = "CH" + "0" * 32


@dataclass
class Side:
    """A classic conversation with its customer, and the clients of the consumers."""

    harness: Any
    client: ClassicConversations
    sid: str
    customer: Participant

    @property
    def joiner(self) -> ClassicJoiner:
        return ClassicJoiner(self.client, self.harness.store, ACCOUNT)

    def agent(self, **options: Any) -> Consumption:
        apis = OneApi(self.harness.client, self.client)
        joiners = Joiners(apis, self.harness.store)
        given = {"apis": apis, "joiners": joiners, "reply": make_greeting(HELLO), "settle": 0.0}
        given["has_turns"] = self.harness.store.has_turns
        agent = AiAgent(**(given | options))
        return Consumption("ai_agent", agent.handler, self.harness.effects())

    def entry(self) -> Any:
        recipient = EntryAddress(channel="SMS", address=OURS)
        return make(JoinedData, self.sid, self.customer, recipient=recipient)

    async def identities(self) -> list[str | None]:
        return [each.identity for each in await self.client.list_participants(self.sid)]

    async def said(self) -> list[tuple[str | None, str | None]]:
        found = self.client.list_messages(self.sid, newest_first=False)
        return [(each.author, each.body) async for each in found]

    async def close(self) -> None:
        """Close the conversation, by a form as the classic API takes it."""
        sandbox = self.harness.sandbox
        url = f"{sandbox.url}/v1/Conversations/{self.sid}"
        async with sandbox.session.post(url, data={"State": "closed"}, headers=AUTHORIZATION) as answer:
            assert answer.ok, await answer.text()

    async def fault(self, method: str, route: str, **fields: Any) -> None:
        await self.harness.fault(method, route, version="v1", **fields)


@pytest.fixture
async def side(harness):
    body = {"from": number(), "to": OURS, "body": "hi"}
    taken = await harness.sandbox.ask("POST", "/sandbox/classic/inbound", body)
    address = ParticipantAddress(channel="SMS", address=body["from"])
    customer = Participant(id=taken["participant"]["sid"], type="CUSTOMER", addresses=(address,))
    async with make_transport(harness.sandbox.url) as transport:
        yield Side(harness, ClassicConversations(transport), taken["conversation"]["sid"], customer)


# --- joining ---------------------------------------------------------------------------------------


async def test_joining_twice_is_joining_once(side):
    """The identity is added and stored as our own; the second time it is adopted."""
    first, second = [await side.joiner.join(side.sid, BOT) for _ in range(2)]
    assert (first.how, second.how) == (JoinOutcome.JOINED, JoinOutcome.ADOPTED)
    assert first.participant_id == second.participant_id
    assert await side.identities() == [None, AI_IDENTITY]
    own, _ = await side.harness.store.read_account(ACCOUNT)
    assert f"CHAT|{AI_IDENTITY}" in own


async def test_a_person_joins_under_their_identity(side):
    """A person's number cannot join a classic conversation."""
    agent = TeamMember("dana", "Dana", 1, addresses={"SMS": "+15557650009"})
    joined = await join_person(side.joiner, agent, side.sid, "SMS")
    assert joined.how == JoinOutcome.JOINED
    assert await side.identities() == [None, "dana"]


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ({"status": 500, "when": "after"}, JoinOutcome.JOINED),
        ({"reset": True, "when": "after"}, JoinOutcome.JOINED),
        ({"status": 404, "when": "after"}, JoinOutcome.JOINED),
    ],
    ids=["500", "reset", "404-although-done"],
)
async def test_after_a_lost_response_the_participant_is_looked_up(side, fault, how):
    """If it is unknown whether the participant was added it is fetched, and not added twice."""
    await side.fault("POST", "/Participants", **fault)
    joined = await side.joiner.join(side.sid, BOT)
    assert joined.how == how
    assert joined.participant_id is not None
    assert await side.identities() == [None, AI_IDENTITY]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 500}, ServerError),
        ({"reset": True}, TransportError),
        ({"status": 429}, RateLimitError),
        ({"status": 400}, RequestError),
        ({"status": 409}, ConflictError),
        ({"status": 404}, NotFoundError),
    ],
)
async def test_a_failure_without_effect_is_raised(side, fault, error):
    """The caller waits or gives up."""
    await side.fault("POST", "/Participants", **fault)
    with pytest.raises(error):
        await side.joiner.join(side.sid, BOT)
    assert await side.identities() == [None]


async def test_a_conversation_that_has_ended_is_not_joined(side):
    """A closed conversation is CLOSED, one that does not exist is GONE."""
    assert await side.joiner.find_ending(side.sid) is None
    await side.close()
    assert (await side.joiner.join(side.sid, BOT)).how == JoinOutcome.CLOSED
    assert await side.joiner.find_ending(side.sid) == JoinOutcome.CLOSED
    assert (await side.joiner.join(GONE, BOT)).how == JoinOutcome.GONE
    assert await side.joiner.find_our_address(side.sid, "SMS") is None


# --- answering -------------------------------------------------------------------------------------


async def test_the_ai_agent_joins_and_answers_once_over_redeliveries(side, lines):
    """The agent is a chat user, and its answer is a message of that user."""
    for _ in range(3):
        assert isinstance(await side.agent().attempt(delivery_of(side.entry())), Done)
    assert await side.said() == [(side.customer.addresses[0].address, "hi"), (AI_IDENTITY, HELLO)]
    assert await side.identities() == [None, AI_IDENTITY]
    assert [line["result"] for line in lines("consumed")] == ["joined", "repeated", "repeated"]
    assert lines("consumed")[0]["reply"] == "sent"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_answer_in_doubt_is_searched_for(side, when):
    """It is created again only if the messages do not contain it."""
    await side.fault("POST", "/Messages", reset=True, when=when)
    agent = side.agent()
    with pytest.raises(TransportError):
        await agent.attempt(delivery_of(side.entry()))
    assert isinstance(await agent.attempt(delivery_of(side.entry())), Done)
    assert [body for author, body in await side.said() if author == AI_IDENTITY] == [HELLO]


async def test_only_a_later_message_of_ours_is_the_answer(side):
    """The same text from before the entry, or of another author, is not the answer."""
    await side.client.create_message(side.sid, author=AI_IDENTITY, body=HELLO)
    await side.client.create_message(side.sid, author="somebody", body=HELLO)
    text = {"author": AI_IDENTITY, "text": HELLO}
    assert await ClassicText(side.client, side.sid, since=lambda: 0, **text).is_recorded()
    assert not await ClassicText(side.client, side.sid, since=lambda: 9_000_000_000_000_000, **text).is_recorded()
    assert not await ClassicText(side.client, side.sid, since=lambda: 0, author="bob", text=HELLO).is_recorded()


async def test_a_conversation_that_closes_before_the_answer_gets_none(side, lines):
    """The entry is finished, because a retry could not succeed."""

    async def slow(_: Any) -> str:
        await side.close()
        return HELLO

    assert isinstance(await side.agent(reply=slow).attempt(delivery_of(side.entry())), Done)
    assert lines("consumed")[0]["reply"] == JoinOutcome.CLOSED


@pytest.mark.parametrize("at", range(1, 4))
async def test_a_join_after_a_crash_adds_nobody_twice(side, at):
    """Wherever the process crashes, joining again finds the participant."""
    client = CrashingClient(side.client, CrashPoint(at, after=True))
    joiner = ClassicJoiner(client, side.harness.store, ACCOUNT)
    with contextlib.suppress(CrashError):
        await joiner.join(side.sid, BOT)
    assert (await side.joiner.join(side.sid, BOT)).how in {JoinOutcome.JOINED, JoinOutcome.ADOPTED}
    assert await side.identities() == [None, AI_IDENTITY]
