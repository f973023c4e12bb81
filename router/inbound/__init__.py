"""Event sources: one parser per source, and the table that names them.

To add an event source: write `router/inbound/<source>.py` with `identify` (at the door: account, idempotency key,
subject) and `normalize` (in the worker: the event); add its row to `router/inbound/sources.py`; add its samples to
`tests/inbound`, whose security suite then runs over it. Parsers are pure and never see each other.
"""
