"""`python -m search.run`: starts a sweep, resumes one, or estimates what one would take."""
