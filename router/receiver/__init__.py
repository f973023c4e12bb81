"""The receiver: webhooks in, durable inbound entries out, an answer only after Redis has confirmed.

It decides what must be decided at the door (is it authentic, is it readable, which key) and leaves everything else to
the worker. `ingest` is the path of one webhook, `app` the HTTP server around it, `serve` the process.
"""
