"""What Tune runs next: a run's open trials in their order, then what its searcher suggests.

Tune's own searchers keep state that a kill loses or tears (its Optuna adapter can't be given
evaluated points where the space is conditional, either). This one has none: what is open and what
was suggested is in the run's record, where a suggestion is written before Tune receives it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from ray.tune.search import Searcher

from search.record.run import Run
from search.record.trial_record import TrialRecord


class OpenTrials(Searcher):  # type: ignore[misc] # Ray has no types
    """Hands out trials while fewer than `slots` says run, none once `paused`.

    When those given are handed out, `more` is asked, one call at a time, so that each suggestion
    knows all results so far; an empty answer ends the sweep, unless trials are under way after
    which the run may still grow. Trials that wait for other seeds, as many as `waiting` says, take
    no slot; while some do, the sweep goes on, so that Tune keeps the processes that they will need.
    """

    def __init__(
        self,
        run: Run,
        trials: Sequence[TrialRecord],
        slots: Callable[[], int],
        more: Callable[[Run], list[TrialRecord]] | None = None,
        *,
        paused: Callable[[], bool] = lambda: False,
        waiting: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__()
        self._run, self._slots, self._more = run, slots, more
        self._open, self._waiting = list(trials), waiting
        self._under_way: set[str] = set()  # Tune's ids
        self._paused = paused
        self.drained = False  # whether no more recipes are to come

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its searcher into the run; a resumed run makes its own

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Ray's hook: the space is the run's, not Tune's."""
        return not config

    def suggest(self, trial_id: str) -> Any:
        """Ray's hook: a configuration, None for now, or that there are no more."""
        waiting = self._waiting()
        if self._paused() or len(self._under_way) - waiting >= self._slots():
            return None
        if not self._open and self._more is not None:
            self._open = self._more(self._run)
        if not self._open:
            self.drained = not self._run.to_suggest
            looked_at_later = self._more is not None and self._under_way and self._run.growing
            return None if waiting or looked_at_later else Searcher.FINISHED
        self._under_way.add(trial_id)
        return asdict(self._open.pop(0).config)

    def on_trial_complete(self, trial_id: str, **info: Any) -> None:
        """Ray's hook for each trial that ends."""
        self._under_way.discard(trial_id)

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Ray's hook: there is nothing to save."""
