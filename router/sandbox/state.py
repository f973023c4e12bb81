"""All that one sandbox knows, and the few things that every operation needs: ids, times, finding, telling.

Kept in memory: every open conversation with its participants; of communications the newest `keep_communications` of
a conversation; of closed conversations the newest `keep_closed`; of operations and repeated deletes the last 1,000.
Handlers change it without awaiting in between, so each write is atomic within the one event loop.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from router.core.addresses import Channel, canonicalize
from router.core.ids import make_id
from router.sandbox.classic.memory import ClassicMemory
from router.sandbox.clock import VirtualClock, format_time
from router.sandbox.errors import RefusalError, not_found
from router.sandbox.indexes import OwnerIndex, Timeline
from router.sandbox.v2.configurations import load_configuration
from router.sandbox.v2.timers import Timers

if TYPE_CHECKING:
    import random

    from router.sandbox.callbacks import Deliverer
    from router.sandbox.classic.hooks import ClassicHooks
    from router.sandbox.clock import Clock
    from router.sandbox.options import SandboxOptions
    from router.sandbox.v2.grouping import Key
    from router.sandbox.v2.records import (
        ConfigurationRecord,
        ConversationRecord,
        ConversationSettings,
        OperationRecord,
        ParticipantRecord,
    )

KEEP_OPERATIONS: Final = 1_000


class SandboxState:
    """The sandbox's memory; `use` replaces its options by others of the same identity."""

    def __init__(
        self,
        options: SandboxOptions,
        clock: Clock,
        entropy: random.Random,
        deliverer: Deliverer,
        classic_hooks: ClassicHooks,
    ) -> None:
        self.initial = options
        self.entropy = entropy
        self._deliverer = deliverer
        self.classic_hooks = classic_hooks
        self._base_clock = clock
        self.reset()

    def reset(self) -> None:
        """Go back to the state and the switches of the start."""
        self.profiles: dict[str, str] = {}
        self.use(self.initial)
        self.clock = VirtualClock(self._base_clock)
        self.timers = Timers()
        self.conversations: Timeline[ConversationRecord] = Timeline()
        self.closed: OrderedDict[str, None] = OrderedDict()
        self.keys: OwnerIndex[tuple[str | None, Key]] = OwnerIndex()
        self.resource_ids: OwnerIndex[str] = OwnerIndex()
        self.operations: OrderedDict[str, OperationRecord] = OrderedDict()
        self.repeated_deletes: OrderedDict[str, str] = OrderedDict()
        self.configurations: Timeline[ConfigurationRecord] = Timeline()
        self.classic = ClassicMemory(self.entropy)
        self.classic_hooks.forget()
        for given in self.options.configurations:
            self.configurations.add(load_configuration(given, self.clock.moment()))

    def use(self, options: SandboxOptions) -> None:
        """Take other switches; profiles are added to those that the memory store has."""
        self.options = options
        self.profiles |= {canonical_name(name): profile for name, profile in options.profiles.items()}

    def now(self) -> int:
        """Return the sandbox's time, in µs since 1970."""
        return self.clock.now()

    def make_id(self, prefix: str, moment: int) -> str:
        """Return an id of the API's form, born at `moment`."""
        return make_id(prefix, millis=moment // 1000, entropy=self.entropy.getrandbits(74))

    def text(self, moment: int) -> str:
        """Return `moment` as the API writes it."""
        return format_time(moment, self.options.fraction_digits)

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
        """Return the settings in force: those of the opening, or the newest where they are not pinned."""
        configuration_id = conversation.settings.configuration_id
        if self.options.pin_configuration or conversation.is_inline or configuration_id is None:
            return conversation.settings
        record = self.configurations.get(configuration_id)
        return record.settings if record else conversation.settings

    def schedule(self, conversation: ConversationRecord) -> None:
        """Plan the next look at the conversation's timers."""
        self.timers.schedule(conversation, self.settings_of(conversation), self.options.channel_timeout)

    def emit(
        self, conversation: ConversationRecord, event_type: str, data: dict[str, Any], *, by_api: bool = True
    ) -> None:
        """Tell the conversation's status callbacks; writes of the public API only if their switch is on."""
        if by_api and not self.options.events_for_api_writes:
            return
        callbacks = conversation.callbacks
        if callbacks is None:
            callbacks = self.settings_of(conversation).callbacks
        if callbacks:
            event = {"eventType": event_type, "timestamp": self.text(self.clock.now()), "data": data}
            self._deliverer.publish(conversation.id, callbacks, event)


def canonical_name(name: str) -> str:
    """Return the form in which the store knows a phone number or mailbox."""
    return canonicalize(Channel.EMAIL if "@" in name else Channel.WHATSAPP, name)
