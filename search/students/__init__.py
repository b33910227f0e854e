"""The students that a run keeps: which one, on which examples, and its score on the test split.

May import the sweep and what that may import; torch is loaded.
"""
