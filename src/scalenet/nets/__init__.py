"""Networks: one functional forward pass, on a child's own weights or on slices of larger ones."""
