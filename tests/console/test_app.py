"""Pages of the console: for people and programs, and what they say when something is wrong."""

import asyncio
import json
from dataclasses import replace

import pytest
from pydantic import BaseModel
from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError, ResponseError

from router import metrics
from router.console.app import make_app
from router.console.hub import Hub
from router.console.pages import ConsoleError, Live, LiveEvent, Page, Parameter, Redirect, Role, View
from router.console.table import PAGES
from router.streams.client.connection import connect
from router.streams.client.scripts import NotReplicatedError
from router.streams.store.audit import AuditLog
from router.streams.store.sign_ins import SignIns
from tests.console.people import PEOPLE, Visitor, bearer
from tests.harness.serving import serving
from tests.support.waiting import scaled, until


async def test_a_person_signs_in_looks_and_signs_out(visitors):
    """The form leads to the first page of the role, the account page names the user, and signing out ends it."""
    visitor = await visitors()
    status, headers, _ = await visitor.get("/account")
    assert (status, headers["Location"]) == (303, "/sign-in?next=/account")
    assert await visitor.sign_in(PEOPLE[Role.VIEWER]) == 303
    status, _, text = await visitor.get("/account")
    assert status == 200
    assert "<dd>vera</dd>" in text
    status, headers, _ = await visitor.post("/sign-out")
    assert (status, headers["Location"]) == (303, "/sign-in")
    assert (await visitor.get("/account"))[0] == 303


async def test_a_program_gets_json_at_the_same_path(visitors):
    """With a bearer token the same data come as JSON."""
    visitor = await visitors()
    status, headers, text = await visitor.get("/account", headers=bearer(Role.VIEWER) | {"Accept": "*/*"})
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert text == '{"user":"program-viewer","role":"viewer"}'


class Seen:
    """What the pages below have been asked."""

    def __init__(self):
        self.forms = []
        self.name = ""
        self.closed = 0
        self.error = TimeoutError()

    async def show(self, request):
        """Show whatever name is asked for."""
        return View({"user": request.query.get("name", self.name), "role": "viewer"})

    async def act(self, request):
        """Keep the form."""
        self.forms.append(await request.form())
        request.note("a thing", "changed")
        return Redirect("/shown", {"forms": len(self.forms)})

    async def refuse(self, request):
        """Refuse."""
        raise ConsoleError(409, f"{request.user} has no <b>right</b> to it.")

    async def fail(self, request):
        """Fail in a way that nobody expects."""
        raise ZeroDivisionError("a secret +15551230001")

    async def lose_redis(self, request):
        """Fail in the way that a test has chosen."""
        raise self.error

    async def follow(self, request):
        """Send two events and go on for ever."""
        return Live(self._events(), keeps_session="keep" in request.query)

    async def _events(self):
        try:
            yield LiveEvent({"user": "<first>", "role": "1"}, event_id="7")
            yield LiveEvent({"user": "second", "role": "2"}, name="named")
            await asyncio.Event().wait()
        finally:
            self.closed += 1


class Form(BaseModel):
    """A form with a number and a list."""

    number: int
    ids: list[str] = []


@pytest.fixture
def seen():
    """What the pages of `own` have been asked."""
    return Seen()


def pages_of(seen):
    """The table of `own`."""
    size = Parameter("size", "a number", {"type": "integer", "minimum": 1, "maximum": 9})
    kind = Parameter("kind", "a word", {"type": "string", "enum": ["a", "b"]})
    name = Parameter("name", "a name", {"type": "string", "maxLength": 60})
    needed = Parameter("needed", "something", is_required=True)
    return (
        *PAGES,
        Page("GET", "/shown", seen.show, Role.VIEWER, "Shown", "account.html", "Shown", query=(size, kind, name)),
        Page("GET", "/needing", seen.show, Role.VIEWER, "Needing", "account.html", query=(needed,)),
        Page("POST", "/acting", seen.act, Role.OPERATOR, "Act", body=Form),
        Page("GET", "/refusing", seen.refuse, Role.VIEWER, "Refuse"),
        Page("POST", "/refusing", seen.refuse, Role.AGENT, "Refuse"),
        Page("GET", "/failing", seen.fail, None, "Fail"),
        Page("GET", "/losing", seen.lose_redis, None, "Lose"),
        Page("POST", "/losing", seen.lose_redis, None, "Lose"),
        Page("GET", "/following", seen.follow, Role.VIEWER, "Follow", "account.html", is_live=True),
    )


