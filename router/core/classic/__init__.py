"""Conversations (classic), API version 1: resources, members and their resolution. Pure."""
