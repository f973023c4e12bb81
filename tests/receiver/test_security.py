"""The security suite: every event source of the table runs all of it, with its sample in tests/receiver/samples.py.

Tests about the URL, which the signature of a mail does not cover, run for the other sources; the tests about what only
a mail has (its signed time, Basic credentials, mailboxes) are in test_mail_authentication.py.
"""

import gzip

import pytest

from router.inbound.sources import SOURCES
from tests.receiver.samples import (
    ANSWERS,
    SAMPLES,
    URL_SAMPLES,
    entry_body,
    is_form,
    limited_to,
    opened_by,
    signature_of,
    signed,
    sms,
    wire_path,
)
from tests.support.accounts import BASE_URL, OTHER_ACCOUNT, OTHER_TOKEN, TOKEN

JSON_TYPE = "application/json"


@pytest.fixture(params=[True, False], ids=["lane", "aiohttp"])
async def receiver(request, start):
    """A receiver with and without the fast lane."""
    return await start(has_lane=request.param)


@pytest.fixture(params=list(SOURCES), ids=str)
def source(request):
    return SOURCES[request.param]


@pytest.fixture
def sample(source):
    """A function that makes authentic webhooks of the source."""
    return SAMPLES[source.name]


@pytest.fixture(params=list(URL_SAMPLES), ids=str)
def url_sample(request):
    """The same for the sources whose signature covers the URL."""
    return URL_SAMPLES[request.param]


@pytest.fixture(params=[name for name, source in SOURCES.items() if source.content_type == JSON_TYPE], ids=str)
def json_sample(request):
    """The same for the sources whose bodies are JSON."""
    return SAMPLES[request.param]


async def assert_refused(receiver, request, status, result, **headers):
    """Assert that the answer is a bare status, one line says why, and only the quarantine has the bytes."""
    answer = await receiver.send(request, **headers)
    assert (answer.status, answer.body) == (status, b"")
    (refused,) = await receiver.refused()
    assert await receiver.has_nothing_else()
    assert (refused.reason, refused.status, refused.raw_path) == (result, status, request.path.encode())
    assert refused.body == (b"" if status == 413 else request.body)
    (line,) = receiver.webhooks()
    assert (line["status"], line["result"], line["level"]) == (status, result, "warning")
    assert line["reason"]
    return line


def test_every_source_has_a_sample():
    """Every source of the table is tested here."""
    assert set(SAMPLES) == set(SOURCES)


async def test_a_valid_signature_is_accepted_and_answered_as_the_table_says(receiver, source, sample):
    """An authentic webhook is durable before its answer, which is the one of its source."""
    answer = await receiver.send(signed(sample()))
    assert (answer.status, answer.body) == (200, ANSWERS.get(source.name, source.answer))
    (entry,) = await receiver.entries()
    assert entry[b"source"] == source.name.encode()
    assert entry[b"body"] == entry_body(sample())
    (line,) = receiver.webhooks()
    assert (line["result"], line["source"], line["key"]) == ("accepted", source.name, entry[b"key"].decode())


async def test_missing_signature(receiver, sample):
    """A webhook without a signature is refused, and the log says that it is missing."""
    line = await assert_refused(receiver, signed(sample()).but(signature=None), 403, "signature")
    assert "missing" in line["reason"]


async def test_empty_signature(receiver, sample):
    """An empty header is not a signature."""
    await assert_refused(receiver, signed(sample()).but(signature=""), 403, "signature")


async def test_wrong_token(receiver, sample):
    """A webhook signed with another token is not authentic."""
    await assert_refused(receiver, signed(sample(), token=OTHER_TOKEN), 403, "signature")


@pytest.mark.parametrize("spoil", [lambda s: s[:-1], lambda s: s[:8], lambda s: s + "=", lambda s: s.swapcase()])
async def test_mangled_signature(receiver, sample, spoil):
    """A signature that is cut, longer or in another case is wrong."""
    request = signed(sample())
    await assert_refused(receiver, request.but(signature=spoil(request.signature)), 403, "signature")


async def test_signature_that_is_not_ascii(receiver, sample):
    """Bytes outside base64 are a wrong signature, not a failure."""
    await assert_refused(receiver, signed(sample()).but(signature="Zürich→"), 403, "signature")


@pytest.mark.parametrize(
    "base",
    ["http://hooks.example.com", "https://other.example.com", "https://hooks.example.com:8443"],
    ids=["http", "other host", "other port"],
)
async def test_valid_signature_of_another_url(receiver, url_sample, base):
    """A signature is valid for the URL that Twilio calls, and for no other scheme, host or port."""
    await assert_refused(receiver, signed(url_sample(), base=base), 403, "signature")


