"""Benchmarks: the cost of receiver and worker, measured beside the limit of the machine.

`make bench` runs all of them and ends with the table of `targets`. `frame` takes turns and computes the figures,
`report` prints them, `processes` starts and ends what is measured. The measurements:

    receiver    one receiver process beside the limit and the straightforward way
    scaling     one, two and three receivers, and workers (`receivers`, `workers`)
    worker      one worker whose customers are all known
    known       one worker with very many known customers, and one with few
    backlog     one worker with a very long stream, and one with a short one (`backlogs`)
    customers   one worker whose customers are all new, with an API that answers at once and one that takes 100 ms
    agents      one AI agent beside one written by hand (`handwritten_agent`), with both APIs
    whole       receiver and worker beside a pair written by hand, from the first request to the last acknowledgement
    memory      the bytes of Redis after the whole path, by kind of key (`redis_memory`)
    latency     from a webhook's scheduled moment to its entry, at a light load and at half load
    start       from the start of a process until it can work

`pairs` starts the receivers and workers of the whole path: ours, the hand-written ones, and those of `express`.
`baselines` are the programs that ours are compared with: `handwritten_worker` is a worker written by hand, `lean_api`
an API that costs little. `filled_stream` fills a stream in advance. `load` generates requests as fast as answers come,
`open_loop` at fixed moments; both send `webhooks`. `simulation` extrapolates the costs to many machines and partitions.
NOTES.md describes how everything is measured, and how to read it.

`make soak` is a program of its own: `soak` samples the memory of processes over very many events, in the `deployment`
that runs them; `memory` computes slopes and counts the keys of each kind; `backlog` lets a worker drain very many
events at once.

Add a measurement: a module with a `Measurement` (its contenders, columns and figures), one line in
`__main__.MEASUREMENTS`, a row in `targets.TARGETS` if there is a target, and its section in NOTES.md.
"""
