"""The policy of a run: which trial comes next, and what becomes of each."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict
from itertools import chain
from math import inf

from search.plan.draws import Draw
from search.plan.resolve import ResolvedRequest
from search.plan.rungs import FACTOR, PROMOTION, WITH_RUNGS, rung_score, rungs, stratum_of
from search.policy.failures import Failures
from search.policy.final_round import final_round
from search.policy.looks import wanted_at_look
from search.policy.promotion import Promotion
from search.policy.race import wanted_by_race
from search.policy.rung_decisions import SeedGroups
from search.policy.still_to_come import may_grow, to_suggest
from search.policy.stopping import Stopping
from search.policy.suggestions import suggest
from search.record.events import CLOSED, DECIDED, EXHAUSTED, ROUND, SUGGESTION, Event
from search.record.run import Run
from search.record.trial_record import ENDED, GIVE_UP, GO, RETRY_ALONE, STOP, TrialRecord
from trainable.config.fields import from_plain
from trainable.config.trial_config import TrialConfig


class Policy:
    """Decides what a run does next, from its plan and its events in order.

    The same events give the same answers, whether they come from trials that train or from the
    record of an earlier session: a resumed run is this object, made of its record. It knows no
    Tune loop, no disk and no clock; times stand in the events.

    `score` gives what is compared at a rung from an evaluation; at each rung one recipe in `factor`
    goes on.
    """

    def __init__(
        self, run: Run, *, score: Callable[[Event], float] = rung_score, factor: int = FACTOR
    ) -> None:
        self.run, self._score, self._factor = run, score, factor
        self._request = run.plan.requests[0]  # as of the events so far
        self._default = run.default_recipe
        self.failures = Failures(run)
        evaluations, grace = run.any_config.evaluations, run.plan.grace_evaluations
        compared = self._request.scheduler in WITH_RUNGS
        numbers = rungs(evaluations, grace, factor) if compared else []
        self._default_scores = dict[tuple[str, int], float]()  # by stratum and evaluations
        self._rule = self._make_rule(numbers, evaluations, grace)
        self._groups = SeedGroups(numbers, self._rule.arrive)
        if not run.events:  # it has no record, such as a replayed one: its trials are the plan's
            for trial in run.trials.values():
                self._add(trial.config)
        for event in run.events:
            self._take_in(event)

    def apply(self, event: Event) -> None:
        """Takes in the next event, and completes it by what is decided: an evaluation by its
        `decision`, a failure by what happens `then`."""
        self._take_in(event)
        self.run.apply(event)

    def decision(self, digest: str, evaluations: int | None = None) -> str:
        """GO, WAIT or STOP for a trial where it stands, or after so many evaluations."""
        return self._groups.decision(digest, evaluations)

    def waits(self, digest: str) -> bool:
        """Whether a trial waits at a rung, and needs no slot."""
        return self._groups.waits(digest)

    @property
    def exclusive(self) -> bool:
        """Whether only trials are left that must have their GPU for themselves."""
        trials = self._open_trials()
        return bool(trials) and all(trial.alone for trial in trials) and not to_suggest(self.run)

    def next_trial(self, begun: Collection[str], *, exclusive: bool) -> TrialRecord | None:
        """The first trial to train that has not begun, by the digests of those that have; None if
        there is none until `additions` are recorded.

        Those that need a GPU for themselves come only with `exclusive`.
        """
        return next(
            (
                trial
                for trial in self._open_trials()
                if trial.config.digest not in begun and (exclusive or not trial.alone)
            ),
            None,
        )

    def next_to_run(self, waited: Iterable[str], not_begun: Iterable[str]) -> str | None:
        """Of trials by digest: the first of those that waited and goes on, else the first of the
        others, so that what has begun is known before more begins."""
        going = (digest for digest in waited if self.decision(digest) == GO)
        return next(chain(going, not_begun), None)

    def additions(self, *, exclusive: bool) -> list[Event]:
        """The events to record when no trial is left to begin; none if trials must end first.

        They are a searcher's next configuration; that no more recipes come, on which those that
        wait at rungs are decided; the finals; the trials of a race's next round or a
        confirmation's next look.
        That nothing is found or needed any more is an event, too.
        """
        run = self.run
        if to_suggest(run):
            suggested = suggest(run)
            return [_suggestion(*suggested)] if suggested else [{"event": EXHAUSTED}]
        if self._rule.undecided and not self._groups.active(exclusive=exclusive):
            return [{"event": CLOSED}]
        if not may_grow(run) or self._open_trials():
            return []
        if run.plan.confirms:
            wanted: list[tuple[TrialConfig, Draw | None]] = [(c, {}) for c in wanted_at_look(run)]
        else:
            wanted = final_round(run) or wanted_by_race(run)
        added = [_suggestion(*pair) for pair in wanted if pair[0].digest not in run.trials]
        if len(added) > 1:
            added[0][ROUND] = [event["config"] for event in added]
        return added or [{"event": DECIDED}]

    def _open_trials(self) -> list[TrialRecord]:
        """The trials that have not ended, in the order planned."""
        return [trial for trial in self.run.trials.values() if trial.outcome not in ENDED]

    def _add(self, config: TrialConfig, *, final: bool = False) -> None:
        """The default of a search, which its gain is measured from, and the finals are exempt."""
        default = self._request.searched and config.recipe == self._default
        self._groups.add(config, exempt=final or default)

    def _take_in(self, event: Event) -> None:
        groups, digest = self._groups, event.get("trial", "")
        if event["event"] == SUGGESTION:
            self._add(TrialConfig.from_dict(event["config"]), final=event["parameters"] is None)
        elif trial := self.run.trials.get(digest):
            self._add(trial.config, final=trial.final)
        match event["event"]:
            case "plan":
                self._request = from_plain(ResolvedRequest, event["plan"]["requests"][-1])
                for values in event["plan"]["trials"]:
                    self._add(TrialConfig.from_dict(values))
            case "session":
                self.failures.new_session()
            case "closed":
                groups.take(self._rule.close())
            case _ if digest in self.run.trials:
                self._take_in_trial(digest, event)

    def _take_in_trial(self, digest: str, event: Event) -> None:
        """What was recorded counts, even if trials have been added or events lost since."""
        groups = self._groups
        match event["event"]:
            case "evaluation":
                values = event["evaluation"]
                number, score = values["evaluations"], self._score(values)
                config = self.run.trials[digest].config
                if config.recipe == self._default:
                    self._default_scores.setdefault((self._stratum(config), number), score)
                decided = groups.evaluated(digest, number, score)
                groups.recorded(digest, event.setdefault("decision", decided))
                self.failures.evaluated(digest)
            case "start":
                groups.recorded(digest, GO)
            case "stop":
                groups.recorded(digest, STOP)
                groups.stopped(digest)
            case "failure":
                then = event.setdefault("then", self.failures.follows(digest, event))
                if then in (GIVE_UP, RETRY_ALONE):
                    groups.failed(digest, alone=then == RETRY_ALONE)
                self.failures.take_in(digest, event)

    def _make_rule(self, numbers: list[int], evaluations: int, grace: int) -> Stopping | Promotion:
        if self._request.scheduler == PROMOTION:
            default = self._default_scores
            return Promotion(self._stratum, numbers, self._factor, self._expected, default)
        return Stopping(self._stratum, evaluations, grace, self._factor)

    def _stratum(self, config: TrialConfig) -> str:
        return stratum_of(vars(config), self.run.plan.compare_within)

    def _expected(self, stratum: str) -> float:
        """Recipes of a stratum that are to come to the first rung; infinite if that is unknown."""
        known = sum(self._stratum(config) == stratum for config in self._groups.configs)
        if not self._request.searched:
            return known
        wanted = self._request.wanted - self._groups.has(self._default)
        # There may be no time for all that are wanted, and until then none would go on.
        unknown = self.run.plan.compare_within or self._request.time_budget is not None
        return inf if unknown else max(known, wanted)


def _suggestion(config: TrialConfig, drawn: Draw | None) -> Event:
    return {
        "event": SUGGESTION,
        "trial": config.digest,
        "config": asdict(config),
        "parameters": drawn,
    }
