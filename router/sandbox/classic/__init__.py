"""The classic half of the sandbox: version 1 of the Conversations API, and its webhooks."""
