"""Properties of the parsers have no deadline per example: a slow machine is no counterexample."""

from hypothesis import settings

settings.register_profile("pure", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=5000)
settings.load_profile("pure")
