"""Training: the loop, the data it reads and the augmentation it applies."""
