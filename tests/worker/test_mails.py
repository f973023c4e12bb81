"""Mails: resolved like messages, by mailboxes; the text is published, the files are not."""

import asyncio
import itertools
from dataclasses import replace

import pytest

from router.core.keys import Target
from router.core.ledger.marker import Result
from router.simulator.mail import RAW_FIELDS, Attachment, mail
from router.streams.delivery import Done, Poison
from router.streams.store.dead_letters import list_letters, replay_all
from router.streams.store.trim import Trimmer
from tests.support.accounts import ACCOUNT, MAILBOX, WRITER
from tests.support.waiting import until
from tests.worker import payloads
from tests.worker.harness import CREATE, LIST

DONE = Done()
SALES = "sales@inbound.example.com"
WORDS, SUBJECT = "the quick brown fox, confidentially", "about a fence"
FIND = "GET /v2/Conversations"
SALES_RULE = f"""
[default]
target = "ai-agent"
[[rule]]
name = "sales"
recipient = "{SALES}"
target = "human-agent"
"""


def write(number=1, *recipients, sender=WRITER, **more):
    """A mail; another number makes another mail."""
    return mail(
        sender=sender,
        recipients=recipients or [MAILBOX],
        subject=SUBJECT,
        body=WORDS,
        message_id=f"<{number}@mail.example.com>",
        **more,
    )


async def test_a_mail_of_a_new_customer_needs_one_request(harness):
    """One request opens a conversation with both mailboxes on EMAIL, and the entry names both."""
    assert await harness.settle(write()) == [DONE]
    assert await harness.calls() == {CREATE: 1}
    (entry,) = await harness.entries()
    data = entry.data
    assert (data.origin, data.target, data.channel, data.address) == ("created", "ai-agent", "EMAIL", WRITER)
    assert (data.recipient.channel, data.recipient.address) == ("EMAIL", MAILBOX)
    assert (data.cause.source, data.cause.event_type) == ("email", "mail.received")
    assert data.cause.resource_id == "<1@mail.example.com>"
    addresses = {one["type"]: one["addresses"][0] for one in await harness.participants(data.conversation.id)}
    assert (addresses["CUSTOMER"]["channel"], addresses["CUSTOMER"]["address"]) == ("EMAIL", WRITER)
    assert (addresses["AI_AGENT"]["channel"], addresses["AI_AGENT"]["address"]) == ("EMAIL", MAILBOX)


@pytest.mark.parametrize("raw_field", [None, *RAW_FIELDS])
async def test_only_the_text_of_a_mail_is_published(harness, lines, raw_field):
    """The text of a mail is published; its subject and file names are in no entry and no log line."""
    await harness.settle(write(attachments=[Attachment("secret.pdf", b"%PDF")], raw_field=raw_field))
    (said,) = [entry for entry in await harness.published() if entry.type == "communication.received"]
    assert said.data.communication.text.strip() == WORDS
    assert not said.data.communication.is_text_cut
    for target in Target:
        for _, fields in await harness.redis.xrange(harness.keys.participants(0, target)):
            assert SUBJECT.encode() not in b"".join(fields.values())
            assert b"secret" not in b"".join(fields.values())
    (line,) = lines("event")
    assert (line["result"], line["address"]) == ("joined", "a***@example.com")
    assert WORDS not in str(line)
    assert SUBJECT not in str(line)


async def test_another_mail_of_a_known_customer_needs_no_request(harness):
    """Another mail of a customer, in whatever spelling of the mailboxes, needs no request."""
    await harness.settle(write(1))
    assert await harness.settle(write(2), write(3, MAILBOX.upper(), sender="Ana@Example.COM")) == [Result.KNOWN] * 2
    assert await harness.total() == 1
    assert await harness.types() == ["joined"]


async def test_a_mail_that_is_delivered_twice_is_one_entry(harness):
    """A mail that is delivered twice is one entry of the inbound stream."""
    assert len(await harness.receive(write(1))) == 1
    assert await harness.receive(write(1)) == []
    assert await harness.receive(write(1, raw_field="email")) == []


def broken(message_id="<>", *, sender=WRITER, body=WORDS, content=b"21.5", **headers):
    """A mail of a program that writes the same Message-ID into each."""
    webhook = mail(
        sender=sender,
        recipients=[MAILBOX],
        subject=SUBJECT,
        body=body,
        message_id="<any@localhost>",
        attachments=[Attachment("log.txt", content, "text/plain")],
        headers=headers,
    )
    return replace(webhook, body=webhook.body.replace(b"<any@localhost>", message_id.encode()))


