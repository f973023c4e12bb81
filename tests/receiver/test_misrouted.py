"""Webhooks that are rightly signed for a URL or a method without a route: kept, told their URL, and replayed once.

The signatures are made by Twilio's own validator (tests/receiver/samples.py).
"""

import json

import pytest
from twilio.request_validator import RequestValidator

from router.core.events import SourceName
from router.inbound.sources import SOURCES
from router.receiver.replay import QuarantineReplay
from router.streams.store.quarantine import list_kept
from tests.receiver.conftest import settings_of
from tests.receiver.samples import (
    PRIVATE,
    SAMPLES,
    URL_SAMPLES,
    Request,
    by_get,
    entry_body,
    is_form,
    limited_to,
    mail_received,
    signed,
    signed_mail,
    sms,
)
from tests.support.accounts import ACCOUNT, BASE_URL, OTHER_ACCOUNT, OTHER_TOKEN, TOKEN
from tests.support.raw_http import framed, on_wire
from tests.support.waiting import until

FORMS = [name for name, source in SOURCES.items() if is_form(SAMPLES[name]())]
#: Ways to misspell the path of a route.
SPELLINGS = {
    "slash at the end": lambda path: f"{path}/",
    "slashes at the end": lambda path: f"{path}//",
    "other case": lambda path: path.title(),
    "upper case": str.upper,
    "doubled slash": lambda path: path.replace("/", "//"),
    "doubled slash inside": lambda path: path.replace("/webhooks/", "/webhooks//"),
    "blank at the end": lambda path: f"{path}%20",
    "underscore": lambda path: path.replace("webhooks/", "webhooks_"),
    "doubled": lambda path: path + path,
    "something in front": lambda path: f"/twilio{path}",
    "singular": lambda path: path.replace("webhooks", "webhook"),
}


@pytest.fixture
async def receiver(start):
    return await start()


@pytest.fixture
def replay(redis, redis_url):
    """A function that replays everything in the quarantine; returns the outcomes."""

    async def replay_all(receiver, *, is_trusted=False, **environment):
        replaying = QuarantineReplay(settings_of(redis_url, **environment), redis)
        kept = [one async for one in list_kept(receiver.redis, receiver.keys)]
        return [await replaying.replay(one, is_trusted=is_trusted) for one in kept]

    return replay_all


async def assert_kept(receiver, request, method, source, status):
    """Send a request and assert that it is kept, and that answer, log line and quarantine name the right URL."""
    answer = await receiver.send(request, method)
    right = f"{BASE_URL}{SOURCES[source].path}"
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert f"POST {right}" in json.loads(answer.body)["detail"]
    assert not [one for one in PRIVATE if one.encode() in answer.body]
    (refused,) = await receiver.refused()
    assert (refused.reason, refused.source, refused.status) == ("route", source, status)
    assert (refused.method, refused.raw_path, refused.body) == (method, request.path.encode(), request.body)
    assert refused.is_whole
    assert right in refused.detail
    (line,) = receiver.webhooks()
    assert (line["source"], line["status"], line["result"], line["level"]) == (source, status, "route", "warning")
    assert right in line["reason"]
    assert await receiver.entries() == []


async def assert_replayed(receiver, replay, body, source):
    """Assert that the replay makes one event, which a repetition at the right URL does not double."""
    (outcome,) = await replay(receiver)
    assert (outcome.is_accepted, outcome.text) == (True, "accepted")
    (entry,) = await receiver.entries()
    assert (entry[b"source"], entry[b"body"]) == (source.encode(), body)
    assert await replay(receiver) == []
    assert (await receiver.send(signed(SAMPLES[source]()))).status == 200
    assert len(await receiver.entries()) == 1


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("source", URL_SAMPLES, ids=str)
async def test_a_misspelt_path(receiver, replay, source, spelling):
    """A rightly signed webhook at another spelling of its path is kept, and its replay makes one event."""
    webhook = SAMPLES[source]()
    request = signed(webhook, path=SPELLINGS[spelling](webhook.path))
    await assert_kept(receiver, request, "POST", source, 404)
    await assert_replayed(receiver, replay, webhook.body, source)


