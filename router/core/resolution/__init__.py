"""Generators that yield API requests and end in a participant, a wait, or a reason. Pure."""
