"""Several accounts in one receiver: on every route a secret proves webhooks of its own account only."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from router import metrics
from router.core.signing import twilio as signature
from router.inbound.sources import FORM, JSON, SOURCES
from tests.receiver.samples import SAMPLES, is_form, message_streamed, participant_added, signed
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT, TOKEN

SUB = f"AC{0xA1:032x}"
SUB_TOKEN, SUB_OLD = "subaccounts-current-token", "subaccounts-previous-token"
#: The sources whose webhooks a token signs.
SIGNED = [name for name, source in SOURCES.items() if source.content_type in {FORM, JSON}]
HEADER = "X-Twilio-Webhooks-Signature-Settings"


def write_accounts(folder, rows):
    """Write accounts.toml; returns the environment variables that point to it and hold its secrets."""
    lines, variables = [], {"ROUTER_ACCOUNTS_FILE": str(folder / "accounts.toml")}
    for number, (sid, token, *shared) in enumerate(rows):
        variables[f"TOKEN_{number}"] = token
        lines += ["[[account]]", f'sid = "{sid}"', f'auth_token_env = "TOKEN_{number}"']
        if shared:
            variables[f"SHARED_{number}"] = shared[0]
            lines.append(f'shared_keys_env = "SHARED_{number}"')
    (folder / "accounts.toml").write_text("\n".join(lines), encoding="utf-8")
    return variables


@pytest.fixture
async def receiver(start, tmp_path):
    """A receiver of two accounts: one from the environment, and a subaccount from the file."""
    rows = [(SUB, f"{SUB_TOKEN},{SUB_OLD}", "shared_1=of-the-sub")]
    return await start(**write_accounts(tmp_path, rows), ROUTER_SHARED_KEYS="shared_1=of-the-parent")


@pytest.fixture(params=SIGNED, ids=str)
def sample(request):
    """A function that makes authentic webhooks of a source, for each source."""
    return SAMPLES[request.param]


@pytest.fixture(params=[name for name, source in SOURCES.items() if source.content_type == JSON], ids=str)
def json_sample(request):
    """The same, for the sources whose bodies are JSON."""
    return SAMPLES[request.param]


async def refused(receiver, request, result, **headers):
    """Assert that a webhook is refused with an empty 403 and without an entry; returns the logged reason."""
    answer = await receiver.send(request, **headers)
    assert (answer.status, answer.body) == (403, b"")
    assert await receiver.entries() == []
    line = receiver.webhooks()[-1]
    assert line["result"] == result
    return line["reason"]


@pytest.mark.parametrize(
    ("account", "token"), [(ACCOUNT, TOKEN), (SUB, SUB_TOKEN), (SUB, SUB_OLD)], ids=["own", "sub", "sub, rotated"]
)
async def test_each_account_signs_with_its_own_token(receiver, sample, account, token):
    """The entry and its idempotency key name the account."""
    assert (await receiver.send(signed(sample(account=account), token=token))).status == 200
    (entry,) = await receiver.entries()
    assert entry[b"account"] == account.encode()
    assert entry[b"key"].startswith(account.encode())


async def test_the_same_event_of_two_accounts_is_two_entries(receiver, sample):
    """Idempotency keys of different accounts never collide."""
    for account, token in ((ACCOUNT, TOKEN), (SUB, SUB_TOKEN)):
        assert (await receiver.send(signed(sample(account=account), token=token))).status == 200
    assert [entry[b"account"] for entry in await receiver.entries()] == [ACCOUNT.encode(), SUB.encode()]


@pytest.mark.parametrize(("account", "token"), [(ACCOUNT, SUB_TOKEN), (SUB, TOKEN)], ids=["parent's", "sub's"])
async def test_a_token_proves_nothing_of_another_account(receiver, sample, account, token):
    """A form's account decides which tokens count; JSON that names another account than its signer's is refused."""
    reason = await refused(
        receiver, signed(sample(account=account), token=token), "signature" if is_form(sample()) else "account"
    )
    if not is_form(sample()):
        signer = SUB if token == SUB_TOKEN else ACCOUNT
        assert reason == f"the body says account {account}, the signature is of account {signer}"


async def test_a_form_without_an_account_belongs_to_the_default_account(receiver):
    """Only the default account's token may have signed it."""
    webhook = SAMPLES["messaging"]()
    nameless = replace(webhook, body=webhook.body.replace(b"AccountSid=" + ACCOUNT.encode(), b"AccountSid="))
    assert await refused(receiver, signed(nameless, token=SUB_TOKEN), "signature")
    assert (await receiver.send(signed(nameless))).status == 200
    assert (await receiver.entries())[0][b"account"] == ACCOUNT.encode()