@pytest.mark.parametrize("path", ["/webhooks/sms", "/webhooks/incoming", "/webhooks", "/", "/healthz"])
@pytest.mark.parametrize("source", [*FORMS, SourceName.CONVERSATIONS], ids=str)
async def test_an_unknown_path(receiver, replay, source, path):
    """Where the path says nothing, the content decides which source was meant."""
    webhook = SAMPLES[source]()
    await assert_kept(receiver, signed(webhook, path=path), "POST", source, 405 if path == "/healthz" else 404)
    await assert_replayed(receiver, replay, webhook.body, source)


@pytest.mark.parametrize("path", ["", "/", "slash"])
@pytest.mark.parametrize("source", FORMS, ids=str)
async def test_a_number_set_to_get(receiver, replay, source, path):
    """Of a rightly signed GET the query is the form; it is replayed as if it had been posted."""
    webhook = SAMPLES[source]()
    target = {"": webhook.path, "/": "/", "slash": f"{webhook.path}/"}[path]
    await assert_kept(receiver, by_get(webhook, target), "GET", source, 404 if path else 405)
    await assert_replayed(receiver, replay, webhook.body, source)


async def test_a_get_with_a_content_type_and_a_query_of_its_own(receiver, replay):
    """Parameters of the configured URL stand before those of the message."""
    target = f"/webhooks/messaging?tenant=a%2Bb&x=&{sms().body.decode()}"
    signature = RequestValidator(TOKEN).compute_signature(BASE_URL + target, {})
    request = Request(target, "application/x-www-form-urlencoded", b"", signature)
    await assert_kept(receiver, request, "GET", SourceName.MESSAGING, 405)
    (outcome,) = await replay(receiver)
    assert outcome.is_accepted
    assert (await receiver.send(signed(sms()))).status == 200
    assert len(await receiver.entries()) == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("source", URL_SAMPLES, ids=str)
async def test_another_method(receiver, replay, source, method):
    """A rightly signed body that came with another method is kept as well."""
    webhook = SAMPLES[source]()
    await assert_kept(receiver, signed(webhook), method, source, 405)
    await assert_replayed(receiver, replay, webhook.body, source)


@pytest.mark.parametrize("path", ["/webhooks/email/", "/Webhooks/Email", "/webhooks//email", "/inbound"])
async def test_a_mail(receiver, replay, path):
    """A signed mail at another path is kept, and its replay makes one event."""
    await assert_kept(receiver, signed_mail(mail_received()).but(path=path), "POST", SourceName.EMAIL, 404)
    (outcome,) = await replay(receiver)
    assert outcome.text == "accepted"
    (entry,) = await receiver.entries()
    assert entry[b"body"] == entry_body(mail_received())


async def test_a_mail_with_credentials_needs_trust(start, replay):
    """Credentials are not stored, so an operator must trust such a mail at any route."""
    receiver = await start(ROUTER_EMAIL_PUBLIC_KEYS="", ROUTER_EMAIL_CREDENTIALS="parse:made-up")
    mail = signed_mail(mail_received()).but(path="/webhooks/email/", signature=None, timestamp=None)
    login = {"Authorization": "Basic cGFyc2U6bWFkZS11cA=="}
    assert b"/webhooks/email" in (await receiver.send(mail, **login)).body
    assert (await receiver.send(mail)).body == b""
    (refused,) = await receiver.refused()
    assert "made-up" not in str(refused.headers)
    (outcome,) = await replay(receiver)
    assert not outcome.is_accepted
    (outcome,) = await replay(receiver, is_trusted=True)
    assert outcome.is_accepted


