"""TwiML and the templates that calls are answered with. Pure."""
