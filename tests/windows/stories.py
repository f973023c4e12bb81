"""What happens to one customer while a process dies: how it begins, what comes in meanwhile, and what must come of it.

Each story has a customer of its own, so that many can be told one after the other in one town, and each ends with the
same questions: is everything in the API and on the streams once, and is nothing left over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from handlers.classic import AI_IDENTITY
from router.core.keys import RESOLVER, Keys
from router.sandbox import DEFAULT_CONFIGURATION_ID
from router.sandbox.options import DEFAULT_CLASSIC_SERVICE_SID
from router.simulator.classic import ClassicScene, classic_webhook
from router.simulator.event_streams import streamed_message
from router.simulator.mail import mail
from router.simulator.messages import SimulatedWebhook, callback, message
from router.simulator.voice import call, call_status
from router.streams.store.dead_letters import CONSUMER, DELIVERIES, ENTRY, FAILED_AT, GROUP, REASON, STREAM
from tests.support.accounts import ACCOUNT
from tests.support.waiting import until
from tests.windows.town import AGENT, DESK, GREETING, MAILBOX, OURS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.windows.town import Town

JOINED, HEARD, LEFT, CLOSED = "participant.joined", "communication.received", "participant.left", "conversation.closed"


@dataclass
class Case:
    """One customer's story, being told."""

    town: Town
    story: Story
    address: str
    number: int
    #: Conversation or participant as the API gave it, where the story begins with one.
    given: dict[str, Any] = field(default_factory=dict)
    letters: int = 0
    port: int = 0

    def sms(self, number: int = 1, to: str = OURS) -> SimulatedWebhook:
        """The customer's message of this number."""
        return message("sms", account_sid=ACCOUNT, sender=self.address, recipient=to, body=f"message {number}")

    @property
    def call_sid(self) -> str:
        return f"CA{self.number:032x}"

    async def theirs(self) -> list[dict[str, Any]]:
        """The conversations that the customer is in."""
        return [one for one in await self.town.conversations() if self._seats(one, self.address)]

    def _seats(self, conversation: dict[str, Any], address: str) -> list[str]:
        """The types of who is at an address."""
        members = conversation["participants"]
        return [one["type"] for one in members for seat in one["addresses"] if seat["address"] == address]

    async def play(self, port: int = 0) -> None:
        """Let happen what the story is about; `port` is where the receiver's door is, if not where it listens."""
        self.port = port
        await self.story.play(self)

    async def deliver(self, *webhooks: SimulatedWebhook) -> None:
        await self.town.deliver(*webhooks, port=self.port)

    async def is_taken(self) -> bool:
        """Tell whether all that names the customer is on the inbound stream."""
        return await self.town.taken(self.digits) >= self.story.inbound

    @property
    def digits(self) -> str:
        """The address as it stands in a form."""
        return self.address.lstrip("+")

    # --- what must have come of it -------------------------------------------------------------------------------

    async def ended(self) -> None:
        """Wait until nothing is to be done any more; then everything is there once."""
        await until(self.is_taken)
        await self.town.settled()
        if self.story.is_classic:
            await self._check_classic()
        else:
            await self._check()
        assert await self.town.letters() == self.letters
        assert await self.town.taken(self.digits) == self.story.inbound
        load, assigned = await self.town.books()
        assert load == assigned

    async def _check(self) -> None:
        theirs = await self.theirs()
        story = self.story
        assert len(theirs) == story.conversations
        assert await self.town.entries(self.address, {one["id"] for one in theirs}) == Counter(story.entries)
        for one in theirs:
            assert self._seats(one, self.address) == ["CUSTOMER"]
            assert self._seats(one, AGENT) == ["AI_AGENT"] * story.ai_agents
            kinds = Counter(member["type"] for member in one["participants"])
            assert kinds["HUMAN_AGENT"] == story.people
            assert await self._greetings(one["id"]) == story.greetings

    async def _greetings(self, conversation: str) -> int:
        """How many greetings there are, once there is one for each that was asked for."""

        async def said() -> int:
            found = await self.town.api("GET", f"/v2/Conversations/{conversation}/Communications")
            return sum(one["content"]["text"] == GREETING for one in found["communications"])

        await until(lambda: _is_enough(said, self.story.greetings))
        return await said()

    async def _check_classic(self) -> None:
        sid = self.given["conversation"]["sid"]
        assert await self.town.entries(self.address, {sid}) == Counter(self.story.entries)
        members = (await self.town.api("GET", f"/v1/Conversations/{sid}/Participants"))["participants"]
        assert [one["identity"] for one in members].count(AI_IDENTITY) == 1
        texts = (await self.town.api("GET", f"/v1/Conversations/{sid}/Messages"))["messages"]
        assert [(one["author"], one["body"]) for one in texts].count((AI_IDENTITY, GREETING)) == 1


