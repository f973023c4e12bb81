"""Entries in one line for people."""

import pytest

from router.core.entries import DATA_TYPES
from router.core.keys import Target
from router.simulator.entry_text import describe, is_told_twice
from tests.support.entries import make_entry
from tests.test_docs import an_entry

CUSTOMER = {
    "id": "p",
    "conversation_id": "c",
    "account_id": "AC",
    "addresses": [{"channel": "SMS", "address": "+15551230001"}],
}
REQUEST = {"id": "r", "reason": "a refund", "queue": "default", "requested_at": "2026-11-30T10:00:00.000Z"}
OFFER = {"id": "r.1", "queue": "default", "reason": "a refund", "expires_at": "2026-11-30T10:00:20.000Z"}
DANA = {"identity": "dana", "name": "Dana"}
AI = {"target": "ai-agent", "agent": None}
SHE = {"target": "human-agent", "agent": "dana"}


@pytest.mark.parametrize(
    ("kind", "more", "text"),
    [
        ("handoff.requested", {"request": REQUEST}, "a person is asked for in queue default, because: a refund"),
        (
            "handoff.requested",
            {"request": REQUEST | {"asked_by": "eli"}},
            "a person is asked for by eli in queue default, because: a refund",
        ),
        ("offer.made", {"offer": OFFER, "agent": DANA}, "Dana is asked, until 10:00:20"),
        ("offer.ended", {"offer": OFFER, "agent": DANA, "how": "expired"}, "the offer to Dana has ended: expired"),
        (
            "holder.changed",
            {"from": AI, "to": SHE, "because": "accepted"},
            "ai-agent -> dana has the floor now, because: accepted",
        ),
        (
            "handoff.failed",
            {"request": REQUEST, "fallback": "wait"},
            "nobody accepted in queue default; fallback: wait",
        ),
        (
            "command.refused",
            {"command": {"type": "offer.accept", "data": {}}, "command_id": "1", "why": "offer-ended"},
            "offer.accept was refused, because: offer-ended",
        ),
    ],
)
def test_what_happened_to_the_floor_is_told_with_its_epoch(kind, more, text):
    """Who has a conversation, who is asked, and why; the customer's address is masked."""
    common = an_entry().data.model_dump() | {"target": Target.HUMAN_AGENT, "epoch": 3, "participant": CUSTOMER}
    line = describe(make_entry(DATA_TYPES[kind].model_validate(common | more), subject="p"))
    assert line.startswith(kind)
    assert line.endswith(f"epoch 3: {text}")
    assert "+15551230001" not in line


def test_the_epoch_of_others_is_shown_once_the_holder_has_changed():
    """Most conversations never change hands."""
    entry = an_entry()
    assert describe(entry).endswith("taken by ai-agent, because: default")
    later = entry.model_copy(update={"data": entry.data.model_copy(update={"epoch": 2})})
    assert describe(later).endswith("taken by ai-agent in epoch 2, because: default")


@pytest.mark.parametrize("target", list(Target))
def test_what_both_targets_are_told_is_shown_once(target):
    """The entry for people; what one target is told is never left out."""
    common = an_entry().data.model_dump() | {"target": target, "epoch": 3, "participant": CUSTOMER}
    changed = {"from": AI, "to": SHE, "because": "accepted"}
    entry = make_entry(DATA_TYPES["holder.changed"].model_validate(common | changed), subject="p")
    assert is_told_twice(entry) is (target == Target.AI_AGENT)
    assert not is_told_twice(an_entry())
