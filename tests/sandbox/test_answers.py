"""Rules of all responses: credentials, error shapes, content types, unknown routes, rate limit, request ids."""

from __future__ import annotations

import json

import pytest

from tests.sandbox.harness import BY_CHANNEL, basic, opening, pair
from tests.support.accounts import ACCOUNT, KEY, SECRET, TOKEN

SHAPES = {
    "A": {"code", "message", "more_info", "status"},
    "B": {"code", "httpStatusCode", "message", "userError", "params"},
    "C": {"type", "title", "status", "code", "detail", "errors"},
}
PATHS = (
    "/v2/Conversations",
    "/v2/Conversations/x",
    "/v2/Conversations/x/Participants",
    "/v2/ControlPlane/Configurations",
    "/sandbox/options",
    "/sandbox/requests",
    "/nowhere",
)


@pytest.mark.parametrize("credentials", [(KEY, SECRET), (ACCOUNT, TOKEN)], ids=["api-key", "account"])
async def test_both_pairs_are_accepted(sandbox, credentials):
    """The API key with its secret and the account SID with its token are both accepted."""
    assert (await sandbox.get("/v2/Conversations", headers=basic(*credentials))).status == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic(KEY, "wrong"),
        basic(KEY, TOKEN),
        basic(ACCOUNT, SECRET),
        basic("", ""),
        {"Authorization": "Basic %%%"},
        {"Authorization": "Basic"},
        {"Authorization": f"Bearer {SECRET}"},
    ],
    ids=["none", "secret", "mixed", "mixed-too", "empty", "not-base64", "no-value", "bearer"],
)
async def test_other_credentials_are_refused(sandbox, path, headers):
    """Every route but /healthz answers other credentials with a 401 in shape B and code 20003."""
    answer = await sandbox.get(path, headers=headers)
    assert (answer.status, answer.body["code"], answer.body["httpStatusCode"]) == (401, 20003, 401)


async def test_health_needs_no_credentials(sandbox):
    """/healthz answers without credentials."""
    assert (await sandbox.get("/healthz", headers={})).body["status"] == "ok"


@pytest.mark.parametrize("shape", ["A", "B", "C"])
@pytest.mark.parametrize("status", [400, 401, 404, 405, 409, 415])
async def test_every_error_in_every_shape(start, shape, status):
    """One switch turns all errors into one shape."""
    sandbox = await start(error_shape=shape)
    await sandbox.open()
    form = {"data": "a=b", "headers": basic() | {"Content-Type": "application/x-www-form-urlencoded"}}
    requests = {
        400: sandbox.get("/v2/Conversations?pageSize=0"),
        401: sandbox.get("/v2/Conversations", headers={}),
        404: sandbox.get("/v2/Conversations/x"),
        405: sandbox.call("DELETE", "/v2/Conversations"),
        409: sandbox.post("/v2/Conversations", opening(*pair())),
        415: sandbox.call("POST", "/v2/Conversations", **form),
    }
    answer = await requests.pop(status)
    for other in requests.values():
        other.close()
    assert (answer.status, set(answer.body)) == (status, SHAPES[shape])
    assert answer.body.get("httpStatusCode", answer.body.get("status")) == status


async def test_the_wrong_field_in_each_shape(sandbox):
    """Shape B names the wrong field as a parameter, shape C by a pointer."""
    bad = opening({"addresses": [{"channel": "SMS"}]})
    await sandbox.switch(error_shape="B")
    answer = await sandbox.post("/v2/Conversations", bad)
    assert answer.body["params"] == {"field": "participants[0].addresses[0].address"}
    await sandbox.switch(error_shape="C")
    answer = await sandbox.post("/v2/Conversations", bad)
    assert answer.body["errors"][0]["pointer"] == "/participants/0/addresses/0/address"


