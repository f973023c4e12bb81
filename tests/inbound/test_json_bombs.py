"""JSON made to be misread: deep, huge, double; door and worker read the same, and nobody runs out of stack."""

import pytest

from router.core.errors import UnreadableError
from router.core.signing.form import NO_FORM
from router.inbound import conversations, event_streams
from router.inbound.webhook import Webhook
from tests.inbound.samples import ACCOUNT, make_entry

DEEP = b'{"a":' * 100_000
DOUBLE = (
    b'{"eventType":"CONVERSATION_UPDATED","data":{"id":"first","id":"last","status":"ACTIVE"},'
    b'"data":{"id":"conv_1","id":"conv_2","status":"CLOSED","status":"ACTIVE"}}'
)


@pytest.mark.parametrize("body", [DEEP, b"[" * 100_000, b'{"data":' + b"[" * 5000 + b"]" * 5000 + b"}"])
def test_nesting_is_unreadable(body):
    """A bomb of brackets is refused, wherever it is read."""
    with pytest.raises(UnreadableError):
        conversations.identify(body, token=None, default_account=ACCOUNT)
    with pytest.raises(UnreadableError):
        event_streams.split(Webhook(body, NO_FORM, None), ACCOUNT)


@pytest.mark.parametrize("number", [b"9" * 100_000, b"-" + b"9" * 400, b"1e400", b"0." + b"9" * 10_000])
def test_numbers_beyond_all_use(number):
    """A number without an end costs no time with its square, and is no id."""
    body = b'{"eventType":"CONVERSATION_UPDATED","timestamp":%s,"data":{"id":%s}}' % (number, number)
    with pytest.raises(UnreadableError):
        conversations.identify(body, token=None, default_account=ACCOUNT)


def test_of_two_members_with_one_name_the_same_one_counts():
    """The key is made of what the event will be made of: nobody can name one event and have another worked on."""
    identity = conversations.identify(DOUBLE, token=None, default_account=ACCOUNT)
    event = conversations.normalize(make_entry(DOUBLE, "conversations"))
    assert identity.subject == event.conversation.id == "conv_2"
    assert event.conversation.status == "ACTIVE"
