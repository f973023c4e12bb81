"""The receiver: webhooks in, durable inbound entries out, an answer only after Redis has confirmed.

It decides only what the answer depends on (is the webhook authentic, is it readable, which idempotency key) and leaves
everything else to the worker. `ingest` is the path of one webhook, `app` the HTTP application, `serve` the process.
"""
