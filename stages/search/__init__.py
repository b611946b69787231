"""Room 3: find a base model and its strategies by Markov chain-based evolution on shared weights."""

from stages.search.room import main

__all__ = ["main"]
