"""`python -m search.predict`: an exported student over a file of texts, in pieces."""
