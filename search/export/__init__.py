"""`python -m search.export`: a student as a Hugging Face folder with a model card."""
