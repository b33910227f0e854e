"""A schedule, initialisation, loss term, preset or space is added in one file."""

import os
import shutil
import subprocess
import sys

SCHEDULE = (
    "trainable/config/alpha_schedules.py",
    '    "cosine_growth": growth,\n',
    '    "linear_growth": lambda progress, sharpness: progress**sharpness,\n',
    "from trainable.config.alpha_schedules import alpha_at\n"
    "from trainable.config.trial_config import TrialConfig\n"
    "TrialConfig(alpha_schedule='linear_growth', sharpness=2.0)\n"
    "from search.plan.grid import plan_trials\n"
    "from search.plan.request import Request\n"
    "from search.plan.resolve import resolve\n"
    "trials = plan_trials(resolve(Request(space='schedules', preset='mini'), print))\n"
    "tried = {trial.alpha_schedule for trial in trials}\n"
    "print(alpha_at(55, 101, 'linear_growth', sharpness=2.0), 'linear_growth' in tried)",
    "0.25 True",
)
INITIALISATION = (
    "trainable/config/initialisations.py",
    '    "teacher_lower": lambda layer, _, __: layer,\n',
    '    "teacher_first": lambda layer, _, __: 1,\n',
    "from transformers import BertConfig, BertForSequenceClassification\n"
    "from trainable.config.trial_config import TrialConfig\n"
    "from trainable.models.students import build_student\n"
    "shape = dict(vocab_size=9, hidden_size=8, num_attention_heads=2, intermediate_size=8)\n"
    "teacher = BertForSequenceClassification(BertConfig(num_hidden_layers=4, **shape))\n"
    "config = TrialConfig(alpha=0.5, initialisation='teacher_first', student_layers=2)\n"
    "first, own = (m.bert.encoder.layer for m in (teacher, build_student(teacher, config)))\n"
    "weights = [layer.output.dense.weight for layer in (first[0], *own)]\n"
    "print(all((weights[0] == own).all().item() for own in weights[1:]))",
    "True",
)
PRESET = (
    "trainable/config/presets.py",
    '    "imdb": replace(\n',
    '    "rte": replace(SST2, dataset="nyu-mll/glue:rte"),\n',
    "from search.plan.request import Request\n"
    "print(Request(space='layers', preset='rte').effective_preset.dataset)",
    "nyu-mll/glue:rte",
)
LOSS_TERM = (
    "trainable/engine/losses.py",
    '"relations": relation_term,\n}\n',
    "TEACHER_TERMS['difference'] = lambda of: (of.logits - of.teacher_logits).abs().mean()\n",
    "import torch\n"
    "from trainable.engine.losses import TermInputs, distillation_losses\n"
    "ones = torch.ones(2, 2)\n"
    "of = TermInputs(4 * ones, ones, torch.tensor(1.0), ones[0] / 2, torch.zeros(1))\n"
    "losses = distillation_losses(torch.tensor(0.5), torch.tensor(2.0), of)\n"
    "print(losses['difference'].item(), losses['loss'].item())",
    "3.0 2.5",
)
SPACE = (
    "spaces/quarter.py",
    "",
    "from spaces._alpha_settings import fixed\n\n\n"
    "def quarter():\n    return {'alpha': fixed(0.25), 'aligned_layers': 'all'}\n",
    "from search.plan.grid import plan_trials\n"
    "from search.plan.request import Request\n"
    "from search.plan.resolve import resolve\n"
    "(one,) = plan_trials(resolve(Request(space='quarter', preset='mini'), print))\n"
    "print(one.alpha, one.aligned_layers)",
    "0.25 1,2,3",
)


KINDS = (SCHEDULE, INITIALISATION, LOSS_TERM, PRESET, SPACE)


def test_one_file_is_enough_for_each(repository, tmp_path):
    """All are added to one copy of the product, each in a file of its own."""
    for package in ("search", "spaces", "trainable"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / package, tmp_path / package, ignore=ignored)
    for file, after, line, *_ in KINDS:
        text = (tmp_path / file).read_text() if after else line  # a file of its own
        if after:
            assert after in text
            text = text.replace(after, line + after if after[0] == " " else after + line)
        (tmp_path / file).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(use for *_, use, _ in KINDS)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [result for *_, result in KINDS], done.stderr
