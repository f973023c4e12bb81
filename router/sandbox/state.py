"""The state of one sandbox, and what every operation needs of it: ids, times, look-ups, events.

Kept in memory: every open conversation with its participants; of communications the newest `keep_communications` of a
conversation; of closed conversations the newest `keep_closed`; of operations and repeatable writes the last 1,000.
Handlers change it without an await in between, so each write is atomic within the one event loop.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from router.core.addresses import Channel, canonicalize
from router.core.ids import make_id
from router.sandbox.classic.memory import ClassicMemory
from router.sandbox.clock import SECOND, VirtualClock, format_time
from router.sandbox.errors import RefusalError, not_found
from router.sandbox.indexes import OwnerIndex, Timeline, TimerQueue
from router.sandbox.v2.configurations import load_configuration
from router.sandbox.v2.records import OperationRecord
from router.sandbox.v2.timers import next_change

if TYPE_CHECKING:
    import random

    from router.sandbox.classic.webhooks import ClassicWebhooks
    from router.sandbox.clock import Clock
    from router.sandbox.options import SandboxOptions
    from router.sandbox.v2.callbacks import StatusCallbacks
    from router.sandbox.v2.grouping import Key
    from router.sandbox.v2.records import (
        ConfigurationRecord,
        ConversationRecord,
        ConversationSettings,
        ParticipantRecord,
    )

KEEP_OPERATIONS: Final = 1_000


class SandboxState:
    """The sandbox's memory, its switches and its deliverers of webhooks."""

    def __init__(
        self,
        options: SandboxOptions,
        clock: Clock,
        entropy: random.Random,
        status_callbacks: StatusCallbacks,
        classic_webhooks: ClassicWebhooks,
    ) -> None:
        self.entropy = entropy
        self.status_callbacks = status_callbacks
        self.classic_webhooks = classic_webhooks
        self._initial_options = options
        self._base_clock = clock
        self.reset()

    def reset(self) -> None:
        """Return to the initial state and switches."""
        self.profiles: dict[str, str] = {}
        self.memories: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.use(self._initial_options)
        self.clock = VirtualClock(self._base_clock)
        self.conversations: Timeline[ConversationRecord] = Timeline()
        self.timers = TimerQueue(self.conversations)
        self.closed: OrderedDict[str, None] = OrderedDict()
        self.keys: OwnerIndex[tuple[str | None, Key]] = OwnerIndex()
        self.resource_ids: OwnerIndex[str] = OwnerIndex()
        self.operations: OrderedDict[str, OperationRecord] = OrderedDict()
        self.repeated_writes: OrderedDict[str, str] = OrderedDict()
        self.configurations: Timeline[ConfigurationRecord] = Timeline()
        self.classic = ClassicMemory(self.entropy)
        self.status_callbacks.clear()
        self.classic_webhooks.clear()
        for given in self.options.configurations:
            self.configurations.add(load_configuration(given, self.clock.moment()))

    def use(self, options: SandboxOptions) -> None:
        """Replace the switches; profiles are added to those of the memory store."""
        self.options = options
        self.profiles |= {canonical_name(name): profile for name, profile in options.profiles.items()}

    def now(self) -> int:
        """Return the sandbox's time, in µs since 1970."""
        return self.clock.now()

    def make_id(self, prefix: str, moment: int) -> str:
        """Return an id in the API's form, created at `moment`."""
        return make_id(prefix, millis=moment // 1000, entropy=self.entropy.getrandbits(74))

    def text(self, moment: int) -> str:
        """Return `moment` as the API writes it."""
        return format_time(moment, self.options.fraction_digits)

    def participant_wire(self, participant: ParticipantRecord) -> dict[str, Any]:
        """Return the JSON object of a participant."""
        return participant.to_wire(self.text, self.options.absent_name)

    def start_operation(self, related: dict[str, str]) -> OperationRecord:
        """Return a new operation of the control plane, about the resources in `related`."""
        moment = self.clock.moment()
        completes_at = moment + round(self.options.operation_seconds * SECOND)
        operation = OperationRecord(self.make_id("proc_job", moment), moment, completes_at, related)
        self.operations[operation.id] = operation
        if len(self.operations) > KEEP_OPERATIONS:
            self.operations.popitem(last=False)
        return operation

    def find_conversation(self, conversation_id: str) -> ConversationRecord:
        """Return the conversation; raises RefusalError (404)."""
        conversation = self.conversations.get(conversation_id)
        if conversation is None:
            raise not_found("Conversation", conversation_id)
        return conversation

    def find_open(self, conversation_id: str) -> ConversationRecord:
        """Return the conversation for a write; raises RefusalError, 404 or, if it is closed, 409 (switch: 400)."""
        conversation = self.find_conversation(conversation_id)
        if conversation.is_closed:
            raise RefusalError(self.options.closed_status, f"Conversation {conversation_id} is closed")
        return conversation

    def find_participant(self, conversation: ConversationRecord, participant_id: str) -> ParticipantRecord:
        """Return the participant; raises RefusalError (404)."""
        participant = conversation.participants.get(participant_id)
        if participant is None:
            raise not_found("Participant", participant_id)
        return participant

    def settings_of(self, conversation: ConversationRecord) -> ConversationSettings:
        """Return the settings in force: those of the opening or, where they are not pinned, the newest."""
        configuration_id = conversation.settings.configuration_id
        if self.options.pin_configuration or conversation.is_inline or configuration_id is None:
            return conversation.settings
        record = self.configurations.get(configuration_id)
        return record.settings if record else conversation.settings

    def schedule(self, conversation: ConversationRecord) -> None:
        """Schedule the next change of the conversation by a timer."""
        change = next_change(conversation, self.settings_of(conversation), self.options.channel_timeout)
        self.timers.schedule(conversation, change[0] if change else None)

    def emit(
        self, conversation: ConversationRecord, event_type: str, data: dict[str, Any], *, by_api: bool = True
    ) -> None:
        """Publish an event to the conversation's status callbacks; a write `by_api` only if its switch is on."""
        if by_api and not self.options.events_for_api_writes:
            return
        callbacks = conversation.callbacks
        if callbacks is None:
            callbacks = self.settings_of(conversation).callbacks
        if callbacks:
            event = {"eventType": event_type, "timestamp": self.text(self.clock.now()), "data": data}
            self.status_callbacks.publish(conversation.id, callbacks, event)


def canonical_name(name: str) -> str:
    """Return the form in which the memory store keeps a phone number or mailbox."""
    return canonicalize(Channel.EMAIL if "@" in name else Channel.WHATSAPP, name)