async def test_valid_signature_of_another_path(receiver, url_sample):
    """A signature for one route is not valid for another."""
    request = signed(url_sample(), signs="/webhooks/elsewhere")
    await assert_refused(receiver, request, 403, "signature")
    assert request.path.startswith(url_sample().path)


async def test_valid_signature_of_another_query(receiver, url_sample):
    """The query is signed as received: decoded, sorted or extended it is a different URL."""
    path = url_sample().path
    request = signed(url_sample(), path=f"{path}?b=%2B1&a=2", signs=f"{path}?a=2&b=%2B1")
    await assert_refused(receiver, request, 403, "signature")


async def test_a_query_in_the_configured_url_is_signed_verbatim(receiver, url_sample):
    """A query in the configured URL is part of the signed text, exactly as received."""
    path = url_sample().path
    answer = await receiver.send(signed(url_sample(), path=f"{path}?tenant=a%2Bb&x=%20&b=2&a=1"))
    assert answer.status == 200


async def test_each_of_two_tokens_of_a_rotation(start, sample):
    """During a rotation both the old and the new token are valid."""
    receiver = await start(**opened_by(TOKEN, OTHER_TOKEN))
    statuses = [
        (await receiver.send(signed(sample(n), token=token))).status for n, token in ((1, TOKEN), (2, OTHER_TOKEN))
    ]
    assert statuses == [200, 200]
    assert len(await receiver.entries()) == 2


async def test_a_replayed_webhook_gets_the_same_answer_and_no_second_entry(receiver, sample):
    """A duplicate gets the answer of the first webhook."""
    first, second = await receiver.send(signed(sample())), await receiver.send(signed(sample()))
    assert (first.status, first.body) == (second.status, second.body)
    assert first.headers["Content-Type"] == second.headers["Content-Type"]
    assert len(await receiver.entries()) == 1
    assert [line["result"] for line in receiver.webhooks()] == ["accepted", "duplicate"]


async def test_two_events_are_two_entries(receiver, sample):
    """Another event of the same source is not a duplicate."""
    for number in (1, 2):
        await receiver.send(signed(sample(number)))
    assert len(await receiver.entries()) == 2


async def test_the_claim_of_a_key_lives_longer_than_a_day(receiver, source, sample):
    """It outlives every redelivery of the source, and expires."""
    await receiver.send(signed(sample()))
    (entry,) = await receiver.entries()
    ttl = await receiver.redis.ttl(receiver.keys.seen(0, entry[b"key"].decode()))
    assert 86_400 <= source.key_ttl - 5 <= ttl <= source.key_ttl


async def test_other_account(receiver, url_sample):
    """An authentic webhook of an account that is not configured is refused."""
    await assert_refused(receiver, signed(url_sample(account=OTHER_ACCOUNT)), 403, "account")


async def test_tampered_body(receiver, sample):
    """A body with one changed byte is refused."""
    request = signed(sample())
    await assert_refused(receiver, request.but(body=request.body.replace(b"555", b"556")), 403, "signature")


async def test_appended_body(receiver, sample):
    """A body with something appended is refused."""
    request = signed(sample())
    await assert_refused(
        receiver, request.but(body=request.body + (b"&A=1" if is_form(sample()) else b" ")), 403, "signature"
    )


async def test_emptied_body(receiver, sample):
    """An emptied body is refused."""
    await assert_refused(receiver, signed(sample()).but(body=b""), 403, "signature")


async def test_json_without_its_digest(receiver, json_sample):
    """JSON without bodySHA256 in its URL is refused even if the URL is signed: nothing protects the body."""
    webhook = json_sample()
    request = signed(webhook).but(path=webhook.path, signature=signature_of(BASE_URL + webhook.path, webhook))
    line = await assert_refused(receiver, request, 403, "signature")
    assert "bodySHA256" in line["reason"]


async def test_json_with_the_digest_of_another_body(receiver, json_sample):
    """A signed URL with another body is refused: its digest does not match."""
    webhook = json_sample()
    await assert_refused(receiver, signed(webhook).but(body=json_sample(2).body), 403, "signature")


