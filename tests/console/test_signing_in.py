"""Signing in: limits on guessing, answers that give nothing away, links, and a proxy that signs people in."""

import re
from dataclasses import replace
from hashlib import sha256

import pytest

from router.console import signing_in
from router.console.app import make_app
from router.console.links import make_link
from router.console.roles import HOMES, Role
from router.console.signing_in import local_path
from router.console.users import ConsoleUser, Users, write_users
from router.streams.store import sign_ins
from router.streams.store.audit import AuditLog
from router.streams.store.sign_ins import FREE_BY_ADDRESS, FREE_BY_USER, SignIns
from tests.console.people import PASSWORD, PEOPLE, Visitor, make_settings
from tests.harness.serving import serving

OPERATOR = PEOPLE[Role.OPERATOR]


@pytest.mark.parametrize("role", Role)
async def test_everybody_begins_on_the_page_of_the_role(visitors, role):
    """After signing in an agent is at the desk, and others are at the search."""
    visitor = await visitors()
    form = {"name": PEOPLE[role], "password": PASSWORD}
    status, headers, _ = await visitor.request("POST", "/sign-in", data=form)
    assert (status, headers["Location"]) == (303, HOMES[role])


async def test_a_program_may_sign_in_as_well(visitors):
    """Who asks for JSON gets the user's name and role, and the cookie."""
    visitor = await visitors()
    form = {"name": OPERATOR, "password": PASSWORD}
    status, headers, text = await visitor.request("POST", "/sign-in", json=form, headers={"Accept": "application/json"})
    assert (status, text) == (200, '{"user":"olu","role":"operator"}')
    assert "router-console=" in headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("/waiting?page=2", "/waiting?page=2"),
        ("https://evil.example.com/", ""),
        ("//evil.example.com/", ""),
        ("/\\evil.example.com", ""),
        ("/a\\b", ""),
        ("/a\r\nSet-Cookie: x=1", ""),
        ("/\t/evil.example.com", ""),
        ("javascript:alert(1)", ""),
        ("", ""),
    ],
)
def test_nobody_is_led_elsewhere(asked, given):
    """Only a path of this console is gone to after signing in."""
    assert local_path(asked) == given


async def test_the_page_that_was_asked_for_follows(visitors):
    """The form carries the path, and leads there; a path elsewhere is dropped."""
    visitor = await visitors()
    _, headers, _ = await visitor.get("/account?a=b")
    _, _, text = await visitor.get(headers["Location"])
    assert 'name="next" value="/account?a=b"' in text
    form = {"name": OPERATOR, "password": PASSWORD, "next": "/account?a=b"}
    _, headers, _ = await visitor.request("POST", "/sign-in", data=form)
    assert headers["Location"] == "/account?a=b"
    _, headers, _ = await visitor.request("POST", "/sign-in", data=form | {"next": "//evil.example.com"})
    assert headers["Location"] == "/"


async def test_an_unknown_user_gets_the_answer_of_a_wrong_password(visitors):
    """Status and page are the same but for the name that was typed."""
    answers = []
    for name in (OPERATOR, "nobody"):
        visitor = await visitors()
        status, _, text = await visitor.request("POST", "/sign-in", data={"name": name, "password": "wrong"})
        answers.append((status, text.replace(name, "NAME")))
    assert answers[0] == answers[1]
    assert answers[0][0] == 403
    assert "The name or the password is not right." in answers[0][1]


@pytest.fixture
def long_pauses(monkeypatch):
    """Begin with a pause that no slow machine outlasts."""
    monkeypatch.setattr(sign_ins, "FIRST_PAUSE", 600_000)


async def test_guessing_a_users_password_is_slowed_down(visitors, long_pauses, lines):
    """After the free attempts even the right password has to wait, for a while that is said; others are not held up."""
    visitor = await visitors()
    for _ in range(FREE_BY_USER):
        assert await visitor.sign_in(OPERATOR, "wrong") == 403
    assert await visitor.sign_in(OPERATOR, "wrong") == 403  # is made, and begins the first pause
    status, _, text = await visitor.request("POST", "/sign-in", data={"name": OPERATOR, "password": PASSWORD})
    assert status == 429
    assert re.search(r"Try again in \d+ s\.", text)
    assert {line["user"] for line in lines("console.sign_in")} == {OPERATOR}
    assert await visitor.sign_in(PEOPLE[Role.VIEWER]) == 303


