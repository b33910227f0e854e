"""`python -m search.run`: starts a sweep, resumes one, or says what one would take."""
