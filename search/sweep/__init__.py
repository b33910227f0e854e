"""A run from its checks to its summary; Ray is in `session`, `ray_setup`, `hooks`, `processes`.

May import policy, results, record and plan.
"""
