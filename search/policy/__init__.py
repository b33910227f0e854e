"""What a run does next, decided from its plan and events alone: no Tune loop, no disk, no clock.

May import results, record and plan.
"""
