"""The page of the quarantine: what was refused and why, opened, replayed and dropped, one or all that match."""

import asyncio
import threading

import pytest

from router.console.job_runner import MOST_KINDS
from router.console.operations import quarantine
from router.console.roles import Role
from router.streams.store.quarantine import list_kept
from tests.console.operations.scenes import HOSTILE
from tests.console.operations.test_dead_letters import finished
from tests.receiver.samples import signed, sms
from tests.support.accounts import ACCOUNT, BASE_URL, CUSTOMER, OTHER_TOKEN, TOKEN
from tests.support.waiting import scaled

NUMBER = CUSTOMER[1:]


def webhook(number=1, token=TOKEN, **changes):
    """What the quarantine keeps of a signed message."""
    request = signed(sms(number=number), token=token)
    return {
        "raw_path": request.path.encode(),
        "headers": tuple(request.headers().items()),
        "body": request.body,
        "received_at": 1_767_794_580_000_000 + number,
    } | changes


async def kept(redis, ports):
    return [one async for one in list_kept(redis, ports.keys)]


async def test_each_webhook_says_why_it_was_refused(reader, scenes):
    """With status, reason and account, and how many there are of each reason."""
    name = await scenes.refused()
    page = await (await reader()).page("/quarantine")
    ((received, source, reason, detail, account, repeats, _),) = page.rows()
    assert (received, source, reason) == ("2026-01-07 12:00:00Z", "messaging", "403 signature")
    assert (detail, account, repeats) == ("X-Twilio-Signature does not match", ACCOUNT, "0")
    assert page.links()["Open"] == f"/quarantine/{name}"
    assert page.links()["signature"] == "/quarantine?reason=signature"
    data = await (await reader(Role.VIEWER)).json("/quarantine")
    assert [item["id"] for item in data["items"]] == [name]
    assert data["next"] is None


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_a_viewer_sees_no_private_value(reader, scenes, role):
    """Neither numbers in the body, the path and the headers, nor the raw bytes; an operator sees them."""
    path = f"/webhooks/messaging?From=%2B{NUMBER}"
    name = await scenes.refused(
        body=f"From=%2B{NUMBER}&Body=secret".encode(),
        raw_path=path.encode(),
        headers=(("content-type", "application/x-www-form-urlencoded"), ("x-original-uri", path)),
    )
    person = await reader(role)
    page, data = await person.page(f"/quarantine/{name}"), await person.json(f"/quarantine/{name}")
    for text in (page.text, str(data)):
        assert "Body" in text
        assert (NUMBER in text) == (role is Role.OPERATOR)
        assert ("secret" in text) == (role is Role.OPERATOR)
    assert (data["request"]["raw"] is None) == (role is Role.VIEWER)
    assert len(page.all("form")) == (0 if role is Role.VIEWER else 3)
    named = await scenes.refused(body=f"AccountSid=%2B{NUMBER}".encode())
    advice = (await person.json(f"/quarantine/{named}"))["advice"]
    assert advice[0].startswith("It is for account +155")
    assert (NUMBER in advice[0]) == (role is Role.OPERATOR)


async def test_what_a_stranger_sent_is_shown_harmlessly(reader, scenes):
    """In headers, path, account, reason and body."""
    name = await scenes.refused(
        detail=HOSTILE,
        account_id=HOSTILE,
        method=HOSTILE,
        raw_path=f"/{HOSTILE}?a={HOSTILE}".encode(),
        headers=(("content-type", "application/json"), (HOSTILE, HOSTILE)),
        body=b'{"a": "' + HOSTILE.encode("unicode_escape") + b'"}' + HOSTILE.encode(),
    )
    operator = await reader()
    for path in ("/quarantine", f"/quarantine/{name}"):
        _, _, text = await operator.visitor.get(path)
        assert "<img" not in text
        assert "&lt;img src=x onerror=alert(1)&gt;" in text
        assert not [one for one in text if not one.isprintable() and one != "\n"]
        assert (await operator.json(path)).keys() >= {"items"} or path != "/quarantine"


