"""Customers, what they do, and what must come of it: plain data, equal for an equal `random.Random`.

A story is a few customers (mostly one) and the steps of what happens to them, one after the other. Each customer has
an address of its own, so whatever is found can be told whose it is, and each says every text once, so that a text (of
a mail, which is told without its text, the Message-ID) names what was said whoever tells of it. To add a way to come
in: a builder, and a row in KINDS.
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
from tests.chaos.story import Close, Customer, Remove, Ring, Say, Step, Story, TakeIn, Telling, Until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from tests.chaos.story import Action

ACCOUNT: Final = "AC0000000000000000000000000000c405"
OUR_NUMBER, DESK, OUR_PAGE = "+15557650000", "+15557650002", "100200300"
OUR_MAILBOX: Final = "support@inbound.example.com"
RECEIVERS: Final = 2
#: When messages were sent, as Event Streams tells it (µs since 1970): nothing depends on it.
SENT_AT: Final = 1_767_787_200_000_000
#: How a message's channel is written: its name, and the prefix of both addresses.
CHANNELS: Final = {
    "sms": ("SMS", ""),
    "mms": ("SMS", ""),
    "whatsapp": ("WHATSAPP", "whatsapp:"),
    "rcs": ("RCS", "rcs:"),
    "messenger": ("CHAT", "messenger:"),
}


@dataclass(frozen=True, slots=True)
class Pen:
    """What a builder writes with: chance, the customer's number, and the longest pause between two steps."""

    chance: random.Random
    number: int
    pause: float

    def phone(self, more: int = 0) -> str:
        """Return the phone number of this story's customer, or of a further one."""
        return f"+1558{self.number * 10 + more:07d}"

    def count(self) -> int:
        """Return how often somebody writes."""
        return self.chance.choice((1, 2, 2, 3, 3, 4, 6))

    def step(self, action: Action) -> Step:
        """Return an action after a pause, which often is none: people send two messages in a row."""
        return Step(self.chance.choice((0.0, 0.0, self.chance.uniform(0, self.pause))), action)

    def copies(self, *webhooks: SimulatedWebhook) -> tuple[Telling, ...]:
        """Return one to three copies of each, to receivers as it comes."""
        return tuple(
            Telling(webhook, self.chance.randrange(RECEIVERS))
            for webhook in webhooks
            for _ in range(self.chance.choice((1, 1, 2, 3)))
        )


def _message(kind: str, customer: Customer, word: str) -> SimulatedWebhook:
    return message(kind, account_sid=ACCOUNT, sender=customer.address.value, recipient=customer.ours.value, body=word)


def _event(form: SimulatedWebhook, *, is_batch: bool) -> SimulatedWebhook:
    """Return what Event Streams says of the message of a form webhook."""
    return streamed_message(form, event_id=f"EZ{form.resource_id[2:]}", now=SENT_AT, is_batch=is_batch)


def _words(pen: Pen, count: int, more: int = 0) -> tuple[str, ...]:
    return tuple(f"word {number + 1} of {pen.phone(more)}" for number in range(count))


def _writer(pen: Pen, kind: str, words: int, **expected: object) -> Customer:
    """Return somebody who writes messages of one kind."""
    channel, prefix = CHANNELS[kind]
    ours = OUR_PAGE if kind == "messenger" else DESK if expected.get("target") else OUR_NUMBER
    value = pen.phone().lstrip("+") if kind == "messenger" else pen.phone()
    customer, our_side = Address(channel, prefix + value), Address(channel, prefix + ours)
    return Customer(kind, customer, our_side, _words(pen, words), **expected)


def _said(pen: Pen, kind: str, customer: Customer, words: Iterable[str]) -> list[Step]:
    """Return one step for each word: its form webhook, and now and then Event Streams besides."""
    steps = []
    for word in words:
        form = _message(kind, customer, word)
        told = (form, _event(form, is_batch=pen.chance.random() < 0.5)) if pen.chance.random() < 0.25 else (form,)
        steps.append(pen.step(Say(pen.copies(*told))))
    return steps


def writes(kind: str, target: Target | None = None) -> Callable[[Pen], Story]:
    """Somebody writes a few messages; the target where it is not the usual one."""

    def build(pen: Pen) -> Story:
        expected = {"target": target} if target else {}
        customer = _writer(pen, kind, pen.count(), **expected)
        return Story(0, (customer,), tuple(_said(pen, kind, customer, customer.words)))

    return build


def is_streamed(pen: Pen) -> Story:
    """Somebody writes, and only Event Streams tells of it, event by event."""
    customer = _writer(pen, "sms", pen.count())
    events = [_event(_message("sms", customer, word), is_batch=False) for word in customer.words]
    return Story(0, (customer,), tuple(pen.step(Say(pen.copies(event))) for event in events))


def are_batched(pen: Pen) -> Story:
    """Three write at once, and Event Streams tells of them in one batch, one of the three twice."""
    count = pen.count()
    people = tuple(
        Customer("batch", Address("SMS", pen.phone(more)), Address("SMS", OUR_NUMBER), _words(pen, count, more))
        for more in range(3)
    )
    steps = []
    for turn in range(count):
        events = [_event(_message("sms", one, one.words[turn]), is_batch=False).body for one in people]
        events.append(pen.chance.choice(events))
        body = b"[" + b",".join(events) + b"]"
        batch = SimulatedWebhook("/webhooks/event-streams", "batch", "application/json", body)
        steps.append(pen.step(Say(pen.copies(batch))))
    return Story(0, people, tuple(steps))


