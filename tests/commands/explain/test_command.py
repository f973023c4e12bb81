"""`python -m router explain-signature` on requests that the receiver refused, and on pasted ones."""

from __future__ import annotations

import io
import sys

import pytest

from router.__main__ import make_parser
from router.commands.explain.command import explain_signature
from router.commands.quarantine import show_quarantined
from router.core.errors import SettingsError
from router.core.events import SourceName
from router.streams.store.quarantine import list_kept
from tests.receiver.samples import PRIVATE, SAMPLES, by_get, participant_added, signed, sms
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT, OTHER_TOKEN, TOKEN
from tests.support.raw_http import framed, on_wire


@pytest.fixture(params=[name for name in SAMPLES if name is not SourceName.EMAIL], ids=str)
def sample(request):
    return SAMPLES[request.param]


@pytest.fixture
async def refuse(start, environment):
    """Return a function that has a request refused by a receiver and returns its id in the quarantine."""
    receiver = await start()

    async def one(request, **headers):
        assert (await receiver.send(request, **headers)).status == 403
        await receiver.refused()
        return next(iter([kept.entry_id async for kept in list_kept(receiver.redis, receiver.keys)]))

    return one


def options(*arguments):
    return make_parser().parse_args(["explain-signature", *arguments])


async def explain(capsys, *arguments):
    status = await explain_signature(options(*arguments))
    shown = capsys.readouterr()
    assert not [secret for secret in (*PRIVATE, OTHER_TOKEN) if secret in shown.out + shown.err]
    return status, shown.out + shown.err


async def test_a_wrong_public_base_url_is_named(refuse, sample, capsys):
    """A webhook signed for another scheme gets the setting to change, and the command that comes next."""
    entry_id = await refuse(signed(sample(), base="http://hooks.example.com"))
    status, text = await explain(capsys, "--id", entry_id)
    assert status == 0
    assert "set PUBLIC_BASE_URL=http://hooks.example.com" in text
    assert text.splitlines()[-1].endswith(f"python -m router quarantine replay {entry_id} --dry-run")


async def test_the_host_of_a_tunnel_is_found_in_the_headers(refuse, sample, capsys):
    """Behind a tunnel the Host header holds the host that Twilio called."""
    entry_id = await refuse(signed(sample(), base="https://abc.tunnel.example"), Host="abc.tunnel.example")
    assert "set PUBLIC_BASE_URL=https://abc.tunnel.example" in (await explain(capsys, "--id", entry_id))[1]


async def test_a_signature_that_matches_by_now_can_be_replayed(refuse, sample, environment, capsys):
    """After its token was configured the signature matches, and the command that accepts it is printed."""
    entry_id = await refuse(signed(sample(), token=OTHER_TOKEN))
    environment.setenv("TWILIO_AUTH_TOKEN", f"{TOKEN},{OTHER_TOKEN}")
    status, text = await explain(capsys, "--id", entry_id)
    assert status == 0
    assert f"made with auth token 2 of account {ACCOUNT}" in text
    assert f"quarantine replay {entry_id}" in text


async def test_an_unknown_token_ends_with_status_1(refuse, sample, capsys):
    """Nothing matches, so the likely cause is printed."""
    status, text = await explain(capsys, "--id", await refuse(signed(sample(), token=OTHER_TOKEN)))
    assert status == 1
    assert "another auth token" in text


async def test_json_that_a_proxy_rewrote_is_recognized(refuse, capsys):
    """The body arrived with other spaces than it was signed with."""
    request = signed(participant_added())
    body = request.body.replace(b'":', b'": ')
    assert body != request.body
    assert "rewritten on the way" in (await explain(capsys, "--id", await refuse(request.but(body=body))))[1]


async def test_a_whole_request_is_read_from_a_file_or_standard_input(refuse, tmp_path, monkeypatch, capsys):
    """The output of `quarantine show --raw` can be given as it is."""
    entry_id = await refuse(signed(sms(), base="http://hooks.example.com"))
    path = tmp_path / "request.txt"
    await show_quarantined(make_parser().parse_args(["quarantine", "show", entry_id, "--raw", str(path)]))
    capsys.readouterr()
    words = "set PUBLIC_BASE_URL=http://hooks.example.com"
    assert words in (await explain(capsys, "--request", str(path)))[1]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert words in (await explain(capsys, "--request", "-"))[1]


async def test_the_parts_of_a_request_can_be_given_as_options(environment, sample, tmp_path, capsys):
    """URL, headers and a file with the body are enough, and Redis is not needed."""
    environment.delenv("REDIS_URL")
    request = signed(sample(), base="http://t.example.com")
    path = tmp_path / "body"
    path.write_bytes(request.body)
    headers = [f"--header={name}: {value}" for name, value in request.headers().items()]
    status, text = await explain(
        capsys, "--url", f"https://t.example.com{request.path}", "--body-file", str(path), *headers
    )
    assert status == 0
    assert "set PUBLIC_BASE_URL=http://t.example.com" in text


@pytest.mark.parametrize(
    "arguments", [["--id", "1-1"], ["--request", "/nowhere/at/all"], ["--url", "x"], ["--url", "/x", "--header", "y"]]
)
async def test_a_request_that_cannot_be_read_ends_with_status_2(environment, redis, capsys, arguments):
    """An unknown id, a missing file, a wrong URL and a wrong header are each reported."""
    status, text = await explain(capsys, *arguments)
    assert status == 2
    assert text


