"""What made better students in the benchmark of searches, and a search has not used up."""

from search.policy.still_to_come import is_complete, too_short_to_search
from search.record.run import Run
from search.results.answer import longest_of, passes_made
from trainable.config.options import AUGMENT


def unused_levers(run: Run) -> list[str]:
    """A sentence for a search with finals; none for any other, and as long as they are to come."""
    if not (run.request.finals and run.finished and is_complete(run)):
        return []
    passes, longest = max(passes_made(trial, run) for trial in run.finished), longest_of(run)
    left = {
        "unlabelled texts of your own (--transfer), which teach more than made ones": not (
            {*run.request.transfer_sources} - {AUGMENT}
        ),
        "a search, for which the time was too short": too_short_to_search(run),
        f"more time: the longest trial made {passes:.0f} of {longest:.0f} passes": (
            passes < 0.9 * longest
        ),
    }
    named = "; ".join(lever for lever, holds in left.items() if holds)
    return [f"Left to try: {named}."] if named else []
