"""The model card of an exported student: what is said is computed first, then written out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCardData
from trainable.task import Task

from search.disk import best_trials, in_words
from search.export_check import Check
from search.record import FINISHED, Run, TrialRecord
from search.request import Request
from search.statistics import best5_scores, sentence_interval
from search.trial_words import wording
from search.unit_scores import BOOTSTRAP_SEED
from search.units import most_seeds
from trainable.config import TeacherSettings, TrialConfig
from trainable.metrics import unpack_bits
from trainable.presets import PRESETS
from trainable.wheels import ENCODER_WHEEL, TWEETS_WHEEL

WHEEL_TEACHER = f"sentence-transformers/all-MiniLM-L6-v2 (the wheel {ENCODER_WHEEL})"
WHEEL_DATA = f"tweets labelled by people (the wheel {TWEETS_WHEEL})"
UNKNOWN, NO_HUB_ID = "unknown", "custom"
LICENCES = {  # as their publishers say; of all else the export knows none
    "microsoft/deberta-v3-base": "MIT",
    WHEEL_TEACHER: "Apache-2.0 at its publisher, MIT in the metadata of the wheel",
    WHEEL_DATA: f"MIT in the metadata of the wheel; of the tweets themselves {UNKNOWN}",
}


@dataclass(frozen=True)
class Source:
    """A teacher or data set as a reader elsewhere can look it up: a local path gives its name."""

    words: str
    hub_id: str | None

    @property
    def licence(self) -> str:
        """As far as it is known here."""
        return LICENCES.get(self.words, UNKNOWN)


@dataclass(frozen=True)
class Size:
    """A model as it was measured here."""

    parameters: int
    bytes: int  # of its weights on disk
    sentences_per_second: float


@dataclass(frozen=True)
class Score:
    """One accuracy with its 95 % interval over sentences, both shares."""

    name: str
    accuracy: float
    interval: tuple[float, float]
    sentences: int
    words: str


@dataclass(frozen=True)
class Exported:
    """All that the card tells of; `check` says why where the folder was not checked."""

    run: Run
    trial: TrialRecord
    evaluation: Mapping[str, Any]  # whose weights these are
    labels: Sequence[str]
    rows: tuple[int, int]  # of the word embedding: trained, and all
    student: Size
    teacher: Size
    measured_on: str
    check: Check | str

    @property
    def task(self) -> Task:
        """What the sweep's trials shared."""
        return Task.from_dict(self.run.sweep["task"])

    @property
    def request(self) -> Request:
        """What the sweep was asked for first; later ones share its inputs."""
        return Request.from_dict(self.run.sweep["requests"][0])

    @property
    def evaluations(self) -> Sequence[Mapping[str, Any]]:
        """The trial's; of one under way the record may not have the first yet."""
        return self.trial.evaluations or (self.evaluation,)

    @property
    def is_wrong(self) -> bool:
        """Whether answers differ though the trial's arithmetic was the check's own."""
        exact = self.trial.config.precision == "fp32" and self.task.device == "cpu"
        return exact and isinstance(self.check, Check) and self.check.differing > 0

    @property
    def max_length(self) -> int:
        """Tokens that sentences were cut to."""
        return self.request.sized_preset.max_length


def teacher_source(request: Request) -> Source:
    """Where the sweep had its teacher from."""
    given = request.teacher or PRESETS[request.preset].teacher
    return Source(WHEEL_TEACHER, None) if given is None else _source(given)


def data_source(request: Request) -> Source:
    """Where the sweep had its sentences from."""
    if request.dataset is not None:
        return _source(request.dataset)
    preset = PRESETS[request.preset]
    if preset.dataset is None:
        return Source(WHEEL_DATA, None)
    name, subset = preset.dataset, preset.dataset_configuration
    return _source(name if subset is None else f"{name}:{subset}")


def _source(given: str) -> Source:
    path = Path(given)
    if path.is_absolute():  # `Request` has local paths so; they say nothing to others
        return Source(f"`{path.name}`, local files", None)
    return Source(given, given.partition(":")[0])


def scores(exported: Exported) -> list[Score]:
    """The student's and the teacher's accuracies, from the record's bits."""
    evaluations, task = exported.evaluations, exported.task
    count, looks = exported.run.sweep["evaluation_sentences"], len(evaluations)
    this, last = exported.evaluation, evaluations[-1]
    of_best5 = best5_scores([unpack_bits(e["correct"], count) for e in evaluations])
    found = [
        _score("these weights", this["correct"], count, f"the best of {looks} looks"),
        Score(
            "best5",
            last["best5_accuracy"],
            sentence_interval(of_best5, np.random.default_rng(BOOTSTRAP_SEED)),
            count,
            "the trial's score: the mean of its five best evaluations",
        ),
        _score("last", last["correct"], count, "the trial's last evaluation: nothing selected it"),
    ]
    if last.get("whole_correct"):
        whole = task.sentences["whole"]
        words = "the last evaluation's weights on the whole evaluation split"
        found.append(_score("whole", last["whole_correct"], whole, words))
    found.append(_score("teacher", task.teacher.correct, count, "on the same sentences"))
    if task.teacher.whole_correct:
        whole = task.sentences["whole"]
        words = "on the whole evaluation split"
        found.append(_score("teacher, whole", task.teacher.whole_correct, whole, words))
    return found


