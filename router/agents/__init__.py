"""What agents do in conversations, for consumers and the worker: join, write, and both once."""