async def test_guessing_from_an_address_is_slowed_down(visitors, long_pauses, lines):
    """One password tried on many users counts for the address; a name of nobody, perhaps a password, is not logged."""
    visitor = await visitors()
    for number in range(FREE_BY_ADDRESS + 1):
        assert await visitor.sign_in(f"user {number}", "wrong") == 403
    assert await visitor.sign_in("another", "wrong") == 429
    assert [line["user"] for line in lines("console.sign_in")] == [""] * (FREE_BY_ADDRESS + 2)


@pytest.mark.parametrize(
    ("address", "other", "is_one"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "", True),
    ],
)
async def test_addresses_of_one_network_guess_together(ports, long_pauses, address, other, is_one):
    """Whoever has one address of IPv6 has 2^64 of them."""
    for number in range(FREE_BY_ADDRESS + 1):
        assert await ports.sign_ins.attempt(address, f"user {number}") == 0
    assert bool(await ports.sign_ins.attempt(other, "another user")) == is_one


async def test_success_forgets_the_failures_of_the_user(visitors, ports):
    """Somebody who mistypes now and then is never slowed down; the address' failures stay."""
    visitor = await visitors()
    for _ in range(2):
        for _ in range(FREE_BY_USER - 1):
            assert await visitor.sign_in(OPERATOR, "wrong") == 403
        assert await visitor.sign_in(OPERATOR) == 303
    assert int(await ports.redis.hget(ports.sign_ins._guesses("127.0.0.1", "")[0], "attempts")) == 2 * FREE_BY_USER - 2


async def test_pauses_grow(redis, ports):
    """Each attempt beyond the free ones doubles the pause, up to a limit; consoles share what Redis knows."""
    first, second = SignIns(redis, ports.keys), SignIns(redis, ports.keys)
    key = first._guesses("192.0.2.1", "ann")[1]
    for _ in range(FREE_BY_USER):
        assert await first.attempt("192.0.2.1", "ann") == 0
    pauses = []
    for _ in range(12):
        assert await first.attempt("192.0.2.1", "ann") == 0
        pauses.append(await second.attempt("192.0.2.9", "ann"))
        await redis.hset(key, "until", 0)
        await redis.hdel(first._guesses("192.0.2.1", "ann")[0], "until", "attempts")
    assert [round(pause / 1000) for pause in pauses] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]


def user_of(ports):
    """The operator's record."""
    return ports.users.read().users[OPERATOR]


async def test_a_link_signs_in_once(visitors, ports):
    """Looking at it uses nothing up; the second use, a made-up one, and one of a user who is gone are refused."""
    url = await make_link(ports.sign_ins, "", user_of(ports), 60)
    token = url.partition("token=")[2]
    visitor, other = await visitors(), await visitors()
    for _ in range(2):
        status, _, text = await visitor.get(url)
        assert (status, f'value="{token}"' in text) == (200, True)
    status, _, _ = await visitor.request("POST", "/sign-in/link", data={"token": token})
    assert status == 303
    assert "<dd>olu</dd>" in (await visitor.get("/account"))[2]
    gone = (await make_link(ports.sign_ins, "", ConsoleUser(name="gone", role=Role.AGENT), 60)).partition("token=")[2]
    for wrong in (token, "made up", gone, ""):
        status, _, text = await other.request("POST", "/sign-in/link", data={"token": wrong})
        assert (status, "This link is used up, too old or not right." in text) == (403, True)


async def test_a_link_ends_with_the_record_that_it_was_made_for(visitors, ports, users_file):
    """After `add-user` or `remove` and another `add-user`, the same name is another user; a new role is not."""
    record = user_of(ports)
    for changed, wanted in ((record.model_copy(update={"role": Role.VIEWER}), 303), (_anew(record), 403)):
        token = (await make_link(ports.sign_ins, "", user_of(ports), 60)).partition("token=")[2]
        write_users(users_file, Users({OPERATOR: changed}))
        visitor = await visitors()
        status, _, _ = await visitor.request("POST", "/sign-in/link", data={"token": token})
        assert status == wanted


