"""Participant Router: every inbound channel event becomes one participant and one `participant.joined` entry.

The path of one event, and where to read it:

    Twilio ── webhook ──► receiver/ingest.py     one webhook from request to answer; a refused one is quarantined
                            receiver/authentication.py   authentic? whose account? which key?   inbound/: identify
                            receiver/misrouted.py        a wrong URL or method: kept if authentic
                            receiver/spool/      the journal on disk that takes events while Redis cannot
                          streams/store/append.py   claim the key and append, atomically; then answer 200
                            receiver/voice.py    a call: answered with TwiML, from the policy and config/voice
      inbound stream ───► streams/consuming/     reader, window, claims: how many at once, in which order
                          worker/batches.py      what is known already: a whole batch in a few round trips
                          worker/singles.py      the rest, one at a time: ask the API, commit   worker/calls.py
                            inbound/             normalize: raw bytes to an event (core/events.py)
                            core/judging/        what the event means: one row of rules for each kind of event
                            core/policy.py       the target, and the rule that decided
                            core/resolution/     generators of API requests that find the participant
                            conversations/       performs the requests
                            core/ledger/         what is committed, and what this event adds
                          streams/store/commits.py   one script: ledger and entries together, or neither
                          worker/reconciler.py   what lost callbacks did not report, found by asking
      commands stream ──► worker/commander.py    people and programs: accept, say, release, be available, ...
                            core/routing/        who holds: a table of transitions, queues, the choice of a person
                          worker/floor.py        one commit changes the holder; then streams/store/desk.py agrees
                          worker/floor_loop.py   deadlines, presence that ends, wrap-ups
                            agents/              what the API does for an agent, once: join, send, close
      participants ─────► handlers/              consumers: join as AI agent or human agent, answer
      dead-letters        streams/consuming/     what can never succeed ends here, with its reason

Rooms, from the ground up; a test holds that imports only go down:

    core/           rules without I/O: judging/ ledger/ resolution/ routing/ classic/ signing/ voice/
    inbound/        one parser for each event source, and their table; no I/O either
    logs.py  metrics.py  tasks.py     every name of a log event or metric in one table
    conversations/  the client of the Conversations API, v2 and v1
    streams/        Redis: client/ (one server, Sentinel, Cluster) store/ (scripts) consuming/ repartition/
    sandbox/        the offline Conversations API: v2/ classic/
    settings/       the only reader of the environment and of the configuration folder
    process/        event loop, signals, API clients, metrics port, supervisor
    simulator/      makes and sends signed webhooks
    agents/         joins, texts and effects, for the worker and the consumers
    receiver/  worker/      the processes `web` and `worker` of the Procfile
    operations/     reads what a deployment does and acts on it, for commands and pages: the search for a story
    console/        the web page and its JSON, the process `console`: a table of pages, operations/ desk/
    commands/  dev/         check, explain-signature, quarantine, dead-letters, ...; everything on one machine
    ../handlers/            the processes `ai-agent` and `human-agent`

To add an event source: inbound/__init__.py. A kind of event: core/judging/kinds.py. A handler: handlers/app.py.
A routing rule: config/routing.toml. A page: console/__init__.py.
"""

__version__ = "0.1.0"
