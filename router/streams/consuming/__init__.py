"""Reading streams: reader, window, claims, retries, poison isolation."""
