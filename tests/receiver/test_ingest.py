"""The path of one webhook: its body, its transfer, and the answer when Redis cannot take its event."""

import asyncio
from urllib.parse import urlencode

import pytest

from router import metrics
from router.core.events import SourceName
from router.core.keys import Keys
from router.core.signing import form as form_module
from router.core.signing.form import parse_form
from router.core.signing.twilio import sign
from router.inbound.sources import EMPTY_TWIML, FORM, SOURCES
from router.receiver import app, bodies
from router.simulator.messages import callback
from router.streams.client.connection import RedisError, connect
from router.streams.client.embedded import free_port
from tests.receiver.samples import SAMPLES, WORDS, Request, participant_added, signed, sms
from tests.receiver.wire import head, speak, whole
from tests.support.accounts import ACCOUNT, BASE_URL, CUSTOMER, OURS, TOKEN
from tests.support.waiting import until

MESSAGING = "/webhooks/messaging"
CONVERSATIONS = "/webhooks/conversations"


def raw_form(body: bytes) -> Request:
    """A form of these bytes, signed over its decoded pairs."""
    return Request(MESSAGING, FORM, body, sign(TOKEN, (BASE_URL + MESSAGING).encode(), parse_form(body)))


def form(**params: str) -> bytes:
    given = {"MessageSid": "SM" + "7" * 32, "AccountSid": ACCOUNT, "From": CUSTOMER, "To": OURS, "Body": WORDS}
    return urlencode({name: value for name, value in (given | params).items() if value is not None}).encode()


def json_request(body: bytes) -> Request:
    """A signed JSON body of these bytes."""
    webhook = participant_added()
    return signed(type(webhook)(CONVERSATIONS, "", "application/json", body))


async def assert_unreadable(receiver, request, *words):
    """Assert that a webhook is refused as unreadable and kept, and that its log line has these words."""
    answer = await receiver.send(request)
    assert (answer.status, answer.body) == (400, b"")
    (refused,) = await receiver.refused()
    assert (refused.reason, refused.body) == ("unreadable", request.body)
    assert await receiver.has_nothing_else()
    (line,) = receiver.webhooks()
    assert line["result"] == "unreadable"
    assert all(word in line["reason"] for word in words), line["reason"]


@pytest.mark.parametrize("number", ["+15551230001", "15551230001", "tel:+15551230001"])
@pytest.mark.parametrize("place", ["account", "content type"])
async def test_what_an_unsigned_caller_wrote_is_masked_in_the_log(receiver, lines, number, place):
    """Anyone may put a number where an account or a content type belongs, and the reason quotes it."""
    request = Request(MESSAGING, FORM, form(AccountSid=number), "A" * 27 + "=")
    if place == "content type":
        request = Request(MESSAGING, f"text/{number.replace(':', '-')}", form(), "A" * 27 + "=")
    answer = await receiver.send(request)
    assert answer.status in {403, 415}
    (line,) = receiver.webhooks()
    assert "***01" in line["reason"]
    assert "15551230001" not in str(line)


async def test_messaging_is_answered_with_exactly_an_empty_twiml(receiver):
    """200, text/xml and an empty Response, so that Twilio sends nothing to the customer."""
    answer = await receiver.send(signed(sms()))
    assert answer.status == 200
    assert answer.headers["Content-Type"].partition(";")[0] == "text/xml"
    assert answer.body == EMPTY_TWIML == b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


async def test_json_is_answered_with_an_empty_body(receiver):
    """A status callback gets 200 and no body."""
    answer = await receiver.send(signed(participant_added()))
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


async def test_an_entry_has_exactly_the_fields_that_the_worker_needs(receiver):
    """Format, source, account, key, subject, time of receipt and the raw body."""
    await receiver.send(signed(sms(7)))
    (entry,) = await receiver.entries()
    assert entry[b"account"] == ACCOUNT.encode()
    assert entry[b"key"] == f"{ACCOUNT}:messaging:SM{7:032x}".encode()
    assert entry[b"subject"] == f"SMS|{CUSTOMER}|{OURS}".encode()
    assert int(entry[b"received_at"]) > 1_700_000_000_000_000
    assert set(entry) == {b"format", b"source", b"account", b"key", b"subject", b"received_at", b"body"}


@pytest.mark.parametrize("name", ["From", "To", "MessageSid"])
@pytest.mark.parametrize("value", [None, "", "   "], ids=["missing", "empty", "blank"])
async def test_a_form_without_a_parameter_of_the_key_is_refused(receiver, name, value):
    """Without From, To or MessageSid there is no idempotency key or subject: 400, and the log names the parameter."""
    await assert_unreadable(receiver, raw_form(form(**{name: value})), name)


