"""The rules of who holds a conversation: state machine, choice of an agent, queues, journal. Pure."""
