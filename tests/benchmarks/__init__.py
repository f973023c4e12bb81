"""Benchmarks: what the receiver and the worker cost, measured beside the limit of the machine.

`make bench` runs all of them. `frame` takes turns and reckons, `report` shows, `processes` starts and ends; `receiver`
and `worker` are the measurements, `rivals` the programs they are compared with, `load` the generator of requests and
`webhooks` what it sends. NOTES.md says what is measured how, and how to read it.

`make soak` is a program of its own: `soak` samples what processes hold over very many events, in the `town` that runs
them; `memory` reckons slopes and counts the keys of each kind; `backlog` lets a worker drain very many at once.

Add a measurement: a module with a `Measurement` (its contenders, columns and figures), one line in
`__main__.MEASUREMENTS`, and its section in NOTES.md.
"""
