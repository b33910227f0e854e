"""Schedulers replayed over the recorded curves of a sweep. May import all of `search` below it."""
