"""Authentication of mails: proof by signature or credentials, refusal before reading, and 30 MB in little memory."""

import asyncio
import io
import os
import time
import tracemalloc
from base64 import b64encode

import orjson
import pytest

from router import metrics
from router.core.accounts import Account, Accounts
from router.core.errors import SignatureError, TooLargeError, UnreadableError
from router.core.events import SourceName
from router.core.signing.mail import BasicVerifier, MailVerifier
from router.inbound.sources import SOURCES
from router.receiver import bodies
from router.receiver.authentication import RefusalContext
from router.receiver.mail_authentication import MAX_KEPT, MailAuthenticator
from router.receiver.replay import QuarantineReplay
from router.simulator.mail import RAW_FIELDS, Attachment, mail
from router.streams.store.quarantine import list_kept
from tests.inbound.email.mails import CONTENT_TYPE, join, make_body, part
from tests.receiver.conftest import settings_of
from tests.receiver.samples import WORDS, mail_received, opened_by, public_key, signed, signed_mail, sms
from tests.receiver.wire import head, speak
from tests.support.accounts import ACCOUNT, MAILBOX, OTHER_ACCOUNT, TOKEN, WRITER

SOURCE = SOURCES[SourceName.EMAIL]
DAY = 86_400
MIB = 1024 * 1024
BASIC = {"ROUTER_EMAIL_CREDENTIALS": "sendgrid:made-up-1, sendgrid:made-up-2"}
NO_KEYS = {"ROUTER_EMAIL_PUBLIC_KEYS": ""}


def basic(text):
    """An Authorization header."""
    return f"Basic {b64encode(text.encode()).decode()}"


def unsigned(number=1):
    """A mail that no security policy has signed."""
    return signed(mail_received(number)).but(signature=None, timestamp=None)


def of_body(body, content_type=CONTENT_TYPE, **options):
    """A signed request with this body."""
    webhook = mail_received()
    return signed_mail(type(webhook)(SOURCE.path, "", content_type, body), **options)


async def assert_refused(receiver, request, status, *words, **headers):
    """Assert that the answer is a bare status, that nothing is appended, and that the log line has these words."""
    answer = await receiver.send(request, **headers)
    assert (answer.status, answer.body) == (status, b"")
    assert await receiver.has_nothing_else()
    reason = receiver.webhooks()[-1]["reason"]
    assert all(word in reason for word in words), reason


async def read_entry(receiver):
    (entry,) = await receiver.entries()
    return orjson.loads(entry[b"body"])


# --- proof ----------------------------------------------------------------------------------------------


async def test_the_signature_does_not_cover_the_url(receiver):
    """It covers the time and the body, so a query in the configured URL changes nothing."""
    assert (await receiver.send(signed(mail_received(), path=f"{SOURCE.path}?tenant=a%2Bb&x=%20"))).status == 200


@pytest.mark.parametrize("age", [5 * DAY, -5 * DAY], ids=["too old", "ahead"])
async def test_a_time_outside_the_window_is_refused(receiver, age):
    """The signed time may differ from now by no more than the provider's retries take, in either direction."""
    await assert_refused(receiver, signed_mail(mail_received(), at=time.time() - age), 403, "outside the window")


async def test_a_retry_after_three_days_is_accepted(receiver):
    """The provider retries for three days, perhaps without signing again."""
    assert (await receiver.send(signed_mail(mail_received(), at=time.time() - 3 * DAY))).status == 200


async def test_the_window_is_a_setting(start):
    """ROUTER_EMAIL_MAX_AGE narrows the window, and 0 disables it."""
    old = signed_mail(mail_received(), at=time.time() - 60)
    assert (await (await start(ROUTER_EMAIL_MAX_AGE="30")).send(old)).status == 403
    ancient = signed_mail(mail_received(), at=1)
    assert (await (await start(ROUTER_EMAIL_MAX_AGE="0")).send(ancient)).status == 200


async def test_a_mail_that_is_signed_again_is_a_duplicate(receiver):
    """The idempotency key depends on the mail and its recipient, not on the request."""
    for at in (time.time() - DAY, time.time()):
        assert (await receiver.send(signed_mail(mail_received(), at=at))).status == 200
    assert [line["result"] for line in receiver.webhooks()] == ["accepted", "duplicate"]
    assert len(await receiver.entries()) == 1


