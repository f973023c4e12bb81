"""What Lua scripts write and read: appends, ledgers, commits, dead letters, quarantine."""
