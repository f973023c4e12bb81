"""The way of a mail to its participant: that of a message, by mailboxes. Its text is published, its files are not."""

import pytest

from router.core.keys import Target
from router.core.ledger.marker import Result
from router.simulator.mail import RAW_FIELDS, Attachment, mail
from router.streams.delivery import Done
from tests.worker.harness import CREATE, LIST

DONE = Done()
ANA, SUPPORT, SALES = "ana@example.com", "support@inbound.example.com", "sales@inbound.example.com"
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


def write(number=1, *recipients, sender=ANA, **more):
    """A mail; another number makes another one."""
    return mail(
        sender=sender,
        recipients=recipients or [SUPPORT],
        subject=SUBJECT,
        body=WORDS,
        message_id=f"<{number}@mail.example.com>",
        **more,
    )


async def test_mail_of_a_new_customer(harness):
    """One call opens a conversation with both mailboxes on the channel EMAIL; the entry says who wrote to whom."""
    assert await harness.settle(write()) == [DONE]
    assert await harness.calls() == {CREATE: 1}
    (entry,) = await harness.entries()
    data = entry.data
    assert (data.origin, data.target, data.channel, data.address) == ("created", "ai-agent", "EMAIL", ANA)
    assert (data.recipient.channel, data.recipient.address) == ("EMAIL", SUPPORT)
    assert (data.cause.source, data.cause.event_type) == ("email", "mail.received")
    assert data.cause.resource_id == "<1@mail.example.com>"
    people = {one["type"]: one["addresses"][0] for one in await harness.participants(data.conversation.id)}
    assert (people["CUSTOMER"]["channel"], people["CUSTOMER"]["address"]) == ("EMAIL", ANA)
    assert (people["AI_AGENT"]["channel"], people["AI_AGENT"]["address"]) == ("EMAIL", SUPPORT)


@pytest.mark.parametrize("raw_field", [None, *RAW_FIELDS])
async def test_text_of_a_mail_is_published_and_nothing_else_of_it(harness, lines, raw_field):
    """An agent reads the text; subject and file names are in no entry, and no log line has them or the mailbox."""
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


async def test_customer_who_writes_again_costs_nothing(harness):
    """Another mail of the same customer, whatever its mailbox is spelled like, finds what is there."""
    await harness.settle(write(1))
    assert await harness.settle(write(2), write(3, SUPPORT.upper(), sender="Ana@Example.COM")) == [Result.KNOWN] * 2
    assert await harness.total() == 1
    assert await harness.types() == ["joined"]


async def test_same_mail_again_is_not_even_work(harness):
    """A mail that is delivered twice is one entry of the inbound stream."""
    assert len(await harness.receive(write(1))) == 1
    assert await harness.receive(write(1)) == []
    assert await harness.receive(write(1, raw_field="email")) == []


async def test_two_mailboxes_are_two_conversations(make_harness):
    """One mail to two of our mailboxes is two events, each with its own recipient, decision and conversation."""
    harness = await make_harness(policy=SALES_RULE)
    assert await harness.settle(write(1, SUPPORT, SALES)) == [DONE, DONE]
    support, sales = await harness.entries()
    assert (support.data.recipient.address, support.data.target) == (SUPPORT, "ai-agent")
    assert (sales.data.recipient.address, sales.data.target) == (SALES, "human-agent")
    assert sales.data.reason == "sales (recipient)"
    assert support.data.conversation.id != sales.data.conversation.id


@pytest.mark.parametrize(
    ("when", "calls"), [("after", {CREATE: 2, FIND: 1, LIST: 1}), ("before", {CREATE: 3, FIND: 1})]
)
async def test_lost_answer_is_looked_up_by_the_mail_and_its_recipient(make_harness, when, calls):
    """What an unanswered POST did, or did not do, is found out, though the mail stands in another conversation too."""
    harness = await make_harness(policy=SALES_RULE)
    first, second = await harness.receive(write(1, SUPPORT, SALES))
    assert await harness.work([first]) == [DONE]
    harness.fault(method="POST", route="/v2/Conversations", when=when, times=1, reset=True)
    assert await harness.work([second]) == [DONE]
    assert await harness.calls() == calls
    support, sales = await harness.entries()
    assert (support.data.recipient.address, sales.data.recipient.address) == (SUPPORT, SALES)
    assert support.data.conversation.id != sales.data.conversation.id
    assert len(await harness.conversations()) == 2


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        pytest.param({"sender": ""}, "a bounce: its envelope has no sender", id="bounce"),
        pytest.param({"headers": {"Auto-Submitted": "auto-replied"}}, "an automatic reply", id="automatic reply"),
    ],
)
async def test_what_machines_answer_is_ignored_by_name(harness, lines, more, reason):
    """A bounce and an automatic reply cost no call, make no entry, and say in the log what they are."""
    assert await harness.settle(write(**more)) == [Result.IGNORED]
    assert await harness.total() == 0
    assert await harness.entries() == []
    (line,) = lines("event")
    assert (line["result"], line["reason"]) == ("ignored", reason)
