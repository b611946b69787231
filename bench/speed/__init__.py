"""One script a row of docs/performance.md: ``python -m bench.speed.step``."""