async def _is_enough(count: Callable[[], Awaitable[int]], least: int) -> bool:
    return await count() >= least


async def _nothing(_: Case) -> None:
    """There is nothing before."""


@dataclass(frozen=True)
class Story:
    """`before` is over when the trap is set; `play` is what it waits for. The rest is what must be there at the end."""

    play: Callable[[Case], Awaitable[None]]
    before: Callable[[Case], Awaitable[None]] = _nothing
    entries: dict[str, int] = field(default_factory=lambda: {JOINED: 1, HEARD: 1})
    conversations: int = 1
    ai_agents: int = 1
    greetings: int = 1
    people: int = 0
    letters: int = 0
    #: inbound entries that name the customer
    inbound: int = 1
    is_mail: bool = False
    is_classic: bool = False

    async def begin(self, town: Town, *, is_quiet: bool = True) -> Case:
        """Begin with a new customer, once there `is_quiet` in the town."""
        number = next(town.numbers)
        address = f"customer{number}@example.com" if self.is_mail else f"+1557{number:07d}"
        case = Case(town, self, address, number)
        await self.before(case)
        if is_quiet:
            await town.settled()
        case.letters = await town.letters() + self.letters
        return case


# --- messages ------------------------------------------------------------------------------------------------------


async def _write(case: Case) -> None:
    await case.deliver(case.sms())


async def _write_again(case: Case) -> None:
    await case.deliver(case.sms(2))


async def _write_to_the_desk(case: Case) -> None:
    await case.deliver(case.sms(to=DESK))


async def _send_a_mail(case: Case) -> None:
    await case.deliver(mail(sender=case.address, recipients=[MAILBOX], subject="Hello", body="hi"))


async def _stream_three(case: Case) -> None:
    """Event Streams tells of three messages in one batch."""
    events = [
        streamed_message(case.sms(number), event_id=f"EZ{case.number}x{number}", now=_NOW) for number in (1, 2, 3)
    ]
    body = b"[" + b",".join(event.body[1:-1] for event in events) + b"]"
    await case.deliver(SimulatedWebhook(events[0].path, "batch", events[0].content_type, body))


_NOW = 1_767_787_200_000_000


async def _be_captured(case: Case) -> None:
    """Twilio has taken the customer in before our webhook comes."""
    body = {"channel": "SMS", "from": case.address, "to": OURS, "body": "hi"}
    case.given = await case.town.api("POST", "/sandbox/capture", body)


# --- what Twilio tells ---------------------------------------------------------------------------------------------


async def _open(case: Case) -> None:
    """Somebody else opens a conversation with the customer."""
    seat = {"type": "CUSTOMER", "addresses": [{"channel": "SMS", "address": case.address}]}
    body = {"configurationId": DEFAULT_CONFIGURATION_ID, "participants": [seat]}
    case.given = await case.town.api("POST", "/v2/Conversations", body)


async def _tell_of_the_participant(case: Case) -> None:
    [participant] = case.given["participants"]
    await case.deliver(_told("PARTICIPANT_ADDED", participant, f"t{case.number}"))


async def _close(case: Case) -> None:
    [conversation] = await case.theirs()
    closed = await case.town.api("PATCH", f"/v2/Conversations/{conversation['id']}", {"status": "CLOSED"})
    await case.deliver(_told("CONVERSATION_UPDATED", closed, f"t{case.number}"))


