"""One entry in a handler: parsed, handled once, reported by one log line and one count.

An entry that cannot be parsed is poison. One that is sealed with a key that ROUTER_SEAL_KEYS does not have waits for
the key. One that was finished before (redelivered between its end and its acknowledgement, or replayed) is only
acknowledged: result "repeated". One that has become a dead letter is reported too: result "given-up".
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import ValidationError

from handlers.handler import HandlerResult
from router import metrics
from router.agents.effects import NotYetError, ReplyOutcome
from router.core.addresses import canonicalize, mask
from router.core.entries import Entry, ParticipantData, read_entry
from router.core.printable import masked
from router.core.sealing import NO_KEYS, SealedError, TamperedError
from router.core.stories import StageName, event_id
from router.core.timestamps import to_microseconds
from router.logs import describe_fully, log
from router.streams.client.connection import RedisError
from router.streams.delivery import Delivery, Done, Later, Poison, Verdict
from router.streams.store.stories import StoryAbout

if TYPE_CHECKING:
    from collections.abc import Callable

    from handlers.handler import Handler
    from router.agents.effects import Effects
    from router.core.sealing import Sealer
    from router.streams.store.stories import StoryWriter


#: The result of an entry that has become a dead letter.
GIVEN_UP: Final = "given-up"
#: Seconds of the first wait for the key of a sealed entry.
SEALED: Final = 2.0
#: The results after which an answer has been sent, by this try or an earlier one.
_SENT: Final = frozenset({ReplyOutcome.SENT, ReplyOutcome.FOUND})


def subject_of(delivery: Delivery) -> str:
    """Return the conversation of an entry, the subject within which order is kept; never raises."""
    try:
        return str(orjson.loads(delivery.fields[b"event"])["data"]["conversation"]["id"])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return delivery.entry_id


def account_of(delivery: Delivery) -> str:
    """Return the account of an entry; raises LookupError or ValueError if it is not an entry."""
    return str(orjson.loads(delivery.fields[b"event"])["data"]["account_id"])


def lane_of(delivery: Delivery) -> str:
    """Return the lane of an entry: its account, its channel where it has one, and its type; raises as `account_of`."""
    event = orjson.loads(delivery.fields[b"event"])
    return f"{event['data']['account_id']} {event['data'].get('channel', '')} {event['type']}"


def facts_of(delivery: Delivery) -> dict[str, Any]:
    """Return the log fields of an entry that waits or fails: type, conversation, customer and message, masked."""
    event = orjson.loads(delivery.fields[b"event"])
    data = event["data"]
    customer = data.get("participant") or {}
    return {
        "type": event["type"],
        "conversation": data["conversation"]["id"],
        "customer": customer.get("id"),
        "channel": data.get("channel"),
        "address": mask(data["address"]) if data.get("address") else None,
        "event_id": data["cause"].get("event_id"),
        "message": (data.get("communication") or {}).get("channel_id") or data["cause"]["resource_id"],
    }


def about_entry(delivery: Delivery) -> StoryAbout:
    """Return the event behind an entry, for its story; raises as `account_of`.

    What time has caused (an offer that lapses) has no key: the entry itself is the event then.
    """
    event = orjson.loads(delivery.fields[b"event"])
    data = event["data"]
    cause, customer = data["cause"], data.get("participant") or {}
    return StoryAbout(
        cause.get("event_id") or event_id(cause["idempotency_key"] or event["id"]),
        data["account_id"],
        resource=cause["resource_id"] or "",
        conversation=data["conversation"]["id"],
        participant=customer.get("id"),
        addresses=tuple(filter(None, [canonicalize(data.get("channel") or "", data.get("address") or "")])),
    )


def _describe(error: ValidationError) -> str:
    """Return the problems and their places, without the values, which are people's addresses."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'event'}: {one['msg']}" for one in problems)