@pytest.fixture
async def own(ports, seen):
    """The URL of a console with pages of these tests."""
    async with serving(make_app(ports, pages_of(seen))) as url:
        yield url


@pytest.fixture
async def operator(own):
    """An operator who is signed in there."""
    visitor = Visitor(own)
    await visitor.sign_in(PEOPLE[Role.OPERATOR])
    yield visitor
    await visitor.close()


MARKUP = '<script>alert("1")</script>\u202eevil\x1b[31m'


async def test_texts_of_strangers_are_escaped_and_visible(operator):
    """Markup is text, and what acts on a terminal or turns the direction of writing is shown as its escape."""
    _, _, text = await operator.get("/shown", params={"name": MARKUP})
    assert "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;\\u202eevil\\x1b[31m" in text
    assert "<script>" not in text
    _, _, text = await operator.get("/shown", params={"name": MARKUP}, headers={"Accept": "application/json"})
    assert json.loads(text)["user"] == MARKUP
    assert text.isprintable()


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
async def test_halves_of_characters_are_shown_too(operator, seen, accept):
    """What cannot be encoded is shown as its escape, in pages and in JSON."""
    seen.name = "a\ud800b"
    status, _, text = await operator.get("/shown", headers={"Accept": accept})
    assert (status, "a\\ud800b" in text) == (200, True)


@pytest.mark.parametrize(
    "headers",
    [
        {"Cookie": "router-console=\udcff.\udcfe"},
        {"Cookie": "router-console"},
        {"Cookie": "=;;=\x01; router-console=a.b; router-console=c.d"},
        {"X-CSRF-Token": "\udcff"},
        {"Accept": "\udcff"},
        {"X-Forwarded-For": "\udcff, ,::,999.1.1.1"},
        {"Authorization": "Bearer \udcff"},
        {"Origin": "\udcff"},
        {"Content-Type": "\udcff"},
        {"Content-Length": "0", "Content-Type": "application/json; charset=nonsense"},
    ],
    ids=repr,
)
async def test_odd_headers_are_no_failure(own, lines, headers):
    """Whatever a client sends in a header, the answer is one of those that are meant, and no page has failed."""
    for method, path in (("GET", "/shown"), ("POST", "/acting"), ("POST", "/sign-in")):
        head = "".join(f"{name}: {text}\r\n" for name, text in ({"Content-Length": "0"} | headers).items())
        reader, writer = await asyncio.open_connection(*own.removeprefix("http://").split(":"))
        request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n"
        writer.write(request.encode("utf-8", "surrogateescape"))
        async with asyncio.timeout(scaled(20)):
            answer = await reader.read()
        writer.close()
        assert answer.split(b" ", 2)[1] in {b"303", b"400", b"401", b"403"}, answer[:200]
    assert lines("console.failed") == []


async def test_the_navigation_has_the_pages_of_the_role(operator, own):
    """A page with a label is in it for those who may open it, and is marked where one is."""
    _, _, text = await operator.get("/shown")
    assert '<a href="/shown" aria-current="page">Shown</a>' in text
    _, _, text = await operator.get("/account")
    assert '<a href="/shown">Shown</a>' in text
    agent = Visitor(own)
    await agent.sign_in(PEOPLE[Role.AGENT])
    _, _, text = await agent.get("/account")
    await agent.close()
    assert "/shown" not in text


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/shown?size=0", "size must be 1 at least"),
        ("/shown?size=10", "size must be 9 at most"),
        ("/shown?size=x", "size must be a whole number"),
        ("/shown?size=%D9%A1", "size must be a whole number"),
        ("/shown?kind=c", "kind must be one of a, b"),
        (f"/shown?name={'x' * 61}", "name must have at most 60 characters"),
        ("/needing", "needed is missing"),
        ("/needing?needed=", "needed is missing"),
        ("/shown?size=9&kind=b&name=x&more=1", None),
        ("/shown?size=&kind=", None),
        ("/needing?needed=1", None),
    ],
)
async def test_parameters_are_checked(operator, path, problem):
    """What the row declares is checked before its handler; an empty one is none, and an unknown one is ignored."""
    status, _, text = await operator.get(path)
    assert (status, problem is None or problem in text) == (200 if problem is None else 400, True)


