"""Commands: what is written is what is read."""

import pytest

from router.core.routing.commands import COMMANDS, read_command, write_command

HOLDER = {"conversation": "c", "agent": "dana", "epoch": 2}
OFFER = {"offer": "AC/c/r.1", "agent": "dana"}
DATA = {
    "handoff.request": {"conversation": "c", "reason": "a refund", "context": {"order": "4711"}, "skills": ["german"]},
    "offer.accept": OFFER,
    "offer.decline": OFFER,
    "conversation.say": HOLDER | {"text": "Grüße"},
    "conversation.release": HOLDER | {"note": "paid"},
    "conversation.transfer": HOLDER | {"to": {"queue": "refunds"}},
    "conversation.finish": HOLDER,
    "agent.available": {"agent": "dana", "life": 600},
    "agent.away": {"agent": "dana"},
    "agent.offline": {"agent": "dana"},
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_command_that_was_written_is_read(kind):
    """Type, id and data come back, and the subject keeps commands of a conversation in order."""
    fields = write_command(kind, "id-1", DATA[kind], source="/test")
    command = read_command({name.encode(): value.encode() for name, value in fields.items()})
    assert (command.type, command.id, command.raw) == (kind, "id-1", DATA[kind])
    assert command.subject == ("" if kind.startswith("agent.") else "c")
