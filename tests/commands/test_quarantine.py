"""`python -m router quarantine` as an operator uses it: find what was refused, mend the setting, take it in."""

from __future__ import annotations

import orjson
import pytest

from router.__main__ import make_parser
from router.commands.quarantine import list_quarantine, replay_quarantined, show_quarantined
from router.core.errors import SettingsError
from router.streams.store.quarantine import list_kept
from tests.receiver.conftest import output, start  # noqa: F401 - fixtures
from tests.receiver.samples import ACCOUNT, BASE, OTHER_ACCOUNT, PRIVATE, TOKEN, participant_added, signed, sms

WRONG = "https://wrong.example.com"


@pytest.fixture
async def receiver(start):  # noqa: F811 - the fixture
    return await start(PUBLIC_BASE_URL=WRONG)


@pytest.fixture
def environment(monkeypatch, redis_url):
    """Set this process' variables as an operator's shell has them."""
    values = {"REDIS_URL": redis_url, "TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN}
    for name, value in {**values, "PUBLIC_BASE_URL": BASE}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
async def ids(receiver, environment):
    """Two webhooks that the wrong URL refused, and one of an account that is not configured."""
    requests = (signed(sms()), signed(participant_added()), signed(sms(account=OTHER_ACCOUNT)))
    for number, request in enumerate(requests, 1):
        assert (await receiver.send(request)).status == 403
        await receiver.refused(number)
    return [kept.entry_id async for kept in list_kept(receiver.redis, receiver.keys)]


def options(*arguments):
    return make_parser().parse_args(["quarantine", *arguments])


async def test_list_tells_what_was_refused_and_why(ids, receiver, capsys):
    """Id, time, source, status, reason, account and detail; a number by reason at the end; nothing private."""
    assert await list_quarantine(options("list")) == 0
    text = capsys.readouterr().out
    assert all(entry_id in text for entry_id in ids)
    assert text.splitlines()[-1] == "3 in the quarantine: 1 account, 2 signature"
    assert "X-Twilio-Signature does not match" in text
    assert not [one for one in PRIVATE if one in text]


async def test_list_can_be_narrowed_and_read_by_programs(ids, receiver, capsys):
    """Only the reason or source that is asked for; as JSON one object a line."""
    assert await list_quarantine(options("list", "--source", "conversations", "--json")) == 0
    (line,) = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["id"], line["reason"], line["repeats"], line["status"]) == (ids[1], "signature", 0, 403)
    assert await list_quarantine(options("list", "--reason", "account")) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 in the quarantine: 1 account"


async def test_show_tells_all_but_what_is_private(ids, receiver, capsys):
    """Reason, headers and the body's names are there, addresses are masked."""
    assert await show_quarantined(ids[0]) == 0
    text = capsys.readouterr().out
    assert "refused    403 signature: X-Twilio-Signature does not match" in text
    assert "header     X-Twilio-Signature: " in text
    assert "From: +155***76" in text
    assert not [one for one in PRIVATE if one in text]


async def test_show_writes_the_request_as_it_came(ids, receiver, tmp_path, capsys):
    """The bytes of the request go to a file, nothing masked."""
    path = tmp_path / "request"
    assert await show_quarantined(ids[0], raw=str(path)) == 0
    head, _, body = path.read_bytes().partition(b"\r\n\r\n")
    assert head.startswith(b"POST /webhooks/messaging HTTP/1.1\r\n")
    assert body == sms().body


@pytest.mark.parametrize("entry_id", ["1-1", "nonsense"])
async def test_show_of_none(environment, redis, capsys, entry_id):
    """An id that is not there is an error that names it."""
    assert await show_quarantined(entry_id) == 1
    assert f"{entry_id}: no such entry" in capsys.readouterr().err


async def test_replay_takes_in_what_is_right_by_now(ids, receiver, capsys):
    """Mended: the two of the wrong URL are taken in, the foreign one stays with its reason, and the status says so."""
    assert await replay_quarantined(options("replay", "--all")) == 1
    text = capsys.readouterr().out
    assert text.count(": taken in") == 2
    assert f"{ids[2]}: still refused: 403 account" in text
    assert text.splitlines()[-1] == "2 replayed, 1 not"
    assert len(await receiver.entries()) == 2
    assert len(await receiver.refused()) == 1


async def test_replay_of_some(ids, receiver, capsys):
    """By id, each once; or all of a reason or source."""
    assert await replay_quarantined(options("replay", ids[0], ids[0])) == 0
    assert await replay_quarantined(options("replay", "--all", "--source", "conversations")) == 0
    assert [one.reason for one in await receiver.refused()] == ["account"]
    assert await replay_quarantined(options("replay", ids[0])) == 1
    assert f"{ids[0]}: no such entry" in capsys.readouterr().err


async def test_replay_before_anything_is_mended(ids, receiver, environment, capsys):
    """Nothing is taken in, nothing is lost."""
    environment.setenv("PUBLIC_BASE_URL", WRONG)
    assert await replay_quarantined(options("replay", "--all")) == 1
    assert "0 replayed, 3 not" in capsys.readouterr().out
    assert len(await receiver.refused(3)) == 3


async def test_trust_takes_in_what_cannot_be_checked(ids, receiver, environment, capsys):
    """With a clear warning, for ids only, and never for an account that is not configured."""
    environment.setenv("TWILIO_AUTH_TOKEN", "another")
    assert await replay_quarantined(options("replay", "--trust", *ids)) == 1
    shown = capsys.readouterr()
    assert "WARNING" in shown.err
    assert shown.out.count(": taken in") == 2
    assert "403 account" in shown.out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [([], "--all"), (["--all", "--trust"], "--trust"), (["--trust"], "--trust"), (["1-1", "--all"], "not both")],
)
async def test_what_cannot_be_meant_does_nothing(environment, redis, capsys, arguments, word):
    """Nothing named, or everything trusted: status 2, and what to do."""
    assert await replay_quarantined(options("replay", *arguments)) == 2
    assert word in capsys.readouterr().err


async def test_replay_names_the_settings_that_it_needs(environment):
    """Without what the door checks with there is nothing to check."""
    environment.delenv("PUBLIC_BASE_URL")
    with pytest.raises(SettingsError, match="PUBLIC_BASE_URL"):
        await replay_quarantined(options("replay", "--all"))


@pytest.mark.parametrize("option", ["--reason", "--source"])
def test_a_misspelt_filter_is_refused(option, capsys):
    """A word that is no reason or source is an error, not a filter that lets nothing through."""
    with pytest.raises(SystemExit):
        options("replay", "--all", option, "signatur")
    assert "invalid choice" in capsys.readouterr().err
