"""The events of a run on disk: numbered JSON lines, each with its checksum.

A run's record has all of them, each trial's folder a copy of the trial's own, without the
predictions of its evaluations. Events are only ever appended, but by a repair: what one file loses,
another has. A line that fails its checksum counts as lost.
"""

import json
import os
import re
import time
from binascii import a2b_base64
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from zlib import crc32

from trainable.common.errors import UserError, count_of
from trainable.common.files import atomic_file
from trainable.engine.metrics import PREDICTIONS, without_predictions

RECORD = "record.jsonl"
SUGGESTION = "suggestion"  # adds a trial
LOST = "lost"  # stands for one that no file had
FALLBACK = "fallback"  # trials run otherwise than was wanted, such as eagerly
EXHAUSTED = "exhausted"  # the searcher finds nothing that the run does not have
SLOTS = "slots"  # how many trials run at a time from here on, where a session has others
CLOSED = "closed"  # no more recipes come to the rungs at which some wait
ROUND = "round"  # of the first suggestion of several that belong together: all their configurations
DECIDED = "decided"  # a confirmation needs no more seeds, or a search no more finals or seeds
TIMINGS = ("training_seconds", "evaluation_seconds", "saving_seconds")  # of an evaluation
Types = tuple[type, ...]
COUNT, NUMBER, TEXT, TABLE = (int,), (int, float), (str,), (dict,)
KINDS: dict[str, dict[str, Types]] = {  # and what an event of each kind has
    "plan": {"plan": TABLE},
    "session": {"provenance": TABLE},
    "start": {"trial": TEXT},
    "evaluation": {"trial": TEXT, "decision": TEXT, "evaluation": TABLE},
    "repeated": {"trial": TEXT, "evaluations": COUNT},
    "stop": {"trial": TEXT},
    "failure": {"trial": TEXT, "reason": TEXT, "then": TEXT},
    SUGGESTION: {"trial": TEXT, "config": TABLE, "parameters": (*TABLE, type(None))},
    EXHAUSTED: {},
    CLOSED: {},
    DECIDED: {},
    FALLBACK: {"reason": TEXT},
    SLOTS: {"slots": COUNT},
    LOST: {},
}
EVALUATION: dict[str, Types] = {
    **{"evaluations": COUNT, "score": NUMBER, "best5": NUMBER, "predictions": TEXT},
    **{"validation_loss": NUMBER, "teacher_agreement": NUMBER},
    **dict.fromkeys(TIMINGS, NUMBER),
}
OF_LAST: dict[str, Types] = {  # None in those before, and where there is no such split or class
    **{"full_score": NUMBER, "full_predictions": TEXT},
    **{"calibration_error": NUMBER, "calibrated_error": NUMBER},
}
SIGNED = ("score", "best5", "full_score", "teacher_agreement")  # a correlation may be below 0
LARGEST = 2.0**53  # number: no run has more of anything, and floats hold it
STARTED = time.time() - time.monotonic()
MOST_LOST = 100_000  # events between two that are there
CHECKSUM = rb'(\{.*), "crc": "([0-9a-f]{8})"\}'

Event = dict[str, Any]


@dataclass
class Log:
    """All events that can be read, in order, each once; a line for each kind of damage.

    `conflicts` are copies that differ from the record though both pass their checksums.
    """

    events: list[Event] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    conflicts: list[Path] = field(default_factory=list)


def clock() -> float:
    """Seconds since 1970 by the clock of the process's start: what a machine sleeps, or its clock
    is set by, is no time of a run."""
    return STARTED + time.monotonic()


def encode(event: Event) -> bytes:
    """A line whose last member is the CRC-32 of the JSON without it."""
    body = json.dumps(event).encode()
    return b'%s, "crc": "%08x"}\n' % (body[:-1], crc32(body))


def decode(line: bytes) -> Event | None:
    """The event of a line; None where it fails its checksum or is no event."""
    match = re.fullmatch(CHECKSUM, line)
    if match is None or crc32(match[1] + b"}") != int(match[2], 16):
        return None
    with suppress(ValueError, RecursionError):
        event = json.loads(match[1] + b"}")
        return event if _is_event(event) else None
    return None


def _is_event(event: Any) -> bool:
    kind = KINDS.get(str(event.get("event")))
    if kind is None or not _has(event, {"number": COUNT, "time": NUMBER, **kind}):
        return False
    return event["event"] != "evaluation" or _is_evaluation(event["evaluation"])


def _is_evaluation(values: Event) -> bool:
    last = {key: types for key, types in OF_LAST.items() if values.get(key) is not None}
    if not _has(values, {**EVALUATION, **last}) or values["evaluations"] < 1:
        return False
    with suppress(ValueError):
        for packed in PREDICTIONS:
            a2b_base64((values.get(packed) or "").encode("ascii"), strict_mode=True)
        return True
    return False


def _has(values: Event, parts: dict[str, Types]) -> bool:
    """Whether each part is there, of one of its types, and no number NaN, huge or negative, but for
    those that are SIGNED, from -1."""
    of_parts = {key: values.get(key) for key in parts}
    typed = all(type(of_parts[key]) in types for key, types in parts.items())
    numbers = {key: n for key, n in of_parts.items() if isinstance(n, int | float)}
    return typed and all(-(k in SIGNED) <= n <= LARGEST for k, n in numbers.items())


