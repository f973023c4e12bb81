"""Customers, what they do, and what must come of it: plain data, equal for an equal `random.Random`.

A scenario is a few customers (mostly one) and the steps of what happens to them, one after the other. Each customer has
an address of its own, so that everything found afterwards belongs to one of them, and sends every text once, so that a
text (of a mail, whose text is not published, the Message-ID) identifies the message, whichever source reports it. A new
kind of scenario is a function and a row in KINDS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from router.core.addresses import Address
from router.core.keys import Target
from router.simulator.event_streams import streamed_message
from router.simulator.mail import mail
from router.simulator.messages import SimulatedWebhook, message
from router.simulator.voice import call, call_sid, call_status
from tests.chaos.scenario import (
    AskForPerson,
    CloseConversation,
    Copy,
    Customer,
    HandBack,
    PlaceCall,
    RemoveCustomer,
    SandboxRequest,
    Scenario,
    SendWebhooks,
    Step,
    WaitUntil,
)
from tests.support.accounts import ACCOUNT, DESK, MAILBOX, OTHER_ACCOUNT, OURS

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from tests.chaos.scenario import Action

OUR_PAGE: Final = "100200300"
RECEIVERS: Final = 2
#: When messages were sent, as Event Streams reports it (µs since 1970): nothing depends on it.
SENT_AT: Final = 1_767_787_200_000_000
#: Kinds of messages: the name of the channel, and the prefix of both addresses.
CHANNELS: Final = {
    "sms": ("SMS", ""),
    "mms": ("SMS", ""),
    "whatsapp": ("WHATSAPP", "whatsapp:"),
    "rcs": ("RCS", "rcs:"),
    "messenger": ("CHAT", "messenger:"),
}


@dataclass(frozen=True, slots=True)
class Builder:
    """Draws the parts of one scenario, that of customer `number`; `pause` is the longest pause between two steps."""

    chance: random.Random
    number: int
    pause: float

    def phone(self, more: int = 0) -> str:
        """Return the phone number of the scenario's customer, or of a further one."""
        return f"+1558{self.number * 10 + more:07d}"

    def count(self) -> int:
        """Draw how often a customer writes."""
        return self.chance.choice((1, 2, 2, 3, 3, 4, 6))

    def step(self, action: Action) -> Step:
        """Return an action after a pause, which often is 0: people send several messages in a row."""
        return Step(self.chance.choice((0.0, 0.0, self.chance.uniform(0, self.pause))), action)

    def copies(self, *webhooks: SimulatedWebhook) -> tuple[Copy, ...]:
        """Return one to three copies of each, for receivers at random."""
        return tuple(
            Copy(webhook, self.chance.randrange(RECEIVERS))
            for webhook in webhooks
            for _ in range(self.chance.choice((1, 1, 2, 3)))
        )


def _message(kind: str, customer: Customer, text: str) -> SimulatedWebhook:
    ends = {"sender": customer.address.value, "recipient": customer.ours.value}
    return message(kind, account_sid=customer.account, body=text, **ends)


def _event(form: SimulatedWebhook, *, is_batch: bool) -> SimulatedWebhook:
    """Return the Event Streams event about the message of a form webhook."""
    return streamed_message(form, event_id=f"EZ{form.resource_id[2:]}", now=SENT_AT, is_batch=is_batch)


def _texts(builder: Builder, count: int, more: int = 0) -> tuple[str, ...]:
    return tuple(f"message {number + 1} of {builder.phone(more)}" for number in range(count))


def _writer(builder: Builder, kind: str, count: int, **expected: object) -> Customer:
    """Return a customer who writes messages of one kind."""
    channel, prefix = CHANNELS[kind]
    ours = OUR_PAGE if kind == "messenger" else DESK if expected.get("target") else OURS
    value = builder.phone().lstrip("+") if kind == "messenger" else builder.phone()
    customer, our_side = Address(channel, prefix + value), Address(channel, prefix + ours)
    return Customer(kind, customer, our_side, _texts(builder, count), **expected)


def _sent(builder: Builder, kind: str, customer: Customer, texts: Iterable[str]) -> list[Step]:
    """Return one step for each text: its form webhook, and sometimes the Event Streams event besides."""
    steps = []
    for text in texts:
        form = _message(kind, customer, text)
        webhooks = [form]
        if builder.chance.random() < 0.25:
            webhooks.append(_event(form, is_batch=builder.chance.random() < 0.5))
        steps.append(builder.step(SendWebhooks(builder.copies(*webhooks))))
    return steps


