"""Settings of several accounts: their sources, the requirements of each, and secrets that never show."""

from __future__ import annotations

import pytest

from router.core.errors import SettingsError
from router.dev.environment import DevOptions, make_environment
from router.dev.memory import Keep
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
    """Return a function that writes an accounts file and returns the environment that points to its folder."""

    def write(text=FILE, name="accounts.toml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return {"ROUTER_CONFIG_DIR": str(tmp_path)} | VARIABLES

    return write


def problems_of(environment, require=()):
    with pytest.raises(SettingsError) as caught:
        load(environment=environment, require=require)
    return caught.value.problems


def test_without_a_file_there_is_one_account(tmp_path):
    """Without an accounts file the account of the TWILIO_ variables is the only one."""
    settings = load(environment={"ROUTER_CONFIG_DIR": str(tmp_path)} | OWN_VARIABLES)
    assert [account.sid for account in settings.accounts] == [OWN]
    assert settings.accounts.default.configuration_id == "conv_configuration_own"


@pytest.mark.parametrize("require", [RECEIVER, WORKER, ("redis_url", "twilio_account_sid", CREDENTIALS)])
def test_accounts_of_the_file_need_no_twilio_variables(folder, require):
    """With accounts in the file no TWILIO_ variable is required; the first account is the default."""
    settings = load(environment=folder(), require=require)
    assert [account.sid for account in settings.accounts] == [BERLIN, ROME]
    assert settings.accounts.default.name == "Berlin"
    assert settings.accounts.get(ROME).tokens == ("made-up-rome",)
    assert settings.accounts.get(ROME).credentials == ("SKmade-up", "made-up-secret")


def test_the_account_of_the_variables_comes_first(folder):
    """The account of the TWILIO_ variables is the default, ahead of those in the file."""
    settings = load(environment=folder() | OWN_VARIABLES, require=(*RECEIVER, *WORKER))
    assert [account.sid for account in settings.accounts] == [OWN, BERLIN, ROME]
    assert settings.accounts is settings.accounts, "they are put together once"


def test_an_account_in_both_places_is_refused(folder):
    """The account of TWILIO_ACCOUNT_SID may not be in the file too."""
    (problem,) = problems_of(folder() | OWN_VARIABLES | {"TWILIO_ACCOUNT_SID": BERLIN})
    assert f"account {BERLIN} (Berlin) is TWILIO_ACCOUNT_SID too" in problem
    assert "accounts.toml:2:" in problem


def test_missing_variables_are_reported_for_each_account(folder):
    """Each problem has file, line, account and variable, and they come together with all other problems."""
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
    """TWILIO_ACCOUNT_SID beside a file is an account of its own and needs everything that an account needs."""
    found = problems_of(folder() | {"TWILIO_ACCOUNT_SID": OWN}, require=(*RECEIVER, *WORKER))
    assert [problem.partition(" ")[0] for problem in found] == [
        "TWILIO_AUTH_TOKEN",
        "TWILIO_AUTH_TOKEN",
        "TWILIO_CONVERSATION_CONFIGURATION_ID",
    ]


def test_a_consumer_with_an_api_key_needs_no_token(folder):
    """A process that only calls the API, with a key, is not asked for the token that signs webhooks."""
    require = ("redis_url", "twilio_account_sid", CREDENTIALS)
    (problem,) = problems_of(folder() | {"BERLIN_TOKEN": "", "ROME_TOKEN": ""}, require)
    assert "BERLIN_TOKEN is not set" in problem


def test_problems_of_the_file_stop_the_start(folder):
    """Mistakes in the file are reported together with those of the settings."""
    found = problems_of(folder(FILE + 'auth_token = "hunter2"\n') | {"PORT": "eighty"})
    assert any("auth_token is a secret" in problem for problem in found)
    assert any(problem.startswith("PORT") for problem in found)
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize("name", ["accounts.toml", "nowhere.toml"])
def test_a_broken_file_is_the_only_problem(folder, name):
    """A broken file hides whether the TWILIO_ variables are needed, so they are not asked for."""
    environment = folder('[[account]]\nsid = "AC1"\n') | {"ROUTER_ACCOUNTS_FILE": name}
    assert len(problems_of(environment, require=(*RECEIVER, *WORKER))) == 1


def test_another_file(folder):
    """ROUTER_ACCOUNTS_FILE names another file, which must exist; `none` means no file."""
    environment = folder(name="production.toml")
    assert len(load(environment=environment | {"ROUTER_ACCOUNTS_FILE": "production.toml"}).accounts) == 2
    (problem,) = problems_of(environment | {"ROUTER_ACCOUNTS_FILE": "nowhere.toml"})
    assert problem.startswith("ROUTER_ACCOUNTS_FILE: ")
    assert problem.endswith("nowhere.toml does not exist")
    settings = load(environment=folder() | OWN_VARIABLES | {"ROUTER_ACCOUNTS_FILE": "none"})
    assert [account.sid for account in settings.accounts] == [OWN]


def test_an_unreadable_file_is_a_problem(tmp_path):
    """An unreadable file is reported, and not treated as missing."""
    (tmp_path / "accounts.toml").write_bytes(b"\xff")
    (problem,) = problems_of({"ROUTER_CONFIG_DIR": str(tmp_path)})
    assert "accounts.toml: " in problem


def test_the_masked_configuration_shows_every_account_and_no_secret(folder):
    """Accounts are shown by SID if there are several: tokens, credentials, configuration, and no secret."""
    settings = load(environment=folder() | OWN_VARIABLES)
    masked = settings.masked()
    assert masked[OWN] == "1 token; API calls with the token; conv_configuration_own"
    assert masked[BERLIN] == "Berlin; 1 token; API calls with the token; conv_configuration_berlin"
    assert masked[ROME] == "1 token; API calls with the API key; conv_configuration_rome"
    assert "made-up" not in str(masked) + repr(settings) + repr([*settings.accounts])
    assert OWN not in load(environment=OWN_VARIABLES).masked()


def test_dev_does_not_read_the_accounts_file(folder, tmp_path, monkeypatch):
    """The sandbox of `dev` has one account, so dev.env switches the file off for every process."""
    monkeypatch.delenv("ROUTER_ACCOUNTS_FILE", raising=False)
    environment = (
        folder()
        | make_environment(DevOptions(None, None, None, None, tmp_path, keep=Keep.TOGETHER))
        | {"BERLIN_TOKEN": ""}
    )
    settings = load(environment=environment | {"REDIS_URL": "redis://localhost"}, require=(*RECEIVER, *WORKER))
    assert [account.sid for account in settings.accounts] == [environment["TWILIO_ACCOUNT_SID"]]


async def test_each_account_uses_its_own_api_url(folder):
    """An account's API is at its own URL, else at the one of the settings."""
    apis = make_apis(load(environment=folder() | {"TWILIO_CONVERSATIONS_URL": "http://127.0.0.1:2"}))
    assert [repr(apis.of(sid).v2._transport) for sid in (BERLIN, ROME)] == [
        "Transport('http://127.0.0.1:1')",
        "Transport('http://127.0.0.1:2')",
    ]
    await apis.close()
