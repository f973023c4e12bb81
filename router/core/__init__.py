"""The pure core: values and decisions, no clock, no randomness, no environment, no network.

Everything here can be driven from a test with plain values; `now` and ids are passed in.
"""
