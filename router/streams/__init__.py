"""Redis streams: append once, read into a bounded window, commit atomically, take over from dead consumers.

Everything that must happen together is one Lua script in `scripts/`. Every script can be repeated: a second run finds
the effect of the first and changes nothing, so after a lost answer it is simply run again.
"""
