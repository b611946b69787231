"""Whether the method delivers: the family against baselines, and what its parts are worth (docs/results.md)."""
