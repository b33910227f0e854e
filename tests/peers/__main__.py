"""This project beside what people use today: `python -m tests.peers --out DIR`, by hand, for hours.

The same teacher, texts, 3-layer student to start from, core, thread and time for all; each chooses
its student on validation examples, and its score is on held-out ones that no part of it saw. The
Python of a peer has its packages, which tests/peers/PEER.py names; --python gives it, by default it
is this one. A peer that does not run is reported with the reason. Results are lines of
DIR/results.jsonl, not made again; the table is DIR/comparison.md, too.
"""

import sys
from itertools import product

from tests.peers.jobs import OURS, PEERS, KilledJob, PeerJob
from tests.peers.table import markdown
from tests.scripts.search_benchmark import make_parser, parse_arguments, read_results, run_jobs


def reasons(asked, results, dataset, budget):
    """Why each way asked for has no result: the last line of its log."""
    have = {r["way"] for r in results if r["dataset"] == dataset and r["budget"] == budget}
    found = {}
    for way in (way for way in asked.only if way in PEERS and way not in have):
        logs = asked.out.glob(f"logs/{dataset}-{way}-{budget}-seed*.txt")
        lines = [line for log in logs for line in log.read_text().splitlines() if line.strip()]
        found[way] = lines[-1] if lines else "not run"
    return found


def main():
    parser = make_parser(__doc__, ("teacher", "default", OURS, *PEERS))
    parser.set_defaults(datasets=["tweets"], budgets=["12m"], seeds=[0, 1, 2])
    pair = {"type": lambda text: dict([text.split("=", 1)]), "metavar": "PEER=PYTHON"}
    parser.add_argument("--python", **pair, action="append", default=[], help="of a peer")
    parser.add_argument("--kill", action="store_true", help="also kill each, for the first seed")
    asked = parse_arguments(parser)
    asked.python = {peer: python for pair in asked.python for peer, python in pair.items()}
    failed = 0 if asked.table else run_jobs(asked, PeerJob)
    if asked.kill and not asked.table:
        asked.only = [way for way in asked.only if way in (OURS, *PEERS)]
        asked.seeds = asked.seeds[:1]
        failed += run_jobs(asked, KilledJob)
    results = read_results(asked.out)
    tables = [
        markdown(results, dataset, budget, reasons(asked, results, dataset, budget))
        for dataset, budget in product(asked.datasets, asked.budgets)
    ]
    if results:
        (asked.out / "comparison.md").write_text("\n".join([*tables, ""]))
    print(*tables, sep="\n")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
