"""The admin API: switches, configurations, counts, reset."""

from __future__ import annotations

import pytest

from router.sandbox import SandboxOptions
from tests.sandbox.harness import ACCOUNT, BY_CHANNEL, CUSTOMER, KEY, SECRET, TOKEN, make_options, opening, pair, seat


async def test_switches_are_shown_without_secrets(sandbox):
    """The switches are readable under their wire names, and no secret is among them."""
    answer = await sandbox.get("/sandbox/options")
    assert answer.body["errorShape"] == "auto"
    for secret in (TOKEN, SECRET, KEY, ACCOUNT):
        assert secret.encode() not in answer.raw


@pytest.mark.parametrize("name", ["listOrder", "list_order"])
async def test_switches_are_turned(sandbox, name):
    """A switch is turned by its wire or Python name, and others stay."""
    before = (await sandbox.get("/sandbox/options")).body
    after = (await sandbox.patch("/sandbox/options", {name: "ascending"})).body
    assert after == before | {"listOrder": "ascending"}


@pytest.mark.parametrize(
    "changes",
    [
        {"listOrder": "sideways"},
        {"noSuchSwitch": 1},
        {"authToken": "x"},
        {"configurations": []},
        {"callbackDropFraction": 1.5},
        [],
    ],
)
async def test_what_is_no_switch(sandbox, changes):
    """An unknown name, an identity or a value that the switch does not have is a 400 and changes nothing."""
    before = (await sandbox.get("/sandbox/options")).body
    assert (await sandbox.patch("/sandbox/options", changes)).status == 400
    assert (await sandbox.get("/sandbox/options")).body == before


async def test_profiles_at_run_time(sandbox):
    """Profiles given at run time are added to the memory store."""
    await sandbox.switch(profiles={CUSTOMER: "mem_profile_1"})
    await sandbox.switch(profiles={"+15550100002": "mem_profile_2"})
    for number, profile in ((CUSTOMER, "mem_profile_1"), ("+15550100002", "mem_profile_2")):
        (made,) = (await sandbox.open(seat("CUSTOMER", number)))["participants"]
        assert made["profileId"] == profile


async def test_a_configuration_changes(sandbox):
    """A configuration's version counts its changes; its grouping type cannot change."""
    path = f"/sandbox/configurations/{BY_CHANNEL}"
    changed = (await sandbox.patch(path, {"displayName": "new", "statusCallbacks": [{"url": "https://h/p"}]})).body
    assert (changed["version"], changed["displayName"]) == (2, "new")
    assert changed["statusCallbacks"] == [{"url": "https://h/p", "method": "POST"}]
    assert (await sandbox.patch(path, {"conversationGroupingType": "GROUP_BY_PROFILE"})).status == 400
    assert (await sandbox.patch("/sandbox/configurations/x", {})).status == 404


async def test_channel_settings_change_channel_by_channel(sandbox):
    """Given channels are replaced, null takes one out, others stay; wrong timeouts are a 400."""
    path = f"/sandbox/configurations/{BY_CHANNEL}"
    short, long = {"statusTimeouts": {"closed": 1}}, {"statusTimeouts": {"closed": 9}, "captureRules": []}
    await sandbox.patch(path, {"channelSettings": {"SMS": short, "VOICE": short}})
    changed = (await sandbox.patch(path, {"channelSettings": {"SMS": long, "VOICE": None, "RCS": short}})).body
    assert changed["channelSettings"] == {"SMS": long, "RCS": short}
    answer = await sandbox.patch(path, {"channelSettings": {"SMS": {"statusTimeouts": {"closed": 0}}}})
    assert answer.status == 400


async def test_requests_are_counted_by_template(sandbox):
    """Requests of the public API are counted by method and template, refused ones too, the admin's own not."""
    made = await sandbox.open()
    await sandbox.post("/v2/Conversations", opening(*pair()))
    await sandbox.get(f"/v2/Conversations/{made['id']}/Participants")
    await sandbox.get("/v2/Conversations", headers={})
    counts = (await sandbox.get("/sandbox/requests")).body
    assert counts == {
        "requests": {
            "POST /v2/Conversations": 2,
            "GET /v2/Conversations/{conversation}/Participants": 1,
            "GET /v2/Conversations": 1,
        },
        "total": 4,
    }


async def test_reset(sandbox, receiver):
    """Reset goes back to the start: nothing opened, no switch turned, no fault armed, nothing counted or pending."""
    initial = (await sandbox.get("/sandbox/options")).body
    await sandbox.patch(f"/sandbox/configurations/{BY_CHANNEL}", {"statusCallbacks": receiver.callbacks})
    await sandbox.switch(callback_delay_seconds=3600)
    await sandbox.post("/sandbox/clock", {"advanceSeconds": 10**9})
    await sandbox.open()
    await sandbox.post("/sandbox/faults", {"status": 500})
    assert (await sandbox.post("/sandbox/reset")).status == 204
    assert (await sandbox.get("/sandbox/options")).body == initial
    assert (await sandbox.get("/sandbox/callbacks")).body["pending"] == 0
    assert (await sandbox.get("/sandbox/requests")).body["total"] == 0
    assert (await sandbox.get("/v2/Conversations")).body["conversations"] == []
    assert (await sandbox.get(f"/v2/ControlPlane/Configurations/{BY_CHANNEL}")).body["statusCallbacks"] == []
    await sandbox.open()
    assert receiver.received == []


def test_options_are_checked_and_frozen():
    """Wrong values are refused when options are made, and made ones cannot be changed."""
    with pytest.raises(ValueError, match="error_shape"):
        make_options(error_shape="D")
    options = make_options()
    with pytest.raises(AttributeError):
        options.error_shape = "B"
    assert options.with_switches({"errorShape": "B"}).error_shape == "B"


def test_the_default_configuration():
    """Without configurations there is one, grouped by addresses and channel."""
    options = SandboxOptions(account_sid=ACCOUNT, auth_token=TOKEN, api_key=KEY, api_secret=SECRET)
    (configuration,) = options.configurations
    assert configuration["conversationGroupingType"] == "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE"
