"""Conversations to be confirmed: in the order of their first message on trust, once each, and bounded."""

from types import SimpleNamespace

from router.core.judging.unconfirmed import DELAY, Unconfirmed

SECOND = 1_000_000


def work(conversation, begun=0, *, is_on_trust=True, name="SM1"):
    """A committed message."""
    return SimpleNamespace(
        is_on_trust=is_on_trust,
        ledger=SimpleNamespace(conversation_id=conversation),
        kind=SimpleNamespace(names=lambda event: (event,)),
        event=name,
        account_id="AC1",
        entry=SimpleNamespace(appended_at=begun),
        begun=begun,
    )


def taken(unconfirmed, now):
    found = []
    while (conversation := unconfirmed.take(now * SECOND)) is not None:
        found.append(conversation.conversation_id)
    return found


def test_only_messages_on_trust_are_noted():
    """A message in a conversation that the API showed as open needs no confirmation."""
    unconfirmed = Unconfirmed()
    unconfirmed.note([work("c1", is_on_trust=False), work("c2")])
    assert taken(unconfirmed, DELAY - 1) == []
    assert taken(unconfirmed, DELAY) == ["c2"]
    assert taken(unconfirmed, DELAY) == []


def test_a_burst_is_one_confirmation_of_its_last_message():
    """Further messages neither delay the confirmation nor add one; the last of them is what it confirms."""
    unconfirmed = Unconfirmed()
    unconfirmed.note([work("c1", number * SECOND, name=f"SM{number}") for number in range(3)])
    conversation = unconfirmed.take(DELAY * SECOND)
    assert (conversation.arrived_at, conversation.names) == (2 * SECOND, ("SM2",))
    assert taken(unconfirmed, 100) == []


def test_above_the_bound_the_oldest_are_forgotten():
    """The sweeps of the reconciler take care of what is forgotten."""
    unconfirmed = Unconfirmed(most=2)
    unconfirmed.note([work(f"c{number}", number * SECOND) for number in range(4)])
    assert taken(unconfirmed, 100) == ["c2", "c3"]


def test_a_newer_message_is_not_replaced_by_an_older_one():
    """A confirmation that failed is put back unless a newer message has been noted."""
    unconfirmed = Unconfirmed()
    unconfirmed.note([work("c1", name="SM1")])
    old = unconfirmed.take(DELAY * SECOND)
    unconfirmed.note([work("c1", SECOND, name="SM2")])
    unconfirmed.put_back(old, 0)
    conversation = unconfirmed.take(100 * SECOND)
    assert conversation.names == ("SM2",)
    unconfirmed.put_back(conversation, 200 * SECOND)
    assert taken(unconfirmed, 100) == []
    assert taken(unconfirmed, 200) == ["c1"]


def test_a_conversation_that_waits_holds_up_no_other():
    """One that was put back for later is passed over by those that are due before."""
    unconfirmed = Unconfirmed()
    unconfirmed.note([work("c1")])
    unconfirmed.put_back(unconfirmed.take(DELAY * SECOND), 90 * SECOND)
    unconfirmed.note([work("c2", 20 * SECOND)])
    assert taken(unconfirmed, 30) == ["c2"]
    assert taken(unconfirmed, 90) == ["c1"]


def test_without_a_reconciler_nothing_is_kept():
    """With a bound of 0 no conversation is remembered: nobody would take it."""
    unconfirmed = Unconfirmed(most=0)
    unconfirmed.note([work("c1")])
    assert taken(unconfirmed, 100) == []


def test_what_is_put_back_is_bounded():
    """Conversations that are put back above the bound are left to the sweep."""
    unconfirmed = Unconfirmed(most=2)
    for number in range(4):
        unconfirmed.note([work(f"c{number}", number * SECOND)])
        unconfirmed.put_back(unconfirmed.take(100 * SECOND), (200 + number) * SECOND)
    assert taken(unconfirmed, 1000) == ["c0", "c1"]