def _score(name: str, packed: str, count: int, words: str) -> Score:
    correct = unpack_bits(packed, count).astype(np.float64)
    interval = sentence_interval(correct, np.random.default_rng(BOOTSTRAP_SEED))
    return Score(name, float(correct.mean()), interval, count, words)


def gap_to_teacher(exported: Exported) -> tuple[float, tuple[float, float]]:
    """These weights' accuracy less the teacher's, paired on the same sentences, with interval."""
    count = exported.run.sweep["evaluation_sentences"]
    student = unpack_bits(exported.evaluation["correct"], count).astype(np.float64)
    gap = student - unpack_bits(exported.task.teacher.correct, count)
    return float(gap.mean()), sentence_interval(gap, np.random.default_rng(BOOTSTRAP_SEED))


def model_card(exported: Exported) -> str:
    """The whole README.md."""
    parts = [
        f"---\n{_front_matter(exported)}\n---",
        _introduction(exported),
        "## Scores\n\n" + _scores_section(exported),
        "## How it was selected\n\n" + _selection_section(exported),
        "## Size and speed\n\n" + _size_section(exported),
        "## Data and teacher\n\n" + _inputs_section(exported),
        "## Recipe\n\n" + _recipe_section(exported),
        "## Intended use and limits\n\n" + _limits_section(exported),
        "## Licences\n\n" + _licence_section(exported),
        "## How it was made\n\n" + _provenance_section(exported),
    ]
    return "\n\n".join(parts) + "\n"


def _title(exported: Exported) -> str:
    layers = exported.trial.config.student_layers
    return f"{layers}-layer student of {teacher_source(exported.request).words.partition(' (')[0]}"


def _front_matter(exported: Exported) -> str:
    teacher, data = teacher_source(exported.request), data_source(exported.request)
    result = EvalResult(
        task_type="text-classification",
        dataset_type=data.hub_id or NO_HUB_ID,
        dataset_name=data.words,
        dataset_split="evaluation",
        metric_type="accuracy",
        metric_value=round(exported.evaluation["accuracy"], 6),
    )
    card = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        license=UNKNOWN,
        base_model=teacher.hub_id,
        datasets=[data.hub_id] if data.hub_id else None,
        tags=["text-classification", "knowledge-distillation"],
        metrics=["accuracy"],
        model_name=_title(exported),
        eval_results=[result],
    )
    return str(card.to_yaml()).rstrip()


def _introduction(exported: Exported) -> str:
    return f"""# {_title(exported).replace("`", "")}

A text classifier with the labels {", ".join(exported.labels)}, distilled from a teacher of the
same architecture by a search over recipes ({wording(exported.run)(exported.trial)}).

```python
from transformers import pipeline

classify = pipeline("text-classification", "FOLDER")  # this folder
classify("some text", truncation=True)  # cut to {exported.max_length} tokens, as in training
```"""


def _scores_section(exported: Exported) -> str:
    rows = [
        (s.name, f"{s.accuracy:.4f}", "{:.3f} - {:.3f}".format(*s.interval), s.sentences, s.words)
        for s in scores(exported)
    ]
    table = _table(("accuracy of", "", "95 % interval", "sentences", ""), rows)
    gap, (low, high) = gap_to_teacher(exported)
    return f"""{table}

These weights less the teacher, on the same sentences: {gap:+.4f} (95 % {low:+.3f} to {high:+.3f}).
Intervals are bootstraps over the evaluation sentences: they say how far a score would move on other
sentences of this kind, not how far another seed would move it.

{check_in_words(exported)}"""


def check_in_words(exported: Exported) -> str:
    """What came out when the folder was scored anew, or why it was not."""
    check = exported.check
    if isinstance(check, str):
        return f"The accuracy was not computed again from this folder: {check}."
    how = f"{exported.trial.config.precision} on {exported.task.device}"
    found = "the same answer on every one"
    if check.differing:
        found = f"{check.differing} of them answered otherwise than in the trial's evaluation"
    return (
        "Computed again from this folder by plain `transformers` on raw sentences, on a CPU in "
        f"fp32: {check.accuracy:.4f} on {check.sentences:,} sentences, {found} (the trial trained "
        f"in {how})."
    )


