"""The commands of `python -m router` that are no long-running process of the Procfile."""