async def test_a_webhook_says_what_a_replay_would_do_with_the_settings_of_now(reader, scenes):
    """Whether the setting was repaired is seen before anything is done."""
    right, wrong = await scenes.refused(**webhook(1)), await scenes.refused(**webhook(2, token=OTHER_TOKEN))
    operator = await reader()
    assert (await operator.json(f"/quarantine/{right}"))["replay"] == {"is_accepted": True, "text": "would be accepted"}
    data = await operator.json(f"/quarantine/{wrong}")
    assert data["replay"]["is_accepted"] is False
    page = await operator.page(f"/quarantine/{wrong}")
    assert f"With the console's settings now: {data['replay']['text']}." in page.text
    assert "disabled" in page.all("button")[0].attributes


async def test_one_webhook_is_accepted_once(reader, scenes, redis, ports):
    """It leaves the quarantine for the inbound stream."""
    name = await scenes.refused(**webhook())
    operator = await reader()
    page = await operator.press(f"/quarantine/{name}/replay")
    assert f"{name}: accepted." in page.text
    assert await redis.xlen(ports.keys.inbound(0)) == 1
    assert await kept(redis, ports) == []
    await operator.press(f"/quarantine/{name}/replay", status=404)
    _, entry, *_ = await ports.audit.read()
    assert (entry.who, entry.what) == ("olu", f"refused webhook {name}")
    assert entry.detail == "200: accepted"


async def test_a_webhook_that_is_still_wrong_stays_unless_it_is_trusted(reader, scenes, redis, ports):
    """An operator who has looked at it may accept it whatever its signature is; the audit says so."""
    name = await scenes.refused(**webhook(token=OTHER_TOKEN))
    operator = await reader()
    page = await operator.press(f"/quarantine/{name}/replay", status=409)
    assert "It stays in the quarantine: still refused: 403 signature" in page.text
    assert len(await kept(redis, ports)) == 1
    form = (await operator.page(f"/quarantine/{name}")).all("form")[1]
    fields = {one.attributes["name"]: one.attributes["value"] for one in form.all("input")}
    assert fields["trust"] == "yes"
    await operator.press(f"/quarantine/{name}/replay", fields)
    assert await redis.xlen(ports.keys.inbound(0)) == 1
    assert (await ports.audit.read(limit=1))[0].what == f"refused webhook {name}, trusted"


async def test_one_webhook_is_dropped_for_good(reader, scenes, redis, ports):
    """By a program as by a person."""
    name = await scenes.refused()
    assert (await (await reader()).send(f"/quarantine/{name}/drop"))["text"] == "dropped"
    assert await kept(redis, ports) == []
    assert await redis.xlen(ports.keys.inbound(0)) == 0


@pytest.mark.parametrize("name", ["1-1", "x", "0:1-1", "٣-1", "%2e%2e%2f"])
async def test_a_webhook_that_is_gone_is_not_found(reader, name):
    """It may have been displaced by newer ones."""
    operator = await reader()
    await operator.page(f"/quarantine/{name}", status=404)
    await operator.press(f"/quarantine/{name}/replay", status=404)
    await operator.press(f"/quarantine/{name}/drop", status=404)


async def test_all_that_match_are_replayed_after_a_dry_run(reader, scenes, redis, ports):
    """The dry run says how many would be accepted, and why others would not; those stay."""
    for number in range(1, 31):
        await scenes.refused(**webhook(number))
    for number in range(31, 34):
        await scenes.refused(**webhook(number, token=OTHER_TOKEN))
    await scenes.refused(reason="unreadable", detail="other")
    operator = await reader()
    form = (await operator.page("/quarantine?reason=signature")).form(class_="bulk")
    place = await operator.press("/quarantine", form, status=303)
    dry = await finished(operator, place.rpartition("/")[2])
    assert sorted(dry["counts"].values()) == [3, 30]
    assert dry["counts"]["would be accepted"] == 30
    assert len(await kept(redis, ports)) == 34
    job = await operator.send("/quarantine", {"action": "replay", "dry_run": dry["id"]})
    counts = (await finished(operator, job["id"]))["counts"]
    assert counts["replay"] == 30
    assert [name.startswith("still refused: 403 signature") for name in counts] == [False, True]
    assert await redis.xlen(ports.keys.inbound(0)) == 30
    assert len(await kept(redis, ports)) == 4


