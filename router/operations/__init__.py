"""Reads the state of a deployment from Redis and acts on it: for the commands and the console.

Times are in microseconds since 1970; `to_json` of each value writes them as ISO 8601. Lists are asynchronous iterators:
nothing reads a whole stream into memory. Whatever an entry holds, reading it raises nothing.
"""
