"""Starting and stopping the project for tests: one implementation of each part.

    processes.py         a process with a log of its own: start, wait until it is up, stop, kill
    fork_server.py       the same in a fraction of the time: forks of one program that has imported the project
    redis_server.py      a Redis server that a test may stall, kill and start again
    redis_topologies.py  several servers: a primary with a replica, Sentinels, a Cluster
    sandbox.py           the sandbox within this process, and a client of its API
    serving.py           any web application within this process, on a free port
    settings.py          the environment and the configuration folder of a deployment
    deployment.py        what a deployment has published and what it has still to do
    commands.py          one command, run to its end
    dev.py               `python -m router dev`: all processes at once; forking_dev.py is its program in most tests

Tests that need more build on these: tests/worker/harness.py and tests/handlers/harness.py (one component in this
process), tests/bounds/deployment.py (all components in this process), tests/windows/deployment.py (processes behind
relays), tests/chaos/deployment.py (processes that are restarted), tests/benchmarks/deployment.py (processes on cores).
"""
