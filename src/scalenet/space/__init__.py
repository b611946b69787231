"""Networks, strategies and what they cost: descriptions alone, no torch."""
