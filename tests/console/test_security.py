"""The security suite over every route of the console: sessions, roles, forms, framing, headers, methods, sizes."""

import re

import pytest

from router.console.identity import BACKGROUND_HEADER
from router.console.pages import Page
from router.console.request import MAX_FIELDS, MAX_FORM
from router.console.roles import GRANTS, Role
from router.console.security import HEADERS
from router.console.static import load_static
from router.console.table import PAGES
from tests.console.people import PASSWORD, PEOPLE, Visitor, bearer, filled, users_text

CLOSED = [page for page in PAGES if not page.is_public]
ACTIONS = [page for page in CLOSED if page.method != "GET"]
OPEN_ACTIONS = [page for page in PAGES if page.is_public and page.method != "GET"]
WRONG_ROLES = [(page, role) for page in CLOSED for role in Role if page.role is not None and not page.allows(role)]
SECOND = 1_000_000
#: What browsers send with a form of another site.
FOREIGN = (
    {"Origin": "https://evil.example.com"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "null"},
    {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
)


def named(*rows):
    """Parameters with readable ids."""
    return [pytest.param(*row, id=" ".join(_name(one) for one in row)) for row in rows]


def _name(one):
    return f"{one.method} {one.path}" if isinstance(one, Page) else str(one)


def role_for(page):
    """A role that may open a page."""
    return next(role for role in Role if page.allows(role))


def test_the_suite_covers_every_route():
    """The table is not empty, has pages that are closed and actions, and only signing in is open."""
    assert len(CLOSED) >= 2
    assert ACTIONS
    assert {page.path for page in PAGES if page.is_public} == {"/sign-in", "/sign-in/link"}
    assert all(page.method in {"GET", "POST"} for page in PAGES)
    assert all(page.role is not None or page.path in {"/account", "/sign-out"} for page in CLOSED)


@pytest.mark.parametrize("page", named(*((page,) for page in CLOSED)))
async def test_without_a_session_nobody_gets_in(visitors, ports, page):
    """A person is sent to the sign-in page, a program gets 401, and no handler has run."""
    visitor = await visitors()
    status, headers, _ = await visitor.request(page.method, filled(page))
    assert (status, headers["Location"].partition("?")[0]) == (303, "/sign-in")
    status, headers, text = await visitor.request(page.method, filled(page), headers={"Accept": "application/json"})
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert set(re.findall(r'"(\w+)":', text)) == {"error"}
    status, headers, _ = await visitor.request(page.method, filled(page), headers={"HX-Request": "true"})
    assert (status, headers["HX-Redirect"]) == (401, "/sign-in")
    assert await ports.audit.read() == []


@pytest.mark.parametrize("page", named(*((page,) for page in CLOSED)))
async def test_a_wrong_token_is_refused(visitors, page):
    """Whatever is wrong with an Authorization header, the answer is 401, also beside a good session."""
    visitor = await visitors(role_for(page))
    for accepted, wanted in (("*/*", {401, 303}), ("application/json", {401})):
        for token in ("", "Bearer", "Bearer wrong", "Basically b2x1Om9sdQ==", "bearer token-of-an-operator x"):
            sent = {"Authorization": token, "Accept": accepted}
            status, _, _ = await visitor.request(page.method, filled(page), headers=sent)
            assert status in wanted, token
        visitor.session.cookie_jar.clear()


@pytest.mark.parametrize("page", named(*((page,) for page in CLOSED)))
async def test_a_browsers_own_password_opens_nothing(visitors, page):
    """What a browser sends for a proxy in front is no token: without a session the answer is that to a stranger."""
    visitor = await visitors()
    for scheme in ("Basic b2x1Om9sdQ==", "Digest x", "Negotiate YII=", "ntlm x"):
        for accepted, wanted in (("*/*", 303), ("application/json", 401)):
            sent = {"Authorization": scheme, "Accept": accepted}
            assert (await visitor.request(page.method, filled(page), headers=sent))[0] == wanted, scheme


@pytest.mark.parametrize("scheme", ["Basic b2x1Om9sdQ==", "Negotiate YII="])
async def test_a_browsers_own_password_leaves_the_session(visitors, scheme):
    """Behind a proxy that asks for a password and names nobody, people sign in here as well; forms need their token."""
    visitor = await visitors()
    visitor.session.headers["Authorization"] = scheme
    assert await visitor.sign_in(PEOPLE[Role.VIEWER]) == 303
    status, _, text = await visitor.get("/account")
    assert (status, "<dd>viewer</dd>" in text) == (200, True)
    assert (await visitor.request("POST", "/sign-out"))[0] == 403
    assert (await visitor.post("/sign-out"))[0] == 303


@pytest.mark.parametrize(("page", "role"), named(*WRONG_ROLES))
async def test_a_page_of_another_role_is_refused(visitors, ports, page, role):
    """With the session or the token of a role that has no right to a page, the answer is 403."""
    visitor = await visitors(role)
    before = await ports.audit.read()
    form = {"csrf": await visitor.csrf()} if page.method != "GET" else None
    status, headers, text = await visitor.request(page.method, filled(page), data=form)
    if (page.method, page.path) == ("GET", "/"):
        assert (status, headers["Location"]) == (303, "/desk")
    else:
        assert (status, f"not for the role {role}" in text) == (403, True)
    status, _, _ = await visitor.request(page.method, filled(page), headers=bearer(role) | {"Accept": "*/*"})
    assert status == (303 if page.path == "/" else 403)
    assert await ports.audit.read() == before


@pytest.mark.parametrize("page", named(*((page,) for page in ACTIONS)))
async def test_an_action_needs_the_token_of_its_session(visitors, ports, page):
    """Without the CSRF token, with a forged one, or with that of another session, nothing happens."""
    visitor, other = await visitors(role_for(page)), await visitors(role_for(page))
    before = await ports.audit.read()
    right, of_other = await visitor.csrf(), await other.csrf()
    assert right != of_other
    forged = right[:-1] + ("0" if right[-1] != "0" else "1")
    for wrong in (None, "", forged, of_other, "ü", right * 2):
        form = {} if wrong is None else {"csrf": wrong}
        status, _, text = await visitor.request(page.method, filled(page), data=form)
        assert (status, "was not made by this console" in text) == (403, True)
    status, _, _ = await visitor.request(page.method, filled(page), headers={"X-CSRF-Token": of_other})
    assert status == 403
    status, _, _ = await visitor.request(page.method, f"{filled(page)}?csrf={right}")
    assert status == 403
    assert await ports.audit.read() == before


@pytest.mark.parametrize("page", named(*((page,) for page in [*ACTIONS, *OPEN_ACTIONS])))
async def test_another_site_sends_nothing(visitors, ports, page):
    """A browser that says where a form comes from is believed, even if the form has the right token."""
    visitor = await visitors(None if page.is_public else role_for(page))
    before = await ports.audit.read()
    form = {"csrf": await visitor.csrf()}
    for sent in FOREIGN:
        status, _, text = await visitor.request(page.method, filled(page), data=form, headers=sent)
        assert (status, "Another site has sent this form." in text) == (403, True), sent
    assert await ports.audit.read() == before


async def test_a_form_of_this_site_passes(visitors):
    """The own origin passes, with Sec-Fetch-Site or from a browser that does not send it."""
    for sent in ({}, {"Sec-Fetch-Site": "same-origin"}):
        visitor = await visitors(Role.VIEWER)
        status, _, _ = await visitor.post("/sign-out", headers=sent | {"Origin": visitor.url})
        assert status == 303


@pytest.mark.parametrize("changes", [{"ROUTER_CONSOLE_URL": "http://127.0.0.1:8082"}])
async def test_this_machine_has_several_names(visitors):
    """Whoever types localhost is let in; any other name, or another site on this machine, is not this console."""
    form = {"name": PEOPLE[Role.VIEWER], "password": PASSWORD}
    for host, origin, wanted in (
        ("localhost:8082", "http://localhost:8082", 303),
        ("127.0.0.1:8082", "http://127.0.0.1:8082", 303),
        ("localhost:8082", "http://localhost:3000", 403),
        ("evil.example.com:8082", "http://evil.example.com:8082", 403),
        ("[::1", "http://[::1", 400),
    ):
        visitor = await visitors()
        headers = {"Host": host, "Origin": origin}
        status, _, _ = await visitor.request("POST", "/sign-in", data=form, headers=headers)
        assert status == wanted, (host, origin)


@pytest.mark.parametrize(
    ("changes", "origin", "wanted"),
    [
        ({"ROUTER_CONSOLE_URL": "https://console.example.com:443"}, "https://console.example.com", 303),
        ({"ROUTER_CONSOLE_URL": "http://console.example.com:80/"}, "http://console.example.com", 303),
        ({"ROUTER_CONSOLE_URL": "https://console.example.com:80"}, "https://console.example.com:80", 303),
        ({"ROUTER_CONSOLE_URL": "https://console.example.com:80"}, "https://console.example.com", 403),
        ({"ROUTER_CONSOLE_URL": "https://console.example.com:443"}, "https://console.example.com:8443", 403),
    ],
)
async def test_a_default_port_is_no_part_of_an_origin(visitors, origin, wanted):
    """Browsers leave it out, whatever the setting says; a refusal names the origin that is expected."""
    form = {"name": PEOPLE[Role.VIEWER], "password": PASSWORD}
    status, _, text = await (await visitors()).request("POST", "/sign-in", data=form, headers={"Origin": origin})
    assert (status, "This console is https://console.example.com" in text) == (wanted, wanted == 403)


async def test_a_host_header_may_have_the_default_port(visitors):
    """Without the setting the Host header stands for the origin, with or without what browsers leave out."""
    form = {"name": PEOPLE[Role.VIEWER], "password": PASSWORD}
    headers = {"Host": "console.example.com:80", "Origin": "http://console.example.com"}
    assert (await (await visitors()).request("POST", "/sign-in", data=form, headers=headers))[0] == 303


def check_headers(headers, *, is_cached=False):
    """Every answer has the headers, and is stored nowhere unless it is a static file."""
    assert {name: headers.get(name) for name in HEADERS} == HEADERS
    assert ("no-store" in headers["Cache-Control"]) == (not is_cached)


async def test_the_policy_is_strict():
    """No inline script or style, no plugin, no other host, no frame."""
    directives = dict(part.split(" ", 1) for part in HEADERS["Content-Security-Policy"].split("; "))
    assert directives == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "media-src": "'self'",
        "connect-src": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }


@pytest.mark.parametrize("page", named(*((page,) for page in PAGES)))
async def test_every_answer_has_the_headers(visitors, page):
    """A page, its JSON, a refusal and its answer to the wrong method all have them."""
    visitor = await visitors(None if page.is_public else role_for(page))
    for accept in ("text/html", "application/json"):
        async with visitor.session.request(
            page.method, filled(page), headers={"Accept": accept}, allow_redirects=False
        ) as answer:
            assert answer.status < 500
            if page.is_live and answer.status == 200:
                assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
                answer.close()
            else:
                check_headers(answer.headers)
    async with visitor.session.request("PUT", filled(page)) as answer:
        assert answer.status == 405
        check_headers(answer.headers)


async def test_other_answers_have_the_headers_too(visitors):
    """So do static files, /healthz and what does not exist; only static files may be stored."""
    visitor = await visitors()
    for path, status in (("/healthz", 200), ("/nothing", 404), ("/static/nothing.js", 404), ("/%00", 404)):
        found, headers, _ = await visitor.get(path)
        assert found == status
        check_headers(headers)
    _, headers, _ = await visitor.get(load_static().url("console.js"))
    check_headers(headers, is_cached=True)


@pytest.mark.parametrize("page", named(*((page,) for page in PAGES)))
async def test_other_methods_are_refused(visitors, page):
    """The answer is 405 and names the methods that there are; no method changes anything that is not POST."""
    visitor = await visitors(None if page.is_public else role_for(page))
    known = {one.method for one in PAGES if one.path == page.path}
    for method in {"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - known:
        status, headers, _ = await visitor.request(method, filled(page))
        assert (status, set(headers["Allow"].split(","))) == (405, known), method


@pytest.mark.parametrize("page", named(*((page,) for page in [*ACTIONS, *OPEN_ACTIONS])))
async def test_forms_are_limited(visitors, page):
    """A body that is too large is answered 413, one of another type 415, and one that cannot be read 400."""
    visitor = await visitors(None if page.is_public else role_for(page))
    headers = {} if page.is_public else {"X-CSRF-Token": await visitor.csrf()}
    if page.body is None:
        headers = {}  # nothing but the token is read
    many = "&".join(["a=1"] * (MAX_FIELDS + 1))
    kinds = {"Content-Type": "application/x-www-form-urlencoded"}
    bodies = [
        (413, b"x" * (MAX_FORM + 1), kinds),
        (400, many.encode(), kinds),
        (400, b"a=%ff", kinds),
        (415, b"x", {"Content-Type": "text/plain"}),
        (415, b"--x--", {"Content-Type": "multipart/form-data; boundary=x"}),
        (400, b"{", {"Content-Type": "application/json"}),
        (400, b"[]", {"Content-Type": "application/json"}),
        (400, b"[" * 100_000, {"Content-Type": "application/json"}),
    ]
    for wanted, body, kind in bodies:
        status, _, _ = await visitor.request(page.method, filled(page), data=body, headers=headers | kind)
        assert status == wanted or (page.checks_body and status in {413, 415}), (kind, body[:20])


async def test_a_session_ends(visitors, ports, clock):
    """It ends when it has lasted as long as a session may, however much it is used."""
    visitor = await visitors(Role.VIEWER)
    clock.ahead = ports.settings.console_session * SECOND - 60 * SECOND
    assert (await visitor.get("/account"))[0] == 200
    clock.ahead += 60 * SECOND
    assert (await visitor.get("/account"))[0] == 303
    clock.ahead = 0
    assert (await visitor.get("/account"))[0] == 303


async def test_an_idle_session_ends(visitors, ports, redis):
    """Each use renews its time in Redis, a request that no person has caused does not, and without it it has ended."""
    visitor = await visitors(Role.VIEWER)
    key = ports.keys.console_session(visitor.cookie.value.partition(".")[0])
    assert 0 < await redis.ttl(key) <= ports.settings.console_idle
    await redis.expire(key, 30)
    await visitor.get("/account", headers={BACKGROUND_HEADER: "1"})
    assert await redis.ttl(key) <= 30
    await visitor.get("/account")
    assert await redis.ttl(key) > 30
    await redis.delete(key)
    assert (await visitor.get("/account"))[0] == 303


async def test_signing_out_ends_the_session_for_all_consoles(visitors):
    """A copy of the cookie is worth nothing afterwards, and the browser is told to drop it."""
    visitor, thief = await visitors(Role.OPERATOR), await visitors()
    stolen = {"Cookie": f"{visitor.cookie.key}={visitor.cookie.value}"}
    assert (await thief.get("/account", headers=stolen))[0] == 200
    _, headers, _ = await visitor.post("/sign-out")
    assert "Max-Age=0" in headers["Set-Cookie"]
    assert (await thief.get("/account", headers=stolen))[0] == 303


async def test_signing_in_again_ends_the_session_before(visitors):
    """A browser has one session, with a new id each time, so nobody can prepare one for somebody else."""
    visitor, thief = await visitors(Role.VIEWER), await visitors()
    before = {"Cookie": f"{visitor.cookie.key}={visitor.cookie.value}"}
    assert await visitor.sign_in(PEOPLE[Role.OPERATOR]) == 303
    assert f"{visitor.cookie.key}={visitor.cookie.value}" != before["Cookie"]
    assert (await thief.get("/account", headers=before))[0] == 303
    assert "<dd>operator</dd>" in (await visitor.get("/account"))[2]


async def test_a_cookie_that_was_changed_is_refused(visitors):
    """A change anywhere in it, a cut, or another session's signature: nobody is signed in."""
    visitor, other, thief = await visitors(Role.OPERATOR), await visitors(Role.VIEWER), await visitors()
    name, value = visitor.cookie.key, visitor.cookie.value
    session_id, _, signature = value.partition(".")
    other_id, _, other_signature = other.cookie.value.partition(".")
    changed = [
        value[:-1],
        value + "0",
        session_id,
        f"{session_id}.",
        f".{signature}",
        f"{session_id}.{other_signature}",
        f"{other_id}.{signature}",
        f"{session_id}.{'0' * len(signature)}",
        f"{session_id}.{signature.upper()}",
        f"x.{signature}",
        "a" * 5000 + "." + signature,
        "",
    ]
    for wrong in changed:
        assert (await thief.get("/account", headers={"Cookie": f"{name}={wrong}"}))[0] == 303, wrong[:80]
    assert (await thief.get("/account", headers={"Cookie": f"{name}={value}"}))[0] == 200


async def test_the_cookie_is_kept_from_scripts_and_other_sites(visitors):
    """It is HttpOnly and SameSite=Strict."""
    visitor = await visitors(Role.VIEWER)
    cookie = visitor.cookie
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert not cookie["secure"]


@pytest.mark.parametrize("changes", [{"ROUTER_CONSOLE_URL": "https://console.example.com"}])
async def test_behind_https_the_cookie_is_secure(visitors, console):
    """Its name begins with __Host-, it is Secure, browsers are told to use https, and the origin is that of the URL."""
    visitor = await visitors()
    form = {"name": PEOPLE[Role.VIEWER], "password": PASSWORD}
    status, headers, _ = await visitor.request(
        "POST", "/sign-in", data=form, headers={"Origin": "https://console.example.com"}
    )
    assert status == 303
    assert headers["Set-Cookie"].startswith("__Host-router-console=")
    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= set(headers["Set-Cookie"].split("; "))
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
    assert (await visitor.request("POST", "/sign-in", data=form, headers={"Origin": console}))[0] == 403


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('name = "olu"', 'name = "other"'),
        ("$n=2,", "$n=4,"),
        ('role = "operator"', 'role = "boss"'),
    ],
    ids=["removed", "another password", "a mistake in the file"],
)
async def test_a_change_of_the_users_ends_sessions(visitors, users_file, before, after):
    """Whoever is removed or gets another password is signed out, and so is everybody while the file is wrong."""
    visitor = await visitors(Role.OPERATOR)
    assert (await visitor.get("/account"))[0] == 200
    assert before in users_text()
    users_file.write_text(users_text().replace(before, after), encoding="utf-8")
    assert (await visitor.get("/account"))[0] == 303