@pytest.mark.parametrize(
    ("account", "secret", "status"),
    [
        (ACCOUNT, "of-the-parent", 200),
        (SUB, "of-the-sub", 200),
        (ACCOUNT, "of-the-sub", 403),
        (SUB, "of-the-parent", 403),
    ],
)
async def test_shared_keys_are_per_account(receiver, sample, account, secret, status):
    """Two accounts may use the same key id for different secrets; each proves its own account only."""
    request = signed(sample(account=account), token=secret)
    answer = await receiver.send(request, **{HEADER: "key=shared_1,algorithm=HMAC_SHA1"})
    assert answer.status == status
    assert len(await receiver.entries()) == (status == 200)


@pytest.mark.parametrize("token", [TOKEN, SUB_TOKEN, "a-strangers-token"])
async def test_an_account_that_is_not_configured_is_refused(receiver, sample, token):
    """The result is 403 `account`, and it is counted, whichever token signed."""
    source = next(one for one in SOURCES.values() if sample().path == one.path)
    labels = {"source": source.name, "status": "403", "result": "account"}
    before = metrics.REGISTRY.get_sample_value("router_webhooks_total", labels) or 0
    reason = await refused(receiver, signed(sample(account=OTHER_ACCOUNT), token=token), "account")
    assert reason == f"account {OTHER_ACCOUNT} is not configured"
    assert metrics.REGISTRY.get_sample_value("router_webhooks_total", labels) == before + 1


async def test_a_forged_signature_is_logged_as_such(receiver, sample):
    """The account is configured, so the reason is the signature."""
    reason = await refused(receiver, signed(sample(account=SUB), token="a-strangers-token"), "signature")
    assert reason == "X-Twilio-Signature does not match"


async def test_a_changed_body_is_logged_as_such(receiver, json_sample):
    """The subaccount signed the URL, so the reason is the body and not the signature."""
    request = signed(json_sample(account=SUB), token=SUB_TOKEN)
    reason = await refused(receiver, request.but(body=request.body + b" "), "signature")
    assert reason == "bodySHA256 is not the hash of the body"


async def test_json_without_a_signature_is_logged_as_such(receiver, json_sample):
    """The reason is the missing signature, for every account."""
    reason = await refused(receiver, signed(json_sample(account=SUB)).but(signature=None), "signature")
    assert reason == "X-Twilio-Signature is missing"


async def test_of_a_batch_only_the_signers_events_are_accepted(receiver):
    """Events of another account than the signer's are left out, and the log line counts them."""
    events = [orjson.loads(message_streamed(1, SUB).body), orjson.loads(message_streamed(2, ACCOUNT).body)]
    batch = replace(message_streamed(1), body=orjson.dumps(events))
    for token, account in ((SUB_TOKEN, SUB), (TOKEN, ACCOUNT)):
        assert (await receiver.send(signed(batch, token=token))).status == 200
        assert (await receiver.entries())[-1][b"account"] == account.encode()
        reason = receiver.webhooks()[-1]["reason"]
        assert reason == f"1 of 2 are of other accounts than {account}, which signed"
    assert len(await receiver.entries()) == 2


MANY = [(f"AC{number:032x}", f"token-of-{number},old-token-of-{number}") for number in range(0x100, 0x132)]


@pytest.fixture
def macs(monkeypatch):
    """A list that grows with every HMAC that is computed."""
    made = []
    keyed = signature._keyed

    def count(*args):
        made.append(1)
        return keyed(*args)

    monkeypatch.setattr(signature, "_keyed", count)
    return made


@pytest.mark.parametrize(("token", "most"), [("old-token-of-305", 8), ("a-strangers-token", 50 * 2 * 2 + 4)])
async def test_json_tries_the_account_that_it_names_first(start, tmp_path, macs, token, most):
    """Among 50 accounts with two tokens each, a genuine webhook needs few HMACs; a forgery tries each token once."""
    receiver = await start(**write_accounts(tmp_path, MANY), TWILIO_ACCOUNT_SID="", TWILIO_AUTH_TOKEN="")
    request = signed(participant_added(account=MANY[-1][0]), token=token)
    macs.clear()
    await receiver.send(request)
    assert len(macs) <= most


async def test_a_form_tries_only_the_account_that_it_names(start, tmp_path, macs):
    """Among 50 accounts only the named account's tokens are tried, for both spellings of the port."""
    receiver = await start(**write_accounts(tmp_path, MANY), TWILIO_ACCOUNT_SID="", TWILIO_AUTH_TOKEN="")
    request = signed(SAMPLES["messaging"](account=MANY[-1][0]), token="a-strangers-token")
    macs.clear()
    await receiver.send(request)
    assert len(macs) == 4
