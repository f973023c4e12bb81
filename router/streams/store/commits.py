"""The calls of the commit script: each has some ledgers of one partition.

Each ledger is committed or refused by itself (scripts/commit.lua). They share a call because sending one and reading
its answer costs this process several times what the script costs Redis. Gain, by `make bench`, with gathered commands
and parts: half of the CPU of a known customer's message, 0.4 of a new one's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from router.core.entries import Draft, sealed_fields
from router.core.formats import FORMAT, LEDGER
from router.core.keys import Target
from router.core.ledger.marker import BURST_FIELD, Hearing
from router.core.ledger.sealing import seal_changes
from router.core.ledger.turns import MAX_TURN_BYTES, WITH_TURN, TurnLedger, read_burst, show_heard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from router.core.keys import Keys
    from router.core.ledger.ledger import Ledger
    from router.core.sealing import Sealer
    from router.streams.store.recent import Recent

#: Conversations per call. Redis answers nothing else while the script runs: half a millisecond for this many.
MAX_LEDGERS: Final = 32
#: Seconds for which the ledger of a closed conversation is kept: longer than any event of it can still arrive (a
#: quarantined webhook may be replayed for two weeks), but limited, because most conversations are closed ones.
CLOSED_LIFE: Final = 30 * 86_400
#: Seconds and lines for which the journal of a conversation's decisions is kept.
JOURNAL_LIFE: Final = 30 * 86_400
MAX_JOURNAL: Final = 200
#: Index of each target's stream in the keys of a call.
_STREAMS: Final = {str(target): position for position, target in enumerate(Target, 2)}


@dataclass(slots=True)
class CommitCall:
    """One call of the script: `ledgers` in the order of its results, `hashes` their keys."""

    partition: int
    keys: list[str]
    args: list[Any] = field(default_factory=list)
    ledgers: list[Ledger] = field(default_factory=list)
    #: ms since 1970: the first of the timers that it sets.
    wake_at: int | None = None
    hashes: list[str] = field(default_factory=list)


class CommitCalls:
    """Makes the calls of one namespace; `marker_ttl` is in seconds, `clock` returns µs since 1970.

    With a `recent` the calls also note their conversations there as active.
    """

    def __init__(self, keys: Keys, *, marker_ttl: int, recent: Recent | None, clock: Callable[[], int]) -> None:
        self._keys = keys
        self._clock = clock
        self._marker_ttl = marker_ttl
        self._recent = recent
        self._to_fields: Callable[[Draft], dict[str, str]] = Draft.to_fields
        self._shared: dict[int, list[str]] = {}  # by partition: the same in every call

    def make(self, ledgers: Iterable[Ledger]) -> list[CommitCall]:
        """Return the calls that commit all of the ledgers."""
        open_calls: dict[int, CommitCall] = {}
        calls: list[CommitCall] = []
        for ledger in ledgers:
            partition = self._keys.partition_of(ledger.conversation_id)
            call = open_calls.get(partition)
            if call is None or len(call.ledgers) >= MAX_LEDGERS:
                call = open_calls[partition] = CommitCall(
                    partition, [*self._shared_keys(partition)], [self._keys.partitions]
                )
                calls.append(call)
            self._add(call, ledger)
        return calls

    def _shared_keys(self, partition: int) -> list[str]:
        if partition not in self._shared:
            streams = [self._keys.participants(partition, target) for target in Target]
            sets = self._recent.keys(partition) if self._recent is not None else []
            self._shared[partition] = [self._keys.fence(partition), *streams, *sets]
        return self._shared[partition]

    def _add(self, call: CommitCall, ledger: Ledger) -> None:
        keys, args = call.keys, call.args
        name = self._keys.conversation(ledger.account_id, ledger.conversation_id)
        call.ledgers.append(ledger)
        call.hashes.append(name)
        keys.append(name)
        life = min(self._marker_ttl, CLOSED_LIFE) if ledger.is_closed else self._marker_ttl
        args += (len(keys), ledger.revision, life)
        kept, removals = ledger.changes, list[str]()
        if None in kept.values():  # else no loop over the fields: a hundred steps of a new customer's message
            removals = [name for name, value in kept.items() if value is None]
            kept = {name: value for name, value in kept.items() if value is not None}
        sets = list(chain.from_iterable(kept.items()))
        if ledger.changes and ledger.fields.get(FORMAT) != LEDGER.current:
            sets += (FORMAT, LEDGER.current)
        args += (len(sets) // 2, *sets, len(removals), *removals, len(ledger.entries))
        for entry in ledger.entries:
            fields = self._to_fields(entry)
            args += (_STREAMS[entry.target], fields["type"], fields["id"], fields["event"])
            self._claim(ledger, entry.id, keys, args)
        note = [] if self._recent is None else self._note(self._recent, ledger)
        args += (len(_STREAMS) + 2, *note) if note else (0,)
        if ledger.wake_at is None:
            args.append(0)
        else:
            self._add_timer(call, ledger)
        if ledger.journal:
            keys.append(self._keys.journal(ledger.account_id, ledger.conversation_id))
            args += (len(keys), JOURNAL_LIFE, MAX_JOURNAL, len(ledger.journal), *ledger.journal)
        else:
            args.append(0)

    def _add_timer(self, call: CommitCall, ledger: Ledger) -> None:
        """Add when the conversation must be looked at, and the communications that are part of its turn."""
        heard = ledger.heard if isinstance(ledger, TurnLedger) else []
        call.keys.append(self._keys.timers(call.partition))
        wake_at = "" if ledger.wake_at == WITH_TURN else ledger.wake_at
        due = None if ledger.wake_at == WITH_TURN else ledger.wake_at
        call.args += (len(call.keys), f"{ledger.account_id} {ledger.conversation_id}", wake_at, len(heard))
        if heard:
            now, burst = self._clock() // 1000, read_burst(ledger.get(BURST_FIELD))
            for entry in ledger.entries:
                if entry.id in heard:
                    call.args += (entry.id, show_heard(self._to_fields(entry)["event"], now))
            call.args += (now + burst.quiet, burst.most, MAX_TURN_BYTES)
            due = min(now + burst.quiet, due or now + burst.quiet)
        if due is not None:
            call.wake_at = due if call.wake_at is None else min(due, call.wake_at)

    def _note(self, recent: Recent, ledger: Ledger) -> list[Any]:
        return recent.note(ledger.account_id, ledger.conversation_id, is_doubtful=ledger.is_doubtful)

    def _claim(self, ledger: Ledger, entry_id: str, keys: list[str], args: list[Any]) -> None:
        """Add the keys of an entry's claims and the script's arguments for them."""
        claim = ledger.claims.get(entry_id)
        if claim is None:
            args += (0, "", 0)
            return
        hearing = Hearing.CERTAIN if claim.is_certain else Hearing.ON_TRUST
        args += (claim.life, hearing, len(claim.names) + len(claim.shared))
        for name in claim.names:
            keys.append(self._keys.communication(ledger.account_id, ledger.conversation_id, name))
            args.append(len(keys))
        for name in claim.shared:
            keys.append(self._keys.communication(ledger.account_id, ledger.conversation_id, name))
            args.append(-len(keys))


class SealedCommitCalls(CommitCalls):
    """Makes calls that commit what customers write sealed: in entries, and in private fields of ledgers.

    A class of its own, so that without keys nothing is asked at each event.
    """

    def __init__(
        self, keys: Keys, *, marker_ttl: int, recent: Recent | None, clock: Callable[[], int], sealer: Sealer
    ) -> None:
        super().__init__(keys, marker_ttl=marker_ttl, recent=recent, clock=clock)
        self._sealer = sealer
        self._to_fields = partial(sealed_fields, sealer=sealer)

    def _add(self, call: CommitCall, ledger: Ledger) -> None:
        plain = ledger.changes
        ledger.changes = seal_changes(plain, self._sealer)
        try:
            super()._add(call, ledger)
        finally:
            ledger.changes = plain