async def test_an_empty_form_is_unreadable(receiver):
    """An empty body with a valid signature is authentic, but unreadable."""
    await assert_unreadable(receiver, raw_form(b""), "From", "To", "MessageSid")


@pytest.mark.parametrize("bad", [b"&Note=%FF%FE", b"&%C3%28=x", b"&Note=\xff"], ids=["value", "name", "raw byte"])
async def test_a_parameter_that_is_not_utf8_costs_no_message(receiver, bad):
    """Bytes that are not UTF-8, in a parameter that nobody needs, are stored as they came."""
    assert (await receiver.send(raw_form(form() + bad))).status == 200
    assert (await receiver.entries())[0][b"body"] == form() + bad


async def test_an_address_that_is_not_utf8_is_unreadable(receiver):
    """Authentic bytes that are not UTF-8, in an address, are refused as unreadable, not as a forgery."""
    body = form().replace(b"From=", b"From=%FF")
    await assert_unreadable(receiver, raw_form(body), "parameter From is not UTF-8")


@pytest.mark.parametrize(
    "odd", [b"&Note=100%", b"&Note=%zz", b"&%=%", b"&&&", b"&=", b"&x", b"&Note=a=b=c", b"&Note=%0d%0a"]
)
async def test_malformed_percent_encoding_is_kept_as_it_is(receiver, odd):
    """Invalid percent-encoding is taken literally, so the message is not lost."""
    assert (await receiver.send(raw_form(form() + odd))).status == 200
    assert len(await receiver.entries()) == 1


async def test_blank_repeated_and_non_ascii_parameters(receiver):
    """The signature is valid over blank, repeated and non-ASCII parameters."""
    body = form(Body="", ProfileName="Zoë 陳 👋") + b"&Extra=2&Extra=1&Extra=2&Blank="
    assert (await receiver.send(raw_form(body))).status == 200


async def test_the_first_of_repeated_parameters_counts(receiver):
    """Key and subject both use the first value, so a webhook cannot have two senders."""
    await receiver.send(raw_form(form() + b"&MessageSid=SM2&From=%2B15550000000"))
    (entry,) = await receiver.entries()
    assert entry[b"key"].endswith(b"SM" + b"7" * 32)
    assert CUSTOMER.encode() in entry[b"subject"]


async def test_very_long_parameters(receiver):
    """Half a megabyte in one parameter is within the limit and is stored whole."""
    body = form(Body="ß" * 80_000, **{"N" * 100_000: "v"})
    assert (await receiver.send(raw_form(body))).status == 200
    assert (await receiver.entries())[0][b"body"] == body


async def test_very_long_identifiers(receiver):
    """An identifier of any length is accepted once, and its repeat is a duplicate."""
    body = form(MessageSid="SM" + "9" * 20_000, From="x" * 20_000)
    assert [(await receiver.send(raw_form(body))).status for _ in range(2)] == [200, 200]
    assert len(await receiver.entries()) == 1


def many_parameters(count):
    return form() + b"".join(b"&p%d=1" % number for number in range(count - 5))


async def test_a_thousand_parameters_are_accepted(receiver):
    """No real form has as many."""
    assert (await receiver.send(raw_form(many_parameters(1000)))).status == 200


@pytest.mark.parametrize(("signature", "status"), [("x" * 28, 413), ("x", 403)])
async def test_too_many_parameters(receiver, signature, status, monkeypatch):
    """A form of more parameters is too large; none of them is decoded, and its bytes are kept."""
    monkeypatch.setattr(form_module, "_unquote", None)
    request = Request(MESSAGING, FORM, many_parameters(1001), signature)
    assert (await receiver.send(request)).status == status
    (refused,) = await receiver.refused()
    assert (refused.body, refused.is_whole) == (request.body, True)


@pytest.mark.parametrize("signature", [None, "", "x", "x" * 27, "x" * 44])
@pytest.mark.parametrize("size", [1, 200_000], ids=["small", "large"])
async def test_a_form_that_nobody_can_have_signed_is_not_decoded(receiver, monkeypatch, signature, size):
    """Without a signature, or with one of another length, nothing of the body is decoded; it is kept all the same."""
    monkeypatch.setattr(form_module, "_unquote", None)
    request = Request(MESSAGING, FORM, form(Body="%" * size), signature)
    assert (await receiver.send(request)).status == 403
    (refused,) = await receiver.refused()
    assert (refused.body, refused.is_whole, refused.account_id) == (request.body, True, ACCOUNT)


