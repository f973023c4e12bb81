"""URLs of calls: base, path, query and the route that reports show."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from router.conversations.urls import encode_query, fill_path, generalize, trim_base
from router.core.errors import RequestError


@pytest.mark.parametrize(
    ("given_base", "base"),
    [
        ("https://conversations.twilio.com", "https://conversations.twilio.com"),
        ("https://conversations.twilio.com/", "https://conversations.twilio.com"),
        ("https://conversations.twilio.com/v2", "https://conversations.twilio.com"),
        ("https://conversations.twilio.com/v2/", "https://conversations.twilio.com"),
        (" http://127.0.0.1:8080/v1// ", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/v2", "http://[::1]:8080"),
        ("https://proxy.example/twilio/v2", "https://proxy.example/twilio"),
        ("https://proxy.example/mv2", "https://proxy.example/mv2"),
    ],
)
def test_base(given_base, base):
    """Slashes and a version at the end of the base are removed; everything else is kept."""
    assert trim_base(given_base) == base


@pytest.mark.parametrize(
    "base",
    [
        "",
        "conversations.twilio.com",
        "ftp://host",
        "https://",
        "https://SK1:hunter2@host",
        "https://host?x=1",
        "https://host:hunter2",
        "https://host:99999",
        "https://[hunter2",
    ],
)
def test_wrong_base(base):
    """An impossible base is refused, and the error does not repeat it."""
    with pytest.raises(ValueError, match="base URL") as caught:
        trim_base(base)
    assert "hunter2" not in str(caught.value)


def test_ids_stay_in_their_segment():
    """An id fills one segment, whatever characters it has."""
    assert fill_path("/v2/Conversations/{id}/Participants", {"id": "a/b?c#d+é %"}) == (
        "/v2/Conversations/a%2Fb%3Fc%23d%2B%C3%A9%20%25/Participants"
    )


@pytest.mark.parametrize("value", ["", ".", "..", "\ud800"], ids=["empty", "dot", "dots", "surrogate"])
def test_values_that_are_no_ids(value):
    """A value that would name another resource is refused."""
    with pytest.raises(RequestError, match="conversation_id is not an id"):
        fill_path("/v2/Conversations/{conversation_id}", {"conversation_id": value})


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_every_id_survives(value):
    """Every text that is accepted as an id is one segment of the URL and can be read back."""
    if value in {".", ".."}:
        return
    url = URL("http://host" + fill_path("/v2/Conversations/{id}", {"id": value}))  # as aiohttp does
    assert url.raw_path.count("/") == 3
    assert unquote(url.raw_path.rpartition("/")[2]) == value


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_query_survives(value):
    """Every value of a query can be read back."""
    assert URL("http://host/?" + encode_query({"Address": value, "x": "1"})).query == {"Address": value, "x": "1"}


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/Services/IS0123/Conversations/CH0123/Participants", "/v1/Services/{}/Conversations/{}/Participants"),
        ("/v1/ParticipantConversations?Address=%2B15550100001", "/v1/ParticipantConversations"),
        ("/v2/Conversations/+15550100001", "/v2/Conversations/{}"),
    ],
)
def test_route_of_a_plain_path(path, route):
    """In the route of a path that was given without `ids`, every possible id is replaced."""
    assert generalize(path) == route


def test_query():
    """A list repeats its name, a plus is encoded, and non-ASCII text is UTF-8."""
    query = {"status": ["ACTIVE", "INACTIVE"], "Address": "whatsapp:+1555", "name": "é ñ"}
    assert encode_query(query) == "status=ACTIVE&status=INACTIVE&Address=whatsapp%3A%2B1555&name=%C3%A9%20%C3%B1"
