"""Settings of several accounts: where they come from, what is asked of each, and that no secret shows."""

from __future__ import annotations

import pytest

from router.core.errors import SettingsError
from router.dev.dev import DevOptions, _make_environment
from router.process.apis import make_apis
from router.receiver.serve import REQUIRED as RECEIVER
from router.settings.accounts_file import CREDENTIALS
from router.settings.load import load
from router.worker.app import REQUIRED as WORKER

OWN, BERLIN, ROME = (f"AC{number:032x}" for number in (1, 2, 3))
FILE = f"""
[[account]]
sid = "{BERLIN}"
name = "Berlin"
auth_token_env = "BERLIN_TOKEN"
configuration_id = "conv_configuration_berlin"
conversations_url = "http://127.0.0.1:1/v2"

[[account]]
sid = "{ROME}"
auth_token_env = "ROME_TOKEN"
api_key_env = "ROME_KEY"
api_secret_env = "ROME_SECRET"
configuration_id = "conv_configuration_rome"
"""
OWN_VARIABLES = {
    "TWILIO_ACCOUNT_SID": OWN,
    "TWILIO_AUTH_TOKEN": "made-up-own",
    "TWILIO_CONVERSATION_CONFIGURATION_ID": "conv_configuration_own",
}
VARIABLES = {
    "REDIS_URL": "redis://localhost",
    "PUBLIC_BASE_URL": "https://hooks.example.com",
    "BERLIN_TOKEN": "made-up-berlin",
    "ROME_TOKEN": "made-up-rome",
    "ROME_KEY": "SKmade-up",
    "ROME_SECRET": "made-up-secret",
}


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes an accounts file and gives the environment that points to its folder."""

    def write(text=FILE, name="accounts.toml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return {"ROUTER_CONFIG_DIR": str(tmp_path)} | VARIABLES

    return write


def problems_of(environment, require=()):
    with pytest.raises(SettingsError) as caught:
        load(environment=environment, require=require)
    return caught.value.problems


def test_without_a_file_there_is_one_account(tmp_path):
    """As for everybody who has one account: that of the TWILIO_ variables."""
    settings = load(environment={"ROUTER_CONFIG_DIR": str(tmp_path)} | OWN_VARIABLES)
    assert [account.sid for account in settings.accounts] == [OWN]
    assert settings.accounts.default.configuration_id == "conv_configuration_own"


@pytest.mark.parametrize("require", [RECEIVER, WORKER, ("redis_url", "twilio_account_sid", CREDENTIALS)])
def test_accounts_of_the_file_need_no_twilio_variables(folder, require):
    """Where the file gives accounts, none of the variables of a single one is asked for; the first is the default."""
    settings = load(environment=folder(), require=require)
    assert [account.sid for account in settings.accounts] == [BERLIN, ROME]
    assert settings.accounts.default.name == "Berlin"
    assert settings.accounts.get(ROME).tokens == ("made-up-rome",)
    assert settings.accounts.get(ROME).credentials == ("SKmade-up", "made-up-secret")


def test_the_account_of_the_variables_comes_first(folder):
    """It is the default beside those of the file."""
    settings = load(environment=folder() | OWN_VARIABLES, require=(*RECEIVER, *WORKER))
    assert [account.sid for account in settings.accounts] == [OWN, BERLIN, ROME]
    assert settings.accounts is settings.accounts, "they are put together once"


def test_an_account_in_both_places_is_refused(folder):
    """Which of the two would win is not left to be guessed."""
    (problem,) = problems_of(folder() | OWN_VARIABLES | {"TWILIO_ACCOUNT_SID": BERLIN})
    assert f"account {BERLIN} (Berlin) is TWILIO_ACCOUNT_SID too" in problem
    assert "accounts.toml:2:" in problem


def test_what_is_missing_is_told_for_each_account(folder):
    """File and line, account and variable of each, together with whatever else is wrong."""
    environment = folder() | {"BERLIN_TOKEN": "", "ROME_TOKEN": "", "ROME_SECRET": "", "PORT": "eighty"}
    found = problems_of(environment, require=(*RECEIVER, *WORKER))
    assert [problem.rpartition("accounts.toml")[2] for problem in found] == [
        found[0],
        f":2: account {BERLIN} (Berlin): BERLIN_TOKEN is not set (auth_token_env)",
        f":9: account {ROME}: ROME_TOKEN is not set (auth_token_env)",
        f":9: account {ROME}: ROME_SECRET is not set (api_secret_env)",
    ]
    assert found[0].startswith("PORT: ")


def test_the_own_account_must_be_complete_too(folder):
    """TWILIO_ACCOUNT_SID beside a file means an account of its own, which needs what every account needs."""
    found = problems_of(folder() | {"TWILIO_ACCOUNT_SID": OWN}, require=(*RECEIVER, *WORKER))
    assert [problem.partition(" ")[0] for problem in found] == [
        "TWILIO_AUTH_TOKEN",
        "TWILIO_AUTH_TOKEN",
        "TWILIO_CONVERSATION_CONFIGURATION_ID",
    ]


def test_a_consumer_needs_no_token_where_there_is_a_key(folder):
    """Least privilege: who calls the API with a key is not asked for what signs webhooks."""
    require = ("redis_url", "twilio_account_sid", CREDENTIALS)
    (problem,) = problems_of(folder() | {"BERLIN_TOKEN": "", "ROME_TOKEN": ""}, require)
    assert "BERLIN_TOKEN is not set" in problem


def test_problems_of_the_file_stop_the_start(folder):
    """Together with those of the settings."""
    found = problems_of(folder(FILE + 'auth_token = "hunter2"\n') | {"PORT": "eighty"})
    assert any("auth_token is a secret" in problem for problem in found)
    assert any(problem.startswith("PORT") for problem in found)
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize("name", ["accounts.toml", "nowhere.toml"])
def test_a_file_that_is_broken_is_the_only_problem(folder, name):
    """Whether the variables of a single account are needed is not known then: nobody is sent after them."""
    environment = folder('[[account]]\nsid = "AC1"\n') | {"ROUTER_ACCOUNTS_FILE": name}
    assert len(problems_of(environment, require=(*RECEIVER, *WORKER))) == 1


def test_another_file(folder):
    """ROUTER_ACCOUNTS_FILE names another one, which must be there; `none` is none."""
    environment = folder(name="production.toml")
    assert len(load(environment=environment | {"ROUTER_ACCOUNTS_FILE": "production.toml"}).accounts) == 2
    (problem,) = problems_of(environment | {"ROUTER_ACCOUNTS_FILE": "nowhere.toml"})
    assert problem.startswith("ROUTER_ACCOUNTS_FILE: there is no ")
    settings = load(environment=folder() | OWN_VARIABLES | {"ROUTER_ACCOUNTS_FILE": "none"})
    assert [account.sid for account in settings.accounts] == [OWN]


def test_a_file_that_cannot_be_read(tmp_path):
    """It is named as the problem, and not taken for one that is not there."""
    (tmp_path / "accounts.toml").write_bytes(b"\xff")
    (problem,) = problems_of({"ROUTER_CONFIG_DIR": str(tmp_path)})
    assert "accounts.toml: " in problem


def test_the_masked_configuration_shows_every_account_and_no_secret(folder):
    """Whether token, key and configuration are there, by SID; with one account the variables say it all."""
    settings = load(environment=folder() | OWN_VARIABLES)
    masked = settings.masked()
    assert masked[OWN] == "1 token; token opens the API; conv_configuration_own"
    assert masked[BERLIN] == "Berlin; 1 token; token opens the API; conv_configuration_berlin"
    assert masked[ROME] == "1 token; API key opens the API; conv_configuration_rome"
    assert "made-up" not in str(masked) + repr(settings) + repr([*settings.accounts])
    assert OWN not in load(environment=OWN_VARIABLES).masked()


def test_dev_leaves_the_file_out(folder, tmp_path, monkeypatch):
    """Its sandbox has one account, and the variables of real ones are not there: dev.env says so to every process."""
    monkeypatch.delenv("ROUTER_ACCOUNTS_FILE", raising=False)
    environment = folder() | _make_environment(DevOptions(None, None, None, tmp_path)) | {"BERLIN_TOKEN": ""}
    settings = load(environment=environment | {"REDIS_URL": "redis://localhost"}, require=(*RECEIVER, *WORKER))
    assert [account.sid for account in settings.accounts] == [environment["TWILIO_ACCOUNT_SID"]]


async def test_each_account_reaches_the_api_where_it_is(folder):
    """At its own URL where the file names one, else where the settings say."""
    apis = make_apis(load(environment=folder() | {"TWILIO_CONVERSATIONS_URL": "http://127.0.0.1:2"}))
    assert [repr(apis.of(sid).v2._transport) for sid in (BERLIN, ROME)] == [
        "Transport('http://127.0.0.1:1')",
        "Transport('http://127.0.0.1:2')",
    ]
    await apis.close()
