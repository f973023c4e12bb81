"""A seed is a schedule: drawn up front, the same every time, with every kind of scenario, kill, outage and fault."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.chaos.__main__ import make_parser
from tests.chaos.balancer import RawWebhook
from tests.chaos.lasting import Scope
from tests.chaos.record import read
from tests.chaos.scenario import SandboxRequest, Scenario, SendWebhooks
from tests.chaos.scenarios import KINDS, RECEIVERS
from tests.chaos.schedule import FULL, ROLES, SHORT, WORKING, make_schedule
from tests.support.accounts import OTHER_ACCOUNT

SEEDS = range(3)
#: A full round with fewer customers, because drawing a thousand takes seconds.
FEWER = replace(FULL, scenarios=200)


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed {seed}", scope="module")
def schedule(request):
    return make_schedule(request.param, FEWER)


def copies_of(scenario: Scenario):
    return [copy for step in scenario.steps for copy in getattr(step.action, "copies", ())]


def test_a_seed_repeats_its_schedule_and_another_does_not():
    """Equal seeds draw the same schedule to the last webhook, and name it by the same digest; others do not."""
    assert make_schedule(7, SHORT) == make_schedule(7, SHORT)
    assert make_schedule(7, SHORT).digest == make_schedule(7, SHORT).digest
    assert make_schedule(7, SHORT).digest != make_schedule(8, SHORT).digest


def test_every_role_is_killed_again_and_again_but_never_just_after_its_start(schedule):
    """Each process is killed several times, with some seconds between its start and the next kill."""
    counts = Counter(kill.role for kill in schedule.kills)
    assert counts.keys() == ROLES.keys()
    assert min(counts.values()) >= 3
    for role in ROLES:
        kills = [kill for kill in schedule.kills if kill.role == role]
        assert all(two.at >= one.at + one.down + WORKING for one, two in pairwise(kills))


def test_redis_has_all_its_outages_and_is_back_in_between(schedule):
    """Three kills and two stalls, one after the other, all within the round."""
    assert Counter(outage.is_kill for outage in schedule.outages) == {True: 3, False: 2}
    assert all(two.at > one.at + one.seconds for one, two in pairwise(schedule.outages))
    assert schedule.outages[-1].at + schedule.outages[-1].seconds < FEWER.seconds


@pytest.mark.parametrize("scale", [FEWER, SHORT], ids=["full", "short"])
@pytest.mark.parametrize("seed", range(20))
def test_one_outage_of_each_scope_lasts_and_its_process_is_spared(seed, scale):
    """It begins before its first customer writes, within the round; nothing kills a process whose disk fails."""
    schedule = make_schedule(seed, scale)
    assert [one.scope for one in schedule.lasting] == list(Scope)
    owners = {one.address.key: one for scenario in schedule.scenarios for one in scenario.customers}
    for outage in schedule.lasting:
        assert 0 <= outage.at < scale.seconds
        if outage.scope.is_disk:
            kills = [kill.at for kill in schedule.kills if kill.role == outage.about]
            assert not [at for at in kills if outage.at - 5 < at < outage.at + outage.seconds + 5]
        else:
            assert outage.affected
            assert outage.affected < owners.keys()
            accounts = {owners[key].account for key in outage.affected}
            assert (OTHER_ACCOUNT in accounts) == (outage.scope is Scope.ACCOUNT)  # else no request of theirs fails


def test_the_api_fails_in_every_way(schedule):
    """Latency, hangs, resets before and after the effect, 429, 503, and callbacks repeated, shuffled and late."""
    faults = [one.fault for one in schedule.api_faults]
    switches = [one.switches for one in schedule.api_faults]
    assert {fault.get("status") for fault in faults} >= {None, 429, 503}
    assert {fault.get("when") for fault in faults if fault.get("reset")} == {"before", "after"}
    assert any(fault.get("hang") for fault in faults)
    assert any(fault.get("latencySeconds") for fault in faults)
    assert any(one["callbackDuplicates"] and one["callbackOrder"] == "shuffled" for one in switches)
    assert any(one["callbackDelaySeconds"] for one in switches)


@pytest.mark.parametrize("scale", [FEWER, SHORT], ids=["full", "short"])
def test_customers_come_in_by_every_source(scale):
    """Even a short round has every kind of scenario, and webhooks of every source that sends them directly."""
    scenarios = make_schedule(1, scale).scenarios
    assert len(scenarios) == scale.scenarios >= len(KINDS)
    paths = {copy.webhook.path for scenario in scenarios for copy in copies_of(scenario)}
    assert paths == {"/webhooks/messaging", "/webhooks/voice", "/webhooks/event-streams", "/webhooks/email"}
    requested = {
        step.action.path for scenario in scenarios for step in scenario.steps if isinstance(step.action, SandboxRequest)
    }
    assert requested == {"/sandbox/capture", "/sandbox/classic/inbound"}


def test_webhooks_are_repeated_at_once_and_through_either_receiver(schedule):
    """One to three copies of each webhook, to both receivers, and some messages that a second source reports too."""
    steps = [
        step.action
        for scenario in schedule.scenarios
        for step in scenario.steps
        if isinstance(step.action, SendWebhooks)
    ]
    copies = Counter(count for step in steps for count in Counter(one.webhook for one in step.copies).values())
    assert copies.keys() == {1, 2, 3}
    assert {one.receiver for step in steps for one in step.copies} == set(range(RECEIVERS))
    assert any(len({one.webhook.path for one in step.copies}) == 2 for step in steps)


def test_no_two_customers_share_an_address_or_a_message(schedule):
    """Everything found afterwards belongs to one customer."""
    customers = [one for scenario in schedule.scenarios for one in scenario.customers]
    assert len({one.address.key for one in customers}) == len(customers)
    messages = [message for one in customers for message in one.messages]
    assert len(set(messages)) == len(messages)


def test_a_batch_of_event_streams_is_several_events_and_a_repeat(schedule):
    """Three events of three customers, one of them twice in the same batch."""
    scenario = next(one for one in schedule.scenarios if len(one.customers) == 3)
    webhook = copies_of(scenario)[0].webhook
    events = read(RawWebhook(webhook.path, (("Content-Type", webhook.content_type),), webhook.body))
    assert len(events) == 4
    assert len({event.key for event in events}) == 3


def test_the_command_line_has_rounds_and_seed():
    """The default is one round of any seed."""
    arguments = make_parser().parse_args([])
    assert (arguments.rounds, arguments.seed, arguments.short) == (1, None, False)
    arguments = make_parser().parse_args(["--rounds", "3", "--seed", "17"])
    assert (arguments.rounds, arguments.seed) == (3, 17)
    with pytest.raises(SystemExit):
        make_parser().parse_args(["--rounds", "0"])