@pytest.mark.parametrize("address", ["not a phone", "US.1A2b3C", "sip:ana@host", "client:x", "whatsapp:@ana", "+", "€"])
async def test_address_that_is_neither_phone_nor_mailbox(receiver, address):
    """An address is opaque and never refused for its form."""
    assert (await receiver.send(raw_form(form(From=address)))).status == 200
    assert address.rpartition(":")[2].encode() in (await receiver.entries())[0][b"subject"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"eventType": "\xff"}', "not JSON"),
        (b'{"eventType": "\\ud800", "data": {"id": "x"}}', "not JSON"),
        (b"[" * 5000 + b"]" * 5000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"data": {"id": "x"}}', "eventType"),
        (b'{"eventType": 7, "data": {"id": "x"}}', "eventType"),
        (b'{"eventType": "PARTICIPANT_ADDED"}', "data"),
        (b'{"eventType": "PARTICIPANT_ADDED", "data": []}', "data"),
        (b'{"eventType": "PARTICIPANT_ADDED", "data": "x"}', "data"),
        (b'{"eventType": "PARTICIPANT_ADDED", "data": {}}', "data.id"),
        (b'{"eventType": "PARTICIPANT_ADDED", "data": {"id": 5}}', "data.id"),
    ],
)
async def test_json_that_cannot_be_read(receiver, body, word):
    """Authentic JSON that is not an event is refused; the log names the missing part and no value."""
    await assert_unreadable(receiver, json_request(body), word)


async def test_unknown_event_type_is_accepted(receiver):
    """An event of a new type is durable like any other; the worker ignores it by name."""
    webhook = callback("SOMETHING_NEW", {"id": "x1", "accountId": ACCOUNT}, timestamp="2026-01-01T00:00:00Z")
    assert (await receiver.send(signed(webhook))).status == 200
    assert len(await receiver.entries()) == 1


async def test_a_callback_without_an_account_belongs_to_its_signer(receiver):
    """It gets the account whose token signed it."""
    webhook = callback("PARTICIPANT_ADDED", {"id": "x1"}, timestamp="2026-01-01T00:00:00Z")
    assert (await receiver.send(signed(webhook))).status == 200
    assert (await receiver.entries())[0][b"account"] == ACCOUNT.encode()


async def test_the_idempotency_token_cannot_hide_another_event(receiver):
    """Twilio's token is not signed, so two events with the same token make two entries."""
    for number in (1, 2):
        await receiver.send(signed(participant_added(number)), **{"I-Twilio-Idempotency-Token": "same"})
    assert len(await receiver.entries()) == 2


async def test_a_repeat_with_the_same_token_is_a_duplicate(receiver):
    """Twilio's retries carry the token of the first attempt."""
    for _ in range(2):
        await receiver.send(signed(participant_added()), **{"I-Twilio-Idempotency-Token": "t-1"})
    assert len(await receiver.entries()) == 1


async def test_ten_thousand_copies_at_once_are_one_entry(start, monkeypatch):
    """A webhook repeated any number of times makes one entry, and every caller gets 200."""
    monkeypatch.setattr(app, "REDIS_TIMEOUT", 60)  # a machine that is slow with all of them is not an outage
    receiver, request = await start(), signed(sms())
    statuses = set()

    async def send_some(count):
        for _ in range(count):
            statuses.add((await receiver.send(request)).status)

    await asyncio.gather(*(send_some(50) for _ in range(200)))
    assert statuses == {200}
    assert len(await receiver.entries()) == 1
    results = [line["result"] for line in receiver.webhooks()]
    assert (results.count("accepted"), results.count("duplicate")) == (1, 9999)


async def test_without_redis_and_spool_the_answer_is_503(start):
    """The caller gets Retry-After and an empty body, and the log line says why."""
    receiver = await start(server_url=f"redis://127.0.0.1:{free_port()}/0", ROUTER_SPOOL_MAX_BYTES="0")
    answer = await receiver.send(signed(sms()))
    assert (answer.status, answer.body, answer.headers["Retry-After"]) == (503, b"", "5")
    (line,) = receiver.webhooks()
    assert (line["result"], line["key"]) == ("not-durable", f"{ACCOUNT}:messaging:SM{1:032x}")
    assert "the number of partitions is not known yet" in line["reason"]


async def test_a_webhook_is_accepted_once_redis_is_back(start, redis):
    """An event that Redis could not take leaves no claim, so its repeat is new."""
    await redis.config_set("maxmemory", "1")
    receiver = await start(ROUTER_SPOOL_MAX_BYTES="0")
    try:
        assert (await receiver.send(signed(sms()))).status == 503
    finally:
        await redis.config_set("maxmemory", "0")

    async def is_accepted():  # it first has to learn the number of partitions, which Redis could not keep
        return (await receiver.send(signed(sms()))).status == 200

    await until(is_accepted)
    assert {line["result"] for line in receiver.webhooks()[:-1]} == {"not-durable"}
    assert receiver.webhooks()[-1]["result"] == "accepted"