@pytest.mark.promise(4)
@pytest.mark.parametrize("message_id", ["<>", "<1@localhost>"])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"sender": "bob@example.com"}, id="sender"),
        pytest.param({"Date": "Wed, 07 Jan 2026 12:00:00 +0000"}, id="date"),
        pytest.param({"body": "another text"}, id="text"),
        pytest.param({"content": b"21.6"}, id="file"),
    ],
)
async def test_two_mails_with_one_message_id_are_both_published(harness, message_id, change):
    """Of mails of one Message-ID each is published once, and a repeat of either is none."""
    one, other = broken(message_id), broken(message_id, **change)
    await harness.settle(one)
    await harness.settle(other)
    assert await harness.receive(one) == await harness.receive(other) == []
    said = [entry for entry in await harness.published() if entry.type == "communication.received"]
    assert len({entry.id for entry in said}) == len(said) == 2


def told(harness, data, number, message_id):
    """The status callback about a mail, as the API reports one that has its Message-ID as channelId."""
    address = {"channel": "EMAIL", "address": data.address}
    author = {"id": data.participant.id, "conversationId": data.conversation.id, "addresses": [address]}
    return payloads.spoken(harness, author, WORDS, number=number, channelId=message_id)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4), 3)), ids=str)
async def test_a_mail_that_a_callback_reports_too_is_published_once(harness, order):
    """Whichever comes first, a callback about a mail tells nothing new, and the next mail of its Message-ID does."""
    message_id = "<1@device.example.com>"
    await harness.settle(broken("<0@device.example.com>"))
    data = (await harness.entries())[-1].data
    mails = [broken(message_id, body=text) for text in ("one", "two")]
    reports = [*mails, *(told(harness, data, number, message_id) for number in (1, 2))]
    for index in order:
        await harness.settle(reports[index])
    said = [entry for entry in await harness.published() if entry.type == "communication.received"]
    assert len(said) - 1 == max(1, len({0, 1} & set(order)))


async def test_a_mail_that_an_earlier_version_published_is_known(harness):
    """A mail that was published under its Message-ID is not published again under its own name; the next one is."""
    await harness.settle(broken("<0@device.example.com>"))
    (entry,) = await harness.entries()
    claim = harness.keys.communication(ACCOUNT, entry.data.conversation.id, "<1@localhost>")
    await harness.redis.set(claim, "1", ex=600)
    for text in ("one", "one", "two"):
        await harness.settle(broken("<1@localhost>", body=text))
    said = [entry for entry in await harness.published() if entry.type == "communication.received"]
    assert [one.data.communication.text for one in said] == [WORDS, "two"]


async def test_a_mail_to_two_mailboxes_is_two_events(make_harness):
    """A mail to two of our mailboxes is two events, each with its own recipient, target and conversation."""
    harness = await make_harness(policy=SALES_RULE)
    assert await harness.settle(write(1, MAILBOX, SALES)) == [DONE, DONE]
    support, sales = await harness.entries()
    assert (support.data.recipient.address, support.data.target) == (MAILBOX, "ai-agent")
    assert (sales.data.recipient.address, sales.data.target) == (SALES, "human-agent")
    assert sales.data.reason == "sales (recipient)"
    assert support.data.conversation.id != sales.data.conversation.id


@pytest.mark.parametrize(
    ("when", "calls"), [("after", {CREATE: 2, FIND: 1, LIST: 1}), ("before", {CREATE: 3, FIND: 1})]
)
async def test_a_lost_post_is_looked_up_per_mailbox(make_harness, when, calls):
    """A POST whose answer was lost is found by the mail and the mailbox, not by the mail alone."""
    harness = await make_harness(policy=SALES_RULE)
    first, second = await harness.receive(write(1, MAILBOX, SALES))
    assert await harness.work([first]) == [DONE]
    harness.fault(method="POST", route="/v2/Conversations", when=when, times=1, reset=True)
    assert await harness.work([second]) == [DONE]
    assert await harness.calls() == calls
    support, sales = await harness.entries()
    assert (support.data.recipient.address, sales.data.recipient.address) == (MAILBOX, SALES)
    assert support.data.conversation.id != sales.data.conversation.id
    assert len(await harness.conversations()) == 2


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        pytest.param({"sender": ""}, "a bounce: its envelope has no sender", id="bounce"),
        pytest.param({"headers": {"Auto-Submitted": "auto-replied"}}, "an automatic reply", id="automatic reply"),
    ],
)
async def test_automatic_mails_are_ignored(harness, lines, more, reason):
    """Bounces and automatic replies are ignored with the reason, without a request."""
    assert await harness.settle(write(**more)) == [Result.IGNORED]
    assert await harness.total() == 0
    assert await harness.entries() == []
    (line,) = lines("event")
    assert (line["result"], line["reason"]) == ("ignored", reason)


# --- one mail to many mailboxes ----------------------------------------------------------------------------------

