"""Params, how an error in them is explained, and YAML."""
