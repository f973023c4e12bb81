"""Participant Router: every inbound channel event becomes one participant and one `participant.joined` entry.

The path of one event, and where to read it:

    Twilio ── webhook ──► receiver/ingest.py     the path of one webhook; what is refused goes to the quarantine
                            receiver/door.py     authentic? of which account? which key?   inbound/<source>.py: identify
                            receiver/spool.py    a journal on disk that takes events while Redis cannot
                            receiver/mail_door.py   the same for mails, which are read as they come
                          streams/append.py      claim the key and append, atomically; then answer 200
                            receiver/voice.py    a call: answered with TwiML, from the policy and config/voice
      inbound stream ───► streams/reader.py      FastStream, batches; streams/window.py: how many at once, in order
                            streams/turns.py     ... and in order over all workers
                          worker/quick.py        what is known already: routes, ledgers, commit, in a few round trips
                          worker/slow.py         the rest: ask the Conversations API, commit, one event at a time
                            inbound/<source>.py  normalize: raw bytes to an event (core/events.py)
                            core/policy.py       who shall take it, and why
                            core/resolution.py   which participant: a generator of API requests (core/requests.py)
                            core/call_resolution.py  the same for calls, which worker/calls.py waits for
                            core/classic_resolution.py  for classic conversations, which worker/classic.py applies
                            conversations/v2.py  performs them, v1.py the classic ones
                            core/ledger.py       what is committed, and what this adds: stale? known? new?
                            core/call_ledger.py  which call a stay belongs to, and that it is over
                            core/communications.py  what was said, once, whoever tells of it
                          streams/store.py       one script: ledger and entries together, or neither
                          streams/gathering.py   commands of many tasks in one pipeline; streams/wire.py: less for each
                            worker/reconciler.py what lost callbacks did not tell, found by looking; worker/recovery.py
      participants ─────► handlers/              consumers: join as AI agent or human agent, answer, assign
      dead-letters        streams/consumer.py    what can never succeed ends here, with its reason

    core/           pure: addresses, events, participants, policy, resolution, ledger, signature, entries, keys, errors
    inbound/        pure: one parser per event source, and the table of sources
    conversations/  the client of the Conversations API: transport, repeats, limits, v2 and v1
    streams/        Redis: append, read, claim, commit, give up, trim; the Lua scripts; one server, Sentinels, a Cluster
    receiver/  worker/  ../handlers/    the processes of the Procfile
    sandbox/        the offline Conversations API and the webhook simulator
    settings.py     the only reader of the environment; its fields are in settings_model.py
    logs.py  metrics.py    every name in one table
    dev.py          all of it on one machine;  commands/: check, simulate, dead-letters, quarantine, ...

To add an event source: inbound/__init__.py. A handler: handlers/app.py. A routing rule: config/routing.toml.
"""

__version__ = "0.1.0"
