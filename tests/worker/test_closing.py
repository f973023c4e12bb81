"""Messages around the closing of their conversation: each is heard once, in a conversation that can be answered."""

import pytest

from router.core.ledger.marker import Result
from router.simulator.event_streams import streamed_message
from router.simulator.mail import mail
from router.simulator.voice import call
from router.streams.delivery import Done
from router.streams.store.ledgers import Store
from tests.support.accounts import ACCOUNT, CUSTOMER, MAILBOX, OURS, WRITER
from tests.worker.payloads import redelivered

DONE = Done()
CALL = "CA00000000000000000000000000000001"


def streamed(harness):
    """A message that Event Streams reports."""
    return streamed_message(harness.sms(), event_id="EZ1", now=harness.clock(), is_batch=False)


def letter(harness):
    """A mail, a new one each time."""
    message_id = f"<{harness.clock()}@mail.example.com>"
    return mail(sender=WRITER, recipients=[MAILBOX], subject="a fence", body="hi", message_id=message_id)


SOURCES = {
    "sms": lambda harness: harness.sms(),
    "whatsapp": lambda harness: harness.sms(f"whatsapp:{CUSTOMER}", f"whatsapp:{OURS}", kind="whatsapp"),
    "event-streams": streamed,
    "mail": letter,
}
every_source = pytest.mark.parametrize("source", SOURCES)


async def close(harness, conversation_id):
    """Close a conversation by the API; return the callback about it."""
    closed = await harness.api("PATCH", f"/v2/Conversations/{conversation_id}", {"status": "CLOSED"})
    return harness.callback("CONVERSATION_UPDATED", closed)


async def open_ones(harness):
    return [one["id"] for one in await harness.conversations() if one["status"] != "CLOSED"]


async def kinds(harness):
    """What was published, in order."""
    return [entry.type.partition(".")[2] for entry in await harness.published()]


# --- a worker dies after the commit, then the conversation closes ---------------------------------


@every_source
@pytest.mark.parametrize("is_reported", [True, False], ids=["reported", "not reported"])
async def test_a_redelivered_message_opens_no_second_conversation(harness, source, is_reported):
    """A message whose worker died before the XACK is not heard again once its conversation has closed."""
    deliveries = await harness.receive(SOURCES[source](harness))
    assert await harness.work(deliveries) == [DONE]
    (conversation_id,) = await open_ones(harness)
    callback = await close(harness, conversation_id)
    if is_reported:
        assert await harness.settle(callback) == [Result.CLOSED]
    else:
        harness.clock.advance(61)  # so that the conversation is confirmed, and found to be closed
    assert await harness.work([redelivered(one) for one in deliveries], by=harness.make_resolver()) == [DONE]
    assert await kinds(harness) == ["joined", "received", "closed"]
    assert len(await harness.conversations()) == 1


@every_source
async def test_a_redelivered_message_of_a_known_customer_opens_no_second_conversation(harness, source):
    """The same for a message that was published without an API request, before the closing."""
    make = SOURCES[source]
    await harness.settle(harness.sms() if source == "event-streams" else make(harness))
    deliveries = await harness.receive(make(harness))
    assert await harness.work(deliveries) == [Result.KNOWN]
    (conversation_id,) = await open_ones(harness)
    assert await harness.settle(await close(harness, conversation_id)) == [Result.CLOSED]
    assert await harness.work([redelivered(one) for one in deliveries], by=harness.make_resolver()) == [DONE]
    assert await kinds(harness) == ["joined", "received", "received", "closed"]
    assert len(await harness.conversations()) == 1


@pytest.mark.parametrize("source", [*SOURCES, "call"])
async def test_the_conversation_is_known_before_the_commit(harness, monkeypatch, source):
    """If the worker dies with the answer to its commit, the successor finds the closed conversation all the same."""
    if source == "call":
        await harness.capture(channel="VOICE", body=None, channelId=CALL)
    make = SOURCES.get(source, lambda _: call(account_sid=ACCOUNT, sender=CUSTOMER, recipient=OURS, sid=CALL))
    commit = Store.commit

    async def commit_and_die(self, ledgers):
        await commit(self, ledgers)
        if ledgers:
            raise ConnectionError("the worker died")
        return []

    deliveries = await harness.receive(make(harness))
    monkeypatch.setattr(Store, "commit", commit_and_die)
    with pytest.raises(ConnectionError):
        await harness.work(deliveries)
    monkeypatch.setattr(Store, "commit", commit)
    (conversation_id,) = await open_ones(harness)
    assert await harness.settle(await close(harness, conversation_id)) == [Result.CLOSED]
    assert await harness.work([redelivered(one) for one in deliveries], by=harness.make_resolver()) == [DONE]
    assert [kind for kind in await kinds(harness) if kind != "received"] == ["joined", "closed"]
    assert len(await harness.conversations()) == 1
