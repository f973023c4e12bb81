"""Rules: from an inbound event and what is committed of its conversation to an outcome. Pure."""
