"""What every long-running process needs: event loop, signals, API clients, metrics port, children."""