BOXES = [f"box-{number}@inbound.example.com" for number in range(60)]
LONG = "a long text, " * 4_000


def write_to_all(number=1):
    return mail(sender=WRITER, recipients=BOXES, subject="news", body=LONG, message_id=f"<{number}@mail.example.com>")


async def served(harness):
    """Return the mailboxes that got the mail, each as often as it did."""
    entries = await harness.communications()
    assert {len(entry.data.communication.text) for entry in entries} <= {4096}
    return sorted(entry.data.recipient.address for entry in entries)


async def trim_everything(harness):
    """Remove every finished entry, as if its retention had passed."""
    later = lambda: harness.clock() // 1000 + 86_400_000  # noqa: E731 - ms
    await Trimmer(harness.redis, harness.keys, retention=0, most=1, clock=later).trim(harness.inbound.key)


async def size_of_inbound(harness):
    keys = (harness.inbound.key, harness.keys.shared(0), harness.keys.shared_inbound(0), harness.keys.dead_letters(0))
    return sum([await harness.redis.memory_usage(key, samples=0) or 0 for key in keys])


async def test_a_mail_to_many_mailboxes_is_stored_once_and_each_gets_it_once(harness):
    """Redis holds the text once; every mailbox has its own conversation, and a repeated mail changes nothing."""
    for number in (1, 2, 1):
        await harness.append(write_to_all(number))
    assert await size_of_inbound(harness) < 2 * len(LONG) + 120 * 1_000
    await harness.ensure_group()
    async with harness.consuming():
        await harness.finished()
    assert await served(harness) == sorted(BOXES * 2)
    assert len(await harness.entries()) == len(BOXES)


async def test_an_outage_keeps_the_mail_until_every_mailbox_is_served(harness):
    """While the mailboxes wait, trimming leaves the mail's text; once the API is back, each is served once."""
    harness.fault(status=503)
    await harness.ensure_group()
    async with harness.consuming():
        await harness.append(write_to_all())

        async def is_tried():
            return await harness.total() > 0

        await until(is_tried)
        await trim_everything(harness)
    async with harness.consuming():
        await trim_everything(harness)
        harness.clear_faults()
        await harness.finished()
    assert await served(harness) == sorted(BOXES)
    assert await harness.dead_letters() == []
    await trim_everything(harness)
    await harness.redis.delete(harness.inbound.key)
    await trim_everything(harness)
    assert not await harness.redis.exists(harness.keys.shared(0), harness.keys.shared_inbound(0))


async def test_dead_letters_of_a_mail_share_its_text_and_can_be_replayed(harness):
    """Every letter has its text when it is replayed, long after the stream has been trimmed."""
    await harness.ensure_group()
    harness.fault(status=400)
    async with harness.consuming(ROUTER_MAX_DELIVERIES="1", ROUTER_DEAD_LETTER_BUDGET="1"):
        await harness.append(write_to_all())

        async def are_dead():
            return len(await harness.dead_letters()) == len(BOXES)

        await until(are_dead, 60)
    await harness.redis.delete(harness.inbound.key)
    await trim_everything(harness)
    assert await size_of_inbound(harness) < len(LONG) + 60 * 1_500
    harness.clear_faults()
    await harness.ensure_group()
    async for letter in list_letters(harness.redis, harness.keys):
        await replay_all(harness.redis, harness.keys, [letter], replayed_at="2026-01-08T12:00:00Z")
    async with harness.consuming():
        await harness.finished()
    assert await served(harness) == sorted(BOXES)


async def test_a_mail_whose_text_is_gone_is_a_dead_letter_that_says_so(harness):
    """Somebody has deleted what the entries share: they do not wait forever."""
    deliveries = await harness.receive(write(1, MAILBOX, SALES))
    await harness.redis.delete(harness.keys.shared(0), harness.keys.shared_inbound(0))
    reason = "UnreadableError: the part of the mail that it shares with other entries is gone"
    assert await harness.work(deliveries) == [Poison(reason)] * 2


async def test_mailboxes_of_one_mail_are_appended_at_once(harness):
    """Concurrent appends of several mails mix no texts."""
    texts = {number: f"text of mail {number}" for number in range(20)}
    await asyncio.gather(
        *(
            harness.append(mail(sender=f"writer-{number}@example.com", recipients=BOXES[:5], subject="", body=text))
            for number, text in texts.items()
        )
    )
    await harness.ensure_group()
    async with harness.consuming():
        await harness.finished()
    found = {(entry.data.address, entry.data.communication.text) for entry in await harness.communications()}
    assert {(address, text.strip()) for address, text in found} == {
        (f"writer-{number}@example.com", text) for number, text in texts.items()
    }
    assert len(await harness.communications()) == 100
