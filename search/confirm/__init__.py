"""`python -m search.confirm`: trains the best recipes again on fresh seeds."""
