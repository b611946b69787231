"""The search on shared weights."""
