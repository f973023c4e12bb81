"""Responses become values or exceptions, by their HTTP status."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.conversations.responses import (
    MAX_ERROR_BODY,
    ApiProblem,
    RawResponse,
    parse_problem,
    parse_retry_after,
    to_error,
    to_model,
    to_response,
)
from router.core.errors import (
    AuthenticationError,
    ConflictError,
    NotFoundError,
    NotProcessedError,
    RateLimitError,
    RequestError,
    ServerError,
)
from router.core.resources import Conversation, Participant

OTHER = "conv_conversation_01k1etx3jbfx88476ccja0889c"
SHAPE_A = {"code": 20404, "message": "No such thing", "more_info": "https://example.com/20404", "status": 404}
SHAPE_B = {
    "code": 20003,
    "httpStatusCode": 401,
    "message": "Authenticate",
    "userError": True,
    "params": {"field": "addresses", "value": "+15550100001"},
}
SHAPE_C = {
    "type": "https://example.com/20001",
    "title": "Bad request",
    "status": 400,
    "code": 20001,
    "detail": "Two fields are wrong",
    "instance": "/v2/Conversations",
    "errors": [{"detail": "is required", "pointer": "/addresses"}, {"detail": "is unknown", "pointer": "/x"}],
}


def answer(status, data=None, headers=None, raw=None):
    body = raw if raw is not None else orjson.dumps(data)
    return RawResponse("POST /v2/Conversations", status, headers or {}, body)


def error(status, data=None, headers=None, raw=None):
    return to_error(answer(status, data, headers, raw), now=0.0)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(SHAPE_A, ApiProblem(20404, "No such thing"), id="A"),
        pytest.param(SHAPE_B, ApiProblem(20003, "Authenticate; addresses"), id="B"),
        pytest.param(
            SHAPE_C,
            ApiProblem(20001, "Bad request; Two fields are wrong; is required /addresses; is unknown /x"),
            id="C",
        ),
        pytest.param({"title": "Bad", "message": "half of C"}, ApiProblem(None, "half of C"), id="half-C"),
        pytest.param({"code": "20003"}, ApiProblem(20003), id="code-as-text"),
        pytest.param({"code": "E20003", "message": None}, ApiProblem(), id="code-as-word"),
        pytest.param({"code": True, "params": "x", "message": 7}, ApiProblem(None, "7"), id="odd-types"),
        pytest.param([1, 2], ApiProblem(), id="list"),
        pytest.param(None, ApiProblem(), id="null"),
    ],
)
def test_shapes(body, problem):
    """All three documented shapes are read; a body of another shape is an empty problem."""
    assert parse_problem(orjson.dumps(body)) == problem


@given(st.binary())
def test_any_error_body(body):
    """Any bytes can be read as an error body."""
    assert isinstance(parse_problem(body), ApiProblem)


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (400, RequestError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, NotFoundError),
        (409, ConflictError),
        (410, NotFoundError),
        *((status, RequestError) for status in (413, 414, 418, 422)),
        *((status, AuthenticationError) for status in (402, 407)),
        *((status, NotProcessedError) for status in (412, 420, 421, 423, 424, 425, 451)),
        *((status, NotProcessedError) for status in (405, 406, 411, 415, 417, 426, 428, 431)),
        *((status, NotProcessedError) for status in (463, 494, 495, 496, 497)),
        *((status, ServerError) for status in (408, 444, 460, 499)),
        (429, RateLimitError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
        (599, ServerError),
        (302, ServerError),
    ],
)
@pytest.mark.parametrize("body", [SHAPE_A, SHAPE_B, SHAPE_C], ids="ABC")
def test_status_decides(status, error_class, body):
    """The exception's class follows from the HTTP status, whatever code or status the body has."""
    caught = error(status, body)
    assert type(caught) is error_class
    assert (caught.status, caught.code) == (status, body["code"])
    assert orjson.loads(caught.body) == body
    assert f"POST /v2/Conversations: HTTP {status}" in str(caught)


@pytest.mark.parametrize("raw", [b"", b"<html>Bad gateway</html>", b"\xff\xfe"], ids=["empty", "page", "binary"])
def test_no_readable_reason(raw):
    """An error without a readable body has the class of its status."""
    caught = error(502, raw=raw)
    assert isinstance(caught, ServerError)
    assert "no reason given" in str(caught)


MAPPING = {"code": 400, "message": f"Address mapping already exists on conversation {OTHER}.", "status": 409}


def test_conflict_with_header():
    """The header names the conflicting resource, of any kind."""
    headers = {"X-Conflicting-Resource-Id": "conv_participant_01k1etx3jbfx88476ccja0889c"}
    assert error(409, MAPPING, headers).conflicting_id == "conv_participant_01k1etx3jbfx88476ccja0889c"


@pytest.mark.parametrize("headers", [{}, {"X-Conflicting-Resource-Id": " "}], ids=["none", "blank"])
def test_conflict_without_header(headers):
    """Without the header the id of the conversation is taken from the message."""
    caught = error(409, MAPPING, headers)
    assert caught.conflicting_id == OTHER
    assert caught.code == 400


