"""ScaleNet: a base model and its scaling strategy, searched together in one super-supernet."""
