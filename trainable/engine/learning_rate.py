"""The learning rate over a trial: linear warm-up, then linear to zero (Devlin et al. 2019)."""


def learning_rate_at(step: int, total_steps: int, peak: float, warmup_share: float) -> float:
    """The rate at optimiser step `step` (from 0), never 0; it rises over the share
    `warmup_share`."""
    warmup = round(warmup_share * total_steps)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * (total_steps - step) / (total_steps - warmup)
