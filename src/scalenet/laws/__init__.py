"""Laws that carry a searched family beyond its sizes."""