async def test_a_forged_webhook_is_refused_without_redis(start):
    """The answer is 403 while Redis is unreachable too: a forgery needs no Redis."""
    receiver = await start(server_url=f"redis://127.0.0.1:{free_port()}/0")
    assert (await receiver.send(signed(sms()).but(signature="x"))).status == 403


async def test_an_unexpected_failure_is_an_empty_500(receiver, monkeypatch):
    """The log names the exception by its type and place, not by its text."""

    def fail(*_, **__):
        raise ValueError(WORDS)

    monkeypatch.setattr("router.inbound.messaging.identify", fail)
    answer = await receiver.send(signed(sms()))
    assert (answer.status, answer.body) == (500, b"")
    (line,) = receiver.webhooks()
    assert (line["status"], line["result"], line["level"]) == (500, "failed", "error")
    assert line["reason"].startswith("ValueError at test_ingest.py:")


@pytest.mark.parametrize("source", SOURCES, ids=str)
async def test_half_a_body_and_then_nothing(receiver, source):
    """A caller that disconnects in the middle leaves a log line and a quarantine entry, marked as incomplete."""
    request = signed(SAMPLES[SourceName(source)]())
    half = request.body[: len(request.body) // 2]
    await speak(receiver, head(request, length=len(request.body)) + half, closes=True)
    (line,) = await until(receiver.webhooks)
    assert (line["status"], line["result"]) == (400, "unreadable")
    assert "whole" in line["reason"]
    (refused,) = await receiver.refused()
    assert half.startswith(refused.body)
    assert not refused.is_whole
    assert await receiver.has_nothing_else()


async def test_half_a_chunked_body_and_then_nothing(receiver):
    """The same holds for a body without an announced length."""
    await speak(receiver, head(signed(sms()), length=None) + b"5\r\nabcde\r\n", closes=True)
    (line,) = await until(receiver.webhooks)
    assert (line["status"], line["result"]) == (400, "unreadable")


async def test_a_caller_that_never_finishes_its_body_is_refused(receiver, monkeypatch):
    """The answer is 400 after BODY_TIMEOUT, so a slow caller cannot occupy memory forever."""
    monkeypatch.setattr(bodies, "BODY_TIMEOUT", 0.05)
    answer = await speak(receiver, head(signed(sms()), length=1000) + b"From=")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert "whole" in receiver.webhooks()[0]["reason"]


async def test_broken_chunks(receiver):
    """A body with an invalid chunk size is refused."""
    answer = await speak(receiver, head(signed(sms()), length=None) + b"zz\r\nabcde\r\n0\r\n\r\n")
    assert answer.split(b" ", 2)[1] == b"400"
    assert await receiver.has_nothing_else()


async def test_headers_that_are_not_utf8(receiver):
    """A header that is not UTF-8 is refused and logged like any other wrong value, and never a 500."""
    wrong = head(signed(sms()), length=0)
    answers = [
        await speak(receiver, wrong.replace(b"application/", b"\xff\xfe")),
        await speak(receiver, wrong.replace(b"X-Twilio-Signature: ", b"X-Twilio-Signature: \xff\xfe")),
        await speak(receiver, wrong.replace(b"Host: ", b"I-Twilio-Idempotency-Token: \xff\xfe\r\nHost: ")),
    ]
    assert [answer.split(b" ", 2)[1] for answer in answers] == [b"415", b"403", b"403"]
    assert [line["status"] for line in receiver.webhooks()] == [415, 403, 403]


async def test_counts_by_source_status_and_result(receiver):
    """Every webhook is counted by its source, status and result."""

    def counted():
        labels = {"source": "messaging", "status": "403", "result": "signature"}
        return metrics.REGISTRY.get_sample_value("router_webhooks_total", labels) or 0

    before = counted()
    await receiver.send(signed(sms()).but(signature=None))
    assert counted() == before + 1


async def test_a_caller_that_disconnects_does_not_stop_other_appends(receiver):
    """Its event is appended all the same if its whole body was received, and so are the others in the pipeline."""
    request = signed(sms(5))
    await speak(receiver, whole(request), closes=True)
    assert (await receiver.send(signed(sms(6)))).status == 200
    await until(lambda: len(receiver.webhooks()) == 2)
    assert {entry[b"key"][-1:] for entry in await receiver.entries()} == {b"5", b"6"}


async def test_an_unreachable_server_raises_the_errors_that_the_receiver_handles():
    """The client raises RedisError or OSError, which the receiver answers with 503."""
    redis = connect(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises((RedisError, OSError)):
        await redis.xlen(Keys().inbound(0))
    await redis.aclose()
