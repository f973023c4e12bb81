"""The v2 half of the sandbox."""