@pytest.mark.parametrize(
    ("raw", "field"),
    [(b"{", "body"), (b"", "body"), (b"[]", "body"), (b"null", "body"), (b'"x"', "body"), (b"\xff", "body")],
)
async def test_bad_json(sandbox, raw, field):
    """A body that is not a JSON object is a 400 with code 20001."""
    headers = basic() | {"Content-Type": "application/json"}
    answer = await sandbox.call("POST", "/v2/Conversations", data=raw, headers=headers)
    assert (answer.status, answer.body["code"], answer.body["message"].partition(":")[0]) == (400, 20001, field)


async def test_half_a_surrogate_pair(sandbox):
    """Half of a surrogate pair, which JSON allows, is U+FFFD; the rest of the body is read as it is."""
    body = json.dumps(opening(*pair(), name="hi CUT \U0001f600")).replace("CUT", r"\ud83d").encode()
    headers = basic() | {"Content-Type": "application/json"}
    answer = await sandbox.call("POST", "/v2/Conversations", data=body, headers=headers)
    assert (answer.status, answer.body.get("name")) == (201, "hi \ufffd \U0001f600")


@pytest.mark.parametrize("status", [415, 400])
@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain"])
async def test_forms_are_refused(start, content_type, status):
    """A body that is not declared as JSON is a 415, or the status of the switch."""
    sandbox = await start(form_status=status)
    headers = basic() | {"Content-Type": content_type}
    answer = await sandbox.call("POST", "/v2/Conversations", data=json.dumps(opening()), headers=headers)
    assert answer.status == status


async def test_unknown_routes_and_methods(sandbox):
    """An unknown route is a 404, an unknown method of a route a 405 that names the others."""
    assert (await sandbox.get("/v2/Nothing")).body["code"] == 20404
    refused = await sandbox.call("DELETE", "/v2/ControlPlane/Configurations")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET,HEAD,POST")


async def test_a_configuration(sandbox):
    """A configuration has its settings, version and times; an unknown one is a 404."""
    shown = (await sandbox.get(f"/v2/ControlPlane/Configurations/{BY_CHANNEL}")).body
    assert (shown["id"], shown["version"], shown["statusCallbacks"]) == (BY_CHANNEL, 1, [])
    assert (await sandbox.get("/v2/ControlPlane/Configurations/x")).status == 404


async def test_every_response_has_a_request_id(sandbox):
    """`Twilio-Request-Id` is on successes and errors, and always another one."""
    answers = [await sandbox.get(path) for path in ("/v2/Conversations", "/v2/Conversations/x", "/nowhere")]
    ids = {answer.headers["Twilio-Request-Id"] for answer in answers}
    assert len(ids) == 3
    assert all(each.startswith("RQ") and len(each) == 34 for each in ids)


async def test_the_rate_limit(start):
    """Requests above the limit of a second are a 429 with Retry-After; the next second accepts them again."""
    sandbox = await start(rate_limit_per_second=2, clock=lambda: 1_700_000_000_000_000)
    answers = [await sandbox.get("/v2/Conversations") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert (answers[2].headers["Retry-After"], answers[2].body["code"]) == ("1", 20429)
    await sandbox.advance(1)
    assert (await sandbox.get("/v2/Conversations")).status == 200


async def test_a_failure_of_the_sandbox_is_a_500(sandbox, monkeypatch, caplog):
    """An unexpected exception is logged, and the response has the API's error shape."""
    monkeypatch.setattr(sandbox.state, "conversations", None)
    answer = await sandbox.get("/v2/Conversations/x")
    assert (answer.status, answer.body["code"]) == (500, 20500)
    assert "sandbox failed on GET /v2/Conversations/{conversation}" in caplog.text


@pytest.mark.parametrize(("digits", "length"), [(0, 20), (3, 24), (9, 30)])
async def test_fraction_digits(start, digits, length):
    """Times have as many fraction digits as the switch says."""
    sandbox = await start(fraction_digits=digits, clock=lambda: 1_700_000_000_123_456)
    written = (await sandbox.open())["createdAt"]
    assert len(written) == length
    assert written.startswith("2023-11-14T22:13:20")
