"""The walk-through of a newcomer, on a primary behind Sentinels and on a Cluster."""

from __future__ import annotations

import pytest

from router.streams.connection import connect
from tests import test_walkthrough as tour
from tests.support.dev import running_dev

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

#: Four partitions lie on three nodes of a Cluster, and as well on one primary.
SETTINGS = {"ROUTER_PARTITIONS": "4"}
STEPS = (
    tour.test_a_signed_webhook_becomes_one_participant_and_one_entry,
    tour.test_the_same_webhook_two_hundred_times_doubles_nothing,
    tour.test_our_own_additions_come_back_as_callbacks_and_cause_nothing,
    tour.test_nothing_is_sent_to_a_customer_unless_configured,
)


@pytest.fixture(params=[("sentinels", {"ROUTER_REDIS_WAIT": "1"}), ("cluster", {})], ids=["sentinels", "cluster"])
def dev(request, tmp_path):
    """A running `dev` on the deployment, and the dev.env that it wrote."""
    name, more = request.param
    deployment = request.getfixturevalue(name)
    with running_dev(tmp_path, "--redis-url", deployment.url, **SETTINGS, **more) as environment:
        yield environment


async def test_the_whole_walk_through_passes(dev):
    """Webhook to entry, repeats, our own additions, silence, metrics: every step as on one server."""
    redis = connect(dev["REDIS_URL"])
    try:
        for step in STEPS:
            await step(dev, redis)
        await tour.test_metrics_and_health_tell_how_it_goes(dev)
    finally:
        await redis.aclose()