async def test_json_with_two_digests(receiver, json_sample):
    """The first digest in the query counts and a second one does not, as in Twilio's validator."""
    webhook, other = json_sample(), json_sample(2)
    first = wire_path(webhook)
    path = f"{first}&{wire_path(other).partition('?')[2]}"
    request = signed(webhook).but(path=path, signature=signature_of(BASE_URL + path, webhook))
    assert (await receiver.send(request)).status == 200
    assert (await receiver.send(request.but(body=other.body))).status == 403


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "multipart/form-dat; boundary=x",
        "application/jsonp",
        "application/x-www-form-urlencode",
    ],
)
async def test_wrong_or_missing_content_type(receiver, sample, content_type):
    """A body of another content type is refused, even with a valid signature."""
    await assert_refused(receiver, signed(sample()).but(content_type=content_type), 415, "content-type")


async def test_content_types_of_other_routes(receiver, source, sample):
    """A route refuses the content types of all other routes."""
    others = {other.content_type for other in SOURCES.values()} - {source.content_type}
    for other in sorted(others):
        request = signed(sample()).but(content_type=f"{other}; boundary=x")
        assert (await receiver.send(request)).status == 415
    assert {line["result"] for line in receiver.webhooks()} == {"content-type"}
    assert await receiver.has_nothing_else()


async def test_content_type_with_parameters_and_other_case(receiver, sample):
    """A charset parameter and upper case change nothing."""
    kind, semicolon, boundary = sample().content_type.partition(";")
    shown = f"{kind.upper()}{semicolon}{boundary}; Charset=UTF-8"
    answer = await receiver.send(signed(sample()).but(content_type=shown))
    assert answer.status == 200


async def test_a_body_over_the_limit_by_its_length(start, sample):
    """A body whose announced length is over the limit is refused unread."""
    receiver = await start(**limited_to(1024))
    await assert_refused(receiver, signed(sample()).but(body=b"x" * 1025), 413, "too-large")


async def test_a_chunked_body_over_the_limit(start, sample):
    """A body without an announced length is refused at the limit."""
    receiver = await start(**limited_to(1024))

    async def chunks():
        for _ in range(64):
            yield b"x" * 1024

    answer = await receiver.send(signed(sample()), data=chunks())
    assert (answer.status, answer.body) == (413, b"")
    (refused,) = await receiver.refused()
    assert (refused.reason, refused.body, refused.is_whole) == ("too-large", b"", False)
    assert await receiver.has_nothing_else()
    assert receiver.webhooks()[0]["result"] == "too-large"


async def test_a_chunked_body_under_the_limit(receiver, sample):
    """A chunked body is accepted like one with a length."""
    webhook = sample()

    async def chunks():
        for index in range(0, len(webhook.body), 100):
            yield webhook.body[index : index + 100]

    assert (await receiver.send(signed(webhook), data=chunks())).status == 200
    assert (await receiver.entries())[0][b"body"] == entry_body(webhook)


async def test_gzip_is_not_unpacked(receiver, sample):
    """Signatures cover the bytes as received, so a compressed body is refused whatever its Content-Encoding."""
    request = signed(sample())
    packed = request.but(body=gzip.compress(request.body))
    await assert_refused(receiver, packed, 403, "signature", **{"Content-Encoding": "gzip"})


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods(receiver, source, sample, method):
    """A route accepts POST only; any other method gets 405 with Allow, no body, and a log line.

    One that is rightly signed is kept: test_misrouted.
    """
    answer = await receiver.send(signed(sample()).but(signature=None), method)
    assert (answer.status, answer.body, answer.headers["Allow"]) == (405, b"", "POST")
    assert await receiver.stored() == [receiver.keys.layout().encode()]
    (line,) = receiver.webhooks()
    assert (line["status"], line["result"]) == (405, "method")


async def test_a_body_of_exactly_the_limit_is_accepted(start, sample):
    """The limit is inclusive."""
    webhook = sample()
    receiver = await start(**limited_to(max(1024, len(webhook.body))))
    if is_form(webhook):
        webhook = sms(1, Padding="x" * (1024 - len(sms(1, Padding="").body))) if len(webhook.body) < 1024 else webhook
        assert len(webhook.body) >= 1024
    assert (await receiver.send(signed(webhook))).status == 200


async def test_shared_keys(start, url_sample):
    """A webhook signed with a known shared key is accepted; one that names an unknown key is refused."""
    receiver = await start(ROUTER_SHARED_KEYS="webhooks_sharedkey_1=made-up-secret")
    request = signed(url_sample(), token="made-up-secret")
    header = "X-Twilio-Webhooks-Signature-Settings"
    answer = await receiver.send(request, **{header: "key=webhooks_sharedkey_1,algorithm=HMAC_SHA1"})
    assert answer.status == 200
    answer = await receiver.send(signed(url_sample(2)), **{header: "key=webhooks_sharedkey_2,algorithm=HMAC_SHA1"})
    assert answer.status == 403
    assert len(await receiver.entries()) == 1
