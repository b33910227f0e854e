"""The settings of a trial, presets, names and checks. May import common."""
