"""Rules: from an inbound event and what is committed of its conversation to an outcome. Pure.

kinds.py      the table: one row of rules for each kind of event; a new kind is one file and one row
messages.py participants.py conversations.py communications.py classic.py calls.py    the rules, a file a kind
groups.py     the further members of a group message
resolved.py   what a resolution found, applied to a ledger
context.py    what all rules judge by: policy, own addresses, time
work.py       one event on its way, and the shape of a row
rules.py      the rules of all accounts, as the worker asks them
recovery.py   what no callback reported, found by the reconciler
"""