async def test_a_session_without_its_user_is_gone_for_good(visitors, ports, redis, users_file):
    """It is deleted at its next request, so that it does not come back with the user."""
    visitor = await visitors(Role.OPERATOR)
    key = ports.keys.console_session(visitor.cookie.value.partition(".")[0])
    users_file.write_text(users_text().replace('name = "olu"', 'name = "other"'), encoding="utf-8")
    assert (await visitor.get("/account"))[0] == 303
    assert not await redis.exists(key)
    users_file.write_text(users_text(), encoding="utf-8")
    assert (await visitor.get("/account"))[0] == 303


async def test_a_change_of_the_role_counts_at_once(visitors, users_file):
    """The role is not part of the session."""
    visitor = await visitors(Role.OPERATOR)
    users_file.write_text(users_text().replace('role = "operator"', 'role = "viewer"'), encoding="utf-8")
    assert "<dd>viewer</dd>" in (await visitor.get("/account"))[2]


async def test_a_file_that_others_may_read_lets_nobody_in(visitors, users_file):
    """The mode of the file is checked whenever it has changed."""
    visitor = await visitors(Role.OPERATOR)
    users_file.chmod(0o640)
    assert (await visitor.get("/account"))[0] == 303
    assert (await visitor.get("/account", headers=bearer(Role.OPERATOR) | {"Accept": "*/*"}))[0] == 401
    users_file.chmod(0o600)
    assert (await visitor.get("/account"))[0] == 200


async def test_a_forgotten_secret_ends_sessions(visitors, redis, ports):
    """If Redis loses the key that signs cookies, everybody signs in again, and nobody gets in with an old cookie."""
    visitor = await visitors(Role.OPERATOR)
    await redis.delete(ports.keys.console_secret())
    assert (await visitor.get("/account"))[0] == 303
    assert await visitor.sign_in(PEOPLE[Role.OPERATOR]) == 303
    assert (await visitor.get("/account"))[0] == 200


def test_roles_are_a_table():
    """An operator may do everything, a viewer and an agent only their own."""
    assert GRANTS[Role.OPERATOR] == set(Role)
    assert GRANTS[Role.VIEWER] == {Role.VIEWER}
    assert GRANTS[Role.AGENT] == {Role.AGENT}


async def test_two_visitors_share_nothing(console):
    """A visitor without a cookie is nobody, whoever else is signed in."""
    first, second = Visitor(console), Visitor(console)
    try:
        await first.sign_in(PEOPLE[Role.OPERATOR])
        assert (await first.get("/account"))[0] == 200
        assert (await second.get("/account"))[0] == 303
    finally:
        await first.close()
        await second.close()
