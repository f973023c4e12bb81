"""Actions of agents in conversations, for consumers and the worker: join, write, close; each once."""