async def test_a_missing_setting_is_named(environment):
    """Without a token there is nothing to compare the signature with."""
    environment.delenv("TWILIO_AUTH_TOKEN")
    with pytest.raises(SettingsError, match="TWILIO_AUTH_TOKEN"):
        await explain_signature(options("--url", "/x"))


@pytest.mark.parametrize(
    ("make", "method", "words"),
    [
        (by_get, "GET", "GET is not the method of a route: set POST"),
        (lambda webhook: signed(webhook, path=f"{webhook.path}/"), "POST", "This is not the URL of a route: set POST"),
    ],
    ids=["GET", "slash"],
)
async def test_a_request_without_a_route(start, environment, capsys, make, method, words):
    """The right URL is named, beside the signature that matches, and the command that accepts the webhook."""
    receiver = await start()
    await receiver.send(make(sms()), method)
    await receiver.refused()
    (entry_id,) = [kept.entry_id async for kept in list_kept(receiver.redis, receiver.keys)]
    status, text = await explain(capsys, "--id", entry_id)
    assert status == 0
    assert f"{words} https://hooks.example.com/webhooks/messaging at Twilio" in text
    assert f"made with auth token 1 of account {ACCOUNT}" in text
    assert f"quarantine replay {entry_id}" in text


async def test_the_account_of_a_get_is_in_its_query(environment, tmp_path, capsys):
    """The token that must have signed is that of the account which the query names."""
    accounts, path = tmp_path / "accounts.toml", tmp_path / "request"
    accounts.write_text(f'[[account]]\nsid = "{OTHER_ACCOUNT}"\nauth_token_env = "OTHER_TOKENS"\n')
    environment.setenv("ROUTER_ACCOUNTS_FILE", str(accounts))
    environment.setenv("OTHER_TOKENS", OTHER_TOKEN)
    request = by_get(sms(account=OTHER_ACCOUNT), token=OTHER_TOKEN)
    path.write_bytes(f"GET {request.path} HTTP/1.1\nX-Twilio-Signature: {request.signature}\n\n".encode())
    status, text = await explain(capsys, "--request", str(path))
    assert status == 0
    assert f"it was made with auth token 1 of account {OTHER_ACCOUNT}" in text


async def test_a_prefix_that_the_proxy_did_not_remove(environment, tmp_path, capsys):
    """The setting is right, and the proxy is named."""
    environment.setenv("PUBLIC_BASE_URL", "https://hooks.example.com/in")
    request = signed(sms(), path="/in/webhooks/messaging")
    path = tmp_path / "body"
    path.write_bytes(request.body)
    headers = [f"--header={name}: {value}" for name, value in request.headers().items()]
    status, text = await explain(capsys, "--url", request.path, "--body-file", str(path), *headers)
    assert status == 0
    assert "the proxy must remove /in" in text
    assert "The signature matches" in text


async def send_twice(receiver, request, *headers):
    """Send a request with further header lines, which may repeat others; returns the status."""
    lines = [f"{name}: {value}" for name, value in headers]
    length = f"Content-Length: {len(request.body)}"
    async with on_wire(receiver.port) as wire:
        await wire.send(framed(request.path.encode(), request.body, request.headers(), length, *lines))
        return (await wire.answer()).status


SETTINGS = "X-Twilio-Webhooks-Signature-Settings"


@pytest.mark.parametrize("how", ["id", "request"])
async def test_settings_of_a_signature_in_two_lines(start, environment, tmp_path, capsys, how):
    """The explanation reads all lines of the header, as the receiver does."""
    environment.setenv("ROUTER_SHARED_KEYS", "key_1=made-up-secret")
    receiver = await start()
    assert (
        await send_twice(
            receiver,
            signed(sms(), token="made-up-secret"),
            (SETTINGS, "algorithm=HMAC_SHA1"),
            (SETTINGS, "key=key_1"),
        )
        == 403
    )
    await receiver.refused()
    (entry_id,) = [kept.entry_id async for kept in list_kept(receiver.redis, receiver.keys)]
    arguments = ["--id", entry_id]
    if how == "request":
        path = tmp_path / "request"
        await show_quarantined(make_parser().parse_args(["quarantine", "show", entry_id, "--raw", str(path)]))
        arguments = ["--request", str(path)]
        capsys.readouterr()
    status, text = await explain(capsys, *arguments)
    assert status == 0
    assert f"made with shared key key_1 of account {ACCOUNT}" in text


async def test_a_signature_in_two_lines(start, environment, capsys):
    """The receiver reads the first line; that the second one is right is said."""
    receiver = await start()
    request = signed(sms(), token=OTHER_TOKEN)
    assert await send_twice(receiver, request, ("X-Twilio-Signature", signed(sms()).signature)) == 403
    await receiver.refused()
    (entry_id,) = [kept.entry_id async for kept in list_kept(receiver.redis, receiver.keys)]
    status, text = await explain(capsys, "--id", entry_id)
    assert status == 0
    assert "X-Twilio-Signature arrived twice" in text
