"""What there is to see on the operations pages: dead letters, refused webhooks, nonsense."""

from dataclasses import dataclass, replace
from typing import Any

from router.core.entries import CommunicationData, EntryCommunication
from router.core.keys import Keys
from router.core.refused import Bounds
from router.core.resources import Participant, ParticipantAddress
from router.streams.store.quarantine import keep
from tests.core.test_refused import REFUSED
from tests.handlers.harness import make
from tests.support.accounts import CUSTOMER
from tests.support.entries import fields_of

#: What a stranger may write: markup, terminal escapes, a change of direction, line breaks.
HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J\u202e\r\n'\"&"
CONVERSATION = "conv_conversation_00000000000000000000000001"
BOUNDS = Bounds(entries=100_000, size=100_000_000, ttl=3600)


@dataclass
class Scenes:
    """Makes things to see in one Redis."""

    redis: Any
    keys: Keys

    async def letter(self, reason="ValueError: no answer", number=1, **changes):
        """Add a dead letter of the AI agent about a customer's message; returns its name."""
        fields = self.entry(number) | self.origin(reason) | changes
        return f"0:{(await self.redis.xadd(self.keys.dead_letters(0), fields)).decode()}"

    def entry(self, number=1, text="hello"):
        """Return the fields of an entry about a customer's message."""
        customer = Participant(
            id=f"conv_participant_{number}",
            type="CUSTOMER",
            addresses=(ParticipantAddress(channel="SMS", address=CUSTOMER),),
        )
        said = EntryCommunication(text=text)
        return fields_of(make(CommunicationData, CONVERSATION, customer, communication=said, distinction=str(number)))

    def origin(self, reason):
        """Return where a dead letter comes from."""
        return {
            "dead-stream": self.keys.participants(0, "ai-agent"),
            "dead-entry": "1-0",
            "dead-group": "ai-agent",
            "dead-consumer": "host-1",
            "dead-reason": reason,
            "dead-deliveries": "5",
            "dead-failed-at": "2026-01-07T14:03:00.000Z",
        }

    async def letters(self, number, reason="ValueError: no answer"):
        """Add many dead letters at once."""
        pipeline = self.redis.pipeline(transaction=False)
        for at in range(number):
            pipeline.xadd(self.keys.dead_letters(0), self.entry(at) | self.origin(reason))
        await pipeline.execute()

    async def refused(self, **changes):
        """Keep a refused webhook; returns its id."""
        return await keep(self.redis, self.keys, replace(REFUSED, **changes), BOUNDS)
