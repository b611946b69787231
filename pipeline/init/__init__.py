"""``scalenet init``: look at the data and the machine, and write params.yaml to fit both."""
