"""Makes and sends signed webhooks of every kind."""