def bare(event: Event) -> Event:
    """An event without the predictions of its evaluation, which are kept once."""
    if event["event"] != "evaluation":
        return event
    return {**event, "evaluation": without_predictions(event["evaluation"])}


def append_event(folder: Path, event: Event) -> None:
    """Adds an event to the file of a run or of a trial, and has it on disk before it returns."""
    with (folder / RECORD).open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                file.write(b"\n")  # a line cut short by a kill stays alone
        file.write(encode(event))
        file.flush()
        os.fsync(file.fileno())


def read_log(folder: Path) -> Log:
    """The events of a run, from its record and the trials' copies."""
    log, events, record = Log(), dict[int, Event](), folder / RECORD
    # The copies first: of a run that goes on they must not have what the record has not yet.
    copies = {path: path.read_bytes() for path in sorted(folder.glob(f"*/{RECORD}"))}
    content = record.read_bytes() if record.is_file() else b""
    damaged = _read_into(events, record, content, log)
    in_record, damaged_copies = len(events), 0
    for path, copy in copies.items():
        damaged_copies += _read_into(events, path, copy, log, record=record)
    log.events = [events[number] for number in sorted(events)]
    if (restored := len(events) - in_record) or damaged:
        count = count_of(restored, "event")
        log.damage.append(f"{RECORD} was damaged: {count} taken from the trials' copies")
    if damaged_copies:
        lines = count_of(damaged_copies, "damaged line")
        log.damage.append(f"{lines} in the trials' copies of {RECORD}")
    if gaps := max(events, default=-1) + 1 - len(events):
        if gaps > MOST_LOST:
            last = max(events)
            raise UserError(f"RUN {folder}: {RECORD} is no run's, its events end at {last:,}")
        log.damage.append(f"{count_of(gaps, 'event')} of {RECORD} lost: no copy has them")
    return log


def _read_into(
    events: dict[int, Event], path: Path, content: bytes, log: Log, record: Path | None = None
) -> int:
    """Adds the events of a file that are not there yet, of the `record` or a copy of it; returns
    how many lines are damaged."""
    damaged, differing = 0, []
    for line in BytesIO(content):
        event = decode(line.removesuffix(b"\n"))
        if event is None:
            # One without an end was cut short by a kill, and nothing had been done upon it yet.
            damaged += line.endswith(b"\n") and line != b"\n"
            continue
        known = events.setdefault(event["number"], event)
        if known is not event and bare(known) != bare(event):
            differing.append(event["number"])
    if differing:
        others = f" and {len(differing) - 1:,} more" if len(differing) > 1 else ""
        which, then = "itself", "the first counts, and the file is left as it is"
        if record is not None:
            which, then = record.name, f"{record.name} counts, the other file is left as it is"
        log.conflicts.append(path)
        log.damage.append(
            f"{path} differs from {which} in event {differing[0]}{others}, and both pass their "
            f"checksums: {then}"
        )
    return damaged


def merged(first: bytes, second: bytes) -> bytes | None:
    """One record of two copies of it, of each event the line that has its predictions; None where
    they have different events of one number."""
    lines: dict[int, tuple[Event, bytes]] = {}
    for line in (*first.split(b"\n"), *second.split(b"\n")):
        if (event := decode(line)) is None:
            continue
        known = lines.get(event["number"], (event, b""))
        if bare(known[0]) != bare(event):
            return None
        lines[event["number"]] = max(known, (event, line), key=lambda pair: len(pair[1]))
    return b"".join(lines[number][1] + b"\n" for number in sorted(lines))


def fill_gaps(log: Log, event: Event) -> None:
    """Puts an event, if any, into the first gap or at the end, and LOST into each other gap."""
    events = {known["number"]: known for known in log.events}
    gaps = [number for number in range(max(events, default=-1) + 1) if number not in events]
    gaps = gaps or ([len(events)] if event else [])
    last = log.events[0]["time"] if log.events else 0.0
    for number in gaps:
        last = events[number - 1]["time"] if number else last
        events[number] = {"number": number, "time": last, **(event or {"event": LOST})}
        event = {}
    log.events = [events[number] for number in sorted(events)]


def rewrite(path: Path, events: list[Event]) -> None:
    """Makes a file hold these events where it does not."""
    wanted = b"".join(map(encode, events))
    if not path.is_file() or path.read_bytes() != wanted:
        with atomic_file(path) as temporary:
            temporary.write_bytes(wanted)


def repair_events(folder: Path, log: Log, trial_folders: dict[str, Path]) -> None:
    """Completes the record and the trials' copies from one another; conflicts stay."""
    if folder / RECORD not in log.conflicts:
        rewrite(folder / RECORD, log.events)
    for trial, place in trial_folders.items():
        events = [bare(event) for event in log.events if event.get("trial") == trial]
        if events and place / RECORD not in log.conflicts:
            place.mkdir(exist_ok=True)
            rewrite(place / RECORD, events)
