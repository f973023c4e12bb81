"""Chaos: the whole router as real processes while everything around it fails, and the books of what came of it.

    python -m tests.chaos [--rounds N] [--seed N]      or: make chaos ROUNDS=N SEED=N

One round: customers come in over every source through two receivers behind a balancer; three workers and four
consumers work; a seed has drawn up front who says what when (stories), who is killed when, when Redis dies or stalls,
and how the API misbehaves (schedule). Afterwards all that was sent with a 2xx is held against what is there
(accounting, order): in Redis, in the sandbox, in the logs. The sandbox itself is never killed: it is the truth.

    stories.py     customers, what they do, and what must come of it: plain data
    schedule.py    stories, kills, outages and faults of one seed: plain data
    site.py        the real processes, started again whenever they end
    balancer.py    in front of the receivers: picks one, tries the other, and knows what was answered 2xx
    watcher.py     follows the participants streams, through every outage
    load.py        plays the stories
    storm.py       kills, stalls and misbehaves by the schedule
    findings.py    what is there afterwards, read from Redis, the sandbox and the logs
    accounting.py  the rows of the table: expected, found, and what does not fit; order.py those about order
    report.py      the table as text, and all that is known, on disk, where a row is false
    run.py         one round

What the README names as a limit shapes the load, and nothing else does: a caller hangs up after being announced (the
end of a call that overtakes its beginning through another receiver's spool ends a stay that never began); a
conversation is closed, and a customer removed, after what was said in it has been heard, because what is stale changes
nothing; an entry may be there at 20 deaths before it counts as their cause, because the trials cannot tell a kill at
random from a killing entry; and the order of messages is checked where it is promised (see order.py).
"""
