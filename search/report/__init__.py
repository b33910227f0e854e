"""`python -m search.report`: a page, and Markdown, of a run's record. Loads no Ray."""
