"""Tune's searcher: hands out the trials that the policy says come next.

Tune's own searchers keep state that a kill loses or tears (its Optuna adapter can't be given
evaluated points where the space is conditional, either). This one has none: what is open and what
was suggested is in the run's record, where a suggestion is written before Tune receives it.
"""

from dataclasses import asdict
from typing import Any

from ray.tune.search import Searcher

from search.sweep.hooks.live_run import LiveRun


class RunSearcher(Searcher):  # type: ignore[misc] # Ray has no types
    """Hands out trials while fewer run than there are slots; those that wait at a rung need none.

    Tune is told that there are no more only once all have ended: until then it keeps the processes
    that trials which wait, or are still to be added, will need.
    """

    def __init__(self, live: LiveRun) -> None:
        super().__init__()
        self._live = live
        self._begun: set[str] = set()  # digests
        self._under_way: dict[str, str] = {}  # digests by Tune's ids

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its searcher into the run; a resumed run makes its own

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Ray's hook: the space is the run's, not Tune's."""
        return not config

    def suggest(self, trial_id: str) -> Any:
        """Ray's hook: a configuration, None for now, or that there are no more."""
        live = self._live
        running = [digest for digest in self._under_way.values() if not live.policy.waits(digest)]
        if live.paused or len(running) >= live.slots():
            return None
        trial = live.next_trial(self._begun)
        if trial is None:
            return None if self._under_way else Searcher.FINISHED
        self._begun.add(trial.config.digest)
        self._under_way[trial_id] = trial.config.digest
        return asdict(trial.config)

    def on_trial_complete(self, trial_id: str, **info: Any) -> None:
        """Ray's hook for each trial that ends."""
        self._under_way.pop(trial_id, None)

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Ray's hook: there is nothing to save."""
