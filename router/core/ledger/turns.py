"""Turns: what a customer says in one burst, published for the holder at once as `turn.ready`.

A conversation whose rule has a burst keeps it in the field `burst`. The commit that publishes a communication there
appends the entry to the field `turn` too, one line each: the time of the commit (ms) and the document. Whether a
communication was published before is known in the script of the commit only, which therefore appends. A turn is ready
when its customer has been quiet, or `most` after its first communication; the conversation's timer then leads a worker
here (streams.store.timers). It goes to whoever holds the conversation then. The closing ends open turns.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from router.core.entries import TurnData, draft_entry
from router.core.ledger.fields import FieldNotReadError
from router.core.ledger.ledger import Ledger
from router.core.ledger.marker import BURST_FIELD, TURN_FIELD
from router.core.resources import ConversationStatus
from router.core.sealed_texts import ENTRY, SEALED, open_texts, seal_document
from router.core.sealing import NO_KEYS, SealedKind
from router.core.timestamps import to_microseconds
from router.core.values import field

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.entries import Draft
    from router.core.events import Cause, Version
    from router.core.ledger.marker import Claim, Outcome
    from router.core.policy import Burst, Decision
    from router.core.resources import Conversation
    from router.core.sealing import Sealer

#: A turn with so many communications, or so many bytes of their entries, is ready at once.
MAX_COMMUNICATIONS: Final = 50
MAX_TURN_BYTES: Final = 131_072
#: In the place of `wake_at`: the turn needs a timer, the floor does not.
WITH_TURN: Final = -1
_STOP: Final = "STOP"
_START: Final = "START"


class BurstTimes(NamedTuple):
    """A burst in ms."""

    quiet: int
    most: int


class Heard(NamedTuple):
    """A communication of an open turn: its line, when it was committed (ms), and its entry's document."""

    line: str
    at: int
    document: dict[str, Any]


def show_burst(burst: Burst) -> str:
    """Return the value of the ledger's field."""
    return f"{round(burst.quiet * 1000)} {round(burst.most * 1000)}"


def read_burst(text: str | None) -> BurstTimes:
    """Parse the ledger's field; without one, whatever there is is ready at once."""
    quiet, _, most = (text or "0 0").partition(" ")
    return BurstTimes(int(quiet), int(most))


def show_heard(event: str, now: int) -> str:
    """Return the line of a communication that is committed at `now` (ms); `event` is the field of its entry."""
    return f"{now} {event}\n"


def seal_turn(text: str, sealer: Sealer) -> str:
    """Return the field `turn` with its documents sealed, as the commit appends them."""
    return _each_document(text, lambda document: seal_document(document, ENTRY, sealer, SealedKind.ENTRY))


def open_turn(text: str, sealer: Sealer) -> str:
    """Return the field `turn` with its documents in the clear; raises SealedError and TamperedError."""
    return _each_document(text, lambda document: _open(document, sealer))


