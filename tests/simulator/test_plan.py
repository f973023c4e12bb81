"""The plan of a scenario: what is sent when, and that a seed gives the same again."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from router.simulator.plan import Send, make_plan


def test_without_a_seed_the_order_is_the_given_one():
    """Each webhook is followed by its repeats, and there is a pause between any two requests."""
    plan = make_plan(2, times=2, delay=0.5)
    assert plan == (Send(0, 0.0), Send(0, 0.5), Send(1, 0.5), Send(1, 0.5))


def test_one_webhook_is_sent_at_once():
    """Nothing is waited for before the first request."""
    assert make_plan(1, delay=9.0) == make_plan(1, delay=9.0, seed=3) == (Send(0, 0.0),)


def test_a_seed_mixes_webhooks_and_their_repeats():
    """The repeats of one webhook are not next to each other in all orders."""
    orders = {tuple(send.which for send in make_plan(3, times=3, seed=seed)) for seed in range(20)}
    assert len(orders) > 15
    assert any(order[0] != order[1] for order in orders)


@given(
    count=st.integers(0, 6),
    times=st.integers(1, 5),
    delay=st.floats(0.0, 10.0),
    seed=st.none() | st.integers(),
)
def test_a_plan_is_whole_bounded_and_can_be_had_again(count, times, delay, seed):
    """Every webhook goes out as often as was asked for, no pause is longer than twice the delay, a seed repeats."""
    plan = make_plan(count, times=times, delay=delay, seed=seed)
    assert Counter(send.which for send in plan) == dict.fromkeys(range(count), times)
    assert all(0.0 <= send.pause <= 2 * delay for send in plan)
    assert plan == make_plan(count, times=times, delay=delay, seed=seed)
