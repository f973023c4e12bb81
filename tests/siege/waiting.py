"""Part 3: events that wait for one customer, one channel or one account hold up nobody else."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from router.simulator.mail import mail
from router.simulator.messages import message
from tests.benchmarks.memory import resident
from tests.siege.backlog import Backlog
from tests.siege.deployment import Siege, besieged
from tests.siege.figures import Figure, at_most, exactly
from tests.siege.probe import Served, new_customers, serve
from tests.siege.sizes import Size
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT, OURS
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.siege.deployment import Start

#: The customer whose API calls fail.
BESIEGED: Final = "+15560000000"
#: MiB that a worker may grow by, whatever waits.
GROWTH: Final = 24.0
#: Other customers, and how many of them write within a second.
OTHERS: Final = 20
RATE: Final = 20.0
#: Scaled seconds in which the others must be served, and in which what waited must be finished afterwards.
PATIENCE: Final = 60.0
AFTERWARDS: Final = 300.0
#: Scaled seconds without progress after which a worker counts as stuck, and seconds between two lines of progress.
STUCK: Final = 15.0
PROGRESS_EVERY: Final = 10.0
#: Messages that are sent at the same time.
AT_ONCE: Final = 64


def small_window(size: Size) -> dict[str, str]:
    """Return the settings with which a few hundred events are more than a worker holds."""
    return {"ROUTER_WINDOW": "10", "ROUTER_BATCH": "20"} if size is Size.SHORT else {}


async def probe(siege: Siege, size: Size, account: str = ACCOUNT) -> Served:
    """Let others write: 20 new customers, and, if times are to be measured, the same ones again and again."""
    customers = new_customers(OTHERS) * size.pick(10, 5, 1)
    return await serve(siege, customers, rate=RATE, patience=PATIENCE, account=account)


async def until_read(siege: Siege, say: Callable[[str], None]) -> None:
    """Wait until the worker has read everything, so that all that cannot go on waits; or until it reads no more."""
    (stream,) = siege.inbound_streams
    least, changed_at, said_at = -1, time.monotonic(), time.monotonic()
    while True:
        (row,) = await siege.redis.xinfo_groups(stream)
        lag, now = row["lag"] or 0, time.monotonic()
        if lag == 0:
            return
        if lag < least or least < 0:
            least, changed_at = lag, now
        if now - changed_at > scaled(STUCK):
            say(f"the worker reads no more: {lag:,} events are not read")
            return
        if now - said_at > PROGRESS_EVERY:
            said_at = now
            say(f"{lag:,} of the events that will wait are not read yet")
        await asyncio.sleep(0.1)


def compare(before: Served, during: Served, size: Size) -> list[Figure]:
    """Return the figures of the others: how many were served, how soon, and how often twice."""
    wanted = OTHERS * size.pick(10, 5, 1)
    most = 2 * (before.p99 or 0.0)
    return [
        exactly("messages of others published", before.number, during.number, wanted),
        exactly("messages of others published twice", before.doubled, during.doubled, 0),
        at_most("p99 of the others, ms", before.p99, during.p99, most, "<= 2 times"),
    ]


class Memory:
    """The resident memory of a worker in MiB: at first, and the most of what is seen until `close`."""

    def __init__(self, siege: Siege) -> None:
        self._pid = siege.processes["worker"].pid
        self.first = self.most = resident(self._pid)
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        with suppress(OSError):  # it has ended
            while True:
                self.most = max(self.most, resident(self._pid))
                await asyncio.sleep(0.1)

    def figure(self) -> Figure:
        """Stop looking, and return the growth."""
        self._watching.cancel()
        return at_most(
            "memory of the worker, MiB", self.first, self.most, self.first + GROWTH, f"+{GROWTH:.0f} at most"
        )


async def finish(siege: Siege, sids: list[str], say: Callable[[str], None]) -> list[Figure]:
    """End all faults, and return what became of the messages that had waited."""
    begun = time.monotonic()
    await siege.clear_faults()
    say("what failed is well again")
    watcher = siege.watcher
    await watcher.until_heard(sids, AFTERWARDS)
    seconds = time.monotonic() - begun
    found = sum(one in watcher.heard for one in sids)
    doubled = sum(len(watcher.heard[one]) > 1 for one in sids if one in watcher.heard)
    say(f"{found:,} messages that had waited were published within {seconds:.0f} s")
    return [
        exactly("messages that waited published afterwards", None, found, len(sids)),
        exactly("... twice", None, doubled, 0),
        exactly("dead letters", None, await siege.count_dead_letters(), 0),
    ]


async def arrived(siege: Siege, sids: list[str]) -> list[str]:
    """Return these messages in the order in which they are in the inbound stream."""
    wanted, found = set(sids), []
    for stream in siege.inbound_streams:
        for _, fields in await siege.redis.xrange(stream):
            sid = fields[b"key"].rpartition(b":")[2].decode()
            if sid in wanted:
                found.append(sid)
    return found


def count_misplaced(siege: Siege, customer: str, sids: list[str]) -> int:
    """Count messages of one customer that were published before one that was sent earlier."""
    places = {sid: place for place, sid in enumerate(siege.watcher.order_of(customer))}
    found = [places[sid] for sid in sids if sid in places]
    return sum(one > other for one, other in pairwise(found))


async def one_customer(directory: Path, start: Start, size: Size, say: Callable[[str], None]) -> list[Figure]:
    """One customer, whose API calls answer 500 for ever, writes more than a worker holds."""
    number = size.pick(10_500, 10_500, 400)
    async with besieged(directory, start, size, **small_window(size)) as siege:
        before = await probe(siege, size)
        memory = Memory(siege)
        await siege.fault(containing=BESIEGED, status=500)
        sids = await write_all(siege, BESIEGED, number)
        await until_read(siege, say)
        say(f"{number:,} messages of one customer wait")
        during = await probe(siege, size)
        held = memory.figure()
        return [
            *compare(before, during, size),
            held,
            *await finish(siege, sids, say),
            exactly("... out of order", None, count_misplaced(siege, BESIEGED, await arrived(siege, sids)), 0),
            exactly("webhooks refused or not answered", None, siege.unanswered, 0),
        ]


async def write_all(siege: Siege, customer: str, number: int) -> list[str]:
    """Send so many messages of one customer, a few at a time but in order; returns their MessageSids."""
    sids = [f"SM{place:032x}" for place in range(1, number + 1)]
    for first in range(0, number, AT_ONCE):
        webhooks = [
            message("sms", account_sid=ACCOUNT, sender=customer, recipient=OURS, body="hello", sid=sid)
            for sid in sids[first : first + AT_ONCE]
        ]
        await asyncio.gather(*[siege.post(one) for one in webhooks])
    return sids


#: How the API fails for e-mail, and what becomes of the mails: an outage makes no dead letters, a refusal does.
MAIL_FAULTS: Final = {
    "answers 500": {"status": 500},
    "answers 400": {"status": 400},
    "hangs": {"hang": True},
}
MAILBOXES: Final = 100


async def mail_alone(directory: Path, start: Start, size: Size, say: Callable[[str], None]) -> list[Figure]:
    """The API fails for e-mail alone, and mails to 100 mailboxes come in."""
    figures = []
    for how, fault in size.some(MAIL_FAULTS):
        settings = small_window(size) | {"ROUTER_API_TIMEOUT": "5"}
        async with besieged(directory, start, size, **settings) as siege:
            before = await probe(siege, size)
            memory = Memory(siege)
            await siege.fault(containing='"EMAIL"', **fault)
            mails = [
                mail(
                    sender=f"customer{number}@example.com",
                    recipients=[f"box{box}@inbound.example.com" for box in range(MAILBOXES)],
                    subject=f"mail {number}",
                    body="x" * size.pick(76_000, 76_000, 2_000),
                )
                for number in range(size.pick(14, 14, 3))
            ]
            await asyncio.gather(*[siege.post(one) for one in mails])
            await until_read(siege, say)
            say(f"e-mail {how}: {len(mails)} mails to {MAILBOXES} mailboxes wait")
            during = await probe(siege, size)
            held = memory.figure()
            found = [*compare(before, during, size), held, *await _finish_mails(siege, len(mails) * MAILBOXES, say)]
            figures += [replace(one, what=f"e-mail {how}: {one.what}") for one in found]
    return figures


async def _finish_mails(siege: Siege, number: int, say: Callable[[str], None]) -> list[Figure]:
    """End the fault; every mail is then published once for each mailbox, or a dead letter if the API had refused it."""
    await siege.clear_faults()
    watcher = siege.watcher

    def count() -> int:
        return sum(len(places) for message_id, places in watcher.heard.items() if message_id.startswith("<"))

    refused = await siege.count_dead_letters()
    await watcher.until(lambda: count() + refused >= number, AFTERWARDS)
    refused = await siege.count_dead_letters()
    say(f"{count():,} mails were published and {refused} refused")
    return [exactly("mails published or refused afterwards", None, count() + refused, number)]


async def one_account(directory: Path, start: Start, size: Size, say: Callable[[str], None]) -> list[Figure]:
    """Of two accounts one has no API, and more of its events wait than a worker notes for all accounts."""
    window = size.pick(500, 100, 10)
    total = (200 + 20) * window + size.pick(10_000, 1_000, 300)
    settings = {"ROUTER_WINDOW": str(window)} | ({"ROUTER_BATCH": "20"} if size is Size.SHORT else {})
    async with besieged(directory, start, size, accounts=2, **settings) as siege:
        before = await probe(siege, size)
        memory = Memory(siege)
        await siege.fault(sandbox=1, status=503)
        backlog = Backlog(total, customers=total // 10, account=OTHER_ACCOUNT)
        await siege.until_settled()
        await backlog.fill(siege.redis, siege.inbound_streams[0])
        await until_read(siege, say)
        say(f"{total:,} events of an account without an API wait")
        during = await probe(siege, size)
        held = memory.figure()
        # all of them would take half an hour
        return [
            *compare(before, during, size),
            held,
            *await finish(siege, backlog.sids[: size.pick(25_000, 25_000, 300)], say),
        ]


#: What a million events wait for: the messages, and the text in the API's requests that makes them fail.
LANES: Final = {
    "channel": (ACCOUNT, "whatsapp", '"WHATSAPP"'),
    "account": (OTHER_ACCOUNT, "sms", ""),
    "customer": (ACCOUNT, "sms", BESIEGED),
}


async def a_million(directory: Path, start: Start, size: Size, say: Callable[[str], None]) -> list[Figure]:
    """A million events wait for one account, one channel or one customer."""
    figures = []
    for lane, (account, kind, text) in size.some(LANES):
        total = size.pick(1_000_000, 30_000, 500)
        customers = 1 if lane == "customer" else max(1, total // 100)
        async with besieged(directory, start, size, accounts=2, **small_window(size)) as siege:
            await siege.redis.config_set("appendonly", "no")  # gigabytes that nobody reads again
            before = await probe(siege, size)
            memory = Memory(siege)
            await siege.fault(sandbox=int(account == OTHER_ACCOUNT), containing=text, status=503)
            await siege.until_settled()
            await Backlog(total, customers, account, kind).fill(siege.redis, siege.inbound_streams[0])
            say(f"{total:,} events for one {lane} are appended")
            begun = time.monotonic()
            await until_read(siege, say)
            say(f"they were read within {time.monotonic() - begun:.0f} s")
            during = await probe(siege, size)
            found = [*compare(before, during, size), memory.figure()]
            figures += [replace(one, what=f"one {lane}: {one.what}") for one in found]
            figures.append(exactly(f"one {lane}: dead letters", None, await siege.count_dead_letters(), 0))
    return figures
