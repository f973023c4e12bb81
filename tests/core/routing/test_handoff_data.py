"""HandoffData: what the AI agent of a call says about the person that it asks for, whatever it writes."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import UnusableError
from router.core.policy import MAX_PRIORITY
from router.core.routing.commands import read_command
from router.core.routing.handoff_data import FAILED, HANDED_OVER, CallHandoff, read_handoff_data, request_of
from router.core.routing.holding import MAX_CONTEXT, MAX_DEPTH, MAX_SUMMARY, measure_context
from router.core.routing.queues import Queue
from router.core.routing.team import Team, TeamMember

PEOPLE = {
    "dana": TeamMember("dana", "Dana", 2, ("billing", "german")),
    "eli": TeamMember("eli", "Eli", 2, ("sales",)),
}
TEAM = Team(PEOPLE, {"invoices": Queue("invoices")})


def read(document, team=TEAM):
    return read_handoff_data(document if isinstance(document, str) else orjson.dumps(document).decode(), team)


def test_all_that_a_request_can_have():
    """Reason, summary, queue, skills and priority are read; all other fields are the context."""
    found = read(
        {
            "reason": "a refund",
            "summary": "paid twice",
            "queue": "invoices",
            "skills": ["billing", "german"],
            "priority": 3,
            "order": 7,
            "items": [{"sku": "a"}],
        }
    )
    assert found == CallHandoff(
        "a refund", "paid twice", "invoices", ("billing", "german"), 3, {"order": 7, "items": [{"sku": "a"}]}
    )


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"reasonCode": "live-agent-handoff"}, CallHandoff("live-agent-handoff")),
        ({"reasonCode": "live", "reason": "a wish"}, CallHandoff("a wish", context={"reasonCode": "live"})),
        ({"reason_code": "billing", "call_summary": "s"}, CallHandoff("billing", "s")),
        ({"Reason": "billing", "callSummary": "s"}, CallHandoff("billing", "s")),
        ({"handoff-reason": "billing", "conversationSummary": "s"}, CallHandoff("billing", "s")),
        ({"queueName": "invoices"}, CallHandoff(queue="invoices")),
        ({"skill": "billing, german"}, CallHandoff(skills=("billing", "german"))),
        ({"priority": "12"}, CallHandoff(priority=12)),
        ({"priority": 10**18}, CallHandoff(priority=MAX_PRIORITY)),
        ({"context": {"order": 7}, "mood": "bad"}, CallHandoff(context={"order": 7, "mood": "bad"})),
        ({}, CallHandoff()),
        ('"{\\"reason\\": \\"encoded twice\\"}"', CallHandoff("encoded twice")),
    ],
)
def test_spellings(document, expected):
    """Names are read in the spellings that examples and SDKs have, and one reason is enough."""
    assert read(document) == expected


@pytest.mark.parametrize(
    "document",
    [
        {"reason": 7},
        {"reason": " "},
        {"summary": ["a"]},
        {"queue": {"name": "invoices"}},
        {"skills": [1]},
        {"skills": {"billing": True}},
        {"priority": "high"},
        {"priority": -1},
        {"priority": True},
        {"priority": 1.5},
        {"context": "a text"},
        {"reason": None},
    ],
)
def test_a_field_of_the_wrong_kind_is_context(document):
    """Nothing that the agent gave is lost, and nothing of it fails the handoff."""
    assert read(document) == CallHandoff(context=document)


@pytest.mark.parametrize("text", ["please help", "[1, 2]", "null", "7", '"a text"', '{"reason": "bil', "{'reason': 1}"])
def test_a_text_that_is_no_object(text):
    """It is the context as a whole."""
    assert read(text) == CallHandoff(HANDED_OVER, context={"handoff_data": text})


def test_a_session_that_failed():
    """There is no data; the reason says so."""
    assert read("") == CallHandoff(FAILED)


def test_a_queue_that_does_not_exist():
    """The default queue takes the call, and the context says which one was meant."""
    found = read({"queue": "nowhere", "order": 7})
    assert (found.queue, found.context) == ("", {"order": 7, "unknown_queue": "nowhere"})
    assert read({"queue": "default"}).queue == "default"
    assert read({"queue": "nowhere"}, team=None).queue == "nowhere"


def test_skills_that_nobody_has():
    """Those that one person has together are asked for, and the context names the others."""
    found = read({"skills": ["billing", "sales", "german", "chess"]})
    assert (found.skills, found.context) == (("billing", "german"), {"unknown_skills": ["sales", "chess"]})
    assert read({"skills": ["chess"]}).skills == ()
    assert read({"skills": ["chess"]}, team=None).skills == ("chess",)


def test_half_of_a_surrogate_pair():
    """It becomes U+FFFD, in JSON and in a text."""
    assert read('{"reason": "\\ud83d!", "a\\udc00": 1}') == CallHandoff("\ufffd!", context={"a\ufffd": 1})
    assert read("help \ud83d").context == {"handoff_data": "help \ufffd"}
    assert read("\\ud83d").context == {"handoff_data": "\\ud83d"}


def test_a_context_that_is_too_large():
    """Whole fields are kept as long as there is room, and the context says how many are missing."""
    found = read({"reason": "r", "queue": "nowhere", "a": 1, "big": "x" * MAX_CONTEXT, "b": 2})
    assert found.context == {"unknown_queue": "nowhere", "a": 1, "b": 2, "left_out": 1}
    exact = {"a": "x" * (MAX_CONTEXT - len('{"a":""}'))}
    assert read(exact).context == exact
    many = read({f"field {number}": "é" * 100 for number in range(500)}).context
    assert MAX_CONTEXT - 300 < measure_context(many) <= MAX_CONTEXT
    assert many["left_out"] == 500 - len(many) + 1


def test_a_text_that_is_too_long():
    """It is cut to what a context holds; reason and summary to what a summary has."""
    (text,) = read("é\0" * MAX_CONTEXT).context.values()
    assert text.startswith("é\0é")
    assert MAX_CONTEXT * 3 // 4 < measure_context({"handoff_data": text}) <= MAX_CONTEXT
    found = read({"reason": "r" * 9000, "summary": "s" * 9000})
    assert (found.reason, found.summary) == ("r" * MAX_SUMMARY, "s" * MAX_SUMMARY)


def nest(depth):
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 200, 400, 2000])
def test_a_deep_context(depth):
    """A field that is nested too deep for other readers is left out, in a call as in a command."""
    found = read('{"reason": "r", "deep": ' + nest(depth) + ', "b": 2}')
    if depth <= 1000:
        assert (found.reason, found.context) == ("r", {"b": 2, "left_out": 1})
    else:  # no JSON for the parser, so it is a text
        assert found.context["handoff_data"].startswith('{"reason": "r", "deep": {"a":')
    data = '{"conversation": "c", "reason": "r", "context": ' + nest(depth) + "}"
    command = '{"type": "command.handoff.request", "id": "1", "data": ' + data + "}"
    with pytest.raises(UnusableError, match=r"nested|JSON|depth"):
        read_command({b"type": b"handoff.request", b"id": b"1", b"command": command.encode()})


def test_a_context_as_deep_as_allowed():
    """The bound itself is allowed."""
    assert measure_context(orjson.loads(nest(MAX_DEPTH))) is not None
    assert measure_context(orjson.loads(nest(MAX_DEPTH + 1))) is None


NAMES = st.sampled_from(["reason", "reasonCode", "summary", "queue", "skills", "priority", "context", "left_out"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(NAMES | st.text(max_size=8), VALUES, max_size=8).map(lambda one: orjson.dumps(one).decode())


ANY = st.text(st.characters(exclude_categories=()), max_size=100)


@given(ANY | DOCUMENTS, st.sampled_from([None, TEAM]))
def test_any_text_makes_a_request(text, team):
    """Whatever it is, it makes a request that can be written and read, of a queue and skills that exist."""
    found = read_handoff_data(text, team)
    request = request_of(found, home="a/c", key="k", now=1)
    assert type(request).model_validate_json(request.model_dump_json()) == request
    assert request.reason
    assert len(request.skills) <= 50
    assert 0 <= request.priority <= MAX_PRIORITY
    assert request.context is None or measure_context(request.context) <= MAX_CONTEXT
    assert team is None or (team.has_queue(request.queue) and team.has_skills(request.skills))


def test_one_webhook_makes_one_request():
    """The id comes from the webhook's key, and names the conversation so that an offer's id does."""
    first, again, other = (request_of(CallHandoff(), home="AC1/conv_1", key=key, now=1).id for key in ("a", "a", "b"))
    assert first == again != other
    assert first.startswith("AC1/conv_1/call-")
