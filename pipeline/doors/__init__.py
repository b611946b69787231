"""The servers that are started here, and the secret before them."""
