"""How the method is run and remembered: flows, tracking, delivery and the model registry."""
