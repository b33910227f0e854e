"""What a run does next, decided from its plan, its space and its events: no Tune loop, no clock.

May import results, record and plan.
"""
