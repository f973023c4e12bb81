"""The committed state of one conversation, kept in a dict: what the commit script does, without a server."""

from router.core.entries import DATA_TYPES, read_entry
from router.core.events import Version
from router.core.ledger.communications import take_communication
from router.core.ledger.ledger import Ledger
from tests.core.builders import ACCOUNT, CONVERSATION, make_cause, make_conversation, make_fact


def is_as_the_models_write(draft):
    """Tell whether what is written without the models is what they would write, byte by byte."""
    fields = draft.to_fields()
    entry = read_entry(fields["event"])
    return entry.to_fields() == fields and type(entry.data) is DATA_TYPES[draft.type]


class Book:
    """What is committed of one conversation; every fact is taken by a fresh ledger, as the worker does it."""

    def __init__(self):
        self.fields = {}
        self.entries = []
        self.claimed = set()

    def open(self, known=None):
        """Return a ledger of what is committed."""
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
        for draft in ledger.entries:
            assert is_as_the_models_write(draft)
        self.entries += [entry for entry in ledger.entries if self._is_new(ledger, entry)]

    def _is_new(self, ledger, entry):
        claim = ledger.claims.get(entry.id)
        names = set(claim.names) if claim else set()
        is_new = not names & self.claimed
        self.claimed |= names
        return is_new

    def hear(self, fact, limit=100):
        """Take in that something was said; tell whether somebody announced said it."""
        ledger = self.open()
        is_heard = take_communication(ledger, fact, text_limit=limit)
        self.commit(ledger)
        return is_heard

    def _take(self, method, *args):
        ledger = self.open()
        outcome = getattr(ledger, method)(*args)
        self.commit(ledger)
        return outcome.result

    def see(self, *args, **changes):
        """Take in that a participant is there."""
        return self._take("take_participant", make_fact(*args, **changes))

    def lose(self, *args, **changes):
        """Take in that a participant has left."""
        return self._take("take_removal", make_fact(*args, **changes))

    def hang_up(self, call_sid, *args, **changes):
        """Take in that a call is over."""
        ledger = self.open()
        outcome = ledger.take_call_end(make_fact(*args, **changes), call_sid)
        self.commit(ledger)
        return outcome.result

    def tell(self, version=1, **changes):
        """Take in what a conversation's resource tells."""
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
        """Return what is committed of a participant."""
        return self.open().marker(participant_id)
