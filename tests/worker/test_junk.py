"""Signed junk: each webhook ends as entries, ignored or as a dead letter, and never in a loop."""

import random
from dataclasses import replace

import pytest

from router.core.errors import UnreadableError
from router.core.events import SourceName
from router.core.signing.form import NO_FORM, parse_form
from router.inbound.sources import FORM, SOURCES
from router.inbound.webhook import Webhook
from tests.fuzz.targets import TARGETS, mutate_once
from tests.inbound.email.mails import CONTENT_TYPE
from tests.receiver.samples import SAMPLES
from tests.support.accounts import ACCOUNT
from tests.support.waiting import until
from tests.worker.harness import read_mails

pytestmark = pytest.mark.promise(4)

#: The log lines at the end of an event.
ENDS = ("event", "event.dead")


def is_accepted(name, webhook):
    """Return whether the receiver would accept it: it can be read, and its account is configured."""
    try:
        form = parse_form(webhook.body) if SOURCES[name].content_type == FORM else NO_FORM
        mails = read_mails(webhook) if name == SourceName.EMAIL else ()
        pieces = SOURCES[name].split(Webhook(webhook.body, form, None, mails), ACCOUNT)
    except UnreadableError:
        return False
    return all(piece.identity.account_id == ACCOUNT for piece in pieces)


@pytest.mark.parametrize("seed", [1, 2])
async def test_junk_that_is_taken_in_ends(harness, lines, seed):
    """Every accepted junk entry ends as entries, ignored or as a dead letter, and a valid message gets through."""
    chance = random.Random(seed)
    for name in SOURCES:
        target = TARGETS["mail" if name == SourceName.EMAIL else name.value]
        for _ in range(25):
            webhook = replace(SAMPLES[name](), body=mutate_once(target, chance))
            if name == SourceName.EMAIL:
                webhook = replace(webhook, content_type=CONTENT_TYPE)
            if is_accepted(name, webhook):
                await harness.append(webhook)
    await harness.append(harness.sms())
    taken = await harness.redis.xlen(harness.inbound.key)
    assert taken > 20

    async def has_ended():
        harness.clock.advance(10)  # a call waits a minute for its conversation
        return sum(len(lines(event)) for event in ENDS) >= taken

    async with harness.consuming(ROUTER_DEAD_LETTER_BUDGET="1"):
        await until(has_ended, 60)
        await harness.finished()
    assert sum(len(lines(event)) for event in ENDS) == taken
    assert len(await harness.dead_letters()) == len(lines("event.dead"))
    assert "participant.joined" in {entry.type for entry in await harness.entries()}