def writes(kind: str, target: Target | None = None, account: str = ACCOUNT) -> Callable[[Builder], Scenario]:
    """A customer writes a few messages, to `target` if it is not the usual one."""

    def build(builder: Builder) -> Scenario:
        expected = {"account": account} | ({"target": target} if target else {})
        customer = _writer(builder, kind, builder.count(), **expected)
        return Scenario(0, (customer,), tuple(_sent(builder, kind, customer, customer.messages)))

    return build


def is_streamed(builder: Builder) -> Scenario:
    """A customer writes, and only Event Streams reports it, event by event."""
    customer = _writer(builder, "sms", builder.count())
    events = [_event(_message("sms", customer, text), is_batch=False) for text in customer.messages]
    return Scenario(0, (customer,), tuple(builder.step(SendWebhooks(builder.copies(event))) for event in events))


def are_batched(builder: Builder) -> Scenario:
    """Three customers write at once, and Event Streams reports them in one batch, one of the three twice."""
    count = builder.count()
    people = tuple(
        Customer("batch", Address("SMS", builder.phone(more)), Address("SMS", OURS), _texts(builder, count, more))
        for more in range(3)
    )
    steps = []
    for turn in range(count):
        events = [_event(_message("sms", one, one.messages[turn]), is_batch=False).body for one in people]
        events.append(builder.chance.choice(events))
        body = b"[" + b",".join(events) + b"]"
        batch = SimulatedWebhook("/webhooks/event-streams", "batch", "application/json", body)
        steps.append(builder.step(SendWebhooks(builder.copies(batch))))
    return Scenario(0, people, tuple(steps))


def is_captured(builder: Builder) -> Scenario:
    """Twilio captures the messages of a customer by itself; some are reported by their form webhook too."""
    customer = _writer(builder, "sms", builder.count(), is_direct=False)
    steps = []
    for text in customer.messages:
        form = _message("sms", customer, text)
        ends = (("channel", "SMS"), ("from", customer.address.value), ("to", customer.ours.value))
        fields = (("body", text), ("channelId", form.resource_id), ("resourceId", form.resource_id))
        steps.append(builder.step(SandboxRequest("/sandbox/capture", ends + fields)))
        if builder.chance.random() < 0.4:
            steps.append(Step(0.0, SendWebhooks(builder.copies(form))))
    return Scenario(0, (customer,), tuple(steps))


def is_classic(builder: Builder) -> Scenario:
    """A customer writes into a classic conversation, which Twilio opens."""
    customer = _writer(builder, "sms", builder.count(), is_direct=False)
    steps = [
        builder.step(
            SandboxRequest(
                "/sandbox/classic/inbound",
                (("from", customer.address.value), ("to", customer.ours.value), ("body", text)),
            )
        )
        for text in customer.messages
    ]
    return Scenario(0, (customer,), tuple(steps))


def calls(builder: Builder) -> Scenario:
    """A customer calls, is connected, and hangs up some time after being announced."""
    customer = Customer("voice", Address("VOICE", builder.phone()), Address("VOICE", OURS), left=1)
    ends = {"account_sid": ACCOUNT, "sender": customer.address.value, "recipient": OURS}
    sid = call_sid(customer.address.value, OURS)
    over = builder.chance.choice(("completed", "completed", "busy", "canceled"))
    steps = (
        builder.step(PlaceCall(builder.copies(call(sid=sid, **ends)))),
        builder.step(SendWebhooks(builder.copies(call_status("in-progress", sid=sid, **ends)))),
        Step(0.0, WaitUntil(customer, joined=1)),
        builder.step(SendWebhooks(builder.copies(call_status(over, sid=sid, **ends)))),
    )
    return Scenario(0, (customer,), steps)


def mails(builder: Builder) -> Scenario:
    """A customer writes mails."""
    sender, count = f"customer{builder.number}@example.com", builder.count()
    mails_ = [
        mail(sender=sender, recipients=[MAILBOX], subject=f"mail {number}", body=f"message of mail {number}")
        for number in range(count)
    ]
    message_ids = tuple(each.resource_id for each in mails_)
    customer = Customer("mail", Address("EMAIL", sender), Address("EMAIL", MAILBOX), message_ids)
    return Scenario(0, (customer,), tuple(builder.step(SendWebhooks(builder.copies(each))) for each in mails_))


