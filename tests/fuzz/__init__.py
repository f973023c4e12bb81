"""Fuzzing of everything that reads bytes from outside.

`properties` states what holds for any bytes; `targets` is the table of fuzzed parsers, with seeds. Two programs run the
table: the test suite for a short time (hypothesis, test_targets.py), and `make fuzz` for as long as requested, guided
by coverage (atheris, __main__.py).
"""
