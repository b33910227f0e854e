"""Ray Tune's searcher, scheduler and callback between Tune and the policy; `LiveRun` decides when
a sweep pauses, and what is left to the next Tuner.

May import the policy and `sweep.processes`; whatever Ray keeps private is used in `ray_private`.
"""
