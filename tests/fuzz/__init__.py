"""Fuzzing of everything that reads bytes from outside.

`properties` says what holds for any bytes, `targets` is the one table of what is fuzzed, with samples to start from.
Two programs walk the table: the test suite for a moment (hypothesis, test_targets.py), and `make fuzz` for as long as
is asked for, guided by coverage (atheris, __main__.py).
"""