def test_conflict_that_names_nothing():
    """A conflict may name no resource."""
    assert error(409, SHAPE_A).conflicting_id is None


def test_only_conflicts_conflict():
    """An id in the message of another error is not a conflicting resource."""
    assert error(400, MAPPING).conflicting_id is None


def test_addresses_are_masked():
    """Numbers and mailboxes in the API's message are masked in the exception's text; ids are not."""
    text = f"whatsapp:+15550100001, +1 (555) 010-0002, 15550100003 and ana@example.com conflict with {OTHER}"
    caught = str(error(400, {"message": text}))
    for private in ("5550100001", "010-0002", "5550100003", "ana@"):
        assert private not in caught
    assert OTHER in caught
    assert "+155***01" in caught


def test_error_is_bounded():
    """The text and the kept body have a bound, also with characters of several bytes."""
    caught = error(400, {"message": "é" * 100_000})
    assert len(str(caught)) < 400
    assert MAX_ERROR_BODY - 4 < len(caught.body.encode()) <= MAX_ERROR_BODY


def test_credentials_are_hidden_before_cutting():
    """A credential that a server echoes is hidden in text and body, also where the body is cut."""
    data = {"message": "hunter2", "echo": "x" * 2000 + "hunter2" * 20}
    caught = to_error(answer(500, data), now=0.0, hide=lambda text: text.replace("hunter2", "***"))
    assert "hunter" not in str(caught)
    assert "hu" not in caught.body


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("0", 0),
        ("3", 3),
        (" 1.5 ", 1.5),
        ("999999999", 86_400),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 1970 00:02:00 -0000", 20),
        ("Thursday, 01-Jan-70 00:02:00 GMT", 20),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
    ],
)
def test_retry_after(value, seconds):
    """Retry-After is read as seconds or an HTTP date, up to one day; anything else is None."""
    assert parse_retry_after(value, now=100.0) == seconds


@given(st.text())
def test_any_retry_after(value):
    """Any text can be read as Retry-After, and no wait is negative."""
    seconds = parse_retry_after(value, now=0.0)
    assert seconds is None or 0 <= seconds <= 86_400


def test_retry_after_by_the_servers_clock():
    """A date in Retry-After is relative to the Date of the response, because our clock may be wrong."""
    headers = {"Retry-After": "Sat, 01 Jan 2000 00:00:10 GMT", "Date": "Sat, 01 Jan 2000 00:00:00 GMT"}
    assert error(429, SHAPE_A, headers).retry_after == 10


@pytest.mark.parametrize("raw", [b"", b"  ", b"{", b"[]", b"null", b'"text"', b"\xff"])
def test_unreadable_success(raw):
    """A 2xx without a JSON object is a ServerError."""
    with pytest.raises(ServerError, match="HTTP 201 with") as caught:
        to_response(answer(201, raw=raw))
    assert caught.value.status == 201


def test_unknown_fields_and_values_are_kept():
    """Unknown fields and enum values are kept."""
    data = {"id": "p", "type": "ROBOT", "mood": "fine", "addresses": [{"channel": "FAX", "address": "1", "pages": 3}]}
    participant = to_model(Participant, data, route="GET /")
    assert participant.type == "ROBOT"
    assert participant.model_extra == {"mood": "fine"}
    assert participant.addresses[0].channel == "FAX"
    assert participant.addresses[0].model_extra == {"pages": 3}


def test_null_counts_as_missing():
    """A null is the model's default, at any depth."""
    data = {"id": "c", "accountId": None, "participants": [{"id": "p", "addresses": None, "name": None}]}
    conversation = to_model(Conversation, data, route="GET /")
    assert conversation.account_id == ""
    assert conversation.participants[0].addresses == ()


@pytest.mark.parametrize(
    ("data", "place"), [({}, "id"), ({"id": "p", "addresses": [{"address": "+15550100001"}]}, "addresses.0.channel")]
)
def test_misfit(data, place):
    """A resource that does not fit its model is a ServerError that names the field and no value."""
    with pytest.raises(ServerError, match=place) as caught:
        to_model(Participant, data, route="GET /v2/x", status=200)
    assert "15550100001" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_deep_nesting():
    """A deeply nested body is read without exhausting the stack."""
    deep = orjson.loads(b'{"a":' * 200 + b"null" + b"}" * 200)
    assert to_model(Conversation, {"id": "c", "configuration": deep}, route="GET /").id == "c"


def test_half_a_surrogate_pair_in_a_success():
    """A customer's cut text in an answer is no outage: the half is U+FFFD."""
    found = to_response(answer(200, raw=rb'{"name": "hi \ud83d"}'))
    assert found.data == {"name": "hi \ufffd"}


def test_half_a_surrogate_pair_in_an_error():
    """The code of an error is read although its message is cut within a character."""
    assert parse_problem(rb'{"code": 50433, "message": "hi \ud83d"}') == ApiProblem(50433, "hi \ufffd")
