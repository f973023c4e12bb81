"""Ids, names and forms of stories."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.judging.summary import summarize
from router.core.stories import (
    SettledEvent,
    StageName,
    Story,
    StoryStage,
    address_forms,
    customer_of,
    digest_address,
    event_id,
    is_event_id,
    read_line,
    resource_of,
)
from tests.support.accounts import ACCOUNT, CUSTOMER, WRITER


def test_an_event_has_the_same_id_everywhere():
    """It follows from the idempotency key alone."""
    assert event_id("a") == event_id("a") != event_id("b")
    assert is_event_id(event_id("\ud800"))
    assert not is_event_id("ev_x")


@pytest.mark.parametrize(
    ("query", "form"),
    [
        (CUSTOMER, CUSTOMER),
        (CUSTOMER[1:], CUSTOMER),
        ("+1 (555) 123-0001", CUSTOMER),
        (f"whatsapp:{CUSTOMER}", CUSTOMER),
        (f"tel:{CUSTOMER}", CUSTOMER),
        ("Ana <ANA@Example.com>", WRITER),
        ("client-7", "client-7"),
    ],
)
def test_forms_of_an_address(query, form):
    """Whatever the spelling and the channel, the form by which it was noted is among them."""
    assert form in address_forms(query)
    assert len(address_forms(query)) <= 6


@given(st.text(max_size=300))
def test_any_text_has_forms(query):
    """Nothing that is asked for raises."""
    assert all(address_forms(query))
    assert len(digest_address(b"k", query)) == 16


@pytest.mark.parametrize(
    ("key", "sid"),
    [
        (f"{ACCOUNT}:messaging:SM{'0' * 32}", f"SM{'0' * 32}"),
        (f"{ACCOUNT}:voice:CA{'0' * 32}:ringing", f"CA{'0' * 32}"),
        (f"{ACCOUNT}:email:<a@b>", ""),
        ("x", ""),
        ("", ""),
    ],
)
def test_the_resource_in_a_key(key, sid):
    """Keys of messages and calls have it."""
    assert resource_of(key) == sid


@pytest.mark.parametrize(
    ("subject", "customer"),
    [
        (f"SMS|{CUSTOMER}|+1", CUSTOMER),
        (f"EMAIL|{WRITER}|b@c", WRITER),
        ("WHATSAPP|US.1a|+1", ""),
        ("conv_conversation_1", ""),
        ("", ""),
    ],
)
def test_the_customer_in_a_subject(subject, customer):
    """Only what is the same on every channel is taken from it."""
    assert customer_of(subject) == customer


def test_the_line_of_an_event_has_the_fields_of_its_log_line():
    """SettledEvent ends with them, in their order: a new one needs a field there."""
    work = SimpleNamespace(
        entry=SimpleNamespace(source="messaging", key="k"),
        ledger=None,
        published=[],
        kind=SimpleNamespace(has_customer=False),
        event=SimpleNamespace(cause=SimpleNamespace(event_type="t")),
    )
    fields = list(summarize(work, SimpleNamespace(result="known", reason="")))
    assert list(SettledEvent._fields)[-len(fields) :] == fields


def test_a_story_for_programs():
    """It has exactly the fields of the contract."""
    story = Story(True, "x", (StoryStage(1_000_000, StageName.SENT, "p", "ev_1", "d"),))
    stage = {"at": "1970-01-01T00:00:01.000Z", "stage": "sent", "process": "p", "id": "ev_1", "detail": "d"}
    assert story.to_json() == {"found": True, "subject": "x", "stages": [stage]}
    assert list(inspect.signature(StoryStage).parameters) == ["at", "stage", "process", "id", "detail"]


@given(st.binary(max_size=200))
def test_any_line_can_be_read(body):
    """What no release has written is no line."""
    assert read_line(body) is None or read_line(body).stages
