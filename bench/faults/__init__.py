"""What is promised of faults, tried: kills at random instants, damaged bytes, hours of families."""
