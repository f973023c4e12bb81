"""The admin API: switches, configurations, counts, and the reset."""

from __future__ import annotations

import pytest

from tests.harness.sandbox import make_options
from tests.sandbox.harness import BY_CHANNEL, make_participant, opening, pair
from tests.support.accounts import ACCOUNT, CUSTOMER, KEY, OTHER_CUSTOMER, SECRET, TOKEN


async def test_switches_are_shown_without_secrets(sandbox):
    """The switches are shown under their wire names, without a secret."""
    answer = await sandbox.get("/sandbox/options")
    assert answer.body["errorShape"] == "auto"
    for secret in (TOKEN, SECRET, KEY, ACCOUNT):
        assert secret.encode() not in answer.raw


@pytest.mark.parametrize("name", ["listOrder", "list_order"])
async def test_switches_are_changed(sandbox, name):
    """A switch is changed by its wire or Python name, and the others stay."""
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
async def test_invalid_switches(sandbox, changes):
    """An unknown name, a part of the identity or a wrong value is a 400 and changes nothing."""
    before = (await sandbox.get("/sandbox/options")).body
    assert (await sandbox.patch("/sandbox/options", changes)).status == 400
    assert (await sandbox.get("/sandbox/options")).body == before


async def test_profiles_at_run_time(sandbox):
    """Profiles given at run time are added to the memory store."""
    await sandbox.switch(profiles={CUSTOMER: "mem_profile_1"})
    await sandbox.switch(profiles={OTHER_CUSTOMER: "mem_profile_2"})
    for number, profile in ((CUSTOMER, "mem_profile_1"), (OTHER_CUSTOMER, "mem_profile_2")):
        (made,) = (await sandbox.open(make_participant("CUSTOMER", number)))["participants"]
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
    """Given channels are replaced, null removes one, others stay; a wrong timeout is a 400."""
    path = f"/sandbox/configurations/{BY_CHANNEL}"
    short, long = {"statusTimeouts": {"closed": 1}}, {"statusTimeouts": {"closed": 9}, "captureRules": []}
    await sandbox.patch(path, {"channelSettings": {"SMS": short, "VOICE": short}})
    changed = (await sandbox.patch(path, {"channelSettings": {"SMS": long, "VOICE": None, "RCS": short}})).body
    assert changed["channelSettings"] == {"SMS": long, "RCS": short}
    answer = await sandbox.patch(path, {"channelSettings": {"SMS": {"statusTimeouts": {"closed": 0}}}})
    assert answer.status == 400


async def test_requests_are_counted_by_template(sandbox):
    """Requests of the public API are counted by method and template, refused ones too; admin requests are not."""
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
    """Reset restores the initial state: no conversation, switch, fault, count or pending event is left."""
    initial = (await sandbox.get("/sandbox/options")).body
    await sandbox.subscribe(receiver.callbacks)
    await sandbox.switch(callback_delay_seconds=3600)
    await sandbox.advance(10**9)
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
    """Wrong values are refused when options are created, and options are immutable."""
    with pytest.raises(ValueError, match="error_shape"):
        make_options(error_shape="D")
    options = make_options()
    with pytest.raises(AttributeError):
        options.error_shape = "B"
    assert options.with_switches({"errorShape": "B"}).error_shape == "B"


def test_the_default_configuration():
    """A sandbox that is given no configuration has one, which groups by addresses and channel."""
    options = make_options()
    (configuration,) = options.configurations
    assert configuration["conversationGroupingType"] == "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE"
