"""`explain-signature`: finds the setting or proxy because of which a signature does not match."""
