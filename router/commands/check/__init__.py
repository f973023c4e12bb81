"""The command `check`: configuration, credentials, Redis settings, streams, spool and reachability."""
