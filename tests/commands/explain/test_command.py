"""`python -m router explain-signature` on real requests: what the receiver refused, and what somebody pasted."""

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
from tests.receiver.conftest import output, start  # noqa: F401 - fixtures
from tests.receiver.samples import ACCOUNT, BASE, PRIVATE, SAMPLES, TOKEN, participant_added, signed, sms

OTHER_TOKEN = "fedcba9876543210fedcba9876543210"


@pytest.fixture(params=[name for name in SAMPLES if name is not SourceName.EMAIL], ids=str)
def sample(request):
    return SAMPLES[request.param]


@pytest.fixture
def environment(monkeypatch, redis_url):
    """Set this process' variables as an operator's shell has them."""
    values = {"REDIS_URL": redis_url, "TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN}
    for name, value in {**values, "PUBLIC_BASE_URL": BASE}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
async def refuse(start, environment):  # noqa: F811 - the fixture
    """Send a request to a receiver that refuses it; returns its id in the quarantine."""
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


async def test_wrong_public_url(refuse, sample, capsys):
    """What the receiver refused was signed for another scheme: the setting that mends it is named."""
    entry_id = await refuse(signed(sample(), base="http://hooks.example.com"))
    status, text = await explain(capsys, "--id", entry_id)
    assert status == 0
    assert "set PUBLIC_BASE_URL=http://hooks.example.com" in text


async def test_host_that_the_request_names(refuse, sample, capsys):
    """Behind a tunnel the Host header says what Twilio called."""
    entry_id = await refuse(signed(sample(), base="https://abc.tunnel.example"), Host="abc.tunnel.example")
    assert "set PUBLIC_BASE_URL=https://abc.tunnel.example" in (await explain(capsys, "--id", entry_id))[1]


async def test_mended_by_now(refuse, sample, environment, capsys):
    """A token that is configured meanwhile: it is right, and the command that takes it in is named."""
    entry_id = await refuse(signed(sample(), token=OTHER_TOKEN))
    environment.setenv("TWILIO_AUTH_TOKEN", f"{TOKEN},{OTHER_TOKEN}")
    status, text = await explain(capsys, "--id", entry_id)
    assert status == 0
    assert f"made with auth token 2 of account {ACCOUNT}" in text
    assert f"quarantine replay {entry_id}" in text


async def test_token_that_nobody_has(refuse, sample, capsys):
    """Nothing matches: status 1, and what is most likely."""
    status, text = await explain(capsys, "--id", await refuse(signed(sample(), token=OTHER_TOKEN)))
    assert status == 1
    assert "another auth token" in text


async def test_json_that_a_proxy_wrote_anew(refuse, capsys):
    """The body came with other spaces than it was signed with."""
    request = signed(participant_added())
    body = request.body.replace(b'":', b'": ')
    assert body != request.body
    assert "written anew" in (await explain(capsys, "--id", await refuse(request.but(body=body))))[1]


async def test_pasted_request(refuse, tmp_path, monkeypatch, capsys):
    """What `quarantine show --raw` writes can be pasted, from a file or standard input."""
    entry_id = await refuse(signed(sms(), base="http://hooks.example.com"))
    path = tmp_path / "request.txt"
    await show_quarantined(entry_id, raw=str(path))
    capsys.readouterr()
    words = "set PUBLIC_BASE_URL=http://hooks.example.com"
    assert words in (await explain(capsys, "--request", str(path)))[1]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert words in (await explain(capsys, "--request", "-"))[1]


async def test_parts_as_with_curl(environment, sample, tmp_path, capsys):
    """URL, headers and a file with the body are as good; Redis is not needed."""
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
async def test_what_is_no_request(environment, redis, capsys, arguments):
    """Nothing there to explain: status 2, and what is wrong."""
    status, text = await explain(capsys, *arguments)
    assert status == 2
    assert text


async def test_settings_that_it_needs_are_named(environment):
    """Without a token and a URL there is nothing to compare with."""
    environment.delenv("TWILIO_AUTH_TOKEN")
    with pytest.raises(SettingsError, match="TWILIO_AUTH_TOKEN"):
        await explain_signature(options("--url", "/x"))
