"""Siege: something lasts (a flood, a full disk, an outage of one customer, channel or account), and others are served.

    python -m tests.siege [--quick] [NAME ...]      or: make siege ARGS=...

Chaos kills everything at random and accounts for every event; a siege holds one fault for as long as it takes and
measures the others: how many are served, how soon, and with how much memory, undisturbed and disturbed side by side.
Then the fault ends, and what had waited is accounted for.

    runs.py        all runs, in one table
    door.py        forged requests at the door; flood.py sends them
    logs.py        a log that cannot be written
    waiting.py     events that wait for one customer, channel or account
    budget.py      the dead-letter budget
    closing.py     messages around the closing of their conversation
    partitions.py  another number of partitions, under load
    groups.py      consumer groups that are destroyed
    mails.py       the bytes of mails to many mailboxes

    deployment.py  the real processes; gate.py stands at the public URL, where callbacks are late or lost
    probe.py       other customers, and how they are served; watcher.py sees what is published
    backlog.py     very many events at once
    figures.py     the tables; sizes.py the three sizes of a run

Add a run: a function like those, and its row in runs.RUNS.
"""
