"""Documents, tables, tensors and journals on disk: written atomically, read with checks."""