async def test_junk_does_not_hide_how_many_would_be_accepted(reader, scenes):
    """Strangers may name as many accounts as they like: those beyond the bound are summed up by status and reason."""
    for number in range(MOST_KINDS + 3):
        body = f"AccountSid=AC{number:032x}".encode()
        await scenes.refused(**webhook(number) | {"body": body, "reason": "account"})
    await scenes.refused(**webhook(50))
    operator = await reader()
    dry = await finished(operator, (await operator.send("/quarantine", {"action": "dry-run"}))["id"])
    assert dry["counts"]["would be accepted"] == 1
    assert dry["counts"]["still refused: 403 account, other details"] == 3
    job = await finished(
        operator, (await operator.send("/quarantine", {"action": "replay", "dry_run": dry["id"]}))["id"]
    )
    assert job["counts"]["replay"] == 1
    assert job["counts"]["still refused: 403 account, other details"] == 3


async def test_all_that_match_are_dropped_after_a_dry_run(reader, scenes, redis, ports):
    """And nothing else."""
    await scenes.refused(reason="unreadable", detail="other", body=b"1")
    await scenes.refused()
    operator = await reader()
    dry = await operator.send("/quarantine", {"action": "dry-run", "reason": "signature"})
    await finished(operator, dry["id"])
    job = await operator.send("/quarantine", {"action": "drop", "dry_run": dry["id"], "confirm": "yes"})
    assert (await finished(operator, job["id"]))["counts"] == {"drop": 1}
    assert [one.refused.reason for one in await kept(redis, ports)] == ["unreadable"]


async def test_the_list_is_paged_and_filtered(reader, scenes):
    """The cursor is an id; a filter is kept in the link to the next page."""
    for number in range(5):
        await scenes.refused(**webhook(number))
    await scenes.refused(reason="account", detail="account AC is not configured")
    operator = await reader()
    page = await operator.page("/quarantine?reason=signature&limit=3")
    assert len(page.rows()) == 3
    following = await operator.page(page.links()["Next page"])
    assert [row[2] for row in following.rows()] == ["403 signature"] * 2
    assert "Next page" not in following.links()
    assert len((await operator.json("/quarantine?reason=NOT+CONFIGURED"))["items"]) == 1


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_the_name_of_a_reason_is_not_looked_for_in_details(reader, scenes, role):
    """Whoever filters by `signature` sees what has this reason, not what mentions it."""
    name = await scenes.refused(body=b"1")
    await scenes.refused(reason="account", detail="the signature is of another account", body=b"2")
    data = await (await reader(role)).json("/quarantine?reason=Signature")
    assert [item["id"] for item in data["items"]] == [name]


async def test_a_filter_that_matches_little_looks_at_few_webhooks(reader, scenes, monkeypatch):
    """The page may then be empty and have a next one all the same."""
    monkeypatch.setattr("router.console.operations.quarantine.MOST_LOOKED_AT", 3)
    for number in range(5):
        await scenes.refused(**webhook(number))
    name = await scenes.refused(reason="account", detail="account AC is not configured")
    operator = await reader()
    first = await operator.json("/quarantine?reason=account")
    assert first["items"] == []
    second = await operator.json(f"/quarantine?reason=account&cursor={first['next']}")
    assert ([item["id"] for item in second["items"]], second["next"]) == ([name], None)


