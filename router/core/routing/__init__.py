"""Who holds a conversation: the state machine of handoffs, the choice of an agent, queues, bursts. Pure."""
