"""The committed state of one conversation, and the changes and entries that a further fact adds to it. Pure."""