async def test_webhooks_cannot_be_checked_without_the_settings_for_it(reader, scenes, ports, monkeypatch):
    """The console then says which setting it lacks, and what is in the quarantine can be read."""
    name = await scenes.refused(**webhook())
    operator = await reader()
    monkeypatch.setitem(ports.settings.__dict__, "public_base_url", None)
    data = await operator.json(f"/quarantine/{name}")
    assert data["replay"]["is_accepted"] is False
    assert "PUBLIC_BASE_URL is not set for the console" in data["replay"]["text"]
    page = await operator.press(f"/quarantine/{name}/replay", status=409)
    assert "PUBLIC_BASE_URL is not set for the console" in page.text
    assert "PUBLIC_BASE_URL" in (await operator.send("/quarantine", {"action": "dry-run"}, status=409))["error"]


async def test_what_to_change_is_said_where_a_signature_does_not_match(reader, scenes):
    """As `explain-signature` says it: signed for http, and with a token that nobody knows."""
    request = signed(sms(), base=BASE_URL.replace("https:", "http:"))
    changed = webhook() | {"headers": tuple(request.headers().items())}
    name, unknown = await scenes.refused(**changed), await scenes.refused(**webhook(2, token=OTHER_TOKEN))
    viewer = await reader(Role.VIEWER)
    page = await viewer.page(f"/quarantine/{name}")
    advice = [one.text for one in page.one("section", **{"aria-labelledby": "advice"}).all("li")]
    assert "PUBLIC_BASE_URL" in " ".join(advice)
    assert (await viewer.json(f"/quarantine/{name}"))["advice"] == advice
    assert (await viewer.json(f"/quarantine/{unknown}"))["advice"][0].startswith("No match (")
    right = await scenes.refused(**webhook(3))
    assert (await viewer.json(f"/quarantine/{right}"))["advice"] == []


async def test_one_signature_is_explained_at_a_time(reader, scenes, monkeypatch):
    """However many pages are opened at once: each explanation keeps a processor busy."""
    names = [await scenes.refused(**webhook(number, token=OTHER_TOKEN)) for number in (1, 2)]
    asked, all_asked, threads = [], threading.Event(), []

    def request_of(refused):
        asked.append(refused)
        if len(asked) == len(names):
            all_asked.set()
        return make_request(refused)

    def advise(request, settings):
        assert all_asked.wait(scaled(10))
        threads.append(threading.get_ident())
        return explain_one(request, settings)

    make_request, explain_one = quarantine.request_of, quarantine.advise
    monkeypatch.setattr(quarantine, "request_of", request_of)
    monkeypatch.setattr(quarantine, "advise", advise)
    viewer = await reader(Role.VIEWER)
    pages = await asyncio.gather(*(viewer.json(f"/quarantine/{name}") for name in names))
    assert all(page["advice"][0].startswith("No match (") for page in pages)
    assert len(threads) == len(names)
    assert len(set(threads)) == 1


async def test_a_number_without_its_plus_is_masked_wherever_it_is_quoted(reader, scenes):
    """On the page of the webhook, in what a replay says, in the jobs and in the audit, as in the list."""
    body = f"AccountSid={NUMBER}&Body=x".encode()
    headers = (*webhook()["headers"], ("x-caller", NUMBER))
    name = await scenes.refused(**webhook(body=body, headers=headers, account_id=NUMBER, detail=f"account {NUMBER}"))
    operator, viewer = await reader(), await reader(Role.VIEWER)
    data = await viewer.json(f"/quarantine/{name}")
    assert "1555***01" in data["replay"]["text"]
    assert "1555***01" in data["advice"][0]
    dry = await operator.send("/quarantine", {"action": "dry-run", "reason": NUMBER, "account": NUMBER})
    assert list((await finished(operator, dry["id"]))["counts"].values()) == [1]
    await operator.send(f"/quarantine/{name}/replay", status=409)
    paths = ("/quarantine", f"/quarantine/{name}", "/jobs", f"/jobs/{dry['id']}", "/audit")
    assert [path for path in paths if NUMBER in str(await viewer.json(path))] == []
    assert [path for path in paths[:2] if NUMBER not in str(await operator.json(path))] == []
