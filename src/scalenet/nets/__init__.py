"""Networks: one functional forward pass, run on a child's own weights or on slices of the super-supernet."""
