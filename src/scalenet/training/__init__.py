"""Training: one recipe for the super-supernet and for every family member."""