def _anew(user):
    """The record of a user who was added once more."""
    return user.model_copy(update={"generation": "0123"})


async def test_a_link_of_another_release_signs_nobody_in(visitors, ports, redis):
    """It names a user only, and cannot tell which one of that name."""
    await redis.set(ports.keys.console_link(sha256(b"old").hexdigest()), OPERATOR, ex=60)
    status, _, _ = await (await visitors()).request("POST", "/sign-in/link", data={"token": "old"})
    assert status == 403


async def test_signing_in_is_noted(visitors, ports):
    """The audit stream has who signed in and out, and failed attempts without what was typed."""
    visitor = await visitors()
    await visitor.sign_in(OPERATOR, "a wrong password")
    await visitor.sign_in(OPERATOR)
    await visitor.post("/sign-out")
    found = [(one.who, one.action, one.detail) for one in await ports.audit.read()]
    assert found == [
        ("olu", "POST /sign-out", "done"),
        ("olu", "POST /sign-in", "done"),
        ("", "POST /sign-in", "403"),
    ]


async def test_what_anybody_can_repeat_does_not_displace_the_audit(visitors, ports, long_pauses):
    """Attempts during a pause and made-up links are in the log only: each would cost the stream one of its entries."""
    visitor = await visitors()
    for _ in range(FREE_BY_USER + 1):
        await visitor.sign_in(OPERATOR, "a wrong password")
    noted = await ports.audit.read()
    assert await visitor.sign_in(OPERATOR, "a wrong password") == 429
    status, _, _ = await visitor.request("POST", "/sign-in/link", data={"token": "made up"})
    assert status == 403
    assert await ports.audit.read() == noted
    assert len(noted) == FREE_BY_USER + 1


async def test_names_of_nobody_do_not_displace_the_audit(visitors, ports, lines):
    """Names can be made up without an end, each with its own free attempts: those that no user has are logged only."""
    visitor = await visitors()
    for number in range(3):
        assert await visitor.sign_in(f"made up {number}", "a wrong password") == 403
    assert await ports.audit.read() == []
    assert [line["result"] for line in lines("console.sign_in")] == ["wrong"] * 3


@pytest.mark.parametrize("name", [OPERATOR, "made up"])
async def test_a_failed_attempt_asks_redis_as_often_for_every_name(visitors, monkeypatch, name):
    """Whether it is noted or not must not show in the time of the answer."""
    visitor, asked = await visitors(), []

    async def ask(*_):
        asked.append("once")

    monkeypatch.setattr(AuditLog, "note", ask)
    monkeypatch.setattr(SignIns, "secret", ask)
    assert await visitor.sign_in(name, "a wrong password") == 403
    assert asked == ["once"]


async def test_no_password_is_compared_while_too_many_wait(visitors, ports, redis, monkeypatch):
    """The answer is 429 with a time, is neither counted nor noted, and the next attempt is made as usual."""
    visitor = await visitors()
    with monkeypatch.context() as patch:
        patch.setattr(signing_in, "is_full", lambda: True)
        status, _, text = await visitor.request("POST", "/sign-in", data={"name": OPERATOR, "password": PASSWORD})
    assert (status, "Try again in 5 s." in text) == (429, True)
    assert not await redis.exists(*ports.sign_ins._guesses("127.0.0.1", OPERATOR))
    assert await ports.audit.read() == []
    assert await visitor.sign_in(OPERATOR) == 303


@pytest.fixture
async def behind(ports, redis_url):
    """Make a visitor of a console with these settings about proxies."""
    stack = []

    async def make(**changes):
        given = {"ROUTER_CONSOLE_USERS": ports.settings.console_users} | changes
        server = serving(make_app(replace(ports, settings=make_settings(redis_url, **given))))
        visitor = Visitor(await server.__aenter__())
        stack.append((server, visitor))
        return visitor

    yield make
    for server, visitor in stack:
        await visitor.close()
        await server.__aexit__(None, None, None)


