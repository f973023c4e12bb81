"""The classic (v1) half of the sandbox."""
