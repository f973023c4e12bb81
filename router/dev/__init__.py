"""`dev`: the whole deployment on one machine, with sample events."""
