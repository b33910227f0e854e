"""What follows a trial's failure: another try, one alone on the GPU, or the end."""

from collections import Counter

from search.record.events import Event
from search.record.run import Run
from search.record.trial_record import ENDED, GIVE_UP, NODE_LOST, RETRY, RETRY_ALONE, WAITING
from trainable.trial.messages import NOT_CAPTURED

FORGIVEN_NODE_LOSSES = 5  # of its node, one after the other, that are not held against a trial


class Failures:
    """Those of this session that count, and how often in a row a trial lost its node."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._counted, self._node_losses = Counter[str](), Counter[str]()  # by digest

    def new_session(self) -> None:
        """In which each trial has all its tries again."""
        self._counted.clear()
        self._node_losses.clear()

    def settled(self, digest: str) -> bool:
        """Whether of a trial is decided that it ends or waits: a failure changes nothing then."""
        return self._run.trials[digest].outcome in (*ENDED, WAITING)

    def retries_left(self, digest: str) -> int:
        """How often a trial may still restart after a failure in this session."""
        return max(0, self._run.request.retries - self._counted[digest])

    def follows(self, digest: str, event: Event) -> str:
        """RETRY, RETRY_ALONE or GIVE_UP."""
        kind, shares = event.get("kind"), self._run.request.trials_per_gpu > 1
        if self._forgiven(digest, event):
            return RETRY
        if event.get("shared") and shares and not self._run.trials[digest].alone:
            return RETRY_ALONE
        return RETRY if kind is None and self.retries_left(digest) else GIVE_UP

    def take_in(self, digest: str, event: Event) -> None:
        """Counts a failure."""
        self._counted[digest] += not self._forgiven(digest, event)
        self._node_losses[digest] += event["reason"] == NODE_LOST

    def evaluated(self, digest: str) -> None:
        """What nodes it lost before counts no more."""
        self._node_losses[digest] = 0

    def _forgiven(self, digest: str, event: Event) -> bool:
        """Whether a failure does not count against its trial.

        To lose its node again and again without an evaluation in between may be its own doing.
        """
        lost = event["reason"] == NODE_LOST and self._node_losses[digest] < FORGIVEN_NODE_LOSSES
        return lost or event.get("kind") == NOT_CAPTURED
