"""`check` with several accounts: each API is asked, and every finding names its account."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from router.commands.check.accounts import check_apis, check_credentials, check_rules
from router.sandbox import DEFAULT_CONFIGURATION_ID, SandboxOptions, create_app
from router.settings.load import load
from router.settings.policy_file import read_policy

OWN, BERLIN, NOBODY = (f"AC{number:032x}" for number in (1, 2, 3))
CALLBACK = "https://hooks.example.com/webhooks/conversations"


@asynccontextmanager
async def serving(account, **configuration):
    """Serve a sandbox of an account whose token is `token`; yields its URL."""
    shape = {
        "id": DEFAULT_CONFIGURATION_ID,
        "displayName": "tests",
        "description": "for tests",
        "conversationGroupingType": "GROUP_BY_PARTICIPANT_ADDRESSES",
        "channelSettings": {},
        "statusCallbacks": [{"url": CALLBACK, "method": "POST"}],
    }
    options = SandboxOptions(
        account_sid=account, auth_token="token", api_key="SK1", api_secret="s", configurations=(shape | configuration,)
    )
    runner = web.AppRunner(create_app(options), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def settings_of(tmp_path):
    """Return a factory of settings with two accounts, each with its own sandbox."""
    timeouts = {"SMS": {"statusTimeouts": {"inactive": None, "closed": 2}}}
    async with serving(OWN) as own, serving(BERLIN, statusCallbacks=[], channelSettings=timeouts) as berlin:

        def make(**changes):
            (tmp_path / "accounts.toml").write_text(
                f'[[account]]\nsid = "{BERLIN}"\nname = "Berlin"\nauth_token_env = "BERLIN_TOKEN"\n'
                f'configuration_id = "{DEFAULT_CONFIGURATION_ID}"\nconversations_url = "{berlin}"\n'
            )
            given = {
                "ROUTER_CONFIG_DIR": str(tmp_path),
                "TWILIO_ACCOUNT_SID": OWN,
                "TWILIO_AUTH_TOKEN": "token",
                "TWILIO_API_KEY": "SK1",
                "TWILIO_API_SECRET": "s",
                "TWILIO_CONVERSATION_CONFIGURATION_ID": DEFAULT_CONFIGURATION_ID,
                "TWILIO_CONVERSATIONS_URL": own,
                "PUBLIC_BASE_URL": "https://hooks.example.com",
                "BERLIN_TOKEN": "token",
            }
            return load(environment=given | changes)

        yield make


def shown(findings):
    return [(one.level, one.subject) for one in findings]


async def test_every_account_is_asked_and_named(settings_of):
    """API and status callbacks of each account have a finding."""
    assert shown(await check_apis(settings_of())) == [
        ("ok", f"Conversations API of {OWN}"),
        ("ok", f"status callbacks of {OWN}"),
        ("ok", f"Conversations API of {BERLIN} (Berlin)"),
        ("warn", f"status callbacks of {BERLIN} (Berlin)"),
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
    assert f"of {BERLIN} (Berlin) (120 s)" in found.text


async def test_an_account_without_an_api_key_is_a_warning(settings_of):
    """An account that uses its auth token for the API is named; one with a key is not."""
    assert shown(check_credentials(settings_of())) == [("warn", f"TWILIO_API_KEY of {BERLIN} (Berlin)")]


async def test_a_rule_for_an_account_that_is_not_configured_is_a_warning(settings_of):
    """Such a rule never matches, so it is named with its line."""
    text = '[default]\ntarget = "ignore"\n'
    for number, sid in enumerate((OWN, BERLIN, NOBODY)):
        text += f'[[rule]]\nname = "r{number}"\naccount = "{sid}"\ntarget = "ai-agent"\n'
    (found,) = check_rules(settings_of(), read_policy(text))
    assert found.text == f"the rule 'r2' on line 11 asks for {NOBODY}, which is not configured"


async def test_findings_about_the_only_account_do_not_name_it(settings_of):
    """Account SIDs appear only where there are several accounts."""
    findings = await check_apis(settings_of(ROUTER_ACCOUNTS_FILE="none"))
    assert shown(findings) == [("ok", "Conversations API"), ("ok", "status callbacks")]
