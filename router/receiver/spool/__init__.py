"""The journal on disk that takes webhooks while Redis cannot."""
