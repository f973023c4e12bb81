"""TwiML and the voice templates that answer calls. Pure."""