@pytest.mark.parametrize(
    "spoil",
    [
        lambda request: request.but(signature=None),
        lambda request: request.but(signature=""),
        lambda request: request.but(signature=request.signature[:-1]),
        lambda request: request.but(signature=request.signature.swapcase()),
        lambda request: request.but(path=f"{request.path}&x=1" if "?" in request.path else f"{request.path}?x=1"),
    ],
    ids=["none", "empty", "short", "other", "other query"],
)
@pytest.mark.parametrize(
    ("make", "method", "status"),
    [
        (lambda webhook: signed(webhook, path=f"{webhook.path}/"), "POST", 404),
        (lambda webhook: signed(webhook, path="/webhooks/elsewhere"), "POST", 404),
        (signed, "PUT", 405),
        (lambda webhook: by_get(webhook) if is_form(webhook) else signed(webhook), "GET", 405),
    ],
    ids=["slash", "unknown", "PUT", "GET"],
)
@pytest.mark.parametrize("source", URL_SAMPLES, ids=str)
async def test_what_is_not_rightly_signed_is_not_kept(receiver, source, make, method, status, spoil):
    """A stranger gets a bare status as ever, learns nothing, and does not fill the quarantine."""
    request = spoil(make(SAMPLES[source]()))
    answer = await receiver.send(request, method)
    assert (answer.status, answer.body) == (status, b"")
    assert await receiver.stored() == [receiver.keys.layout().encode()]
    (line,) = receiver.webhooks()
    assert line["result"] == ("method" if status == 405 else "path")
    assert line["reason"] == f"{method} has no route there"


@pytest.mark.parametrize(
    "given",
    [
        signed(sms(), token=OTHER_TOKEN, path="/webhooks/messaging/"),
        signed(sms(account=OTHER_ACCOUNT), path="/webhooks/messaging/"),
        by_get(sms(), token=OTHER_TOKEN),
        by_get(sms(account=OTHER_ACCOUNT)),
        signed(sms(), signs="/webhooks/messaging/"),
    ],
    ids=["token", "account", "token of a GET", "account of a GET", "the right URL was signed wrongly"],
)
async def test_another_token_or_account_is_not_kept(receiver, given):
    """Only the secrets of the account that the webhook names prove it."""
    method = "POST" if given.body else "GET"
    assert (await receiver.send(given, method)).status in {403, 404, 405}
    assert receiver.webhooks()[0]["result"] in {"method", "path", "signature"}
    kept = [one.refused.reason async for one in list_kept(receiver.redis, receiver.keys)]
    assert "route" not in kept


async def test_the_token_of_one_account_does_not_prove_a_get_of_another(start, tmp_path):
    """As at a route: each account's own token signs for it."""
    file = tmp_path / "accounts.toml"
    file.write_text(f'[[account]]\nsid = "{OTHER_ACCOUNT}"\nauth_token_env = "OTHER_TOKENS"\n')
    receiver = await start(ROUTER_ACCOUNTS_FILE=str(file), OTHER_TOKENS=OTHER_TOKEN)
    assert (await receiver.send(by_get(sms(account=OTHER_ACCOUNT)), "GET")).body == b""
    assert b"messaging" in (await receiver.send(by_get(sms(account=OTHER_ACCOUNT), token=OTHER_TOKEN), "GET")).body
    (refused,) = await receiver.refused()
    assert refused.account_id == OTHER_ACCOUNT


@pytest.mark.parametrize("source", SOURCES, ids=str)
async def test_what_is_too_large_is_not_read(start, source):
    """A body over the limit of its kind is refused as it ever was."""
    receiver = await start(**limited_to(1024))
    request = signed(SAMPLES[source](), path=f"{SOURCES[source].path}/").but(body=b"x" * 1025)
    answer = await receiver.send(request)
    assert (answer.status, answer.body) == (404, b"")
    assert await receiver.stored() == [receiver.keys.layout().encode()]


@pytest.mark.parametrize("path", ["/webhooks/messaging/", "/webhooks/email/", "/nowhere"])
@pytest.mark.parametrize("source", [SourceName.MESSAGING, SourceName.CONVERSATIONS, SourceName.EMAIL], ids=str)
async def test_a_body_without_a_signature_is_not_waited_for(receiver, source, path):
    """Whoever only announces a body gets the answer at once: none of it is read."""
    headers = signed(SAMPLES[source]()).but(signature=None).headers()
    async with on_wire(receiver.port) as wire:
        await wire.send(framed(path.encode(), b"", headers, "Content-Length: 5000"))
        answer = await wire.answer()
    assert (answer.status, answer.body) == (404, b"")