def _selection_section(exported: Exported) -> str:
    run, trial = exported.run, exported.trial
    ended = best_trials(run)
    digests = [other.config.digest for other in ended]
    place = "of a trial that has not ended"
    if trial.config.digest in digests:
        rank = digests.index(trial.config.digest) + 1
        several = most_seeds(run.trials.values()) > 1
        by = "the mean best5 of a recipe's seeds" if several else "best5"
        place = f"number {rank} of the {len(ended)} trials that ended, by {by}"
    number, looks = exported.evaluation["evaluations"], len(exported.evaluations)
    total = sum(len(other.evaluations) for other in run.trials.values())
    early = "" if trial.outcome == FINISHED else f" (of {trial.config.evaluations} planned)"
    return (
        f"The trial is {place}; the sweep planned {len(run.trials)} and looked at the evaluation "
        f"sentences {total} times. The weights are those of evaluation {number}, the most accurate "
        f"of its {looks}{early}. Whatever is picked as the best of several looks scores higher "
        "there than it would on fresh sentences; `last` is free of the second choice, not of the "
        "first."
    )


def size_in_words(exported: Exported) -> str:
    """`17.1 M parameters, 68 MB (teacher 22.7 M, 91 MB), 1.8 times the teacher's speed here`."""
    student, teacher = exported.student, exported.teacher
    ratio = student.sentences_per_second / teacher.sentences_per_second
    return (
        f"{student.parameters / 1e6:.1f} M parameters, {in_words(student.bytes)} (teacher "
        f"{teacher.parameters / 1e6:.1f} M, {in_words(teacher.bytes)}), {ratio:.1f} times the "
        "teacher's speed here"
    )


def _size_section(exported: Exported) -> str:
    student, teacher = exported.student, exported.teacher
    rows = [
        (name, f"{s.parameters / 1e6:.1f} M", in_words(s.bytes), f"{s.sentences_per_second:,.0f}")
        for name, s in (("student", student), ("teacher", teacher))
    ]
    ratio = student.sentences_per_second / teacher.sentences_per_second
    table = _table(("", "parameters", "weights", "sentences a second"), rows)
    return f"""{table}

The student is {ratio:.1f} times as fast. Measured in a few seconds on {exported.measured_on}."""


def _inputs_section(exported: Exported) -> str:
    task, request = exported.task, exported.request
    sizes = ", ".join(f"{count:,} for {name}" for name, count in task.sentences.items())
    made = "used as it was given, already fine-tuned"
    if task.teacher.fine_tuned_here:
        made = (
            f"fine-tuned on the same data ({_settings(PRESETS[request.preset].teacher_settings)})"
        )
    return f"""- Data: {data_source(request).words}; sentences: {sizes},
  cut to {exported.max_length} tokens. Digest {task.data_digest[:16]}.
- Teacher: {teacher_source(request).words}, {made}. Digest {task.teacher.digest[:16]}."""


def _settings(settings: TeacherSettings) -> str:
    pairs = [(field.name, getattr(settings, field.name)) for field in fields(settings)]
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in pairs)


def _recipe_section(exported: Exported) -> str:
    config = exported.trial.config
    rows = []
    for field in fields(TrialConfig):
        value = getattr(config, field.name)
        said = "-" if value is None else f"{value}"
        idle = " (no effect here)" if field.name in config.idle_settings else ""
        rows.append((f"`{field.name}`", said + idle, field.metadata["help"]))
    return f"""Loss: alpha x cross-entropy with the labels + (1 - alpha) x (T^2 KL(teacher, student)
+ hidden_weight x the sum over aligned layers of the mean squared difference of unit hidden states).

{_table(("setting", "value", ""), rows)}"""


def _limits_section(exported: Exported) -> str:
    trained, every = exported.rows
    origin = "the teacher's own"
    if exported.trial.config.initialisation == "random":
        origin = "random numbers, of the kind it began with"
    return f"""For sentences like those it was trained on, in their language, with the labels above;
for research on distillation first of all. It has the teacher's and the data's biases, was tested on
the evaluation sentences alone, and its probabilities are not calibrated.

{trained:,} of the {every:,} rows of the word embedding are those of tokens in the data, and took
part in the training; the other {every - trained:,} are {origin}. A text made mostly of such tokens
is outside what was trained."""


def _licence_section(exported: Exported) -> str:
    teacher, data = teacher_source(exported.request), data_source(exported.request)
    return f"""The student inherits what the licences of its teacher and of the data ask for; look
both up before you share it.

- Teacher, {teacher.words}: {teacher.licence}.
- Data, {data.words}: {data.licence}."""


def _provenance_section(exported: Exported) -> str:
    sweep = exported.run.sweep
    versions = ", ".join(f"{name} {value}" for name, value in sweep["versions"].items() if value)
    changed = ", with uncommitted changes" if sweep["uncommitted_changes"] else ""
    space = ", ".join(dict.fromkeys(request["space"] for request in sweep["requests"]))
    trial = exported.trial.config.digest
    return f"""- Sweep `{exported.run.folder.name}`, space {space}, trial {trial}.
- Started {sweep["started"]} on {sweep["device"]}; commit {sweep["commit"] or UNKNOWN}{changed}.
- {versions}."""


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
