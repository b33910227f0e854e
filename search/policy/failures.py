"""What follows a trial's failure: another try, one alone on the GPU, or the end; of a failure that
others would have, too: a pause of the sweep, or trials that run otherwise."""

from collections import Counter

from search.record.events import Event
from search.record.run import Run
from search.record.trial_record import ENDED, GIVE_UP, NODE_LOST, RETRY, RETRY_ALONE, WAITING
from trainable.trial.messages import DISK, NOT_CAPTURED

PAUSE, FALL_BACK, NOTHING = "pause", "fall back", "nothing"  # what the others do
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

    def of_others(self, kind: str) -> str:
        """What a failure that one trial tells of means for the others: PAUSE of the sweep where
        nothing can be read or written, FALL_BACK where the steps of none can be captured, which
        trials do without in the next process, or NOTHING."""
        return {DISK: PAUSE, NOT_CAPTURED: FALL_BACK}.get(kind, NOTHING)

    def counts(self, digest: str) -> bool:
        """Whether a failure changes anything: not once it is decided that the trial ends or waits,
        which Tune does only when its worker has answered."""
        return self._run.trials[digest].outcome not in (*ENDED, WAITING)

    def restarts(self, digest: str, *, told: bool) -> int:
        """How often Tune may restart a trial where it ran. Not one that told of its failure: it is
        tried otherwise, or not at all."""
        return self._retries_left(digest) if self.counts(digest) and not told else 0

    def is_for_next_tuner(self, digest: str, *, exclusive: bool) -> bool:
        """Whether a trial that Tune takes for ended, such as one that failed and was not restarted,
        is the next Tuner's; one that needs its own GPU waits for one that is exclusive."""
        trial = self._run.trials[digest]
        return trial.outcome not in ENDED and (exclusive or not trial.alone)

    def follows(self, digest: str, event: Event) -> str:
        """RETRY, RETRY_ALONE or GIVE_UP."""
        kind, shares = event.get("kind"), self._run.request.trials_per_gpu > 1
        if self._forgiven(digest, event):
            return RETRY
        if event.get("shared") and shares and not self._run.trials[digest].alone:
            return RETRY_ALONE
        return RETRY if kind is None and self._retries_left(digest) else GIVE_UP

    def take_in(self, digest: str, event: Event) -> None:
        """Counts a failure."""
        self._counted[digest] += not self._forgiven(digest, event)
        self._node_losses[digest] += event["reason"] == NODE_LOST

    def evaluated(self, digest: str) -> None:
        """What nodes it lost before counts no more."""
        self._node_losses[digest] = 0

    def _retries_left(self, digest: str) -> int:
        return max(0, self._run.request.retries - self._counted[digest])

    def _forgiven(self, digest: str, event: Event) -> bool:
        """Whether a failure does not count against its trial.

        To lose its node again and again without an evaluation in between may be its own doing.
        """
        lost = event["reason"] == NODE_LOST and self._node_losses[digest] < FORGIVEN_NODE_LOSSES
        return lost or event.get("kind") == NOT_CAPTURED
