"""Rules that turn an inbound event and the committed state of its conversation into an outcome. Pure.

kinds.py      the table: one row of rules per kind of event; a new kind is one file and one row
messages.py participants.py conversations.py communications.py classic.py calls.py    the rules, one file per kind
groups.py     the further members of a group message
resolved.py   applies the result of a resolution to a ledger
context.py    what every rule may consult: policy, own addresses, time
work.py       one event in progress, and the shape of a row
rules.py      the rules of all accounts: what the worker calls
unconfirmed.py    conversations in which messages were published on trust, to be confirmed afterwards
recovery.py   applies a snapshot of the API to a ledger, to make up for lost callbacks
"""
