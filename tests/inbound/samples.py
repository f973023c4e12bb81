"""Loads the sample webhooks: forms as lists of (name, value) in their order, callbacks as JSON objects."""

import json
from pathlib import Path
from urllib.parse import quote_plus

from router.core.events import InboundEntry
from tests.support.accounts import ACCOUNT

FOLDER = Path(__file__).with_name("samples")
RECEIVED_AT = 1_767_787_210_000_000  # 2026-01-07T12:00:10Z


def load(name):
    """Return a sample as in its file."""
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def load_form(name, **changes):
    """Return the parameters of a form; a change to None removes one, any other replaces or adds one."""
    params = [(key, value) for key, value in load(name) if key not in changes]
    return params + [(key, value) for key, value in changes.items() if value is not None]


def load_callback(event_type, *, without=(), top=None, **data):
    """Return a callback with changed data and top level fields, without the names in `without`."""
    document = load(event_type.lower()) | (top or {})
    document["data"] = {name: value for name, value in (document["data"] | data).items() if name not in without}
    return {name: value for name, value in document.items() if name not in without}


def encode_form(params):
    """Return the body of a form."""
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in params).encode()


def encode_json(document):
    """Return the body of a callback."""
    return json.dumps(document, ensure_ascii=False).encode()


def make_entry(body, source="messaging", *, shared=None):
    """Return the inbound entry that the worker gets for a body, and for the part that it shares."""
    return InboundEntry("1-0", source, ACCOUNT, "k1", "s1", RECEIVED_AT, body, shared=shared)