async def test_two_mails_with_one_message_id_are_two_events(receiver):
    """Both mails of a program that writes the same Message-ID into each are accepted, and a repeat is a duplicate."""
    texts = ["door 1 is open", "door 2 is open", "door 1 is open"]
    for text in texts:
        sent = mail(sender=WRITER, recipients=[MAILBOX], subject=WORDS, body=text, message_id="<1@localhost>")
        assert (await receiver.send(signed(sent))).status == 200
    assert [line["result"] for line in receiver.webhooks()] == ["accepted", "accepted", "duplicate"]
    assert len(await receiver.entries()) == 2


@pytest.mark.parametrize("password", ["made-up-1", "made-up-2"])
async def test_credentials_prove_an_unsigned_mail(start, password):
    """Without a security policy, each of the credentials of a rotation proves the caller."""
    receiver = await start(**BASIC, **NO_KEYS)
    answer = await receiver.send(unsigned(), Authorization=basic(f"sendgrid:{password}"))
    assert (answer.status, len(await receiver.entries())) == (200, 1)


@pytest.mark.parametrize("header", [None, basic("sendgrid:other"), basic("sendgrid:"), "Bearer made-up-1"])
async def test_wrong_credentials_are_refused(start, header):
    """Other credentials, or none, prove nothing."""
    receiver = await start(**BASIC, **NO_KEYS)
    headers = {"Authorization": header} if header else {}
    await assert_refused(receiver, unsigned(), 403, "credentials", **headers)


async def test_with_keys_and_credentials_each_mail_is_checked_by_what_it_carries(start):
    """A signed mail is checked by its signature, an unsigned one by its credentials."""
    receiver = await start(**BASIC)
    assert (await receiver.send(signed(mail_received(1)))).status == 200
    assert (await receiver.send(unsigned(2), Authorization=basic("sendgrid:made-up-1"))).status == 200
    assert len(await receiver.entries()) == 2


@pytest.mark.parametrize(
    "changes",
    [{"signature": "AAAA"}, {"signature": ""}, {"signature": None}, {"timestamp": None}, {"timestamp": "1"}],
    ids=["wrong", "empty", "only the time", "no time", "too old"],
)
async def test_credentials_do_not_replace_a_signature(start, changes):
    """A request with a signature, or half of one, is checked by it, whatever its credentials are."""
    receiver = await start(**BASIC)
    request = signed(mail_received()).but(**changes)
    await assert_refused(receiver, request, 403, Authorization=basic("sendgrid:made-up-1"))


async def test_a_signed_mail_without_a_public_key_is_refused(start):
    """Valid credentials do not help, and the log names the missing setting."""
    receiver = await start(**BASIC, **NO_KEYS)
    headers = {"Authorization": basic("sendgrid:made-up-1")}
    await assert_refused(receiver, signed(mail_received()), 403, "ROUTER_EMAIL_PUBLIC_KEYS is not set", **headers)


async def test_without_keys_and_credentials_every_mail_is_refused(start):
    """The log names both settings."""
    receiver = await start(**NO_KEYS)
    await assert_refused(receiver, unsigned(), 403, "ROUTER_EMAIL_PUBLIC_KEYS", "ROUTER_EMAIL_CREDENTIALS")


async def test_the_auth_token_proves_no_mail(receiver):
    """A valid X-Twilio-Signature does not replace the mail's own signature."""
    await assert_refused(receiver, unsigned(), 403, "missing", **{"X-Twilio-Signature": signed(sms()).signature})


@pytest.mark.parametrize("spoil", [{"signature": None}, {"timestamp": None}, {"timestamp": "1"}])
async def test_wrong_headers_are_refused_before_a_large_body_is_read(receiver, spoil):
    """A body that is too large to be kept is not read: the answer comes before its first byte."""
    request = signed(mail_received()).but(**spoil)
    assert (await speak(receiver, head(request, length=30 * MIB))).startswith(b"HTTP/1.1 403 ")


async def test_a_refused_mail_is_accepted_by_a_replay_with_the_right_key(start, redis, output):
    """A mail that arrived while its public key was missing is kept whole and can be replayed."""
    closed = await start(ROUTER_EMAIL_PUBLIC_KEYS="")
    request = signed(mail_received())
    assert (await closed.send(request)).status == 403
    (refused,) = await closed.refused()
    assert (refused.body, refused.is_whole) == (request.body, True)
    settings = settings_of("redis://unused", **opened_by(TOKEN))
    (kept,) = [kept async for kept in list_kept(redis, closed.keys)]
    assert (await QuarantineReplay(settings, redis).replay(kept)).is_accepted
    assert (await read_entry(closed))["recipient"] == MAILBOX
    assert [kept async for kept in list_kept(redis, closed.keys)] == []


