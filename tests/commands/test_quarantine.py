"""`python -m router quarantine`: list and show refused webhooks, and replay them after a setting was fixed."""

from __future__ import annotations

import orjson
import pytest

from router.__main__ import make_parser
from router.commands.quarantine import drop_quarantined, list_quarantine, replay_quarantined, show_quarantined
from router.core.errors import SettingsError
from router.streams.store.quarantine import list_kept
from tests.receiver.samples import PRIVATE, by_get, participant_added, signed, sms
from tests.support.accounts import CUSTOMER, OTHER_ACCOUNT

WRONG = "https://wrong.example.com"


@pytest.fixture
async def receiver(start):
    return await start(PUBLIC_BASE_URL=WRONG)


@pytest.fixture
async def ids(receiver, environment):
    """Have two webhooks refused because of the URL and one because of its account; returns their ids."""
    requests = (signed(sms()), signed(participant_added()), signed(sms(account=OTHER_ACCOUNT)))
    for number, request in enumerate(requests, 1):
        assert (await receiver.send(request)).status == 403
        await receiver.refused(number)
    return [kept.entry_id async for kept in list_kept(receiver.redis, receiver.keys)]


def options(*arguments):
    return make_parser().parse_args(["quarantine", *arguments])


async def test_list_prints_entries_with_their_reasons(ids, receiver, capsys):
    """Each entry has its id and detail, the last line counts by reason, and nothing private is shown."""
    assert await list_quarantine(options("list")) == 0
    text = capsys.readouterr().out
    assert all(entry_id in text for entry_id in ids)
    assert text.splitlines()[-1] == "3 in the quarantine: 1 account, 2 signature"
    assert "X-Twilio-Signature does not match" in text
    assert not [one for one in PRIVATE if one in text]


async def test_list_filters_and_prints_json(ids, receiver, capsys):
    """--reason and --source select entries; --json prints one object a line."""
    assert await list_quarantine(options("list", "--source", "conversations", "--json")) == 0
    (line,) = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["id"], line["reason"], line["repeats"], line["status"]) == (ids[1], "signature", 0, 403)
    assert await list_quarantine(options("list", "--reason", "account")) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 in the quarantine: 1 account"


async def test_show_masks_private_values(ids, receiver, capsys):
    """Reason, headers and the names of the body are shown, addresses are masked."""
    assert await show_quarantined(options("show", ids[0])) == 0
    text = capsys.readouterr().out
    assert "refused    403 signature: X-Twilio-Signature does not match" in text
    assert "header     X-Twilio-Signature: " in text
    assert "From: +155***01" in text
    assert not [one for one in PRIVATE if one in text]


async def test_show_raw_writes_the_original_request(ids, receiver, tmp_path, capsys):
    """The bytes of the request go to a file, nothing masked."""
    path = tmp_path / "request"
    assert await show_quarantined(options("show", ids[0], "--raw", str(path))) == 0
    head, _, body = path.read_bytes().partition(b"\r\n\r\n")
    assert head.startswith(b"POST /webhooks/messaging HTTP/1.1\r\n")
    assert body == sms().body


@pytest.mark.parametrize("entry_id", ["1-1", "nonsense"])
async def test_show_of_an_unknown_id_fails(environment, redis, capsys, entry_id):
    """The error names the id."""
    assert await show_quarantined(options("show", entry_id)) == 1
    assert f"{entry_id}: no such entry" in capsys.readouterr().err


async def test_replay_accepts_what_is_right_by_now(ids, receiver, capsys):
    """With the URL fixed two entries are accepted; the one of another account stays with its reason: status 1."""
    assert await replay_quarantined(options("replay", "--all")) == 1
    text = capsys.readouterr().out
    assert text.count(": accepted") == 2
    assert f"{ids[2]}: still refused: 403 account" in text
    assert text.splitlines()[-1] == "2 replayed, 1 not"
    assert len(await receiver.entries()) == 2
    assert len(await receiver.refused()) == 1


async def test_replay_selects_by_id_or_by_filter(ids, receiver, capsys):
    """An id given twice is replayed once, --all takes --source, and an id that is gone is an error."""
    assert await replay_quarantined(options("replay", ids[0], ids[0])) == 0
    assert await replay_quarantined(options("replay", "--all", "--source", "conversations")) == 0
    assert [one.reason for one in await receiver.refused()] == ["account"]
    assert await replay_quarantined(options("replay", ids[0])) == 1
    assert f"{ids[0]}: no such entry" in capsys.readouterr().err


async def test_replay_with_the_setting_still_wrong_keeps_all_entries(ids, receiver, environment, capsys):
    """Nothing is accepted and nothing is lost."""
    environment.setenv("PUBLIC_BASE_URL", WRONG)
    assert await replay_quarantined(options("replay", "--all")) == 1
    assert "0 replayed, 3 not" in capsys.readouterr().out
    assert len(await receiver.refused(3)) == 3


