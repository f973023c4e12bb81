"""Judging of single events as in the worker, with plain values."""

from router.core.events import InboundEntry
from router.core.judging.context import AccountRules, Context
from router.core.judging.kinds import KINDS
from router.core.judging.work import Work
from router.settings.policy_file import read_policy

NOW = 1_767_787_200_000_000


def make_context(policy, own=frozenset(), now=NOW, **rules):
    """Return a context: a policy as in routing.toml, and the keys of our own addresses."""
    return Context(AccountRules(read_policy(policy), **rules), frozenset(own), now)


def make_work(event, ledger=None, *, begun=NOW, **read):
    """Return the work on an event, with the facts `read` for it."""
    entry = InboundEntry("1-0", event.cause.source, event.account_id, "k1", "s1", NOW, b"")
    return Work(entry, event, KINDS[type(event)], begun, event.account_id, ledger=ledger, **read)


def judge(context, event, ledger, surroundings=None):
    """Apply an event to a ledger by the rules of its kind; return the outcome."""
    work = make_work(event, ledger, surroundings=surroundings)
    return work.kind.apply(context, work)


def needed_fields(context, event):
    """Return the conversation and the ledger fields that an event needs."""
    work = make_work(event)
    return work.kind.fields(context.rules, work)
