"""What the bench prints: JSON values for each rung, and a table for a reader."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from search.bench_inputs import Workload
from search.bench_session import Entry
from search.measure import Spread
from search.provenance import provenance

GIB = 2**30
OF_CONFIG = ("student_layers", "aligned_layers", "hidden_pool", "precision", "seed")


def result(entry: Entry, baseline: Entry, workload: Workload) -> dict[str, Any]:
    """What the bench prints of a rung, JSON values; the ratio is of repeats in the same turn."""
    if entry.failure is not None:
        return {"rung": entry.name, **entry.failure}
    batches = entry.ready.batches
    steps, sentences = len(batches), len(workload.split)
    tokens = len(workload.split.token_ids)
    seconds = Spread.of(entry.repeat_seconds)
    return {
        "rung": entry.name,
        "batch_size": len(batches[0]),
        "steps": steps,
        "repeats": len(entry.repeat_seconds),
        "sentences_per_second": round(sentences / seconds.median, 2),
        "sentences_per_second_min": round(sentences / seconds.high, 2),
        "sentences_per_second_max": round(sentences / seconds.low, 2),
        "tokens_per_second": round(tokens / seconds.median),
        "milliseconds_per_step": _milliseconds(seconds.median, steps),
        "milliseconds_per_step_min": _milliseconds(seconds.low, steps),
        "milliseconds_per_step_max": _milliseconds(seconds.high, steps),
        **_ratios(entry, baseline),
        "padding_share": round(1 - tokens / padded_tokens(batches, workload.split.lengths), 3),
        "setup_seconds": round(entry.setup_seconds, 2),
        "warmup_seconds": round(entry.warmup_seconds, 2),
        "peak_allocated_gib": entry.peak and round(entry.peak.allocated / GIB, 3),
        "peak_reserved_gib": entry.peak and round(entry.peak.reserved / GIB, 3),
        "gpu_busy_share": entry.busy_share and round(entry.busy_share, 3),
        "gpu_operations_per_step": entry.operations_per_step,
    }


def padded_tokens(batches: Sequence[np.ndarray], lengths: np.ndarray) -> int:
    """Tokens that the model is run on, each batch padded to its longest sentence."""
    return sum(len(rows) * int(lengths[rows].max()) for rows in batches)


def _milliseconds(seconds: float, steps: int) -> float:
    return round(1000 * seconds / steps, 3)


def _ratios(entry: Entry, baseline: Entry) -> dict[str, float | None]:
    """How many times the baseline's throughput, None where the baseline failed."""
    names = ("ratio_to_live", "ratio_to_live_min", "ratio_to_live_max")
    if baseline.failure is not None:
        return dict.fromkeys(names)
    pairs = zip(baseline.repeat_seconds, entry.repeat_seconds, strict=True)
    ratio = Spread.of([theirs / ours for theirs, ours in pairs])
    values = (ratio.median, ratio.low, ratio.high)
    return {name: round(value, 3) for name, value in zip(names, values, strict=True)}


def as_table(lines: Sequence[dict[str, Any]]) -> str:
    """The results for a reader, one rung a line."""
    heads = ("rung", "batch", "ms a step", "sentences/s", "x live", "GPU busy", "GiB", "set-up s")
    keys = (
        *("rung", "batch_size", "milliseconds_per_step", "sentences_per_second"),
        *("ratio_to_live", "gpu_busy_share", "peak_allocated_gib", "setup_seconds"),
    )
    rows = [f"{heads[0]:10}" + "".join(f"{head:>13}" for head in heads[1:])]
    for line in lines:
        why = next((f"{kind}: {line[kind]}" for kind in ("skipped", "error") if kind in line), None)
        cells = [why] if why else [_cell(line[key]) for key in keys[1:]]
        rows.append(f"{line['rung']:10}" + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(rows)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:,.2f}"


def circumstances(workload: Workload, command: Sequence[str]) -> dict[str, Any]:
    """How every rung was measured: settings, sentences, command, commit, versions, device."""
    return {
        "sentences": len(workload.split),
        "tokens": len(workload.split.token_ids),
        "tokens_in_use": len(workload.in_use),
        **{name: getattr(workload.config, name) for name in OF_CONFIG},
        **provenance(command, "search.bench"),
        "threads": torch.get_num_threads(),
    }
