"""Source `classic`, the webhooks of Conversations (classic), and its fields, which Event Streams reports too."""
