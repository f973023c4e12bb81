"""Crafted JSON: deep nesting, huge numbers, repeated members; receiver and worker read the same."""

import pytest

from router.core.errors import UnreadableError
from router.core.signing.form import NO_FORM
from router.inbound import conversations, event_streams
from router.inbound.webhook import Webhook
from tests.inbound.samples import make_entry
from tests.support.accounts import ACCOUNT

DEEP = b'{"a":' * 100_000
DOUBLE = (
    b'{"eventType":"CONVERSATION_UPDATED","data":{"id":"first","id":"last","status":"ACTIVE"},'
    b'"data":{"id":"conv_1","id":"conv_2","status":"CLOSED","status":"ACTIVE"}}'
)


@pytest.mark.parametrize("body", [DEEP, b"[" * 100_000, b'{"data":' + b"[" * 5000 + b"]" * 5000 + b"}"])
def test_nesting_is_unreadable(body):
    """A deeply nested body is refused by every JSON parser."""
    with pytest.raises(UnreadableError):
        conversations.identify(body, token=None, default_account=ACCOUNT)
    with pytest.raises(UnreadableError):
        event_streams.split(Webhook(body, NO_FORM, None), ACCOUNT)


@pytest.mark.parametrize("number", [b"9" * 100_000, b"-" + b"9" * 400, b"1e400", b"0." + b"9" * 10_000])
def test_huge_numbers(number):
    """A huge number takes no quadratic time and is not an id."""
    body = b'{"eventType":"CONVERSATION_UPDATED","timestamp":%s,"data":{"id":%s}}' % (number, number)
    with pytest.raises(UnreadableError):
        conversations.identify(body, token=None, default_account=ACCOUNT)


def test_of_two_members_with_one_name_the_same_one_counts():
    """Of two members with one name, key and event use the same one."""
    identity = conversations.identify(DOUBLE, token=None, default_account=ACCOUNT)
    event = conversations.normalize(make_entry(DOUBLE, "conversations"))
    assert identity.subject == event.conversation.id == "conv_2"
    assert event.conversation.status == "ACTIVE"
