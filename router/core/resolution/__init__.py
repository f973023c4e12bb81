"""Resolution of events: generators that yield API requests and return a participant, a wait, or a reason. Pure."""
