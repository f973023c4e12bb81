"""`check` with several accounts: each API is asked, and every finding names its account."""

from __future__ import annotations

import time

import pytest

from router.commands.check.accounts import check_apis, check_credentials, check_rules
from router.settings.load import load
from router.settings.policy_file import read_policy
from tests.harness.sandbox import running_sandbox
from tests.support.accounts import ACCOUNT, BASE_URL, CONFIGURATION, KEY, OTHER_ACCOUNT, SECRET, TOKEN

UNKNOWN_ACCOUNT = "AC00000000000000000000000000000003"
CALLBACK = f"{BASE_URL}/webhooks/conversations"


def sandbox_of(account, **configuration):
    """Run a sandbox of an account while the block runs."""
    shape = {
        "id": CONFIGURATION,
        "displayName": "tests",
        "description": "for tests",
        "conversationGroupingType": "GROUP_BY_PARTICIPANT_ADDRESSES",
        "channelSettings": {},
        "statusCallbacks": [{"url": CALLBACK, "method": "POST"}],
    }
    return running_sandbox(account_sid=account, configurations=(shape | configuration,))


@pytest.fixture
async def settings_of(tmp_path):
    """Return a factory of settings with two accounts, each with its own sandbox."""
    timeouts = {"SMS": {"statusTimeouts": {"inactive": None, "closed": 2}}}
    async with (
        sandbox_of(ACCOUNT) as own,
        sandbox_of(OTHER_ACCOUNT, statusCallbacks=[], channelSettings=timeouts) as berlin,
    ):

        def make(**changes):
            (tmp_path / "accounts.toml").write_text(
                f'[[account]]\nsid = "{OTHER_ACCOUNT}"\nname = "Berlin"\nauth_token_env = "BERLIN_TOKEN"\n'
                f'configuration_id = "{CONFIGURATION}"\nconversations_url = "{berlin.url}"\n'
            )
            given = {
                "ROUTER_CONFIG_DIR": str(tmp_path),
                "TWILIO_ACCOUNT_SID": ACCOUNT,
                "TWILIO_AUTH_TOKEN": TOKEN,
                "TWILIO_API_KEY": KEY,
                "TWILIO_API_SECRET": SECRET,
                "TWILIO_CONVERSATION_CONFIGURATION_ID": CONFIGURATION,
                "TWILIO_CONVERSATIONS_URL": own.url,
                "PUBLIC_BASE_URL": BASE_URL,
                "BERLIN_TOKEN": TOKEN,
            }
            return load(environment=given | changes)

        yield make


def shown(findings):
    return [(one.level, one.subject) for one in findings]


async def test_every_account_is_asked_and_named(settings_of):
    """API and status callbacks of each account have a finding."""
    assert shown(await check_apis(settings_of())) == [
        ("ok", f"Conversations API of {ACCOUNT}"),
        ("ok", f"status callbacks of {ACCOUNT}"),
        ("ok", f"Conversations API of {OTHER_ACCOUNT} (Berlin)"),
        ("warn", f"status callbacks of {OTHER_ACCOUNT} (Berlin)"),
    ]


@pytest.mark.parametrize("changes", [{"BERLIN_TOKEN": "wrong"}, {"TWILIO_API_SECRET": "wrong"}], ids=["Berlin", "own"])
async def test_wrong_credentials_fail_for_their_account_only(settings_of, changes):
    """The other account stays ok, and no secret is shown."""
    findings = await check_apis(settings_of(**changes))
    (failed,) = [one for one in findings if one.level == "FAIL"]
    assert failed.subject.endswith("(Berlin)") == ("BERLIN_TOKEN" in changes)
    assert "AuthenticationError" in failed.text
    assert "wrong" not in failed.text
    assert [one.level for one in findings if one.subject.startswith("Conversations API")].count("ok") == 1


async def test_a_closing_timeout_below_the_route_ttl_names_its_account(settings_of):
    """ROUTER_ROUTE_TTL applies to all accounts, so each configuration is compared with it."""
    findings = await check_apis(settings_of(ROUTER_ROUTE_TTL="121"))
    (found,) = [one for one in findings if one.subject == "ROUTER_ROUTE_TTL"]
    assert f"of {OTHER_ACCOUNT} (Berlin) (120 s)" in found.text


async def test_an_account_without_an_api_key_is_a_warning(settings_of):
    """An account that uses its auth token for the API is named; one with a key is not."""
    assert shown(check_credentials(settings_of())) == [("warn", f"TWILIO_API_KEY of {OTHER_ACCOUNT} (Berlin)")]


async def test_a_rule_for_an_account_that_is_not_configured_is_a_warning(settings_of):
    """Such a rule never matches, so it is named with its line."""
    text = '[default]\ntarget = "ignore"\n'
    for number, sid in enumerate((ACCOUNT, OTHER_ACCOUNT, UNKNOWN_ACCOUNT)):
        text += f'[[rule]]\nname = "r{number}"\naccount = "{sid}"\ntarget = "ai-agent"\n'
    (found,) = check_rules(settings_of(), read_policy(text))
    assert found.text == f"the rule 'r2' on line 11 asks for {UNKNOWN_ACCOUNT}, which is not configured"


async def test_findings_about_the_only_account_do_not_name_it(settings_of):
    """Account SIDs appear only where there are several accounts."""
    findings = await check_apis(settings_of(ROUTER_ACCOUNTS_FILE="none"))
    assert shown(findings) == [("ok", "Conversations API"), ("ok", "status callbacks")]


@pytest.mark.parametrize(("ahead", "words"), [(61, "behind that of this host"), (-61, "ahead of that of this host")])
async def test_a_clock_that_differs_from_the_apis_is_a_warning(settings_of, ahead, words):
    """Times of Twilio are compared with ours too; the API of each account tells its own."""
    findings = await check_apis(settings_of(), clock=lambda: time.time() + ahead)
    warned = [one for one in findings if one.subject.startswith("clock of the API")]
    assert [one.level for one in warned] == ["warn", "warn"]
    assert all(words in one.text for one in warned)
