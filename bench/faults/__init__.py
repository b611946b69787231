"""What is promised of faults, tried: kills at random instants and damaged bytes."""