HEADER = "X-Remote-User"
PROXY = {"ROUTER_CONSOLE_PROXY_HEADER": HEADER, "ROUTER_CONSOLE_PROXIES": "127.0.0.0/8,2001:db8::/32"}


async def test_a_header_signs_nobody_in_by_default(visitors):
    """Without the setting the header is ignored."""
    visitor = await visitors()
    assert (await visitor.get("/account", headers={HEADER: OPERATOR}))[0] == 303


async def test_a_header_from_elsewhere_is_ignored(behind):
    """The address of the sender must be in one of the networks, whatever X-Forwarded-For says."""
    visitor = await behind(**PROXY | {"ROUTER_CONSOLE_PROXIES": "192.0.2.0/24"})
    headers = {HEADER: OPERATOR, "X-Forwarded-For": "192.0.2.1"}
    assert (await visitor.get("/account", headers=headers))[0] == 303


async def test_a_trusted_proxy_names_the_user(behind, ports):
    """The role comes from the file of users; an action needs the CSRF token of the page all the same."""
    visitor = await behind(**PROXY)
    headers = {HEADER: OPERATOR}
    status, _, text = await visitor.get("/account", headers=headers)
    assert (status, "<dd>operator</dd>" in text) == (200, True)
    assert (await visitor.request("POST", "/sign-out", headers=headers))[0] == 403
    csrf = re.search(r'name="csrf" value="(\w+)"', text)[1]
    assert (await visitor.request("POST", "/sign-out", headers=headers, data={"csrf": csrf}))[0] == 303
    other = {HEADER: PEOPLE[Role.VIEWER]}
    assert (await visitor.request("POST", "/sign-out", headers=other, data={"csrf": csrf}))[0] == 403
    assert [one.who for one in await ports.audit.read()] == [OPERATOR]


@pytest.mark.parametrize("scheme", ["Basic b2x1Om9sdQ==", "Negotiate YII="])
async def test_a_proxy_may_hand_on_what_the_browser_sent_it(behind, scheme):
    """It has looked at the password itself: pages and their live parts are those of a person. A token still counts."""
    visitor = await behind(**PROXY)
    headers = {HEADER: OPERATOR, "Authorization": scheme}
    for accept in ("text/html", "text/event-stream"):
        status, answer, _ = await visitor.get("/account", headers=headers | {"Accept": accept})
        assert (status, answer["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert (await visitor.get("/account", headers=headers | {"Authorization": "Bearer wrong"}))[0] == 303
    assert (await visitor.get("/account", headers={"Authorization": scheme}))[0] == 303


@pytest.mark.parametrize(
    ("names", "status"), [(["nobody"], 403), ([OPERATOR, "vera"], 400), ([""], 303)], ids=["unknown", "two", "none"]
)
async def test_what_a_proxy_may_get_wrong(behind, names, status):
    """A user who is not in the file is refused, and so are two names; an empty name is none."""
    visitor = await behind(**PROXY)
    assert (await visitor.get("/account", headers=[(HEADER, name) for name in names]))[0] == status


async def test_guesses_behind_a_proxy_count_for_the_clients_address(behind, ports):
    """The last address in X-Forwarded-For that is no proxy counts, so nobody can choose one."""
    visitor = await behind(ROUTER_CONSOLE_PROXIES="127.0.0.0/8")
    form = {"name": "nobody", "password": "wrong"}
    sent = {"X-Forwarded-For": "203.0.113.5, 198.51.100.7, 127.0.0.9"}
    assert (await visitor.request("POST", "/sign-in", data=form, headers=sent))[0] == 403
    counted = {
        address: await ports.redis.exists(ports.sign_ins._guesses(address, "")[0])
        for address in ("203.0.113.5", "198.51.100.7", "127.0.0.9", "127.0.0.1")
    }
    assert counted == {"203.0.113.5": 0, "198.51.100.7": 1, "127.0.0.9": 0, "127.0.0.1": 0}
