"""Part 8: a mail to many mailboxes takes the room of one mail, and each mailbox is served."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from router.simulator.mail import mail
from tests.siege.deployment import Siege, besieged
from tests.siege.figures import Figure, exactly, shown
from tests.siege.probe import new_customers, serve
from tests.siege.waiting import AFTERWARDS, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from router.simulator.messages import SimulatedWebhook
    from router.streams.client.connection import Redis
    from tests.siege.deployment import Start
    from tests.siege.sizes import Size

#: Characters of each mail: 21 of them are 1.6 MB.
LENGTH: Final = 76_000
MAILBOXES: Final = 100
#: What an event of a mailbox may take besides the mail, in messages of new customers: its text is longer than theirs.
EVENTS: Final = 1.5
#: Messages of new customers that are measured.
MESSAGES: Final = 50


async def mail_bytes(directory: Path, start: Start, size: Size, say: Callable[[str], None]) -> list[Figure]:
    """21 mails of 1.6 MB in all come in to one mailbox each, and then to 100 mailboxes each."""
    number, mailboxes = size.pick(21, 21, 3), size.pick(MAILBOXES, MAILBOXES, 30)
    async with besieged(directory, start, size) as siege:
        before = await _bytes_of_keys(siege.redis)
        await serve(siege, new_customers(MESSAGES), rate=MESSAGES, patience=PATIENCE)
        await siege.until_idle()
        event = (await _bytes_of_keys(siege.redis) - before) // MESSAGES
        one = await _measure(siege, [_mail(f"one {place}", 1) for place in range(number)])
        say(f"to one mailbox each: {one / 1e6:.1f} MB in Redis")
        many = await _measure(siege, [_mail(f"many {place}", mailboxes) for place in range(number)])
        say(f"to {mailboxes} mailboxes each: {many / 1e6:.1f} MB in Redis")
        more = [_mail("more", mailboxes + 20 if mailboxes >= MAILBOXES else MAILBOXES + 20)]
        await _measure(siege, more)
        heard = siege.watcher.heard
        published = sum(len(places) for name, places in heard.items() if name.startswith("<"))
        most = int(one + number * (mailboxes - 1) * EVENTS * event)
        return [
            Figure("bytes of a new customer's message", shown(event), shown(event)),
            Figure("bytes of the mails", shown(number * LENGTH), shown(number * LENGTH)),
            Figure("bytes in Redis", shown(one), shown(many), f"<= {shown(most)}", many <= most),
            exactly("mailboxes served", number, published, number + number * mailboxes + MAILBOXES),
            exactly("webhooks refused (one has 120 mailboxes)", 0, siege.unanswered, 0),
        ]


def _mail(name: str, mailboxes: int) -> SimulatedWebhook:
    return mail(
        sender=f"{name.replace(' ', '-')}@example.com",
        recipients=[f"box{box}@inbound.example.com" for box in range(mailboxes)],
        subject=name,
        body="x" * LENGTH,
    )


async def _measure(siege: Siege, mails: list[SimulatedWebhook]) -> int:
    """Send mails, wait until all are published, and return the bytes by which all keys together have grown."""
    before = await _bytes_of_keys(siege.redis)
    statuses = await asyncio.gather(*[siege.post(one) for one in mails])
    taken = [one.resource_id for one, status in zip(mails, statuses, strict=True) if status == HTTPStatus.OK]
    await siege.watcher.until_heard(taken, AFTERWARDS)
    await siege.until_idle()
    return await _bytes_of_keys(siege.redis) - before


async def _bytes_of_keys(redis: Redis) -> int:
    """Return the memory that keys take; the server's own also has buffers of connections and of its files."""
    keys = [key async for key in redis.scan_iter(count=1000)]
    pipeline = redis.pipeline(transaction=False)
    for key in keys:
        pipeline.memory_usage(key, samples=0)
    return sum(size or 0 for size in await pipeline.execute())