async def test_trust_accepts_signatures_that_cannot_be_checked(ids, receiver, environment, capsys):
    """A warning is printed, and an account that is not configured is still refused."""
    environment.setenv("TWILIO_AUTH_TOKEN", "another")
    assert await replay_quarantined(options("replay", "--trust", *ids)) == 1
    shown = capsys.readouterr()
    assert "WARNING" in shown.err
    assert shown.out.count(": accepted") == 2
    assert "403 account" in shown.out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [([], "--all"), (["--all", "--trust"], "--trust"), (["--trust"], "--trust"), (["1-1", "--all"], "not both")],
)
async def test_wrong_usage_replays_nothing(environment, redis, capsys, arguments, word):
    """No selection, a contradictory one, or --trust without ids: status 2, and what to do."""
    assert await replay_quarantined(options("replay", *arguments)) == 2
    assert word in capsys.readouterr().err


async def test_replay_names_missing_settings(environment):
    """A signature cannot be checked without PUBLIC_BASE_URL."""
    environment.delenv("PUBLIC_BASE_URL")
    with pytest.raises(SettingsError, match="PUBLIC_BASE_URL"):
        await replay_quarantined(options("replay", "--all"))


@pytest.mark.parametrize("option", ["--reason", "--source"])
def test_a_misspelt_filter_is_refused(option, capsys):
    """An unknown reason or source is an error, not a filter that matches nothing."""
    with pytest.raises(SystemExit):
        options("replay", "--all", option, "signatur")
    assert "invalid choice" in capsys.readouterr().err


async def test_a_wrong_url_is_listed_and_replayed(start, environment, capsys):
    """Webhooks without a route have the reason `route` and name the right URL; a GET shows no parameter."""
    receiver = await start()
    (get, slash) = by_get(sms(1)), signed(sms(2), path="/webhooks/messaging/")
    assert [(await receiver.send(get, "GET")).status, (await receiver.send(slash)).status] == [405, 404]
    await receiver.refused(2)
    assert await list_quarantine(options("list", "--reason", "route")) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == "2 in the quarantine: 2 route"
    assert text.count("set POST https://hooks.example.com/webhooks/messaging at Twilio") == 2
    (first, _) = [kept.entry_id async for kept in list_kept(receiver.redis, receiver.keys)]
    assert await show_quarantined(options("show", first)) == 0
    text += capsys.readouterr().out
    assert "GET /webhooks/messaging?" in text
    assert not [one for one in PRIVATE if one in text]
    assert await replay_quarantined(options("replay", "--all", "--reason", "route")) == 0
    assert "2 replayed" in capsys.readouterr().out
    assert len(await receiver.entries()) == 2


async def test_a_dry_run_says_what_a_replay_would_do(ids, receiver, capsys):
    """Two would be accepted, one would stay: status 1, and nothing is done."""
    assert await replay_quarantined(options("replay", "--all", "--dry-run")) == 1
    text = capsys.readouterr().out
    assert text.count(": would be accepted") == 2
    assert f"{ids[2]}: still refused: 403 account" in text
    assert text.splitlines()[-1] == "2 would be replayed, 1 not"
    assert len(await receiver.refused(3)) == 3


async def test_a_drop_needs_a_yes(ids, receiver, capsys):
    """Without it only the number is shown, status 2; filters narrow it."""
    assert await drop_quarantined(options("drop", "--all", "--account", OTHER_ACCOUNT)) == 2
    shown = capsys.readouterr()
    assert (shown.out, "give --yes" in shown.err) == ("1 would be dropped for good\n", True)
    assert await drop_quarantined(options("drop", "--all", "--account", OTHER_ACCOUNT, "--yes")) == 0
    assert capsys.readouterr().out == f"{ids[2]}: dropped\n1 dropped\n"
    assert await drop_quarantined(options("drop", ids[0], "--yes")) == 0
    assert await drop_quarantined(options("drop", ids[0], "--yes")) == 1
    assert f"{ids[0]}: no such entry in the quarantine" in capsys.readouterr().err
    assert len(await receiver.refused()) == 1
    assert await drop_quarantined(options("drop")) == 2


async def test_times_and_a_limit_select_entries(ids, capsys):
    """All were refused just now."""
    await list_quarantine(options("list", "--since", "1h", "--limit", "2"))
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 in the quarantine")
    await list_quarantine(options("list", "--until", "1h"))
    assert capsys.readouterr().out == "0 in the quarantine\n"


async def test_an_operator_may_see_everything(ids, capsys):
    """With --unmasked, as text and as an object."""
    assert await show_quarantined(options("show", ids[0], "--unmasked")) == 0
    assert f"From: {CUSTOMER}" in capsys.readouterr().out
    assert await show_quarantined(options("show", ids[0], "--json", "--unmasked")) == 0
    shown = orjson.loads(capsys.readouterr().out)
    assert f"From: {CUSTOMER}" in shown["body"]
    assert (shown["id"], shown["reason"]) == (ids[0], "signature")
    assert await show_quarantined(options("show", ids[0], "--json")) == 0
    assert CUSTOMER[1:] not in capsys.readouterr().out
