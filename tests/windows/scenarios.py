"""Scenarios of one customer each: what comes in while a process is killed, and what must come of it.

Each run has a customer of its own, so that many can follow each other in one deployment. Each ends with the same
checks: everything is in the API and on the streams once, and nothing is left over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from router.agents.classic import AI_IDENTITY
from router.core.keys import RESOLVER, Keys, Target
from router.simulator.classic import ClassicScene, classic_webhook
from router.simulator.event_streams import streamed_message
from router.simulator.mail import mail
from router.simulator.messages import SimulatedWebhook, callback, message
from router.simulator.voice import call, call_status
from router.streams.store.dead_letters import CONSUMER, DELIVERIES, ENTRY, FAILED_AT, GROUP, REASON, STREAM
from tests.harness.deployment import count_parked
from tests.support.accounts import ACCOUNT, AGENT, CONFIGURATION, DESK, MAILBOX, OURS, SERVICE
from tests.support.waiting import until
from tests.windows.deployment import GREETING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.windows.deployment import RelayedDeployment

JOINED, RECEIVED, LEFT, CLOSED = (
    "participant.joined",
    "communication.received",
    "participant.left",
    "conversation.closed",
)
REQUESTED, MADE, ENDED, CHANGED = "handoff.requested", "offer.made", "offer.ended", "holder.changed"
#: What is told of a request that one person accepts: `holder.changed` on both streams.
TAKEN = {REQUESTED: 1, MADE: 1, ENDED: 1, CHANGED: 2}
PERSON = "dana"
#: Seconds of a presence that outlasts all tests.
LONG = 86_400


@dataclass
class Case:
    """One run of a scenario, with a customer of its own."""

    deployment: RelayedDeployment
    scenario: Scenario
    address: str
    number: int
    #: The conversation or participant, as the API returned it, with which the scenario begins.
    given: dict[str, Any] = field(default_factory=dict)
    dead_letters: int = 0
    port: int = 0

    def sms(self, number: int = 1, to: str = OURS) -> SimulatedWebhook:
        """Return the customer's message of this number."""
        return message("sms", account_sid=ACCOUNT, sender=self.address, recipient=to, body=f"message {number}")

    @property
    def call_sid(self) -> str:
        return f"CA{self.number:032x}"

    async def conversations(self) -> list[dict[str, Any]]:
        """Return the conversations that the customer is in."""
        return [one for one in await self.deployment.sandbox.conversations() if self._types_at(one, self.address)]

    def _types_at(self, conversation: dict[str, Any], address: str) -> list[str]:
        """Return the types of the participants with an address."""
        members = conversation["participants"]
        return [one["type"] for one in members for at in one["addresses"] if at["address"] == address]

    async def run(self, port: int = 0) -> None:
        """Send the webhooks of the scenario, to a relay's `port` instead of the receiver's if there is one."""
        self.port = port
        await self.scenario.run(self)

    async def deliver(self, *webhooks: SimulatedWebhook) -> None:
        await self.deployment.deliver(*webhooks, port=self.port)

    async def has_arrived(self) -> bool:
        """Tell whether all events about the customer are on the inbound stream."""
        return await self.deployment.count_inbound(self.digits) >= self.scenario.inbound

    @property
    def digits(self) -> str:
        """The address as a form has it."""
        return self.address.lstrip("+")

    async def told(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the data of the entries of a kind about the customer's conversations, with these fields."""
        ids = {one["id"] for one in await self.conversations()}
        found = [one["data"] for one in await self.deployment.published() if one["type"] == kind]
        return [
            data
            for data in found
            if data["conversation"]["id"] in ids and all(data[name] == value for name, value in fields.items())
        ]

    # --- the result -------------------------------------------------------------------------------

    async def finish(self) -> None:
        """Wait until nothing is left to do; then everything must be there once."""
        await until(self.has_arrived)
        await self.deployment.until_idle()
        if self.scenario.is_classic:
            await self._check_classic()
        else:
            await self._check()
        assert await self.deployment.count_dead_letters() == self.dead_letters
        assert await self.deployment.count_inbound(self.digits) == self.scenario.inbound
        await until(self.deployment.does_desk_agree)

    async def _check(self) -> None:
        found = await self.conversations()
        scenario = self.scenario
        assert len(found) == scenario.conversations
        assert await self.deployment.count_entries(self.address, {one["id"] for one in found}) == Counter(
            scenario.entries
        )
        for one in found:
            assert self._types_at(one, self.address) == ["CUSTOMER"]
            assert self._types_at(one, AGENT) == ["AI_AGENT"] * scenario.ai_agents
            kinds = Counter(member["type"] for member in one["participants"])
            assert kinds["HUMAN_AGENT"] == scenario.people
            assert await self._greetings(one["id"]) == scenario.greetings
        epochs = Counter((data["target"], data["epoch"]) for data in await self.told(CHANGED))
        assert epochs == Counter((target, epoch) for target in Target for epoch in range(1, scenario.epoch + 1))

    async def _greetings(self, conversation: str) -> int:
        """Count the greetings, once there are as many as expected."""
        found: list[str] = []

        async def are_enough() -> bool:
            found[:] = await self.deployment.sandbox.texts(conversation)
            return found.count(GREETING) >= self.scenario.greetings

        await until(are_enough)
        return found.count(GREETING)

    async def _check_classic(self) -> None:
        sid = self.given["conversation"]["sid"]
        assert await self.deployment.count_entries(self.address, {sid}) == Counter(self.scenario.entries)
        members = await self.deployment.sandbox.list_classic(f"/Conversations/{sid}/Participants", "participants")
        assert [one["identity"] for one in members].count(AI_IDENTITY) == 1
        texts = await self.deployment.sandbox.list_classic(f"/Conversations/{sid}/Messages", "messages")
        assert [(one["author"], one["body"]) for one in texts].count((AI_IDENTITY, GREETING)) == 1


async def _nothing(_: Case) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Scenario:
    """`before` happens before the breakpoint is set, `run` afterwards; the rest is what must be there at the end."""

    run: Callable[[Case], Awaitable[None]]
    before: Callable[[Case], Awaitable[None]] = _nothing
    entries: dict[str, int] = field(default_factory=lambda: {JOINED: 1, RECEIVED: 1})
    conversations: int = 1
    ai_agents: int = 1
    greetings: int = 1
    people: int = 0
    dead_letters: int = 0
    #: Inbound entries about the customer.
    inbound: int = 1
    #: The epoch of the holder at the end; each before it was told once to both targets.
    epoch: int = 0
    is_mail: bool = False
    is_classic: bool = False

    async def begin(self, deployment: RelayedDeployment, *, is_quiet: bool = True) -> Case:
        """Begin with a new customer; unless `is_quiet` is False, wait until the deployment is idle."""
        number = next(deployment.numbers)
        address = f"customer{number}@example.com" if self.is_mail else f"+1557{number:07d}"
        case = Case(deployment, self, address, number)
        await self.before(case)
        if is_quiet:
            await deployment.until_idle()
        case.dead_letters = await deployment.count_dead_letters() + self.dead_letters
        return case


# --- messages ------------------------------------------------------------------------------------------------------


async def _write(case: Case) -> None:
    await case.deliver(case.sms())


async def _write_again(case: Case) -> None:
    await case.deliver(case.sms(2))


async def _be_refused(case: Case) -> None:
    """The API fails for this customer until `_write_and_wait` has seen that the worker parks the events."""
    case.deployment.sandbox.fault(status=503, containing=case.digits)


async def _write_and_wait(case: Case) -> None:
    """Three messages, of which the first waits for the API until it is parked with the others; then the API is well."""
    for number in (1, 2, 3):
        await case.deliver(case.sms(number))
    stream = case.deployment.keys.inbound(0)
    await until(lambda: count_parked(case.deployment.redis, stream), 60)
    case.deployment.sandbox.clear_faults()


# --- people --------------------------------------------------------------------------------------------------------


async def _be_there(case: Case) -> None:
    """The person comes, and is there for longer than the test."""
    await case.deployment.command("agent.available", f"come-{case.number}", agent=PERSON, life=LONG)


async def _write_to_the_desk(case: Case) -> None:
    """The customer writes to people, of whom one is asked and accepts."""
    await case.deliver(case.sms(to=DESK))
    await _accept(case)


async def _accept(case: Case) -> None:
    """Whoever is asked accepts, twice by the same command, as a page does that got no answer."""
    made = await until(lambda: case.told(MADE))
    for _ in range(2):
        offer = made[-1]["offer"]["id"]
        await case.deployment.command("offer.accept", f"accept-{case.number}", offer=offer, agent=PERSON)
    await until(lambda: case.told(CHANGED))


async def _come_and_write_to_the_desk(case: Case) -> None:
    await _be_there(case)
    await _write_to_the_desk(case)
    await case.deployment.until_idle()


async def _write_and_be_there(case: Case) -> None:
    await _be_there(case)
    await _write(case)
    await case.deployment.until_idle()


async def _hand_off(case: Case) -> None:
    """The AI agent passes the customer on."""
    [conversation] = await case.conversations()
    given = {"conversation": conversation["id"], "reason": "wants a person"}
    await case.deployment.command("handoff.request", f"ask-{case.number}", **given)
    await _accept(case)


async def _release(case: Case) -> None:
    """The person gives the conversation back."""
    changed = await case.told(CHANGED)
    given = {"conversation": changed[-1]["conversation"]["id"], "agent": PERSON, "epoch": changed[-1]["epoch"]}
    await case.deployment.command("conversation.release", f"release-{case.number}", **given)
    await until(lambda: case.told(CHANGED, epoch=2))


async def _send_a_mail(case: Case) -> None:
    await case.deliver(mail(sender=case.address, recipients=[MAILBOX], subject="Hello", body="hi"))


async def _stream_three(case: Case) -> None:
    """Event Streams reports three messages in one batch."""
    events = [
        streamed_message(case.sms(number), event_id=f"EZ{case.number}x{number}", now=_NOW) for number in (1, 2, 3)
    ]
    body = b"[" + b",".join(event.body[1:-1] for event in events) + b"]"
    await case.deliver(SimulatedWebhook(events[0].path, "batch", events[0].content_type, body))


_NOW = 1_767_787_200_000_000


async def _be_captured(case: Case) -> None:
    """Twilio captures the customer before our webhook comes."""
    case.given = await case.deployment.sandbox.capture(case.address, OURS)


# --- callbacks ---------------------------------------------------------------------------------------------


async def _open(case: Case) -> None:
    """Another program opens a conversation with the customer."""
    customer = {"type": "CUSTOMER", "addresses": [{"channel": "SMS", "address": case.address}]}
    body = {"configurationId": CONFIGURATION, "participants": [customer]}
    case.given = await case.deployment.sandbox.ask("POST", "/v2/Conversations", body)


async def _report_participant(case: Case) -> None:
    [participant] = case.given["participants"]
    await case.deliver(_callback("PARTICIPANT_ADDED", participant, f"t{case.number}"))


async def _close(case: Case) -> None:
    [conversation] = await case.conversations()
    closed = await case.deployment.sandbox.ask("PATCH", f"/v2/Conversations/{conversation['id']}", {"status": "CLOSED"})
    await case.deliver(_callback("CONVERSATION_UPDATED", closed, f"t{case.number}"))


async def _write_after_an_unknown_closing(case: Case) -> None:
    """The conversation closes, which nobody reports, and the customer writes into it."""
    await case.deliver(case.sms(1))
    await case.deployment.until_idle()
    [conversation] = await case.conversations()
    path = f"/v2/Conversations/{conversation['id']}"
    case.given = await case.deployment.sandbox.ask("PATCH", path, {"status": "CLOSED"})
    await case.deliver(case.sms(2))


async def _report_the_closing(case: Case) -> None:
    await case.deliver(_callback("CONVERSATION_UPDATED", case.given, f"t{case.number}"))


def _callback(event_type: str, data: dict[str, Any], token: str) -> SimulatedWebhook:
    data = {name: value for name, value in data.items() if name != "participants"} | {"accountId": ACCOUNT}
    return callback(event_type, data, timestamp=data["updatedAt"], token=token)


# --- calls ---------------------------------------------------------------------------------------------------------


async def _call(case: Case) -> None:
    """Twilio puts the call into a conversation before its webhook is processed."""
    call_fields = {"channel": "VOICE", "body": None, "channelId": case.call_sid}
    await case.deployment.sandbox.capture(case.address, OURS, **call_fields)
    who = {"account_sid": ACCOUNT, "sender": case.address, "recipient": OURS, "sid": case.call_sid}
    await case.deliver(call(**who))


async def _hang_up(case: Case) -> None:
    who = {"account_sid": ACCOUNT, "sender": case.address, "recipient": OURS, "sid": case.call_sid}
    await case.deliver(call_status("completed", **who))


# --- classic -------------------------------------------------------------------------------------------------------


async def _write_to_classic(case: Case) -> None:
    body = {"from": case.address, "to": OURS, "body": "hi"}
    case.given = await case.deployment.sandbox.ask("POST", "/sandbox/classic/inbound", body)


async def _report_classic_participant(case: Case) -> None:
    scene = ClassicScene(
        account_sid=ACCOUNT,
        service_sid=SERVICE,
        now=_NOW,
        customer=case.address,
        recipient=OURS,
        conversation_sid=case.given["conversation"]["sid"],
        participant_sid=case.given["participant"]["sid"],
    )
    await case.deliver(classic_webhook("onParticipantAdded", scene))


# --- dead letters ----------------------------------------------------------------------------------------------


async def write_dead_letter(case: Case) -> str:
    """Write the customer's first message as a dead letter whose cause is gone by now; returns its name."""
    webhook = case.sms()
    entry = {"source": "messaging", "account": ACCOUNT, "key": f"key {case.number}", "subject": case.address}
    entry |= {"received_at": str(_NOW), "body": webhook.body}
    stream = Keys().inbound(0)
    provenance = {STREAM: stream, ENTRY: "1-0", GROUP: RESOLVER, CONSUMER: "nobody", REASON: "fixed", DELIVERIES: 1}
    letter_id = await case.deployment.redis.xadd(Keys().dead_letters(0), {**entry, **provenance, FAILED_AT: "then"})
    return f"0:{letter_id.decode()}"


async def _append_unreadable(case: Case) -> None:
    await case.deployment.redis.xadd(
        Keys().inbound(0), {"source": "nobody", "account": ACCOUNT, "subject": case.address}
    )


SCENARIOS = {
    "new customer": Scenario(_write),
    "known customer": Scenario(_write_again, before=_write, entries={JOINED: 1, RECEIVED: 2}, inbound=2),
    "waiting customer": Scenario(_write_and_wait, before=_be_refused, entries={JOINED: 1, RECEIVED: 3}, inbound=3),
    "captured customer": Scenario(_write, before=_be_captured),
    "batch": Scenario(_stream_three, entries={JOINED: 1, RECEIVED: 3}, inbound=3),
    "mail": Scenario(_send_a_mail, is_mail=True, ai_agents=0, greetings=0),
    "callback": Scenario(_report_participant, before=_open, entries={JOINED: 1}),
    "closing": Scenario(_close, before=_write, entries={JOINED: 1, RECEIVED: 1, CLOSED: 1}),
    "late closing": Scenario(
        _report_the_closing,
        before=_write_after_an_unknown_closing,
        entries={JOINED: 2, RECEIVED: 3, CLOSED: 1},
        conversations=2,
        inbound=3,  # the second message is appended again
    ),
    "call": Scenario(_call, entries={JOINED: 1}, greetings=0),
    "end of a call": Scenario(_hang_up, before=_call, entries={JOINED: 1, LEFT: 1}, greetings=0, inbound=2),
    "classic": Scenario(_report_classic_participant, before=_write_to_classic, entries={JOINED: 1}, is_classic=True),
    "desk": Scenario(
        _write_to_the_desk,
        before=_be_there,
        entries={JOINED: 1, RECEIVED: 1, **TAKEN},
        ai_agents=0,
        greetings=0,
        people=1,
        epoch=1,
    ),
    "handoff": Scenario(
        _hand_off, before=_write_and_be_there, entries={JOINED: 1, RECEIVED: 1, **TAKEN}, people=1, epoch=1
    ),
    "release": Scenario(
        _release,
        before=_come_and_write_to_the_desk,
        entries={JOINED: 1, RECEIVED: 1, **TAKEN, CHANGED: 4},
        ai_agents=0,
        greetings=0,
        people=1,
        epoch=2,
    ),
    "closing of the desk": Scenario(
        _close,
        before=_come_and_write_to_the_desk,
        entries={JOINED: 1, RECEIVED: 1, **TAKEN, CLOSED: 1},
        ai_agents=0,
        greetings=0,
        people=1,
        epoch=1,
    ),
    "dead letter": Scenario(_nothing),  # the test replays it
    "poison": Scenario(_append_unreadable, entries={}, conversations=0, dead_letters=1, inbound=0),
}
