"""What MLflow is told, and where it keeps it: runs, candidates, pages."""
