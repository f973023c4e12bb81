"""The parts of every long-running process: event loop, signals, API clients, metrics port, supervision."""
