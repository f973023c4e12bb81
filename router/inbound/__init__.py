"""Event sources: one parser per source, and the table that names them.

To add an event source: write `router/inbound/<source>.py` with `identify` (at the door: account, idempotency key,
subject), `normalize` (in the worker: the event) and `ROWS` (what becomes of each event type); add its row to
`router/inbound/sources.py`, whose `split` says how many events a webhook holds, and its ROWS to
`router/inbound/table.py`, which the README shows; where its requests are not signed as Twilio's are, add its door to
`create_app` (router/receiver/mail_authentication.py is one); add a sample to `tests/receiver/samples.py`, and the
security suite runs over it. Parsers are pure, and only Event Streams, which tells again what the others tell, knows
another.
"""
