"""Chaos: the whole router as real processes while everything around it fails; then a table of what came of it.

    python -m tests.chaos [--rounds N] [--seed N]      or: make chaos ROUNDS=N SEED=N

One round: customers come in over every source through two receivers behind a balancer; three workers and four
consumers work; a seed has drawn up front who sends what when (scenarios), who is killed when, when Redis dies or
stalls, how the API misbehaves, and what fails for longer (schedule, lasting). Afterwards everything that was answered
with a 2xx is compared with what is in Redis, in the sandbox and in the logs (accounting, order). The sandbox itself is
never killed: it is the truth.

    scenarios.py     customers, what they do, and what must come of it: plain data
    schedule.py      scenarios, kills, outages and API faults of one seed: plain data
    deployment.py    the real processes, started again whenever they end
    balancer.py      in front of the receivers: picks one, tries the other, and knows what was answered 2xx
    watcher.py       follows the participants streams, through every outage
    load.py          runs the scenarios
    disturbances.py  kills, stalls, API faults and outages that last, by the schedule
    lasting.py       outages of an account, a channel, a customer and of disks, and their rows in the table
    final_state.py   what is there afterwards, read from Redis, the sandbox and the logs
    record.py        all that a round left behind, and what follows from it
    accounting.py    the rows of the table: expected, found, and what does not fit (row); order.py has those about order
    report.py        the table as text, and, where a row is false, everything that is known, on disk
    run.py           one round

The load avoids what the documentation names as a limit, and nothing else: a caller hangs up after being announced (the
end of a call that overtakes its beginning through another receiver's spool ends a stay that never began); a
conversation is closed, and a customer removed, after all messages in it were published, because a stale event changes
nothing; an entry may be in progress at 20 crashes before it counts as their cause, because a kill at random cannot be
told from a killing entry; and the order of messages is checked where it is promised (see order.py).
"""
