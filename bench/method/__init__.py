"""Whether the method delivers: its family against baselines, and its parts (docs/results.md)."""