def is_closed(builder: Builder) -> Scenario:
    """A conversation is closed once all its messages are published, answered or not; the next message opens another.

    Human agents are given the time to join: a conversation that is closed before is assigned to nobody.
    """
    target = builder.chance.choice((Target.AI_AGENT, Target.HUMAN_AGENT))
    expected = {"target": target} if target is Target.HUMAN_AGENT else {}
    before = builder.count()
    customer = _writer(builder, "sms", before + 1, stays=2, closed=1, **expected)
    sent = _sent(builder, "sms", customer, customer.messages[:before])
    is_answered = bool(expected) or builder.chance.random() < 0.5
    steps = (
        *sent,
        Step(0.0, WaitUntil(customer, joined=1, messages=before, is_answered=is_answered)),
        builder.step(CloseConversation(customer)),
        Step(0.0, WaitUntil(customer, closed=1)),
        *_sent(builder, "sms", customer, customer.messages[before:]),
    )
    return Scenario(0, (customer,), steps)


def is_removed(builder: Builder) -> Scenario:
    """A customer is removed once all messages are published, answered or not, and begins a second stay by writing."""
    before = builder.count()
    customer = _writer(builder, "whatsapp", before + 1, stays=2, left=1)
    steps = (
        *_sent(builder, "whatsapp", customer, customer.messages[:before]),
        Step(0.0, WaitUntil(customer, joined=1, messages=before, is_answered=builder.chance.random() < 0.5)),
        builder.step(RemoveCustomer(customer)),
        Step(0.0, WaitUntil(customer, left=1)),
        *_sent(builder, "whatsapp", customer, customer.messages[before:]),
    )
    return Scenario(0, (customer,), steps)


def is_handed_over(builder: Builder) -> Scenario:
    """The AI agent passes a customer on, who goes on writing; a person takes over, and gives the conversation back."""
    counts = [builder.count() for _ in range(3)]
    customer = _writer(builder, "sms", sum(counts))
    first, second = counts[0], counts[0] + counts[1]
    is_answered = builder.chance.random() < 0.5
    steps = (
        *_sent(builder, "sms", customer, customer.messages[:first]),
        Step(0.0, WaitUntil(customer, joined=1, is_answered=is_answered)),
        builder.step(AskForPerson(customer)),
        *_sent(builder, "sms", customer, customer.messages[first:second]),
        builder.step(HandBack(customer)),
        *_sent(builder, "sms", customer, customer.messages[second:]),
    )
    return Scenario(0, (customer,), steps)


#: Kinds of scenarios, with the share of each in percent.
KINDS: Final[dict[str, tuple[int, Callable[[Builder], Scenario]]]] = {
    "sms": (12, writes("sms")),
    "sms to another account": (4, writes("sms", account=OTHER_ACCOUNT)),
    "sms to people": (12, writes("sms", Target.HUMAN_AGENT)),
    "mms": (5, writes("mms")),
    "whatsapp": (8, writes("whatsapp")),
    "rcs": (5, writes("rcs")),
    "messenger": (5, writes("messenger")),
    "event streams": (6, is_streamed),
    "event streams, batches": (4, are_batched),
    "captured": (7, is_captured),
    "classic": (7, is_classic),
    "voice": (6, calls),
    "mail": (6, mails),
    "closed": (3, is_closed),
    "handed over": (8, is_handed_over),
    "removed": (2, is_removed),
}


def make_scenarios(chance: random.Random, count: int, seconds: float) -> tuple[Scenario, ...]:
    """Return so many scenarios of all kinds, which begin within `seconds`."""
    names = [name for name, (share, _) in KINDS.items() for _ in range(share)]
    wanted = [*KINDS, *(chance.choice(names) for _ in range(max(0, count - len(KINDS))))]
    chance.shuffle(wanted)
    scenarios = []
    for number, name in enumerate(wanted):
        made = KINDS[name][1](Builder(chance, number, seconds / 6))
        scenarios.append(Scenario(chance.uniform(0, seconds), made.customers, made.steps))
    return tuple(scenarios)
