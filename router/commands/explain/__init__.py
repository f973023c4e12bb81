"""The command `explain-signature`: which setting or proxy makes a signature not match."""