async def test_of_a_large_refused_mail_the_beginning_is_kept(receiver):
    """The entry of a large mail without an announced length is marked as incomplete."""
    request = signed(mail_received()).but(signature=None)

    async def chunks():
        for _ in range(8):
            yield b"x" * 65_536

    assert (await receiver.send(request, data=chunks())).status == 403
    (refused,) = await receiver.refused()
    assert (len(refused.body), refused.is_whole) == (MAX_KEPT, False)


async def test_a_wrong_type_or_length_is_refused_before_the_body_is_read(receiver):
    """Another content type is 415, and an announced length over the limit is 413."""
    request = signed(mail_received())
    answer = await speak(receiver, head(request.but(content_type="text/plain"), length=30 * MIB))
    assert answer.startswith(b"HTTP/1.1 415 ")
    assert (await speak(receiver, head(request, length=41 * MIB))).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("name", "status"), [("Content-Type", 415), ("Signature", 403), ("Timestamp", 403), ("Authorization", 403)]
)
async def test_headers_that_are_not_utf8(start, name, status):
    """A header that is not UTF-8 is refused like any other wrong value, and never a 500."""
    receiver = await start(**BASIC)
    request = unsigned() if name == "Authorization" else signed(mail_received())
    wrong = head(request, length=0, more="Authorization: Basic x\r\n").replace(
        f"{name}: ".encode(), f"{name}: ÿ".encode("latin-1")
    )
    assert (await speak(receiver, wrong)).split(b" ", 2)[1] == str(status).encode()
    assert receiver.webhooks()[0]["status"] == status


# --- content -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw_field", [None, *RAW_FIELDS])
async def test_parsed_and_raw_mails(receiver, raw_field):
    """Parsed and raw mode (under both names of its field) give the same mail, down to the name of its attachment."""
    webhook = mail(
        sender=WRITER,
        recipients=[MAILBOX],
        subject="Größe",
        body="Olá, größer?",
        charset="iso-8859-1",
        attachments=[Attachment("bill.pdf", b"%PDF-1.7 \xff", "application/pdf")],
        raw_field=raw_field,
    )
    assert (await receiver.send(signed(webhook))).status == 200
    entry = await read_entry(receiver)
    assert (entry["envelope_from"], entry["recipient"]) == (WRITER, MAILBOX)
    assert (entry["headers"]["subject"], entry["text"].strip()) == ("Größe", "Olá, größer?")
    assert entry["headers"]["message_id"] == webhook.resource_id
    assert entry["parts"] == [{"name": "bill.pdf", "content_type": "application/pdf", "size": 10}]
    assert b"%PDF" not in (await receiver.entries())[0][b"body"]


async def test_a_wrong_charset_is_noted(receiver):
    """A text in another charset than stated is decoded as well as possible, and the entry says so."""
    body = make_body(text="größer".encode("iso-8859-1"), charsets='{"text":"utf-8"}')
    assert (await receiver.send(of_body(body))).status == 200
    entry = await read_entry(receiver)
    assert entry["text"].startswith("gr")
    assert entry["doubts"] == ["text: not utf-8 as stated"]


async def test_two_recipients_are_two_events(receiver):
    """Each mailbox of the envelope has its own entry and key; the same mail again adds none."""
    webhook = mail(sender=WRITER, recipients=[MAILBOX, "sales@inbound.example.com"], subject="", body=WORDS)
    for _ in range(2):
        assert (await receiver.send(signed(webhook))).status == 200
    entries = await receiver.entries()
    assert len({entry[b"key"] for entry in entries}) == len(entries) == 2
    assert len({entry[b"subject"] for entry in entries}) == 2
    assert [line["key"] for line in receiver.webhooks()] == ["2 events", "2 events"]


