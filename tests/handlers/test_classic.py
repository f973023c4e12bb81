"""Classic conversations and the consumers: joining as a chat user, answering once, and noticing the end."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import pytest

from handlers.ai_agent import AiAgent
from handlers.classic import AI_IDENTITY, ClassicJoiner, ClassicText
from handlers.consume import Consumption
from handlers.handler import Handler
from handlers.joiners import Joiners
from handlers.joining import Joiner
from handlers.replies import make_greeting
from handlers.roster import Card
from handlers.seats import How, Seat
from handlers.sweep import seat_person
from router.conversations import ClassicConversations
from router.core.addresses import Address
from router.core.entries import EntryAddress, JoinedData
from router.core.errors import ConflictError, NotFoundError, RateLimitError, RequestError, ServerError, TransportError
from router.core.resources import Participant, ParticipantAddress, ParticipantType
from router.streams.delivery import Done
from tests.handlers.harness import BASIC, CrashError, Fate, Mortal, OneApi, delivery_of, make, make_transport, number
from tests.support.accounts import ACCOUNT, OURS

BOT = Seat(ParticipantType.AI_AGENT, Address("CHAT", AI_IDENTITY), "AI agent")
HELLO = "Hello, how can we help?"
GONE = "CH" + "0" * 32


@dataclass
class Side:
    """A classic conversation with its customer, and the consumers' clients."""

    harness: Any
    client: ClassicConversations
    sid: str
    customer: Participant

    @property
    def joiner(self) -> Joiner:
        return Joiner(self.harness.client, self.harness.store, ClassicJoiner(self.client, self.harness.store))

    def agent(self, **options: Any) -> Consumption:
        apis = OneApi(self.harness.client, self.client)
        joiners = Joiners(apis, self.harness.store)
        given = {"apis": apis, "joiners": joiners, "reply": make_greeting(HELLO), "settle": 0.0}
        agent = AiAgent(**(given | options))
        return Consumption("ai_agent", Handler({JoinedData.type: agent.joined}), self.harness.effects())

    def entry(self) -> Any:
        recipient = EntryAddress(channel="SMS", address=OURS)
        return make(JoinedData, self.sid, self.customer, recipient=recipient)

    async def identities(self) -> list[str | None]:
        return [each.identity for each in await self.client.list_participants(self.sid)]

    async def said(self) -> list[tuple[str | None, str | None]]:
        found = self.client.list_messages(self.sid, newest_first=False)
        return [(each.author, each.body) async for each in found]

    async def call(self, method: str, path: str, **fields: str) -> Any:
        url = f"{self.harness.url}/v1{path}"
        async with self.harness.session.request(method, url, data=fields, headers=BASIC) as answer:
            assert answer.status < 300, await answer.text()

    async def fault(self, method: str, route: str, **fields: Any) -> None:
        body = {"method": method, "route": f"/v1/Conversations/{{conversation}}{route}", "times": 1} | fields
        async with self.harness.session.post(f"{self.harness.url}/sandbox/faults", json=body, headers=BASIC) as answer:
            assert answer.status < 300


@pytest.fixture
async def side(harness):
    body = {"from": number(), "to": OURS, "body": "hi"}
    async with harness.session.post(f"{harness.url}/sandbox/classic/inbound", json=body, headers=BASIC) as answer:
        taken = await answer.json()
    address = ParticipantAddress(channel="SMS", address=body["from"])
    customer = Participant(id=taken["participant"]["sid"], type="CUSTOMER", addresses=(address,))
    async with make_transport(harness.url) as transport:
        yield Side(harness, ClassicConversations(transport), taken["conversation"]["sid"], customer)


# --- joining ---------------------------------------------------------------------------------------


async def test_joining_twice_is_joining_once(side):
    """The first time a member is added under the identity, which is noted as ours; the second time it is adopted."""
    first, second = [await side.joiner.join(ACCOUNT, side.sid, BOT) for _ in range(2)]
    assert (first.how, second.how) == (How.JOINED, How.ADOPTED)
    assert first.participant_id == second.participant_id
    assert await side.identities() == [None, AI_IDENTITY]
    own, _ = await side.harness.store.read_account(ACCOUNT)
    assert f"CHAT|{AI_IDENTITY}" in own


