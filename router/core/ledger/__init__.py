"""What is committed of one conversation, and what one more fact adds to it. Pure."""
