"""State that Lua scripts write and read: appends, ledgers, commits, dead letters, the quarantine."""
