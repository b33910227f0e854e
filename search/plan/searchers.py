"""Searchers by name: what suggests the configurations of a space that can't be listed."""

JOURNAL = "optuna-journal.log"  # in a searched run's folder: its study, for optuna-dashboard
GRID = "grid"  # no searcher: the space lists its configurations, and the plan has them all
SUGGESTIONS = 40  # configurations, where neither --samples nor --time-budget is given
SEARCHERS = ("prior", "optuna", "random")  # `search.policy.suggestions.SAMPLERS`
