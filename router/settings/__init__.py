"""Settings: the only reader of the environment and of the configuration folder."""
