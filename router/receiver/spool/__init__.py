"""The spool: journals on local disk that take events while Redis cannot, and the way from there back to Redis."""
