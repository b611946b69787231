"""What is claimed of this project, as scripts: each prints its figures and writes them as JSON."""
