"""How far a run is: its progress as data, and who shows it."""
