"""All that runs in Ray: tuner, hooks, cluster, signals.

May import policy, results, record and plan.
"""