def _each_document(text: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
    lines = (line.partition(" ") for line in filter(None, text.split("\n")))
    return "".join(f"{at} {json.dumps(change(json.loads(event)))}\n" for at, _, event in lines)


def _open(document: dict[str, Any], sealer: Sealer) -> dict[str, Any]:
    """Return a document without sealed values; raises SealedError and TamperedError."""
    if (sealed := document.get(SEALED)) is None:
        return document
    rest = {name: value for name, value in document.items() if name != SEALED}
    return rest | {"data": open_texts(sealed, document["data"], sealer, SealedKind.ENTRY)}


def _open_turns(ledger: Ledger) -> list[list[Heard]]:
    """Return the open turns in the order of their beginnings: one for each customer, more if they are full."""
    turns: dict[str, list[Heard]] = {}
    found: list[list[Heard]] = []
    for line in filter(None, (ledger.get(TURN_FIELD) or "").split("\n")):  # JSON escapes this character, not others
        at, _, event = line.partition(" ")
        heard = Heard(line, int(at), _open(json.loads(event), NO_KEYS))
        turn = turns.get(heard.document["subject"])
        if turn is None or _is_full(turn):
            turn = turns[heard.document["subject"]] = []
            found.append(turn)
        turn.append(heard)
    return found


def _is_full(turn: list[Heard]) -> bool:
    return len(turn) >= MAX_COMMUNICATIONS or sum(len(heard.line.encode()) for heard in turn) >= MAX_TURN_BYTES


def _due(turn: list[Heard], burst: BurstTimes) -> int:
    return 0 if _is_full(turn) else min(turn[-1].at + burst.quiet, turn[0].at + burst.most)


def next_turn(ledger: Ledger) -> int | None:
    """Return when the next turn of a conversation is ready (ms; it may have passed), None if nobody said anything."""
    burst = read_burst(ledger.get(BURST_FIELD))
    return min((_due(turn, burst) for turn in _open_turns(ledger)), default=None)


def publish_turns(ledger: Ledger, now: int | None) -> bool:
    """Publish the turns that are ready at `now` (ms; None: all open ones); return whether there is any.

    Each is named by its first communication, which belongs to no other.
    """
    if not ledger.get(TURN_FIELD):
        return False
    burst, left, before = read_burst(ledger.get(BURST_FIELD)), list[Heard](), len(ledger.entries)
    for turn in _open_turns(ledger):
        if now is None or ledger.is_closed or _due(turn, burst) <= now:
            ledger.entries.append(_draft(ledger, turn))
        else:
            left += turn
    left.sort(key=lambda heard: heard.at)
    ledger.put(TURN_FIELD, "".join(f"{heard.line}\n" for heard in left) or None)
    return len(ledger.entries) > before


def _draft(ledger: Ledger, turn: list[Heard]) -> Draft:
    """Return the entry of a turn; customer and cause are those of its last communication."""
    first, last = turn[0].document, turn[-1].document
    said = [heard.document["data"]["communication"] for heard in turn]
    data = {name: shown for name, shown in last["data"].items() if name != "communication"}
    data |= {
        "target": str(ledger.get("target")),
        "reason": str(ledger.get("reason")),
        "conversation": ledger.show_conversation(),
        "epoch": ledger.epoch,
        "communications": said,
        "opt_out": _opt_out(said),
    }
    return draft_entry(
        TurnData.type,
        data,
        namespace=ledger.namespace,
        subject=last["subject"],
        distinction=first["id"],
        occurred_at=to_microseconds(last["time"]) or 0,
    )


def _opt_out(said: list[dict[str, Any]]) -> str | None:
    """Return the keyword because of which a turn is not to be answered.

    After STOP Twilio refuses messages until START; a turn of nothing but keywords has been answered.
    """
    keywords = [one["opt_out"] for one in said]
    last = next((one for one in reversed(keywords) if one in {_STOP, _START}), None)
    if last == _STOP:
        return _STOP
    return keywords[-1] if all(keywords) else None


class TurnLedger(Ledger):
    """The ledger of a worker whose policy has bursts; `heard` are the entries to append to the turn, by id.

    A ledger of its own, so that without bursts communications cost what they did.
    """

    heard: list[str] = field(default_factory=list)

    def hold(self, decision: Decision) -> str:
        """Return the target as Ledger does; the burst of the first decision is kept with it."""
        is_first = self.get("target") is None
        held = super().hold(decision)
        if is_first and decision.asking.burst is not None:
            self.put(BURST_FIELD, show_burst(decision.asking.burst))
        return held

    def say(self, cause: Cause, fields: dict[str, Any], *, subject: str, name: str, claim: Claim) -> None:
        """Add a communication as Ledger does, to the open turn as well."""
        before = len(self.entries)
        super().say(cause, fields, subject=subject, name=name, claim=claim)
        if len(self.entries) > before and self.get(BURST_FIELD) is not None:
            self.heard.append(self.entries[-1].id)
            self.wake_at = WITH_TURN if self.wake_at is None else self.wake_at

    def take_conversation(self, conversation: Conversation, version: Version, cause: Cause) -> Outcome:
        """Take a conversation's state as Ledger does; before its closing come the turns that are open.

        Raises FieldNotReadError also if a communication in this ledger must be committed first.
        """
        is_closing = conversation.status == ConversationStatus.CLOSED and not self.is_closed
        if is_closing and self.get("target") is not None and self.get(BURST_FIELD) is not None:
            if self.heard:
                raise FieldNotReadError(TURN_FIELD)
            publish_turns(self, None)
        return super().take_conversation(conversation, version, cause)


def with_turns(ledger: Ledger) -> TurnLedger:
    """Return a ledger that was just read or made as one that keeps turns."""
    return TurnLedger(ledger.namespace, ledger.account_id, ledger.conversation_id, ledger.fields, ledger.known)
