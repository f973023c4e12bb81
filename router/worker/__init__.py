"""The resolving worker: inbound entries in, participants resolved, entries committed.

batches.py     the batch path: whole batches in a few round trips, without the API
singles.py     the single path: one event at a time, with the API
calls.py       the single path's part for calls
reconciler.py  sweeps: finds what lost callbacks did not report
requests.py    performs the API requests of a resolution
work.py        one delivery, from its raw fields to its log line
app.py         the process; startup.py reads the accounts' configurations for it
"""
