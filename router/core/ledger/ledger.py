"""The ledger of a conversation: pure decisions behind promises 2 and 3 (announced once, in order).

A ledger starts with the fields of the conversation's hash, takes facts, and collects the fields to change and the
entries to publish. The commit script applies both atomically if the revision is still the one that was read, else the
worker reads again and repeats: optimistic, without locks that a dead process could hold.
The fields are listed in core.ledger.marker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.addresses import Channel
from router.core.entries import (
    ClosedData,
    CommunicationData,
    Draft,
    EntryData,
    JoinedData,
    LeftData,
    ParticipantData,
    UpdatedData,
    draft_entry,
    show_cause,
    show_customer,
    show_participant,
)
from router.core.events import Cause, Version
from router.core.handoff_models import CommandRefusedData
from router.core.keys import Target
from router.core.ledger.aliases import forget_aliases, restore_aliases
from router.core.ledger.calls import hang_up, is_another_call, see_calls
from router.core.ledger.fields import LedgerFields
from router.core.ledger.floor import Telling, holding_of, is_of_earlier_release, open_floor, take_input
from router.core.ledger.marker import (
    Marker,
    Outcome,
    ParticipantFact,
    Result,
    address_field,
    keys_of,
    make_marker,
)
from router.core.resources import Conversation, ConversationStatus, Participant
from router.core.routing.inputs import CloseFloor
from router.core.routing.journal import write_line
from router.core.values import field

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.core.ledger.marker import Claim
    from router.core.policy import Decision
    from router.core.routing.holding import Holding
    from router.core.routing.inputs import Input
    from router.core.routing.transitions import Step

_OLDER: Final = "older than the committed state"


class Ledger(LedgerFields):
    """The committed state of one conversation, and what the facts taken so far add to it.

    `claims` belong to entries (by id) that are published once, whichever source reports them; the commit sets
    `repeated` to those that were published before. `is_closing` if one of the facts was the closing, known before or
    not. `is_doubtful` if a participant came to an address at which another
    is announced, whose departure may be reported late or never.
    """

    entries: list[Draft] = field(default_factory=list)
    claims: dict[str, Claim] = field(default_factory=dict)
    repeated: frozenset[str] = frozenset()
    is_committed: bool = False
    is_doubtful: bool = False
    is_closing: bool = False
    #: ms since 1970: when the conversation's floor must be looked at again; None: as before (turns.WITH_TURN too).
    wake_at: int | None = None
    #: Lines for the journal of decisions (core.routing.journal).
    journal: list[str] = field(default_factory=list)

    @property
    def has_news(self) -> bool:
        """Whether there is something to commit; entries alone do not change the revision."""
        return not self.is_committed and bool(self.changes or self.entries)

    def take_participant(self, fact: ParticipantFact) -> Outcome:
        """Take a participant that is in the conversation; announce it if it is new and has a target."""
        if self.is_closed:
            return Outcome(Result.GONE, "the conversation is closed")
        participant, marker = fact.participant, self.marker(fact.participant.id)
        if marker is not None and fact.version < marker.version:
            return Outcome(Result.STALE, _OLDER)
        if marker is not None and not marker.is_present and fact.version == marker.version:
            return Outcome(Result.STALE, "it has left")
        calls = see_calls(self, fact, marker)
        if calls.are_over:
            return Outcome(Result.STALE, "its call is over")
        if marker is not None and marker.is_announced and not calls.is_new:
            return self._update(fact, marker._replace(calls=calls.known))
        return self._announce(participant, fact, marker, calls.known)

    def _announce(
        self, participant: Participant, fact: ParticipantFact, marker: Marker | None, calls: tuple[str, ...]
    ) -> Outcome:
        outcome = self._objection(fact, marker, calls)
        if outcome and marker is not None and marker.is_announced:
            return outcome  # for a further call: the stay continues
        stay = marker.stay + (0 if marker.is_present and not marker.is_announced else 1) if marker else 1
        is_first = self.get("target") is None
        target = None if outcome else self.hold(fact.decision)
        was_ours = bool(marker and marker.is_ours)
        aliases = marker.aliases if marker else ()
        fresh = make_marker(
            participant, fact, stay=stay, target=target, was_ours=was_ours, calls=calls, aliases=aliases
        )
        is_change = marker is None or (marker.digest, marker.is_present) != (fresh.digest, True)
        self.put_marker(participant.id, fresh)
        if outcome:
            return outcome if is_change else Outcome(Result.KNOWN, outcome.reason)
        for key in fresh.addresses:
            self.put(address_field(key), participant.id)
        restore_aliases(self, participant.id, aliases)
        self._publish(JoinedData, fact, distinction=str(stay), origin=fact.origin, opt_out=fact.opt_out)
        if is_first and target == Target.HUMAN_AGENT:
            self._open_floor(fact)
        elif target == Target.HUMAN_AGENT:
            self._look_at_floor(fact)  # nobody is asked for if all customers had left
        return Outcome(Result.JOINED, str(self.get("reason")))

    def _objection(self, fact: ParticipantFact, marker: Marker | None, calls: tuple[str, ...]) -> Outcome | None:
        """Return the reason not to announce a participant, or None."""
        if fact.is_ours or (marker is not None and marker.is_ours):
            return Outcome(Result.IGNORED, "our own side")
        if fact.decision.target is None:
            return Outcome(Result.IGNORED, fact.decision.reason)
        if not fact.participant.addresses and fact.address is None:
            return Outcome(Result.IGNORED, "it has no address yet")
        for key in keys_of(fact):
            holder = self.get(address_field(key))
            is_other = holder is not None and holder != fact.participant.id
            if is_other and not is_another_call(self, key, calls, str(holder)):
                self.is_doubtful = True
                return Outcome(Result.IGNORED, f"its address is announced as {holder}")
        return None

    def hold(self, decision: Decision) -> str:
        """Return the conversation's target: the first decision is kept until it closes."""
        held = self.get("target")
        if held is None:
            held = str(decision.target)
            self.put("target", held)
            self.put("reason", decision.reason)
        return held

    def _update(self, fact: ParticipantFact, marker: Marker) -> Outcome:
        participant = fact.participant
        stay, target, was_ours, calls = marker.stay, marker.target, marker.is_ours, marker.calls
        fresh = make_marker(
            participant, fact, stay=stay, target=target, was_ours=was_ours, calls=calls, aliases=marker.aliases
        )
        if fresh.digest == marker.digest:
            self._date(participant.id, marker, fact.version)
            return Outcome(Result.KNOWN, "already announced")
        if fact.version == marker.version:
            return Outcome(Result.KNOWN, "no newer than the committed state")
        self.put_marker(participant.id, fresh)
        forget_aliases(self, participant.id, set(marker.addresses) - {*fresh.addresses, *marker.aliases})
        restore_aliases(self, participant.id, fresh.addresses)
        updated_at, reported_at = fact.version
        self._publish(UpdatedData, fact, distinction=f"{updated_at}.{reported_at}.{fresh.digest}")
        return Outcome(Result.UPDATED, str(self.get("reason")))

    def _date(self, participant_id: str, marker: Marker, version: Version) -> None:
        """Note that a marker was still correct at `version`: older facts are stale."""
        self.put_marker(participant_id, marker._replace(version=version))

    def take_removal(self, fact: ParticipantFact) -> Outcome:
        """Take a participant that has left: its stay ends, and older facts change nothing."""
        participant, marker = fact.participant, self.marker(fact.participant.id)
        if self.is_closed:
            return Outcome(Result.STALE, "the conversation is closed")
        if marker is not None and fact.version < marker.version:
            return Outcome(Result.STALE, _OLDER)
        if marker is not None and not marker.is_present:
            self._date(participant.id, marker, fact.version)
            return Outcome(Result.KNOWN, "it had left already")
        stay, was_ours, aliases = (marker.stay, marker.is_ours, marker.aliases) if marker else (0, False, ())
        calls = marker.calls if marker else ()  # which may go on: a caller waits for a person on the line
        left = make_marker(participant, fact, stay=stay, target=None, was_ours=was_ours, calls=calls, aliases=aliases)
        return self.end_stay(fact, marker, left)

    def take_call_end(self, fact: ParticipantFact, call_sid: str) -> Outcome:
        """Take the end of a call; `fact` is the caller as last seen. Raises FieldNotReadError."""
        if self.is_closed:
            return Outcome(Result.STALE, "the conversation is closed")
        left = hang_up(self, fact.participant.id, call_sid)
        if isinstance(left, Outcome):
            self._look_at_floor(fact)
            return left
        return self.end_stay(fact, self.marker(fact.participant.id), left)

    def end_stay(self, fact: ParticipantFact, marker: Marker | None, left: Marker) -> Outcome:
        """Replace the `marker` of a participant that is gone by `left`; publish that if it had been announced."""
        participant = fact.participant
        keys = marker.addresses + marker.aliases if marker else tuple(one.key for one in participant.addresses)
        forget_aliases(self, participant.id, keys)
        self.put_marker(participant.id, left._replace(is_present=False))
        if marker is None or marker.target is None:
            return Outcome(Result.NOTED, "it had not been announced")
        self._publish(LeftData, fact, distinction=str(marker.stay))
        self._look_at_floor(fact)  # whoever leaves while they wait leaves the line
        return Outcome(Result.LEFT, str(self.get("reason")))

    def take_conversation(self, conversation: Conversation, version: Version, cause: Cause) -> Outcome:
        """Take a conversation's state; its closing ends all stays and is published to its holder."""
        is_closing = conversation.status == ConversationStatus.CLOSED
        self.is_closing = self.is_closing or is_closing
        if self.is_closed:
            return Outcome(Result.KNOWN, "already closed")
        known = self.get("version")
        if known is not None and version < _read_version(known) and not is_closing:
            return Outcome(Result.STALE, _OLDER)
        has_floor = is_closing and self.get("target") is not None and self.get("epoch") is not None
        holding = holding_of(self) if has_floor else None  # as it was while the conversation was open
        self.note_conversation(conversation, version)
        self.put("version", f"{version.updated_at}.{version.reported_at}")
        if not is_closing:
            return Outcome(Result.NOTED, f"the conversation is {conversation.status}")
        if self.get("target") is None:
            return Outcome(Result.NOTED, "closed, nobody had been announced in it")
        if holding is not None:
            self.take_floor(holding, CloseFloor(), cause)
            self.wake_at = cause.received_at // 1000
        self.publish(ClosedData, cause, subject=self.conversation_id, distinction="closed")
        return Outcome(Result.CLOSED, str(self.get("reason")))

    def _publish(self, model: type[ParticipantData], fact: ParticipantFact, *, distinction: str, **extra: Any) -> None:
        participant = fact.participant
        shown = fact.address or (participant.addresses[0].as_address() if participant.addresses else None)
        recipient = fact.recipient or (self.recipient(shown.channel) if shown else None)
        self.publish(
            model,
            fact.cause,
            subject=participant.id,
            distinction=distinction,
            **show_customer(shown, recipient, fact.person, self._aliases(participant.id, shown)),
            participant=show_participant(participant, account_id=self.account_id, conversation_id=self.conversation_id),
            **extra,
        )

    def _aliases(self, participant_id: str, shown: Address | None) -> tuple[str, ...]:
        """Return the keys of a WhatsApp user's other addresses, which may be its ids."""
        marker = self.marker(participant_id) if shown and shown.channel == Channel.WHATSAPP else None
        return marker.addresses + marker.aliases if marker else ()

    def publish(self, model: type[EntryData], cause: Cause, *, subject: str, distinction: str, **fields: Any) -> None:
        """Add an entry for the holder; `fields` are those of its model beyond EntryData."""
        data = self._data(cause, fields)
        self.entries.append(self._to_entry(model.type, data, cause, subject=subject, name=distinction))

    def again(self) -> Ledger:
        """Return the ledger as it is after its commit, without reading it."""
        rev = str(self.revision + bool(self.is_committed and self.changes))
        return Ledger(self.namespace, self.account_id, self.conversation_id, self.fields | {"rev": rev}, self.known)

    def take_floor(self, holding: Holding, given: Input, cause: Cause, **noted: Any) -> Step:
        """Apply an input to the floor that `holding_of` gave; publish and note what happened, unless refused."""
        step, told = take_input(self, holding, given)
        if step.refused is None:
            self.journal.append(write_line(step, given, cause, **noted))
        for epoch, telling in told:
            self._tell(telling, cause, epoch)
        return step

    def refuse(self, cause: Cause, targets: tuple[Target, ...], fields: dict[str, Any]) -> None:
        """Publish that a command is refused; `fields` are those of CommandRefusedData beyond EntryData."""
        name = str(fields["command_id"])
        self._tell(Telling(CommandRefusedData, targets, self.conversation_id, name, fields), cause, self.epoch)

    def _open_floor(self, fact: ParticipantFact) -> None:
        """Ask for a person, if the target of a conversation that begins is people."""
        now = fact.cause.received_at // 1000
        customer = show_participant(
            fact.participant,
            account_id=self.account_id,
            conversation_id=self.conversation_id,
            channel=fact.address.channel if fact.address else None,
        )
        self._tell(open_floor(self, fact.decision, customer, now), fact.cause, 0)
        self.wake_at = now

    def _look_at_floor(self, fact: ParticipantFact) -> None:
        """Let a worker see what a customer who came or left means to the floor, if there is one."""
        if self.get("epoch") is not None:
            self.wake_at = fact.cause.received_at // 1000

    def _tell(self, telling: Telling, cause: Cause, epoch: int) -> None:
        for target in telling.targets:
            data = self._data(cause, telling.fields) | {"target": str(target), "epoch": epoch}
            name = f"{telling.name}>{target}"
            self.entries.append(self._to_entry(telling.model.type, data, cause, subject=telling.subject, name=name))

    def say(self, cause: Cause, fields: dict[str, Any], *, subject: str, name: str, claim: Claim) -> None:
        """Add a communication by `subject`, known by `name`, unless this ledger or the commit finds it published.

        `fields` are those of CommunicationData beyond EntryData.
        """
        draft = self._to_entry(CommunicationData.type, self._data(cause, fields), cause, subject=subject, name=name)
        earlier = self.claims.get(draft.id)
        self.claims[draft.id] = claim.also(earlier) if earlier else claim
        if not earlier:
            self.entries.append(draft)

    def _to_entry(self, kind: str, data: dict[str, Any], cause: Cause, *, subject: str, name: str) -> Draft:
        return draft_entry(
            kind, data, namespace=self.namespace, subject=subject, distinction=name, occurred_at=cause.received_at
        )

    def _data(self, cause: Cause, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the data of an entry: the fields that all have, and its own."""
        common = self.fields
        target = str(common.get("target"))
        if target == Target.HUMAN_AGENT and is_of_earlier_release(self):
            self.wake_at = cause.received_at // 1000  # for a request, unless somebody is there (worker.floor)
        return {
            "target": target,
            "reason": str(common.get("reason")),
            "account_id": self.account_id,
            "conversation": self.show_conversation(),
            "epoch": self.epoch,
            "cause": show_cause(cause),
            **fields,
        }

    def show_conversation(self) -> dict[str, str | None]:
        """Return the conversation in the shape of EntryConversation."""
        fields = self.fields  # these are COMMON_FIELDS: every read has them
        return {
            "id": self.conversation_id,
            "configuration_id": fields.get("configuration_id"),
            "status": fields.get("status"),
            "classic_sid": fields.get("classic_sid"),
        }


def _read_version(text: str) -> Version:
    updated_at, _, reported_at = text.partition(".")
    return Version(int(updated_at), int(reported_at))