async def test_recipients_of_unknown_accounts_are_left_out(start, tmp_path):
    """A mail to unknown mailboxes only is refused; of several recipients the known ones get it, the rest is counted."""
    (tmp_path / "accounts.toml").write_text(
        f'[[account]]\nsid = "{OTHER_ACCOUNT}"\nauth_token_env = "BERLIN"\nemail_domains = ["{MAILBOX}"]\n',
        encoding="utf-8",
    )
    receiver = await start(ROUTER_ACCOUNTS_FILE=str(tmp_path / "accounts.toml"), BERLIN="a-token")
    other = "sales@elsewhere.example.com"
    await assert_refused(
        receiver, signed(mail(sender=WRITER, recipients=[other], subject="", body="")), 403, "mailboxes"
    )
    labels = {"source": "email", "status": "403", "result": "account"}
    before = metrics.REGISTRY.get_sample_value("router_webhooks_total", labels)
    both = mail(sender=WRITER, recipients=[other, MAILBOX], subject="", body="")
    assert (await receiver.send(signed(both))).status == 200
    assert (await read_entry(receiver))["recipient"] == MAILBOX
    assert (await receiver.entries())[0][b"account"] == OTHER_ACCOUNT.encode()
    assert receiver.webhooks()[-1]["reason"].startswith("1 of 2 are to mailboxes")
    assert metrics.REGISTRY.get_sample_value("router_webhooks_total", labels) == before + 1


UNREADABLE = {
    "no end": (make_body()[:-10], CONTENT_TYPE),
    "no multipart": (b"hello", CONTENT_TYPE),
    "empty": (b"", CONTENT_TYPE),
    "other boundary": (make_body(), "multipart/form-data; boundary=other"),
    "no boundary": (make_body(), "multipart/form-data"),
    "no envelope": (make_body(envelope=None), CONTENT_TYPE),
    "envelope that is no JSON": (make_body(envelope="{"), CONTENT_TYPE),
    "no recipient in the envelope": (make_body(envelope='{"to":[]}'), CONTENT_TYPE),
    "part without a name": (join(b"--xYzZY\r\n\r\n\r\n"), CONTENT_TYPE),
    "too many parts": (join(*(part("x", "") for _ in range(600))), CONTENT_TYPE),
}


@pytest.mark.parametrize(("body", "content_type"), UNREADABLE.values(), ids=list(UNREADABLE))
async def test_unreadable_mail(receiver, body, content_type):
    """An authentic mail that cannot be read is a 400; a forged one is always a 403."""
    await assert_refused(receiver, of_body(body, content_type, token="f" * 32), 403, "does not match")
    await assert_refused(receiver, of_body(body, content_type), 400)


# --- transfer --------------------------------------------------------------------------------------------------


async def trickle(*pieces, until=None):
    """Yield a body in chunks; the last one follows once `until` is set."""
    for piece in pieces[:-1]:
        yield piece
    if until is not None:
        await until.wait()
    yield pieces[-1]


async def test_thirty_megabytes(receiver):
    """The largest mail that the provider forwards is accepted; its entry lists attachments without their content."""
    files = [part(f"attachment{n}", os.urandom(10 * MIB), filename=f"{n}.bin") for n in (1, 2, 3)]
    request = of_body(make_body(*files))
    assert (await receiver.send(request, data=io.BytesIO(request.body))).status == 200
    entry = await read_entry(receiver)
    assert [(one["name"], one["size"]) for one in entry["parts"]] == [(f"{n}.bin", 10 * MIB) for n in (1, 2, 3)]
    assert await receiver.redis.memory_usage(receiver.keys.inbound(0)) < 10_000


async def test_a_slow_mail_delays_no_other_webhook(receiver):
    """Other webhooks are answered while a mail is being received."""
    may_finish = asyncio.Event()
    request = signed(mail_received())
    half = len(request.body) // 2
    chunks = trickle(request.body[:half], request.body[half:], until=may_finish)
    sending = asyncio.create_task(receiver.send(request, data=chunks))
    assert (await receiver.send(signed(sms()))).status == 200
    assert not sending.done()
    may_finish.set()
    assert (await sending).status == 200


@pytest.mark.parametrize("limit", ["MAIL_TIMEOUT", "STALL_TIMEOUT"])
async def test_a_caller_that_never_finishes_its_mail_is_refused(receiver, monkeypatch, limit):
    """A caller that stops in the middle gets 400, by the limit for a pause or by that for the whole mail."""
    monkeypatch.setattr(bodies, limit, 0.05)
    request = signed(mail_received())
    answer = await speak(receiver, head(request, length=len(request.body)) + request.body[:50])
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert "whole" in receiver.webhooks()[0]["reason"]


async def test_a_mail_over_the_limit_is_refused_while_its_caller_still_sends(start):
    """A mail without an announced length is refused as soon as it is too large."""
    receiver = await start(ROUTER_MAX_MAIL_BYTES="2048")
    begun = head(signed(mail_received()), length=None) + b"1000\r\n" + b"x" * 4096 + b"\r\n"
    assert (await speak(receiver, begun)).startswith(b"HTTP/1.1 413 ")