@pytest.mark.parametrize("path", ["/shown?size=", "/shown?kind="])
async def test_a_program_sends_no_empty_number(operator, path):
    """A form of a page sends fields that nobody has filled in; a program that does has made a mistake."""
    assert (await operator.get(path))[0] == 200
    assert (await operator.get(path, headers={"Accept": "application/json"}))[0] == 400
    assert (await operator.get("/shown?name=", headers={"Accept": "application/json"}))[0] == 200


@pytest.mark.parametrize(
    ("form", "given"),
    [
        ({"number": "3", "ids": "a"}, {"number": "3", "ids": "a"}),
        ([("number", "3"), ("ids", "a"), ("ids", "b")], {"number": "3", "ids": ["a", "b"]}),
        ({"number": "x"}, None),
        ({"ids": "a"}, None),
    ],
    ids=["one", "two", "no number", "nothing"],
)
async def test_forms_are_checked(operator, seen, form, given):
    """A form without what its model asks for is refused, and its handler does not run."""
    pairs = list(form.items()) if isinstance(form, dict) else form
    status, headers, text = await operator.request("POST", "/acting", data=[("csrf", await operator.csrf()), *pairs])
    if given is None:
        assert (status, "number: " in text, seen.forms) == (400, True, [])
    else:
        assert (status, headers["Location"], seen.forms) == (303, "/shown", [given])


async def test_an_action_of_a_program_needs_no_form(operator, seen):
    """A bearer token is enough: no browser sends it by itself. The answer is the data instead of a redirect."""
    operator.session.cookie_jar.clear()
    headers = bearer(Role.OPERATOR) | {"Accept": "*/*"}
    status, _, text = await operator.request("POST", "/acting", json={"number": 3}, headers=headers)
    assert (status, text, seen.forms) == (200, '{"forms":1}', [{"number": 3}])


async def test_every_action_is_noted_with_its_outcome(operator, ports):
    """Who, what and with which result, also of one that is refused; looking at pages is not noted."""
    await operator.post("/acting", {"number": "1"})
    await operator.post("/refusing")
    await operator.get("/shown")
    found = [(one.who, one.role, one.action, one.what, one.detail) for one in await ports.audit.read(limit=2)]
    assert found == [
        ("olu", "operator", "POST /refusing", "/refusing", "409: olu has no <b>right</b> to it."),
        ("olu", "operator", "POST /acting", "a thing", "done: changed"),
    ]


async def test_an_outage_after_an_action_hides_no_answer(operator, ports, lines, monkeypatch):
    """The answer says what was done, or keeps what was written; the log has what the audit stream did not take."""

    async def fail(*_):
        raise ConnectionError("gone")

    monkeypatch.setattr(ports.audit, "note", fail)
    assert (await operator.post("/acting", {"number": "1"}))[0] == 303
    assert (await operator.post("/refusing"))[0] == 409
    found = [(one["user"], one["action"], one["what"], one["detail"]) for one in lines("console.audit")]
    assert found == [
        ("olu", "POST /acting", "a thing", "done: changed"),
        ("olu", "POST /refusing", "/refusing", "409: olu has no <b>right</b> to it."),
    ]


async def test_a_refusal_is_a_page_a_part_or_json(operator):
    """With its status and message, escaped; htmx gets a part that can be put into its page."""
    message = "olu has no &lt;b&gt;right&lt;/b&gt; to it."
    status, _, text = await operator.get("/refusing")
    assert (status, message in text, "<!doctype html>" in text) == (409, True, True)
    status, _, text = await operator.get("/refusing", headers={"HX-Request": "true"})
    assert (status, text.strip()) == (409, f'<p class="problem" role="alert">{message}</p>')
    status, _, text = await operator.get("/refusing", headers={"Accept": "application/json"})
    assert (status, json.loads(text)) == (409, {"error": "olu has no <b>right</b> to it."})


