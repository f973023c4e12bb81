"""The source that a webhook without a route was meant for: by its path, else by its content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.events import SourceName
from router.core.signing.form import NO_FORM, parse_form
from router.inbound.nearest import find_nearest
from router.inbound.sources import SOURCES
from router.inbound.webhook import Webhook
from tests.receiver.samples import SAMPLES, is_form
from tests.support.accounts import ACCOUNT

CALL_OVER = b"CallSid=CA00000000000000000000000000000001&CallStatus=completed&From=%2B15551230001&To=%2B15557650000"
RECORDING = b"CallSid=CA00000000000000000000000000000001&RecordingSid=RE01&RecordingStatus=completed"


def webhook_of(body):
    return Webhook(body, parse_form(body), None)


def sample_of(source):
    made = SAMPLES[source]()
    return webhook_of(made.body) if is_form(made) else Webhook(made.body, NO_FORM, None)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (b"/webhooks/Messaging/", SourceName.MESSAGING),
        (b"/webhooks/messagin", SourceName.MESSAGING),
        (b"/webhooks/m%65ssaging", SourceName.MESSAGING),
        (b"/webhooks/messaging%0A", SourceName.MESSAGING),
        (b"/x/../webhooks/messaging", SourceName.MESSAGING),
        (b"/webhooks/conversations_classic", SourceName.CLASSIC),
        (b"/webhooks/conversation-classic", SourceName.CLASSIC),
        (b"/webhooks/eventstreams", SourceName.EVENT_STREAMS),
        (b"/webhooks/conversation", SourceName.CONVERSATIONS),
        (b"/api/v1/webhooks/voice", SourceName.VOICE),
    ],
)
def test_a_path_that_is_spelt_otherwise(path, source):
    """The path decides where its source reads the webhook."""
    assert find_nearest(path, sample_of(source), ACCOUNT).name == source


@pytest.mark.parametrize("path", [b"", b"/", b"/webhooks/sms", b"/webhooks/x", b"/\xff%zz", b"/" + b"a" * 8000])
@pytest.mark.parametrize(
    ("webhook", "source"),
    [
        *((sample_of(name), name) for name in SOURCES if name not in {SourceName.EMAIL, SourceName.EVENT_STREAMS}),
        (webhook_of(CALL_OVER), SourceName.VOICE),
        (webhook_of(RECORDING), SourceName.VOICE),
        (Webhook(b'[{"specversion":"1.0"}]', NO_FORM, None), SourceName.EVENT_STREAMS),
        (Webhook(b'{"specversion":"1.0","type":"x"}', NO_FORM, None), SourceName.EVENT_STREAMS),
    ],
)
def test_a_path_that_says_nothing(path, webhook, source):
    """The content decides: a call's end is of voice, although messaging would disregard it as a callback."""
    assert find_nearest(path, webhook, ACCOUNT).name == source


@pytest.mark.parametrize(
    ("path", "content", "source"),
    [
        (b"/Webhooks/Messaging", SourceName.VOICE, SourceName.VOICE),
        (b"/webhooks/voice/", SourceName.MESSAGING, SourceName.MESSAGING),
        (b"/webhooks/messaging/", SourceName.CONVERSATIONS, SourceName.CONVERSATIONS),
        (b"/webhooks/conversations/", SourceName.CLASSIC, SourceName.CLASSIC),
    ],
)
def test_a_path_whose_source_does_not_read_it(path, content, source):
    """The first source that reads the webhook is the right one."""
    assert find_nearest(path, sample_of(content), ACCOUNT).name == source


def test_nobody_reads_it():
    """Then the most similar path is the best guess."""
    assert find_nearest(b"/webhooks/conv", webhook_of(b"a=1"), ACCOUNT).name == SourceName.CONVERSATIONS
    assert find_nearest(b"/webhooks/voice/", Webhook(b"", NO_FORM, None), ACCOUNT).name == SourceName.VOICE


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_there_is_always_one(path, body):
    """Any bytes have a nearest source."""
    assert find_nearest(path, Webhook(body, NO_FORM, None), ACCOUNT) in SOURCES.values()
