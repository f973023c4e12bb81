"""Builds the forms of classic webhooks, and reads them as receiver and worker do."""

from router.core.signing.form import parse_form
from router.inbound.classic.parser import identify, normalize
from tests.inbound.samples import encode_form, load_form, make_entry
from tests.support.accounts import OTHER_ACCOUNT

CONVERSATION = "CH00000000000000000000000000000001"
MEMBER = "MB00000000000000000000000000000001"
MESSAGE = "IM00000000000000000000000000000001"


def make(sample="participant_added", **changes):
    """Return the body of a sample with changed parameters; `__` in a name stands for a dot."""
    fields = {name.replace("__", "."): value for name, value in changes.items()}
    return encode_form(load_form(f"classic_{sample}", **fields))


def identity_of(body):
    """Return the identity of a form, as the receiver does."""
    return identify(parse_form(body), default_account=OTHER_ACCOUNT)


def key_of(body):
    return identity_of(body).key


def event_of(body):
    """Return the event of a form, as the worker does."""
    return normalize(make_entry(body, "classic"))
