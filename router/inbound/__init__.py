"""Event sources: one parser per source, and the tables that list them.

To add an event source:
1. Write `router/inbound/<source>.py`, or a folder with a `parser.py`. It exports `split` (in the receiver: one Piece
   for each event of a webhook, with its account, idempotency key and subject), `normalize` (in the worker: the event of
   one inbound entry) and `ROWS` (what becomes of each event type).
2. Add its row to `router/inbound/sources.py`, and its ROWS to `router/inbound/table.py`, which the docs show. If its
   requests are not signed as Twilio's are, also add an authenticator to `create_app`
   (`router/receiver/mail_authentication.py` is an example).
3. Add a sample to `tests/receiver/samples.py` and to `tests/inbound/test_table.py`: the security suite, the fuzz test
   and the table test then run over it.

Parsers are pure and do not import each other. The exception is Event Streams, which reports what other webhooks
report and uses their parsers.
"""
