"""Ray Tune's searcher, scheduler and callback, which translate between Tune and the policy.

May import the policy and `sweep.processes`; whatever Ray keeps private is used in `ray_private`.
"""
