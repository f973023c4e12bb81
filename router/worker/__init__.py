"""The resolving worker: inbound entries in, participants resolved, entries committed.

`resolver` is its path of an event (quick for whole batches, one by one where the API is needed), `apply` the pure part
that turns an event and a ledger into an outcome, `api` drives resolutions with the client, `app` is the process.
"""