# --- without a request -----------------------------------------------------------------------------------------------


def make_authenticator(*, clock=time.time, credentials=None):
    accounts = Accounts([Account(ACCOUNT)])
    verifier = MailVerifier([public_key(TOKEN)], max_age=600)
    return MailAuthenticator(accounts, verifier=verifier, credentials=credentials, max_mail_bytes=MIB, clock=clock)


async def authenticate(authenticator, request, context=None, *, chunks=None, **options):
    """Authenticate a mail that does not come over HTTP."""
    headers = {name.upper(): value for name, value in request.headers().items()}
    return await authenticator.authenticate_stream(
        headers, chunks or trickle(request.body), SOURCE, context or RefusalContext(), **options
    )


async def test_a_replay_is_checked_by_its_signature_but_not_by_its_age():
    """A stored mail is authentic however old its signature is."""
    request = signed_mail(mail_received(), at=1000)
    authenticator = make_authenticator(clock=lambda: 1_000_000.0)
    with pytest.raises(SignatureError, match="outside the window"):
        await authenticate(authenticator, request)
    accepted = await authenticate(authenticator, request, check_age=False)
    assert [piece.identity.account_id for piece in accepted.pieces] == [ACCOUNT]
    with pytest.raises(SignatureError, match="does not match"):
        await authenticate(authenticator, request.but(body=request.body + b" "), check_age=False)


async def test_the_body_of_a_refused_mail_is_kept_up_to_a_limit():
    """A short body is kept whole; of a long one the beginning, marked as cut."""
    short, context = of_body(make_body(envelope=None)), RefusalContext()
    with pytest.raises(UnreadableError):
        await authenticate(make_authenticator(), short, context)
    assert (context.body, context.is_cut) == (short.body, False)
    long, context = (
        of_body(make_body(part("attachment1", bytes(MAX_KEPT), filename="a")), token="x"),
        RefusalContext(),
    )
    with pytest.raises(SignatureError):
        await authenticate(make_authenticator(), long, context)
    assert (context.body, context.is_cut) == (long.body[:MAX_KEPT], True)


async def test_of_a_mail_that_broke_off_the_received_part_is_kept():
    """It is marked as cut."""

    async def break_off():
        yield b"--xYzZY"
        raise TooLargeError("more than it may have")

    context = RefusalContext()
    with pytest.raises(TooLargeError):
        await authenticate(make_authenticator(), of_body(make_body()), context, chunks=break_off())
    assert (context.body, context.is_cut) == (b"--xYzZY", True)


async def test_a_small_mail_that_its_headers_refuse_is_kept_whole():
    """Its body is read although the answer is known, so that the mail can be replayed."""
    request, context = of_body(make_body()).but(timestamp="1"), RefusalContext()
    with pytest.raises(SignatureError):
        await authenticate(make_authenticator(), request, context, chunks=trickle(request.body))
    assert (context.body, context.is_cut) == (request.body, False)


@pytest.mark.parametrize("raw_field", [None, *RAW_FIELDS])
async def test_memory_of_thirty_megabytes(raw_field):
    """A mail of 30 MB takes the memory of a few chunks, whether it is parsed or raw."""
    chunk = os.urandom(64 * 1024).replace(b"\n", b"x")
    whole = mail(
        sender=WRITER,
        recipients=[MAILBOX],
        subject="",
        body=WORDS,
        attachments=[Attachment("a.bin", b"HERE", "image/png")],
        raw_field=raw_field,
    )
    before, _, after = whole.body.rpartition(b"SEVSRQ==" if raw_field else b"HERE")

    async def chunks():
        yield before
        for _ in range(480):
            yield chunk
        yield after

    authenticator = make_authenticator(credentials=BasicVerifier(("ana:made-up",)))
    headers = {"Content-Type": whole.content_type, "Authorization": basic("ana:made-up")}
    tracemalloc.start()
    try:
        accepted = await authenticator.authenticate_stream(headers, chunks(), SOURCE, RefusalContext())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MIB
    (piece,) = accepted.pieces
    ((name, size),) = [(one["name"], one["size"]) for one in orjson.loads(piece.body)["parts"]]
    assert name == "a.bin"
    assert size > 20 * MIB
    assert len(piece.body) < 2000
