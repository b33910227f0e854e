"""`python -m search.bench`: times the training step. Loads no Ray."""
