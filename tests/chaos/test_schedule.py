"""A seed is a schedule: drawn up front, the same every time, and full of everything."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.chaos.__main__ import make_parser
from tests.chaos.balancer import Letter
from tests.chaos.books import read
from tests.chaos.schedule import FULL, ROLES, SHORT, WORKING, make_schedule
from tests.chaos.stories import KINDS, RECEIVERS
from tests.chaos.story import Say, Story, TakeIn

SEEDS = range(3)
#: The full storm over fewer customers, because drawing a thousand takes seconds.
FEWER = replace(FULL, stories=200)


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed {seed}", scope="module")
def schedule(request):
    return make_schedule(request.param, FEWER)


def tellings_of(story: Story):
    return [telling for step in story.steps for telling in getattr(step.action, "tellings", ())]


def test_a_seed_repeats_its_schedule_and_another_does_not():
    """Equal seeds draw the same schedule to the last webhook, and name it by the same digest; others do not."""
    assert make_schedule(7, SHORT) == make_schedule(7, SHORT)
    assert make_schedule(7, SHORT).digest == make_schedule(7, SHORT).digest
    assert make_schedule(7, SHORT).digest != make_schedule(8, SHORT).digest


def test_every_role_is_killed_again_and_again_but_never_before_it_works(schedule):
    """Each process is killed several times, and has some seconds between being started and the next kill."""
    counts = Counter(kill.role for kill in schedule.kills)
    assert counts.keys() == ROLES.keys()
    assert min(counts.values()) >= 3
    for role in ROLES:
        kills = [kill for kill in schedule.kills if kill.role == role]
        assert all(two.at >= one.at + one.down + WORKING for one, two in pairwise(kills))


def test_redis_goes_as_often_as_it_shall_and_is_back_in_between(schedule):
    """Three kills and two stalls, one after the other, all within the storm."""
    assert Counter(outage.is_kill for outage in schedule.outages) == {True: 3, False: 2}
    assert all(two.at > one.at + one.seconds for one, two in pairwise(schedule.outages))
    assert schedule.outages[-1].at + schedule.outages[-1].seconds < FEWER.seconds


def test_the_api_misbehaves_in_every_way(schedule):
    """Latency, hangs, resets before and after the effect, 429, 503, and callbacks repeated, shuffled and late."""
    faults = [misbehavior.fault for misbehavior in schedule.misbehaviors]
    switches = [misbehavior.switches for misbehavior in schedule.misbehaviors]
    assert {fault.get("status") for fault in faults} >= {None, 429, 503}
    assert {fault.get("when") for fault in faults if fault.get("reset")} == {"before", "after"}
    assert any(fault.get("hang") for fault in faults)
    assert any(fault.get("latencySeconds") for fault in faults)
    assert any(one["callbackDuplicates"] and one["callbackOrder"] == "shuffled" for one in switches)
    assert any(one["callbackDelaySeconds"] for one in switches)


@pytest.mark.parametrize("scale", [FEWER, SHORT], ids=["full", "short"])
def test_customers_come_in_by_every_source(scale):
    """Even the short form has every kind of story, and webhooks of every source that is told directly."""
    stories = make_schedule(1, scale).stories
    assert len(stories) == scale.stories >= len(KINDS)
    paths = {telling.webhook.path for story in stories for telling in tellings_of(story)}
    assert paths == {"/webhooks/messaging", "/webhooks/voice", "/webhooks/event-streams", "/webhooks/email"}
    taken_in = {step.action.path for story in stories for step in story.steps if isinstance(step.action, TakeIn)}
    assert taken_in == {"/sandbox/capture", "/sandbox/classic/inbound"}


def test_webhooks_are_repeated_at_once_and_through_either_receiver(schedule):
    """One to three copies of each webhook, to both receivers, and some that a second source tells too."""
    steps = [step.action for story in schedule.stories for step in story.steps if isinstance(step.action, Say)]
    copies = Counter(count for say in steps for count in Counter(one.webhook for one in say.tellings).values())
    assert copies.keys() == {1, 2, 3}
    assert {one.receiver for say in steps for one in say.tellings} == set(range(RECEIVERS))
    assert any(len({one.webhook.path for one in say.tellings}) == 2 for say in steps)


def test_no_two_customers_share_an_address_and_nothing_is_said_twice(schedule):
    """Whatever is found afterwards can be told whose it is."""
    customers = [one for story in schedule.stories for one in story.customers]
    assert len({one.address.key for one in customers}) == len(customers)
    words = [word for one in customers for word in one.words]
    assert len(set(words)) == len(words)


def test_a_batch_of_event_streams_is_several_events_and_a_repeat(schedule):
    """Three events of three customers, told once although one stands there twice."""
    story = next(one for one in schedule.stories if len(one.customers) == 3)
    webhook = tellings_of(story)[0].webhook
    events = read(Letter(webhook.path, (("Content-Type", webhook.content_type),), webhook.body))
    assert len(events) == 4
    assert len({event.key for event in events}) == 3


def test_the_command_line_says_rounds_and_seed():
    """Without arguments it is one round of any seed."""
    arguments = make_parser().parse_args([])
    assert (arguments.rounds, arguments.seed, arguments.short) == (1, None, False)
    arguments = make_parser().parse_args(["--rounds", "3", "--seed", "17"])
    assert (arguments.rounds, arguments.seed) == (3, 17)
    with pytest.raises(SystemExit):
        make_parser().parse_args(["--rounds", "0"])
