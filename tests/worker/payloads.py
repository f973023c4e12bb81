"""Resources as the Conversations API and its status callbacks show them, for tests to choose from and to report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router.core.timestamps import to_text
from router.core.values import replace
from tests.support.accounts import ACCOUNT, CUSTOMER, OURS

if TYPE_CHECKING:
    from router.simulator.messages import SimulatedWebhook
    from router.streams.delivery import Delivery
    from tests.worker.harness import WorkerHarness

CONVERSATION = "conv_conversation_00000000000000000000000001"
NOW = 1_767_787_200_000_000


def at(seconds: float) -> str:
    """The time as text, so many seconds after NOW."""
    return to_text(NOW + int(seconds * 1_000_000))


def person(
    number: int = 1,
    kind: str = "CUSTOMER",
    *,
    name: str | None = None,
    updated: float = 0.0,
    address: str = CUSTOMER,
    channel: str = "SMS",
) -> dict[str, Any]:
    """A participant as a callback shows it."""
    return {
        "id": f"conv_participant_{number:026d}",
        "conversationId": CONVERSATION,
        "accountId": ACCOUNT,
        "name": name,
        "type": kind,
        "profileId": None,
        "addresses": [{"channel": channel, "address": address, "channelId": None}],
        "createdAt": at(0),
        "updatedAt": at(updated),
    }


def conversation(status: str = "ACTIVE", *, updated: float = 0.0, name: str | None = None) -> dict[str, Any]:
    """A conversation as a callback shows it."""
    return {
        "id": CONVERSATION,
        "accountId": ACCOUNT,
        "configurationId": "conv_configuration_00000000000000000000000001",
        "status": status,
        "name": name,
        "createdAt": at(0),
        "updatedAt": at(updated),
    }


def participant_at(conversation: dict[str, Any], address: str = CUSTOMER) -> dict[str, Any]:
    """The participant at an address, as the API shows it."""
    return next(one for one in conversation["participants"] if one["addresses"][0]["address"] == address)


def participant_of(conversation: dict[str, Any], kind: str) -> dict[str, Any]:
    """The only participant of a type, as the API shows it."""
    (found,) = [one for one in conversation["participants"] if one["type"] == kind]
    return found


def spoken(
    harness: WorkerHarness, author: dict[str, Any], text: str = "hi", /, *, number: int = 1, **changes: Any
) -> SimulatedWebhook:
    """The callback of a communication; `author` is its participant, `number` makes another communication."""
    address = author["addresses"][0]
    communication = {
        "id": f"conv_communication_{number:026d}",
        "conversationId": author["conversationId"],
        "accountId": ACCOUNT,
        "author": {"participantId": author["id"], "channel": address["channel"], "address": address["address"]},
        "content": {"type": "TEXT", "text": text},
        "channelId": None,
        "recipients": [{"channel": address["channel"], "address": OURS}],
        "createdAt": "2026-01-07T12:00:00Z",
    }
    return harness.callback("COMMUNICATION_CREATED", communication | changes)


def redelivered(delivery: Delivery) -> Delivery:
    """The delivery, as it comes after a crash."""
    return replace(delivery, is_redelivered=True)
