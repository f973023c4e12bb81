"""Connections to Redis: one server, Sentinels or a Cluster. The only room that tells them apart."""
