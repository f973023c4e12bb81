"""The committed state of one conversation in a dict, changed as the commit script does it, without a server."""

from router.core.entries import DATA_TYPES, read_entry
from router.core.events import Version
from router.core.ledger.communications import take_communication
from router.core.ledger.ledger import Ledger
from tests.core.builders import CONVERSATION, make_cause, make_conversation, make_fact
from tests.support.accounts import ACCOUNT


def read_draft(draft):
    """Return the entry that a draft writes; its models would write the same, byte by byte."""
    event = draft.to_fields()["event"]
    entry = read_entry(event)
    assert entry.model_dump_json() == event
    assert type(entry.data) is DATA_TYPES[draft.type]
    assert (entry.type, entry.id, entry.subject, entry.data.target) == (
        draft.type,
        draft.id,
        draft.subject,
        draft.target,
    )
    return entry


class CommittedState:
    """The committed state of one conversation; a fresh ledger takes every fact, as in the worker."""

    def __init__(self):
        self.fields = {}
        self.entries = []
        self.claimed = set()

    def open(self, known=None):
        """Return a ledger of the committed state, of all fields or of the `known` ones."""
        fields = {name: value for name, value in self.fields.items() if known is None or name in known}
        return Ledger("router", ACCOUNT, CONVERSATION, fields, known=known)

    def commit(self, ledger):
        """Apply a ledger's changes as the commit script does."""
        if ledger.changes:
            for name, value in ledger.changes.items():
                if value is None:
                    self.fields.pop(name, None)
                else:
                    self.fields[name] = value
            self.fields["rev"] = str(ledger.revision + 1)
        entries = map(read_draft, ledger.entries)
        self.entries += [entry for entry in entries if self._is_new(ledger, entry)]

    def _is_new(self, ledger, entry):
        claim = ledger.claims.get(entry.id)
        names = set(claim.names) if claim else set()
        is_new = not names & self.claimed
        self.claimed |= names
        return is_new

    def publish(self, fact, limit=100):
        """Take a communication; return whether its author is announced."""
        ledger = self.open()
        is_published = take_communication(ledger, fact, text_limit=limit)
        self.commit(ledger)
        return is_published

    def _take(self, method, *args):
        ledger = self.open()
        outcome = getattr(ledger, method)(*args)
        self.commit(ledger)
        return outcome.result

    def see(self, *args, **changes):
        """Take a participant that is present."""
        return self._take("take_participant", make_fact(*args, **changes))

    def lose(self, *args, **changes):
        """Take a participant that has left."""
        return self._take("take_removal", make_fact(*args, **changes))

    def hang_up(self, call_sid, *args, **changes):
        """Take the end of a call."""
        ledger = self.open()
        outcome = ledger.take_call_end(make_fact(*args, **changes), call_sid)
        self.commit(ledger)
        return outcome.result

    def report(self, version=1, **changes):
        """Take a conversation's resource."""
        return self._take(
            "take_conversation",
            make_conversation(**changes),
            Version(version, version),
            make_cause("CONVERSATION_UPDATED"),
        )

    @property
    def types(self):
        """The types of the entries, in order."""
        return [entry.type for entry in self.entries]

    def marker(self, participant_id="p1"):
        """Return a participant's committed marker."""
        return self.open().marker(participant_id)