async def test_a_failure_shows_no_reader_its_reason(operator, lines):
    """The answer is 500 and says where to look; the log has the kind and the place, and no private data."""
    for accept in ("text/html", "application/json"):
        status, _, text = await operator.get("/failing", headers={"Accept": accept})
        assert (status, "The log of the console has the reason." in text, "Zero" in text) == (500, True, False)
    (first, _) = lines("console.failed")
    assert first["route"] == "/failing"
    assert first["reason"].startswith("ZeroDivisionError at test_app.py:")


@pytest.mark.parametrize(
    "error",
    [TimeoutError("slow"), ConnectionError("away"), ReadOnlyError("You can't write"), NotReplicatedError("too few")],
)
async def test_an_outage_in_an_action_leaves_open_what_was_done(operator, seen, error):
    """A page comes back by itself; after a form people and programs are asked to look before they repeat it."""
    seen.error = error
    status, _, text = await operator.get("/losing")
    assert (status, "comes back by itself" in text, 'http-equiv="refresh"' in text) == (503, True, True)
    status, _, text = await operator.post("/losing")
    assert (status, 'http-equiv="refresh"' in text) == (503, False)
    assert "may have been done or not: look before you repeat it." in text


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), "Redis has refused this."),
        (NoPermissionError("this user has no permissions to run the 'xadd' command"), "Redis has refused this."),
        (AuthenticationError("invalid username-password pair"), "Redis has refused this."),
        (OSError(28, "No space left on device", "/a/file"), "This page has failed."),
    ],
    ids=["another type", "no permission", "wrong password", "a file of ours"],
)
async def test_what_does_not_pass_is_no_outage(operator, seen, lines, method, error, words):
    """The answer is 500, promises nothing and loads nothing again, and the log has what Redis says."""
    seen.error = error
    status, headers, text = await (operator.post("/losing") if method == "POST" else operator.get("/losing"))
    assert (status, words in text, "by itself" in text, "refresh" in text) == (500, True, False, False)
    assert "Retry-After" not in headers
    (line,) = lines("console.failed")
    assert line["level"] == "error"
    assert line["reason"].startswith(f"{type(error).__name__}: ")


@pytest.mark.parametrize(
    ("role", "path", "route", "status"),
    [
        (Role.VIEWER, "/shown", "GET /shown", 200),
        (Role.VIEWER, "/shown?size=x", "GET /shown", 400),
        (Role.VIEWER, "/desk", "GET /desk", 403),
        (Role.VIEWER, "/refusing", "GET /refusing", 409),
        (Role.VIEWER, "/failing", "GET /failing", 500),
        (Role.VIEWER, "/losing", "GET /losing", 503),
        (None, "/shown", "GET /shown", 303),
    ],
)
async def test_every_answer_of_a_page_is_counted(own, monkeypatch, role, path, route, status):
    """So are failures and refusals, by the route of the page; a path that no page has makes no label."""
    visitor = Visitor(own)
    if role is not None:
        await visitor.sign_in(PEOPLE[role])
    counted = []
    monkeypatch.setattr(metrics, "count", lambda *labels: counted.append(labels))
    try:
        assert (await visitor.get(path))[0] == status
        assert (await visitor.get("/no/such/page"))[0] == 404
    finally:
        await visitor.close()
    assert counted == [("router_console_requests", route, str(status))]


async def read_events(visitor, number, **options):
    """Open the live page, and return the text of as many events, and the open answer."""
    answer = await visitor.session.get("/following", **options)
    events = []
    async with asyncio.timeout(scaled(20)):
        while len(events) < number:
            events.append((await answer.content.readuntil(b"\r\n\r\n")).decode())
    return events, answer


async def test_live_pages_send_html_to_people_and_json_to_programs(operator):
    """The content is the template or the data; an event without a name is what htmx puts into the page."""
    (first, second), answer = await read_events(operator, 2)
    answer.close()
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert "no-cache" in answer.headers["Cache-Control"] or "no-store" in answer.headers["Cache-Control"]
    assert first.startswith("id: 7\r\n")
    assert "event:" not in first
    assert "&lt;first&gt;" in first
    assert second.startswith("event: named\r\n")
    (first, _), answer = await read_events(operator, 2, headers={"Accept": "application/json"})
    answer.close()
    assert 'data: {"user":"<first>","role":"1"}' in first


