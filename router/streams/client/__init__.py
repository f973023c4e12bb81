"""Clients for Redis: one server, Sentinels or a Cluster. No other package tells them apart."""