def _told(event_type: str, data: dict[str, Any], token: str) -> SimulatedWebhook:
    data = {name: value for name, value in data.items() if name != "participants"} | {"accountId": ACCOUNT}
    return callback(event_type, data, timestamp=data["updatedAt"], token=token)


# --- calls ---------------------------------------------------------------------------------------------------------


async def _call(case: Case) -> None:
    """Twilio has put the call into a conversation by the time that its webhook is worked on."""
    body = {"channel": "VOICE", "from": case.address, "to": OURS, "body": None, "channelId": case.call_sid}
    await case.town.api("POST", "/sandbox/capture", body)
    who = {"account_sid": ACCOUNT, "sender": case.address, "recipient": OURS, "sid": case.call_sid}
    await case.deliver(call(**who))


async def _hang_up(case: Case) -> None:
    who = {"account_sid": ACCOUNT, "sender": case.address, "recipient": OURS, "sid": case.call_sid}
    await case.deliver(call_status("completed", **who))


# --- classic -------------------------------------------------------------------------------------------------------


async def _write_to_classic(case: Case) -> None:
    body = {"from": case.address, "to": OURS, "body": "hi"}
    case.given = await case.town.api("POST", "/sandbox/classic/inbound", body)


async def _tell_of_the_classic_participant(case: Case) -> None:
    scene = ClassicScene(
        account_sid=ACCOUNT,
        service_sid=DEFAULT_CLASSIC_SERVICE_SID,
        now=_NOW,
        customer=case.address,
        recipient=OURS,
        conversation_sid=case.given["conversation"]["sid"],
        participant_sid=case.given["participant"]["sid"],
    )
    await case.deliver(classic_webhook("onParticipantAdded", scene))


# --- what is given up ----------------------------------------------------------------------------------------------


async def write_a_letter(case: Case) -> str:
    """Give up the customer's first message, for a reason that is mended by now; returns the letter's name."""
    webhook = case.sms()
    entry = {"source": "messaging", "account": ACCOUNT, "key": f"key {case.number}", "subject": case.address}
    entry |= {"received_at": str(_NOW), "body": webhook.body}
    stream = Keys().inbound(0)
    provenance = {STREAM: stream, ENTRY: "1-0", GROUP: RESOLVER, CONSUMER: "nobody", REASON: "mended", DELIVERIES: 1}
    letter_id = await case.town.redis.xadd(Keys().dead_letters(0), {**entry, **provenance, FAILED_AT: "then"})
    return f"0:{letter_id.decode()}"


async def _bring_what_nobody_can_read(case: Case) -> None:
    await case.town.redis.xadd(Keys().inbound(0), {"source": "nobody", "account": ACCOUNT, "subject": case.address})


STORIES = {
    "new customer": Story(_write),
    "known customer": Story(_write_again, before=_write, entries={JOINED: 1, HEARD: 2}, inbound=2),
    "captured customer": Story(_write, before=_be_captured),
    "batch": Story(_stream_three, entries={JOINED: 1, HEARD: 3}, inbound=3),
    "mail": Story(_send_a_mail, is_mail=True, ai_agents=0, greetings=0),
    "callback": Story(_tell_of_the_participant, before=_open, entries={JOINED: 1}),
    "closing": Story(_close, before=_write, entries={JOINED: 1, HEARD: 1, CLOSED: 1}),
    "call": Story(_call, entries={JOINED: 1}, greetings=0),
    "end of a call": Story(_hang_up, before=_call, entries={JOINED: 1, LEFT: 1}, greetings=0, inbound=2),
    "classic": Story(_tell_of_the_classic_participant, before=_write_to_classic, entries={JOINED: 1}, is_classic=True),
    "desk": Story(_write_to_the_desk, ai_agents=0, greetings=0, people=1),
    "closing of the desk": Story(
        _close,
        before=_write_to_the_desk,
        entries={JOINED: 1, HEARD: 1, CLOSED: 1},
        ai_agents=0,
        greetings=0,
        people=1,
    ),
    "letter": Story(_nothing),  # it is told by the one who replays it
    "poison": Story(_bring_what_nobody_can_read, entries={}, conversations=0, letters=1, inbound=0),
}
