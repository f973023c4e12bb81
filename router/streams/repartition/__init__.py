"""Moving all data of a namespace to another number of partitions (the command `repartition`).

mover.py    the steps: stop, copy, switch, clean; each may be repeated, and a killed run is continued by the next
streams.py  divides streams and sets anew, beside the old ones
merging.py  in which order entries of several streams become one, and what each group has finished of them
copies.py   copies all other keys, and deletes what is left at the old places
guard.py    lets only the run that is in charge write

Until the switch nothing is changed but copies: `repartition` with the old number goes back. Nothing spans two slots.
"""
