"""Source `classic`: webhooks of Conversations (classic), and their fields, which Event Streams reports too."""
