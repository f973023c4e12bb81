"""The v2 half of the sandbox: version 2 of the Conversations API, its status callbacks and passive capture."""
