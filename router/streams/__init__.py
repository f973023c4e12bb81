"""Redis: append once, read with a bounded window, commit atomically, take over from the dead.

Everything that must happen together is one Lua script in `scripts/`, and every script can be repeated: its second run
finds the effect of the first and changes nothing. So a lost answer is answered by running it again.
"""
