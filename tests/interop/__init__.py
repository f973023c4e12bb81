"""Programs beside the suite that run other people's clients against the sandbox, each in a temporary environment."""
