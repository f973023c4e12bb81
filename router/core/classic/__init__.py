"""Classic (v1) Conversations: resources, members, and how they are resolved. Pure."""