async def test_person_sits_under_their_identity(side):
    """A person's number is no seat in a classic conversation, their identity is."""
    card = Card(identity="dana", name="Dana", addresses={"SMS": "+15557650009"})
    joined = await seat_person(side.joiner, card, ACCOUNT, side.sid, "SMS")
    assert joined.how == How.JOINED
    assert await side.identities() == [None, "dana"]


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ({"status": 500, "when": "after"}, How.JOINED),
        ({"reset": True, "when": "after"}, How.JOINED),
        ({"status": 404, "when": "after"}, How.JOINED),
    ],
    ids=["500", "reset", "404-although-done"],
)
async def test_lost_answer_is_looked_up(side, fault, how):
    """Where it is not known whether we were added the member is looked for, and nobody is added twice."""
    await side.fault("POST", "/Participants", **fault)
    joined = await side.joiner.join(ACCOUNT, side.sid, BOT)
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
async def test_failures_that_left_nobody_there(side, fault, error):
    """What failed without effect is the caller's: it waits, or it is given up."""
    await side.fault("POST", "/Participants", **fault)
    with pytest.raises(error):
        await side.joiner.join(ACCOUNT, side.sid, BOT)
    assert await side.identities() == [None]


async def test_conversation_that_has_ended(side):
    """Into a closed conversation nobody can go, and one that does not exist is gone."""
    assert await side.joiner.ending(side.sid) is None
    await side.call("POST", f"/Conversations/{side.sid}", State="closed")
    assert (await side.joiner.join(ACCOUNT, side.sid, BOT)).how == How.CLOSED
    assert await side.joiner.ending(side.sid) == How.CLOSED
    assert (await side.joiner.join(ACCOUNT, GONE, BOT)).how == How.GONE
    assert await side.joiner.find_seat(side.sid, "SMS") is None


# --- answering -------------------------------------------------------------------------------------


async def test_it_joins_and_answers_once_over_redeliveries(side, lines):
    """The AI agent sits there as a chat user and its answer is a message of it, once."""
    for _ in range(3):
        assert isinstance(await side.agent().attempt(delivery_of(side.entry())), Done)
    assert await side.said() == [(side.customer.addresses[0].address, "hi"), (AI_IDENTITY, HELLO)]
    assert await side.identities() == [None, AI_IDENTITY]
    assert [line["result"] for line in lines("consumed")] == ["joined", "repeated", "repeated"]
    assert lines("consumed")[0]["reply"] == "sent"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_answer_whose_fate_is_unknown(side, when):
    """Before it is written again the messages are searched for it."""
    await side.fault("POST", "/Messages", reset=True, when=when)
    agent = side.agent()
    with pytest.raises(TransportError):
        await agent.attempt(delivery_of(side.entry()))
    assert isinstance(await agent.attempt(delivery_of(side.entry())), Done)
    assert [body for author, body in await side.said() if author == AI_IDENTITY] == [HELLO]


async def test_what_was_said_before_is_another_message(side):
    """The same words of us from before the entry are not this answer; the customer's are nobody's answer."""
    await side.client.create_message(side.sid, author=AI_IDENTITY, body=HELLO)
    await side.client.create_message(side.sid, author="somebody", body=HELLO)
    text = {"author": AI_IDENTITY, "text": HELLO}
    assert await ClassicText(side.client, side.sid, since=0, **text).is_there()
    assert not await ClassicText(side.client, side.sid, since=9_000_000_000_000_000, **text).is_there()
    assert not await ClassicText(side.client, side.sid, since=0, author="bob", text=HELLO).is_there()


async def test_conversation_that_closes_before_the_answer(side, lines):
    """An answer that comes too late needs no repeating."""

    async def slow(_: Any) -> str:
        await side.call("POST", f"/Conversations/{side.sid}", State="closed")
        return HELLO

    assert isinstance(await side.agent(reply=slow).attempt(delivery_of(side.entry())), Done)
    assert lines("consumed")[0]["reply"] == How.CLOSED


@pytest.mark.parametrize("at", range(1, 4))
async def test_crash_in_the_middle_of_joining(side, at):
    """Wherever the process dies, joining again adds nobody twice."""
    dying = Mortal(side.client, Fate(at, after=True))
    joiner = ClassicJoiner(dying, side.harness.store)
    with contextlib.suppress(CrashError):
        await joiner.join(ACCOUNT, side.sid, BOT)
    assert (await side.joiner.join(ACCOUNT, side.sid, BOT)).how in {How.JOINED, How.ADOPTED}
    assert await side.identities() == [None, AI_IDENTITY]
