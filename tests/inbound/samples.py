"""Loads the sample webhooks: forms as lists of (name, value) in the order of the wire, callbacks as documents."""

import json
from pathlib import Path
from urllib.parse import quote_plus

from router.core.events import InboundEntry

FOLDER = Path(__file__).with_name("samples")
ACCOUNT = "AC00000000000000000000000000000001"
OTHER_ACCOUNT = "AC00000000000000000000000000000002"
RECEIVED_AT = 1_767_787_210_000_000  # 2026-01-07T12:00:10Z


def load(name):
    """Return a sample as it stands in its file."""
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def load_form(name, **changes):
    """Return the parameters of a form sample; a change to None takes one out, others replace or add one."""
    params = [(key, value) for key, value in load(name) if key not in changes]
    return params + [(key, value) for key, value in changes.items() if value is not None]


def load_callback(event_type, *, without=(), top=None, **data):
    """Return the document of a callback with some data changed, some names taken out, and other top level fields."""
    document = load(event_type.lower()) | (top or {})
    document["data"] = {name: value for name, value in (document["data"] | data).items() if name not in without}
    return {name: value for name, value in document.items() if name not in without}


def encode_form(params):
    """Return the urlencoded body of a form."""
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in params).encode()


def encode_json(document):
    """Return the body of a callback."""
    return json.dumps(document, ensure_ascii=False).encode()


def make_entry(body, source="messaging"):
    """Return the inbound entry that the worker gets for a body."""
    return InboundEntry("1-0", source, ACCOUNT, "k1", "s1", RECEIVED_AT, body)
