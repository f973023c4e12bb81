"""What was written into a form of the desk is on the page that says why it was not sent, whatever has failed."""

import html
import re

import pytest
from redis.exceptions import NoPermissionError

from router.console import app
from router.streams.client.connection import RedisError
from router.streams.client.scripts import NotReplicatedError
from tests.console.desk.office import hidden_fields

TEXT = "a long & careful answer"
_SHOWN = re.compile(r'<textarea id="kept-text"[^>]*>\n(.*?)</textarea>', re.DOTALL)


@pytest.fixture
async def dana(office, colleagues):
    """A person with a conversation, and the filled-in form of a reply in it."""
    person = await colleagues("dana")
    async with person.page():
        person.held = await office.hold(person)
        person.path = f"/desk/conversations/{person.held}/reply"
        person.fields = await person.form(person.path.removesuffix("/reply"), "/reply") | {"text": TEXT}
        yield person


def kept(page):
    """The fields of the kept form."""
    return hidden_fields(page, "/reply") | {"text": html.unescape(_SHOWN.search(page)[1])}


async def test_a_reply_that_meets_an_outage_is_kept(office, dana, monkeypatch):
    """Even if nobody can tell who sends it; sent again from that page, it goes out once."""

    async def fail(*_, **__):
        raise RedisError("away")

    with monkeypatch.context() as patch:
        patch.setattr(app, "identify", fail)
        status, headers, page = await dana.send(dana.path, dana.fields)
    assert (status, headers["Retry-After"]) == (503, "5")
    assert kept(page) == dana.fields
    assert "it is done once" in page
    for _ in range(2):
        assert (await dana.send(dana.path, kept(page)))[0] == 303
    assert (await office.sandbox.texts(dana.held)).count(TEXT) == 1


async def test_a_reply_after_the_session_has_ended_is_kept(office, dana):
    """The page does not lead away to sign in; after that, the same form goes out."""
    dana.session.cookie_jar.clear()
    status, headers, page = await dana.send(dana.path, dana.fields)
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "You are signed out" in page
    assert kept(page) == dana.fields
    assert await dana.sign_in("dana") == 303
    status, _, page = await dana.send(dana.path, kept(page))
    assert (status, "You have signed in anew. Press Try again once more." in page) == (403, True)
    assert (await dana.send(dana.path, kept(page)))[0] == 303
    assert (await office.sandbox.texts(dana.held)).count(TEXT) == 1


async def test_a_reply_that_fails_for_a_reason_of_ours_is_kept(dana, ports, monkeypatch):
    """A bug of the console does not take it."""

    async def fail(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(ports.desk.reader, "find", fail)
    status, _, page = await dana.send(dana.path, dana.fields)
    assert (status, kept(page)) == (500, dana.fields)


@pytest.mark.parametrize(
    ("error", "status", "level", "said"),
    [
        (RedisError("away"), 503, "warning", "Redis has not confirmed it"),
        (NotReplicatedError("0 of 1"), 503, "warning", "Redis has not confirmed it"),
        (NoPermissionError("no rights"), 500, "error", "Redis has refused this"),
    ],
    ids=["outage", "not replicated", "refusal"],
)
async def test_what_redis_answers_to_a_reply_is_told_apart(dana, ports, lines, monkeypatch, error, status, level, said):
    """An outage ends by itself, a refusal does not; the log has both, and either way the text is kept."""

    async def fail(_):
        raise error

    monkeypatch.setattr(ports.desk.sender, "write", fail)
    found, _, page = await dana.send(dana.path, dana.fields)
    assert (found, kept(page), said in page) == (status, dana.fields, True)
    assert [one["level"] for one in lines("console.failed")] == [level]


async def test_a_form_of_another_site_is_not_kept(dana):
    """Its text does not get into a page of ours, with a token that would make it a person's own."""
    status, _, page = await dana.request(
        "POST", dana.path, data=dana.fields | {"csrf": "x"}, headers={"Origin": "https://example.org"}
    )
    assert status == 403
    assert TEXT not in html.unescape(page)


async def test_a_form_that_cannot_be_read_is_refused_as_any(dana):
    """There is nothing to keep."""
    status, _, page = await dana.request("POST", dana.path, data=b"x" * 300_000)
    assert (status, "kept-text" in page) == (413, False)
