"""Consuming streams: reading, the window, claims, retries and poison isolation."""
