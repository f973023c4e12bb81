"""The pure core: values and decisions, no clock, no randomness, no environment, no network.

A test can drive everything here with plain values: `now` and ids are passed in.
"""
