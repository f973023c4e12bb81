"""The answers to commands, as entries tell them."""

import pytest

from router.core.routing.command_answers import EXPLANATIONS, CommandAnswer, CommandState, answer_of
from router.core.routing.holding import Why


def entry(kind="holder.changed", source="commands", key="an-id", **data):
    return {"type": kind, "data": {"epoch": 3, "cause": {"source": source, "idempotency_key": key}} | data}


def test_an_entry_that_a_command_caused_answers_it():
    """Its cause has the command's id, and the entry the epoch after it."""
    assert answer_of(entry()) == ("an-id", CommandAnswer(CommandState.DONE, epoch=3))


def test_a_refusal_says_why():
    """In the words of `command.refused`, and in a sentence for people."""
    refused = entry("command.refused", command_id="an-id", why="stale-epoch")
    command_id, answer = answer_of(refused)
    assert command_id == "an-id"
    assert answer.to_json() == {
        "state": "refused",
        "why": "stale-epoch",
        "epoch": 3,
        "explanation": EXPLANATIONS[Why.STALE_EPOCH],
    }


def test_every_refusal_has_a_sentence():
    """And one of a later release is shown as it is."""
    assert EXPLANATIONS.keys() == set(Why)
    assert CommandAnswer(CommandState.REFUSED, "too-late").explanation == "Refused: too-late."


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"data": "x"},
        entry(key=""),
        entry(source="messaging"),
        {"type": "command.refused", "data": {"command_id": 1, "why": "x"}},
        {"type": "holder.changed", "data": {"cause": None}},
    ],
)
def test_other_entries_answer_nothing(document):
    """What Twilio reported, what a deadline brought about, and nonsense."""
    assert answer_of(document) is None