async def test_a_live_page_ends_with_its_reader(operator, seen):
    """When the reader is gone, the iterator is closed."""
    _, answer = await read_events(operator, 2)
    answer.close()
    await until(lambda: seen.closed == 1)


async def test_a_live_page_ends_with_the_console(ports, seen):
    """A console that stops does not wait for its readers."""
    async with serving(make_app(ports, pages_of(seen))) as url:
        visitor = Visitor(url)
        await visitor.sign_in(PEOPLE[Role.OPERATOR])
        _, answer = await read_events(visitor, 2)
    async with asyncio.timeout(scaled(20)):
        assert (await answer.content.read()).strip() in {b"", b": ping"}
    await visitor.close()
    assert seen.closed == 1


async def test_a_live_page_ends_with_its_session(operator, seen, ports, monkeypatch):
    """Signing out in another tab ends it; an outage of Redis would not."""
    monkeypatch.setattr("router.console.live.SESSION_LOOK", 0.1)
    monkeypatch.setattr("router.console.live.LOOK", 0.1)
    _, answer = await read_events(operator, 2)
    key = ports.keys.console_session(operator.cookie.value.partition(".")[0])
    await ports.redis.expire(key, 50)
    await until(lambda: seen.closed == 0)
    await operator.post("/sign-out")
    await until(lambda: seen.closed == 1)
    answer.close()


async def test_a_live_page_ends_with_its_role(operator, seen, users_file, monkeypatch):
    """Also where the new role may open the page: it sees less there."""
    monkeypatch.setattr("router.console.live.SESSION_LOOK", 0.1)
    monkeypatch.setattr("router.console.live.LOOK", 0.1)
    _, answer = await read_events(operator, 2)
    text = users_file.read_text(encoding="utf-8")
    users_file.write_text(text.replace('"olu"\nrole = "operator"', '"olu"\nrole = "viewer"'), encoding="utf-8")
    await until(lambda: seen.closed == 1)
    answer.close()


async def test_a_live_page_may_keep_its_session(operator, ports, monkeypatch):
    """A page that counts as use renews the time of the session, and another one does not."""
    monkeypatch.setattr("router.console.live.SESSION_LOOK", 0.1)
    monkeypatch.setattr("router.console.live.LOOK", 0.1)
    key = ports.keys.console_session(operator.cookie.value.partition(".")[0])
    _, answer = await read_events(operator, 2, params={"keep": "1"})
    await ports.redis.expire(key, 50)

    async def is_renewed():
        return await ports.redis.ttl(key) > 50

    await until(is_renewed)
    answer.close()


async def test_pages_say_that_redis_is_away_and_come_back(ports, own_server):
    """The answer is 503 with a page that renews itself, or JSON; as soon as Redis answers the page is there again."""
    redis = connect(own_server.url, timeout=scaled(2))
    keys = ports.keys
    stores = {"audit": AuditLog(redis, keys), "sign_ins": SignIns(redis, keys), "hub": Hub(redis, keys)}
    visitor = None
    try:
        async with serving(make_app(replace(ports, redis=redis, **stores))) as url:
            visitor = Visitor(url)
            await visitor.sign_in(PEOPLE[Role.VIEWER])
            assert (await visitor.get("/account"))[0] == 200
            own_server.kill()
            status, headers, text = await visitor.get("/account")
            assert (status, headers["Retry-After"]) == (503, "5")
            assert '<meta http-equiv="refresh" content="5">' in text
            assert "Redis does not answer." in text
            status, _, text = await visitor.get("/account", headers={"Accept": "application/json"})
            assert (status, list(json.loads(text))) == (503, ["error"])
            assert await visitor.sign_in(PEOPLE[Role.VIEWER]) == 503
            await own_server.start()

            async def is_back():
                return (await visitor.get("/account"))[0] in {200, 303}

            await until(is_back)
    finally:
        if visitor is not None:
            await visitor.close()
        await redis.aclose()