async def test_a_large_webhook_is_kept(receiver, replay):
    """A large form that arrives in several pieces has the limits of any other."""
    webhook = sms(Padding="x" * 300_000)
    await assert_kept(receiver, signed(webhook, path="/webhooks/messaging/"), "POST", SourceName.MESSAGING, 404)
    assert (await replay(receiver))[0].is_accepted


async def test_shadow_mode_does_not_apply(start):
    """Whoever knows the URL could fill the quarantine otherwise."""
    receiver = await start(ROUTER_SHADOW="messaging")
    assert (await receiver.send(signed(sms(), token=OTHER_TOKEN, path="/webhooks/messaging/"))).body == b""
    assert await receiver.stored() == [receiver.keys.layout().encode()]


async def test_repeats_are_counted(receiver):
    """The same webhook is kept once, however often it is sent."""
    for _ in range(3):
        await receiver.send(by_get(sms()), "GET")

    async def are_counted():
        kept = [one async for one in list_kept(receiver.redis, receiver.keys)]
        return [(one.refused.reason, one.repeats) for one in kept] == [("route", 2)]

    await until(are_counted)


async def test_the_prefix_that_a_proxy_does_not_remove(start, replay):
    """Then every webhook has no route, although the URL at Twilio is right: the proxy is named."""
    base = "https://user:pass@hooks.example.com/twilio/in"
    receiver = await start(PUBLIC_BASE_URL=base)
    request = signed(sms(), path="/twilio/in/webhooks/messaging")
    detail = json.loads((await receiver.send(request)).body)["detail"]
    assert "POST https://hooks.example.com/twilio/in/webhooks/messaging" in detail
    assert detail.endswith("the proxy must remove /twilio/in")
    await receiver.refused()
    assert (await replay(receiver, PUBLIC_BASE_URL=base))[0].is_accepted
    assert len(await receiver.entries()) == 1


async def test_without_a_body_there_may_be_nothing_to_replay(receiver, replay):
    """A rightly signed URL without parameters is kept as a sign of the mistake, and its replay says why not."""
    path = "/webhooks/conversations"
    signature = RequestValidator(TOKEN).compute_signature(BASE_URL + path, {})
    await assert_kept(receiver, Request(path, None, b"", signature), "GET", SourceName.CONVERSATIONS, 405)
    (outcome,) = await replay(receiver)
    assert not outcome.is_accepted
    assert "400 unreadable" in outcome.text
    assert len(await receiver.refused()) == 1


async def test_trust_after_the_token_is_gone(receiver, replay):
    """A webhook whose token was replaced meanwhile is refused, and can be trusted; of a GET too."""
    await receiver.send(by_get(sms(1)), "GET")
    await receiver.send(signed(sms(2), path="/webhooks/messaging/"))
    await receiver.refused(2)
    outcomes = await replay(receiver, TWILIO_AUTH_TOKEN=OTHER_TOKEN)
    assert all("403 signature" in one.text for one in outcomes)
    outcomes = await replay(receiver, TWILIO_AUTH_TOKEN=OTHER_TOKEN, is_trusted=True)
    assert [one.is_accepted for one in outcomes] == [True, True]
    assert len(await receiver.entries()) == 2
    assert {entry[b"account"] for entry in await receiver.entries()} == {ACCOUNT.encode()}


async def test_labels_are_bounded(receiver):
    """Methods and paths are no labels."""
    await receiver.send(signed(sms(), path="/Webhooks/MESSAGING/"))
    text = (await receiver.get("/metrics")).body.decode()
    assert 'router_webhooks_total{result="route",source="messaging",status="404"} ' in text
    assert 'router_quarantined_total{reason="route",result="kept"} ' in text
    assert "MESSAGING" not in text