class Consumption:
    """Handles the entries of one group; a StreamConsumer calls `attempt`. `clock` is in seconds.

    `sealer` opens what customers write, so that handlers have it in the clear.
    `stories` gets the line of each entry that is handled; it is sent with the acknowledgement.
    """

    def __init__(
        self,
        name: str,
        handler: Handler,
        effects: Effects,
        *,
        sealer: Sealer = NO_KEYS,
        stories: StoryWriter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sealer = sealer
        self._stories = stories
        self._name = name
        self._handler = handler
        self._effects = effects
        self._clock = clock

    async def attempt(self, delivery: Delivery) -> Verdict:
        """Handle one delivery."""
        started_at = self._clock()
        try:
            entry = self._read(delivery)
        except ValidationError as error:
            return Poison(f"not an entry: {_describe(error)}")
        except TamperedError as error:
            return Poison(str(error))
        except SealedError as error:
            return Later(str(error), SEALED)
        try:
            result = await self._handle(entry, delivery.stream.partition)
        except SealedError as error:  # of what an earlier attempt has kept, or of the ledger
            return Later(str(error), SEALED)
        except NotYetError as error:
            return Later(str(error), error.delay, is_unsure=True)
        self._report(entry, result, (self._clock() - started_at) * 1000)
        self._tell(entry, result, delivery)
        return Done()

    def _read(self, delivery: Delivery) -> Entry:
        return read_entry(delivery.fields.get(b"event", b""), self._sealer)

    async def _handle(self, entry: Entry, partition: int) -> HandlerResult:
        reaction = self._handler.reactions.get(entry.type)
        if reaction is None:
            return HandlerResult("ignored")
        effect = self._effects.of(partition, entry.id)
        earlier = await effect.outcome()
        if earlier is not None:
            return HandlerResult("repeated", {"earlier": earlier})
        result = await reaction(entry, effect)
        await effect.end(result.word)
        return result

    def _tell(self, entry: Entry, result: HandlerResult, delivery: Delivery) -> None:
        """Add what became of an entry to its story.

        Death before the acknowledgement: the entry comes again, and its line is written then (result "repeated").
        """
        stories = self._stories
        if stories is None:
            return
        about, partition = about_entry(delivery), delivery.stream.partition
        if b"replayed" in delivery.fields:
            again_at = to_microseconds(delivery.text("replayed"))
            stories.add_stage(partition, about, StageName.REPLAYED, f"{entry.type} was put back", at=again_at)
        shown = "".join(f", {name} {value}" for name, value in result.fields.items() if value is not None)
        stories.add_stage(partition, about, StageName.CONSUMED, f"{entry.type}: {result.word}{masked(shown)}")
        if _SENT & {result.word, result.fields.get("reply")}:
            stories.add_stage(partition, about, StageName.SENT, f"the answer to {entry.type}")

    async def failing(self, delivery: Delivery, reason: str) -> None:
        """Let the handler act before an entry becomes a dead letter; raises RedisError, and nothing else."""
        if (react := self._handler.failing) is None:
            return
        try:
            entry = self._read(delivery)
            await react(entry, self._effects.of(delivery.stream.partition, entry.id), reason)
        except (RedisError, OSError):
            raise
        except (ValidationError, TamperedError, SealedError):
            return
        except Exception as error:  # noqa: BLE001 - the entry becomes a dead letter all the same
            log("failing.failed", level="error", entry=delivery.entry_id, error=describe_fully(error))

    async def given_up(self, delivery: Delivery) -> None:
        """Count and report an entry that has become a dead letter; the handler may tell the customer. Never raises."""
        started_at = self._clock()
        result = HandlerResult(GIVEN_UP, level="error")
        try:
            entry = self._read(delivery)
        except (ValidationError, TamperedError, SealedError):
            metrics.count("router_consumed", self._name, GIVEN_UP)
            return
        if (react := self._handler.given_up) is not None:
            try:
                result = await react(entry, self._effects.of(delivery.stream.partition, entry.id))
            except Exception as error:  # noqa: BLE001 - the dead letter is written, and nothing else is left to do
                result = HandlerResult(GIVEN_UP, {"error": describe_fully(error)}, level="error")
        self._report(entry, result, (self._clock() - started_at) * 1000)

    def _report(self, entry: Entry, result: HandlerResult, milliseconds: float) -> None:
        metrics.count("router_consumed", self._name, result.word)
        data = entry.data
        participant_data = data if isinstance(data, ParticipantData) else None
        fields = {
            "event_id": data.cause.event_id,
            "conversation": data.conversation.id,
            "customer": participant_data.participant.id if participant_data else None,
            "channel": participant_data.channel if participant_data else None,
            "address": mask(participant_data.address) if participant_data else None,
        }
        line = fields | dict(result.fields)
        log(
            "consumed",
            level=result.level,
            handler=self._name,
            type=entry.type,
            result=result.word,
            entry=entry.id,
            **line,
            ms=round(milliseconds, 2),
        )
