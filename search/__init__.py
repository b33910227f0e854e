"""The commands, the sweep in Ray Tune, its record and its results.

Imports point down: the commands (run, report, confirm, export, bench), then sweep, results, record,
plan, each only what comes after it, and `trainable`.
"""

import trainable as trainable  # first: a command that is interrupted while it loads ends quietly