def is_taken_in(pen: Pen) -> Story:
    """Twilio takes the messages of somebody in by itself; of some their form webhook tells too."""
    customer = _writer(pen, "sms", pen.count(), is_direct=False)
    steps = []
    for word in customer.words:
        form = _message("sms", customer, word)
        ends = (("channel", "SMS"), ("from", customer.address.value), ("to", customer.ours.value))
        said = (("body", word), ("channelId", form.resource_id), ("resourceId", form.resource_id))
        steps.append(pen.step(TakeIn("/sandbox/capture", ends + said)))
        if pen.chance.random() < 0.4:
            steps.append(Step(0.0, Say(pen.copies(form))))
    return Story(0, (customer,), tuple(steps))


def is_classic(pen: Pen) -> Story:
    """Somebody writes into a conversation of the classic product, which Twilio opens."""
    customer = _writer(pen, "sms", pen.count(), is_direct=False)
    steps = [
        pen.step(
            TakeIn(
                "/sandbox/classic/inbound",
                (("from", customer.address.value), ("to", customer.ours.value), ("body", word)),
            )
        )
        for word in customer.words
    ]
    return Story(0, (customer,), tuple(steps))


def calls(pen: Pen) -> Story:
    """Somebody calls, is put through, and hangs up some time after being announced."""
    customer = Customer("voice", Address("VOICE", pen.phone()), Address("VOICE", OUR_NUMBER), left=1)
    ends = {"account_sid": ACCOUNT, "sender": customer.address.value, "recipient": OUR_NUMBER}
    sid = call_sid(customer.address.value, OUR_NUMBER)
    over = pen.chance.choice(("completed", "completed", "busy", "canceled"))
    steps = (
        pen.step(Ring(pen.copies(call(sid=sid, **ends)))),
        pen.step(Say(pen.copies(call_status("in-progress", sid=sid, **ends)))),
        Step(0.0, Until(customer, joined=1)),
        pen.step(Say(pen.copies(call_status(over, sid=sid, **ends)))),
    )
    return Story(0, (customer,), steps)


def mails(pen: Pen) -> Story:
    """Somebody writes mails."""
    sender, count = f"customer{pen.number}@example.com", pen.count()
    mails_ = [
        mail(sender=sender, recipients=[OUR_MAILBOX], subject=f"mail {number}", body=f"words of mail {number}")
        for number in range(count)
    ]
    words = tuple(each.resource_id for each in mails_)
    customer = Customer("mail", Address("EMAIL", sender), Address("EMAIL", OUR_MAILBOX), words)
    return Story(0, (customer,), tuple(pen.step(Say(pen.copies(each))) for each in mails_))


def is_closed(pen: Pen) -> Story:
    """A conversation is closed once all in it was heard, perhaps not answered yet; what is written next opens another.

    People are given the time to join: who comes to a closed conversation is assigned to nobody.
    """
    target = pen.chance.choice((Target.AI_AGENT, Target.HUMAN_AGENT))
    expected = {"target": target} if target is Target.HUMAN_AGENT else {}
    before = pen.count()
    customer = _writer(pen, "sms", before + 1, stays=2, closed=1, **expected)
    steps = (
        *_said(pen, "sms", customer, customer.words[:before]),
        Step(0.0, Until(customer, joined=1, words=before, is_answered=bool(expected) or pen.chance.random() < 0.5)),
        pen.step(Close(customer)),
        Step(0.0, Until(customer, closed=1)),
        *_said(pen, "sms", customer, customer.words[before:]),
    )
    return Story(0, (customer,), steps)


def is_removed(pen: Pen) -> Story:
    """A customer is removed once all was heard, perhaps not answered yet, and begins a second stay by writing again."""
    before = pen.count()
    customer = _writer(pen, "whatsapp", before + 1, stays=2, left=1)
    steps = (
        *_said(pen, "whatsapp", customer, customer.words[:before]),
        Step(0.0, Until(customer, joined=1, words=before, is_answered=pen.chance.random() < 0.5)),
        pen.step(Remove(customer)),
        Step(0.0, Until(customer, left=1)),
        *_said(pen, "whatsapp", customer, customer.words[before:]),
    )
    return Story(0, (customer,), steps)


#: How customers come in, and how many of a hundred do.
KINDS: Final[dict[str, tuple[int, Callable[[Pen], Story]]]] = {
    "sms": (24, writes("sms")),
    "sms to people": (12, writes("sms", Target.HUMAN_AGENT)),
    "mms": (5, writes("mms")),
    "whatsapp": (8, writes("whatsapp")),
    "rcs": (5, writes("rcs")),
    "messenger": (5, writes("messenger")),
    "event streams": (6, is_streamed),
    "event streams, batches": (4, are_batched),
    "captured": (7, is_taken_in),
    "classic": (7, is_classic),
    "voice": (6, calls),
    "mail": (6, mails),
    "closed": (3, is_closed),
    "removed": (2, is_removed),
}


def make_stories(chance: random.Random, count: int, seconds: float) -> tuple[Story, ...]:
    """Return so many stories of all kinds, which begin over `seconds`."""
    names = [name for name, (share, _) in KINDS.items() for _ in range(share)]
    wanted = [*KINDS, *(chance.choice(names) for _ in range(max(0, count - len(KINDS))))]
    chance.shuffle(wanted)
    stories = []
    for number, name in enumerate(wanted):
        told = KINDS[name][1](Pen(chance, number, seconds / 6))
        stories.append(Story(chance.uniform(0, seconds), told.customers, told.steps))
    return tuple(stories)
